// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

// What is written for other tools. tests/golden/read_back_all.sh gives the files to diffusers and PEFT.

#include <cstdlib>

#include "models/wan_support.hpp"
#include "segue/adapters/comfyui_file.hpp"
#include "segue/adapters/diffusers_file.hpp"
#include "segue/adapters/kohya_file.hpp"
#include "segue/adapters/load_adapter.hpp"
#include "segue/adapters/peft_folder.hpp"

using namespace segue;

TEST_CASE("every layout brings an adapter back with its output", "[read_back]") {
  struct Case {
    const char *folder, *weights, *described_by, *output;
  };
  const support::TempDir temporary;
  const char* kept = std::getenv("SEGUE_READ_BACK_DIR");
  for (const Case& c : {Case{"wan_t2v", "train_final", "lora", "adapter.y"},
                        Case{"wan_i2v_clip", "lora_r4_weight", "lora_r4", "lora_r4.y"}}) {
    INFO(c.folder);
    using Golden = support::GoldenWan<Fp32, adapters::LoraOnBlocks>;
    Golden g(c.folder);
    const auto folder = (kept ? std::filesystem::path(kept) : temporary.path()) / c.folder;
    models::save_wan_folder(g.model, g.exec, folder.string());
    support::add_golden_lora(g.model, g.exec, g.recorded, c.weights, c.described_by);
    const auto in = [&](const char* name) { return (folder / name).string(); };
    adapters::write_diffusers_adapter(g.model, g.exec, in("diffusers.safetensors"));
    adapters::write_peft_adapter(g.model, g.exec, in("peft"));
    adapters::write_comfyui_adapter(g.model, g.exec, in("comfyui.safetensors"));
    adapters::write_kohya_adapter(g.model, g.exec, in("kohya.safetensors"));
    for (const char* name : {"diffusers.safetensors", "peft", "comfyui.safetensors", "kohya.safetensors"}) {
      INFO(name);
      Golden fresh(c.folder);
      adapters::load_adapter(fresh.model, fresh.exec, in(name));
      Context<Golden::P> ctx(fresh.exec);
      const NoGrad<Golden::P> off(ctx);
      const auto y = fresh.model(ctx, fresh.hidden, fresh.time, fresh.text, fresh.image);
      CHECK(support::error_against(y.value(), fresh.recorded, c.output) < 1e-5);
    }
  }
}
