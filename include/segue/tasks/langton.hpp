// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "segue/core/error.hpp"
#include "segue/tasks/draws.hpp"
#include "segue/tasks/generate/grid_task.hpp"
#include "segue/tasks/grid.hpp"

SEGUE_NAMESPACE_BEGIN
namespace tasks {

/// An ant on a grid of 0 and 1 that wraps.
struct LangtonState {
  Grid cells;
  int row = 0, column = 0;
  int heading = 0;  ///< 0 north, 1 east, 2 south, 3 west
};

/// One step of Langton's ant: on a 0 it turns right, on a 1 left; the cell flips; the ant goes one cell ahead.
/// C. Langton, "Studying artificial life with cellular automata", 1986.
inline void step_langton(LangtonState& state) {
  std::uint8_t& cell = state.cells.at(state.row, state.column);
  state.heading = (state.heading + (cell == 0 ? 1 : 3)) % 4;
  cell = cell == 0 ? 1 : 0;
  constexpr std::array<int, 4> down = {-1, 0, 1, 0}, right = {0, 1, 0, -1};
  const auto h = static_cast<std::size_t>(state.heading);
  state.row = (state.row + down[h] + state.cells.height) % state.cells.height;
  state.column = (state.column + right[h] + state.cells.width) % state.cells.width;
}

/// The state as one grid: 0 and 1 are cells without the ant, 2 + heading is the ant on a 0, 6 + heading on a 1.
inline Grid langton_grid(const LangtonState& state) {
  Grid grid = state.cells;
  std::uint8_t& cell = grid.at(state.row, state.column);
  cell = static_cast<std::uint8_t>((cell == 0 ? 2 : 6) + state.heading);
  return grid;
}

/// What is drawn for a task on Langton's ant. The defaults are the paper's (arXiv 2510.24448), which asks for 2, 3, 5
/// and 10 steps.
struct LangtonTaskSpec {
  int side = 8;
  int steps = 2;              ///< steps from input to output
  double min_distance = 0.3;  ///< share of the cells in which a test input differs from every training input, at least
};

/// A generated task (see make_grid_task): random cells, the ant in cell (side / 2, side / 2) on a 0, facing north;
/// values as in langton_grid. Drawn without lines, in the colours of ARC.
inline GridTask make_langton_task(const LangtonTaskSpec& spec, int train, int test, std::uint64_t seed) {
  if (spec.side < 3) throw_input("langton task", "side", std::to_string(spec.side), "3 or more");
  if (spec.steps < 1) throw_input("langton task", "steps", std::to_string(spec.steps), "1 or more");
  const auto cells = static_cast<std::size_t>(spec.side) * static_cast<std::size_t>(spec.side);
  const auto draw = [&](Draws& draws) {
    LangtonState state{{spec.side, spec.side, std::vector<std::uint8_t>(cells)}, spec.side / 2, spec.side / 2, 0};
    for (std::uint8_t& cell : state.cells.cells) cell = static_cast<std::uint8_t>(draws.below(2));
    state.cells.at(state.row, state.column) = 0;
    GridPair pair;
    pair.input = langton_grid(state);
    for (int step = 0; step < spec.steps; ++step) step_langton(state);
    pair.output = langton_grid(state);
    return pair;
  };
  GridTask task = make_grid_task({"langton-" + std::to_string(spec.steps), train, test, seed, spec.min_distance}, draw,
                                 input_distance);
  task.lines = GridLines::None;
  return task;
}

}  // namespace tasks
SEGUE_NAMESPACE_END
