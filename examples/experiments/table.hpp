// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "segue/io/json.hpp"
#include "segue/tasks/augment.hpp"
#include "segue/tasks/transition.hpp"

namespace experiments {

/// What is fitted: an adapter on the weights of the folder, the same adapter on random weights of that shape, or all of
/// such random weights.
enum class Mode : std::uint8_t { pretrained, random, scratch };
inline constexpr std::array<Mode, 3> all_modes = {Mode::pretrained, Mode::random, Mode::scratch};

/// "pretrained", "random", "scratch".
constexpr std::string_view name(Mode mode) {
  return mode == Mode::pretrained ? "pretrained" : mode == Mode::random ? "random" : "scratch";
}

/// Figures of others by the number of training pairs.
using FigureByShots = std::map<int, double>;

/// One task under one set of settings; every product of shots, mode, rank, transition and seed of it is fitted.
struct Row {
  std::string name;                ///< NAME, or NAME/MEMBER in a family
  std::string family;              ///< NAME if the row was made by `each`: its members are reported as one line
  std::vector<std::string> words;  ///< where the task comes from, in the words of fewshot's command line
  std::vector<int> shots;
  int test = 0;  ///< use the first so many test items; 0: all
  std::vector<Mode> modes;
  std::vector<std::uint64_t> seeds;
  std::map<Mode, std::vector<double>> lrs;  ///< candidates
  std::vector<int> ranks;
  std::vector<segue::tasks::Transition> transitions;
  /// Candidates beside the rates: every pair of a rate and an augmentation is tried, where there is more than one.
  std::vector<segue::tasks::Augmentation> augments;
  int canvas = 0;  ///< side of the pictures; 0: what the model says
  int attempts = 1;
  int average = 1;
  int steps = 400;
  int batch = 16;
  int sample_steps = 20;
  double shift = 25.0;
  FigureByShots paper, yardstick, reach;

  /// Whether settings are compared, and not only tasks.
  bool is_study() const { return ranks.size() > 1 || transitions.size() > 1 || attempts > 1; }
};

/// Rows in the order of the file, families unfolded.
struct Table {
  std::vector<Row> rows;
};

/// {"defaults": {key: value, …}, "rows": [{"name": …, "task": […], …}, …]}: a row's keys go before the defaults'.
/// `"each": ["a", "b"]` makes a family: a row NAME/a and NAME/b, with ${each} in the words replaced.
/// @throws segue::InputError in one sentence that begins with `where` and names row and key.
Table read_table(const segue::io::Json& json, const std::string& where);
Table read_table(const std::string& path);

/// `text` with every ${key} replaced.
std::string replace_all(std::string text, std::string_view key, std::string_view value);

}  // namespace experiments
