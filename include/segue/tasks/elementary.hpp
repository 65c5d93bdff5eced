// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "segue/core/error.hpp"
#include "segue/tasks/draws.hpp"
#include "segue/tasks/generate/grid_task.hpp"
#include "segue/tasks/grid.hpp"

SEGUE_NAMESPACE_BEGIN
namespace tasks {

/// One step of the elementary cellular automaton `rule` (Wolfram's number, 0 to 255) on a row of 0 and 1 that wraps:
/// the new cell is bit 4 left + 2 centre + right of the rule. S. Wolfram, "Statistical mechanics of cellular
/// automata", 1983.
inline std::vector<std::uint8_t> step_elementary(int rule, std::span<const std::uint8_t> row) {
  if (rule < 0 || rule > 255) throw_input("elementary automaton", "rule", std::to_string(rule), "0 to 255");
  const std::size_t n = row.size();
  std::vector<std::uint8_t> next(n);
  for (std::size_t i = 0; i < n; ++i) {
    const int seen = 4 * row[(i + n - 1) % n] + 2 * row[i] + row[(i + 1) % n];
    next[i] = static_cast<std::uint8_t>(rule >> seen & 1);
  }
  return next;
}

/// What is drawn for a task on an elementary automaton. The defaults are the paper's (arXiv 2510.24448).
struct ElementaryTaskSpec {
  int rule = 110;
  int width = 16;
  int steps = 7;
  double min_distance = 0;  ///< share of the cells in which a test input differs from every training input, at least
};

/// A generated task (see make_grid_task): the input is a random first row above `steps` blank rows, the output all
/// rows. Values: 0 blank, 1 a cell that is 0, 2 a cell that is 1. Drawn without lines, in the colours of ARC.
inline GridTask make_elementary_task(const ElementaryTaskSpec& spec, int train, int test, std::uint64_t seed) {
  if (spec.width < 3) throw_input("elementary task", "width", std::to_string(spec.width), "3 or more");
  if (spec.steps < 1) throw_input("elementary task", "steps", std::to_string(spec.steps), "1 or more");
  const auto draw = [&](Draws& draws) {
    std::vector<std::uint8_t> row(static_cast<std::size_t>(spec.width));
    for (std::uint8_t& cell : row) cell = static_cast<std::uint8_t>(draws.below(2));
    GridPair pair;
    pair.output = {spec.steps + 1, spec.width, {}};
    for (int step = 0; step <= spec.steps; ++step) {
      for (const std::uint8_t cell : row) pair.output.cells.push_back(static_cast<std::uint8_t>(cell + 1));
      row = step_elementary(spec.rule, row);
    }
    pair.input = {spec.steps + 1, spec.width, std::vector<std::uint8_t>(pair.output.cells.size())};
    for (int column = 0; column < spec.width; ++column) pair.input.at(0, column) = pair.output.at(0, column);
    return pair;
  };
  // Only the first row can differ.
  const auto distance = [&](const GridPair& a, const GridPair& b) { return input_distance(a, b) * (spec.steps + 1); };
  GridTask task =
      make_grid_task({"eca-" + std::to_string(spec.rule), train, test, seed, spec.min_distance}, draw, distance);
  task.lines = GridLines::None;
  return task;
}

}  // namespace tasks
SEGUE_NAMESPACE_END
