// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

// Teaches a frozen video diffusion model a visual task from a few image pairs; `fewshot --help` says how.
#include <cstdio>
#include <exception>

#include "job.hpp"
#include "segue/core/error.hpp"
#include "segue/core/posix.hpp"

int main(int argc, char** argv) {
  try {
    const fewshot::Options options = fewshot::parse_options(argc, argv);
    if (options.help) {
      std::fputs(fewshot::help_text().c_str(), stdout);
      return 0;
    }
    const segue::InterruptGuard guard;
    if (!options.apply.empty()) {
      fewshot::apply(options);
    } else if (!options.latents.empty()) {
      fewshot::learn_latents(options);
    } else {
      fewshot::learn(options);
    }
    return 0;
  } catch (const segue::Interrupted& stop) {
    std::fprintf(stderr, "fewshot: %s\n", stop.what());
    return 130;
  } catch (const segue::InputError& error) {
    std::fprintf(stderr, "fewshot: %s\n", error.what());
    return 2;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "fewshot: %s\n", error.what());
    return 1;
  }
}
