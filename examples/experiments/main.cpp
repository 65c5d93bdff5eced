// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

// Measures few-shot learning over a table of tasks; `experiments --help` says how.
#include <cstdio>

#include "common/program.hpp"
#include "report.hpp"
#include "run.hpp"

int main(int argc, char** argv) {
  return example::run_program("experiments", [&] {
    const experiments::Settings settings = experiments::parse_settings(argc, argv);
    if (settings.help) {
      std::fputs(experiments::help_text().c_str(), stdout);
    } else if (settings.report) {
      experiments::report(settings);
    } else {
      experiments::run(settings);
    }
  });
}
