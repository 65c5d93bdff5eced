// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include "segue/core/exec.hpp"

namespace {
using Device = segue::Cpu;
}

#include "models/wan_family_test.inl"
#include "models/wan_training.hpp"

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
      const double theirs = support::distance(recorded.values("train_final." + leaf), exact.adapter.at(leaf)),
                   ours = support::distance(values, exact.adapter.at(leaf));
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
