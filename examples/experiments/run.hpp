// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

namespace experiments {

/// What the command line says; defaults are those of `--help`.
struct Settings {
  bool report = false;  ///< the first word is "report"
  std::string table;
  std::string data;
  std::string out = "out/experiments";
  std::vector<std::string> with;  ///< more folders whose cells are taken as made
  std::string model;
  std::string only = "*";
  int shard = 1, shards = 1;
  double seconds = 0;  ///< take no new cell after so many; 0: no end
  int sample_batch = 64;
  int threads = 0;
  bool sheets = false;
  bool list = false;
  bool help = false;
};

/// @throws segue::InputError for an unknown option (with the nearest known one), a missing or malformed value.
Settings parse_settings(int argc, char** argv);
std::string help_text();

/// Fits the cells of the table that are left, or lists them.
/// @throws segue::Interrupted after a signal; what is finished stays.
void run(const Settings& settings);

}  // namespace experiments
