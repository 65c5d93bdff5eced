// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include "segue/core/exec.hpp"

namespace {
using Device = segue::Cpu;
}

#include "models/wan_family_test.inl"
#include "models/wan_training.hpp"

TEST_CASE("the small Wan that ships is to diffusers what it is here") {
  using P = Policy<Fp32, Cpu>;
  Exec<Cpu> exec({.threads = 2});
  const testing::Golden recorded((support::golden_dir() / "wan_small.safetensors").string());
  const auto folder =
      models::open_wan_folder((support::tests_dir().parent_path() / "examples/weights/wan-small").string());
  models::Wan<P, adapters::Frozen> model(exec, folder.config);
  models::load_weights(model, exec, folder.weights);
  Context<P> ctx(exec);
  const auto y = model(ctx, recorded.tensor<float, 5>(exec, "forward.hidden_states"),
                       {recorded.tensor<float, 1>(exec, "forward.timestep")},
                       recorded.tensor<float, 3>(exec, "forward.encoder_hidden_states"));
  const double error = error_against(y, recorded, "forward.y");
  CHECK(error < tolerance);
  support::ParityTable::get().add(kinds[0].says, "output of the small Wan that ships", support::error_text(error),
                                  support::error_text(tolerance));
}

TEST_CASE("ten AdamW steps of every kind of Wan end where PyTorch's end") {
  for (const Kind& kind : kinds) {
    INFO(kind.folder);
    const testing::Golden recorded((support::golden_dir() / kind.folder).string() + ".safetensors");
    const auto exact = support::train_golden<Fp64>(kind.folder, 1e-5);
    const auto trained = support::train_golden<Fp32>(kind.folder, 1e-5);
    double worst = 0, theirs_worst = 0;
    for (const auto& [leaf, values] : trained.adapter) {
      INFO(leaf);
      // AdamW makes a full step of an element whose gradient is rounding noise, so both are compared with the run in
      // double rather than with each other.
      const double theirs = testing::relative_error(recorded.values("train_final." + leaf), exact.adapter.at(leaf)),
                   ours = testing::relative_error(values, exact.adapter.at(leaf));
      CHECK(ours < tolerance);
      CHECK(theirs < tolerance);
      worst = std::max(worst, ours);
      theirs_worst = std::max(theirs_worst, theirs);
    }
    note(kind, "ten AdamW steps: worst loss", trained.worst_loss);
    note_beside(kind, "ten AdamW steps: worst tensor of the adapter, from a run in double", worst, theirs_worst,
                "1.0e-05");
  }
}
