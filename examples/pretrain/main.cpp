// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

// Trains a small Wan from nothing on generated clips: the backbone that `fewshot` adapts. `pretrain --help` says how.
#include <cstdio>

#include "common/program.hpp"
#include "job.hpp"

int main(int argc, char** argv) {
  return example::run_program("pretrain", [&] {
    const pretrain::Options options = pretrain::parse_options(argc, argv);
    if (options.help)
      std::fputs(pretrain::help_text().c_str(), stdout);
    else
      pretrain::train_backbone(options);
  });
}
