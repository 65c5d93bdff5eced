// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

// A LoRA file in any of the layouts, for a model of three linears.

#include <optional>
#include <string>

#include "folder.hpp"
#include "fuzz.hpp"
#include "segue/adapters/load_adapter.hpp"
#include "segue/cpu.hpp"
#include "segue/models/wan_names.hpp"

using namespace segue;

namespace {

using Linear = adapters::LoraLinear<Policy<Fp32, Cpu>>;

struct Model {
  Linear q, up, out;
  explicit Model(Exec<Cpu>& exec) : q(exec, 4, 4), up(exec, 4, 6), out(exec, 4, 2) {}
  static std::optional<std::string> original_name(std::string_view name) { return models::wan_original_name(name); }
  void visit(auto&& v) {
    v("blocks.0.attn1.to_q", q);
    v("blocks.0.ffn.net.0.proj", up);
    v("proj_out", out);
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const fuzz::Folder folder("adapter_config.json",  // what PEFT's layout wants beside the file
                                   R"({"r": 2, "lora_alpha": 4, "alpha_pattern": {"to_q": 3}})", "fuzz.safetensors");
  const std::string& path = folder.put(data, size);
  Exec<Cpu> exec({.threads = 1});
  Model model(exec);
  std::size_t added = 0;
  fuzz::read(folder.path().c_str(), [&] { added = adapters::load_adapter(model, exec, path).size(); });
  std::size_t carried = 0;
  adapters::for_each_lora(model, [&](std::string_view, auto& linear) {
    if (const auto* adapter = linear.find("default")) {
      ++carried;
      fuzz::require(adapter->spec.rank > 0, "an adapter without rank");
    }
  });
  fuzz::require(carried == added, "a file that was refused and left adapters");
  return 0;
}
