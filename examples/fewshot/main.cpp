// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

// Teaches a frozen video diffusion model a visual task from a few image pairs; `fewshot --help` says how.
#include <cstdio>

#include "common/program.hpp"
#include "job.hpp"

int main(int argc, char** argv) {
  return example::run_program("fewshot", [&] {
    const fewshot::Options options = fewshot::parse_options(argc, argv);
    if (options.help) {
      std::fputs(fewshot::help_text().c_str(), stdout);
    } else if (!options.apply.empty()) {
      fewshot::apply(options);
    } else if (!options.latents.empty()) {
      fewshot::learn_latents(options);
    } else {
      fewshot::learn(options);
    }
  });
}
