// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "segue/core/error.hpp"

SEGUE_NAMESPACE_BEGIN
namespace tasks {

/// A grid of colours 0 … 9, row by row.
struct Grid {
  int height = 0, width = 0;
  std::vector<std::uint8_t> cells;

  std::uint8_t at(int row, int column) const {
    return cells[static_cast<std::size_t>(row) * static_cast<std::size_t>(width) + static_cast<std::size_t>(column)];
  }
  std::uint8_t& at(int row, int column) {
    return cells[static_cast<std::size_t>(row) * static_cast<std::size_t>(width) + static_cast<std::size_t>(column)];
  }
  int longest_side() const { return std::max(height, width); }
  friend bool operator==(const Grid&, const Grid&) = default;
};

struct GridPair {
  std::string name;
  Grid input, output;
};

/// The colours in which the values of a grid are drawn and read back (see palette_colours).
enum class GridPalette : std::uint8_t { Arc, Maze };

/// Whether cells are set apart by lines. `None` gives the pixels of the lines to the cells.
enum class GridLines : std::uint8_t { Drawn, None };

/// A task on grids: the demonstrations, what is asked, and how all of it is drawn.
struct GridTask {
  std::string name;
  std::vector<GridPair> train, test;
  GridPalette palette = GridPalette::Arc;
  GridLines lines = GridLines::Drawn;
};

/// The share of the cells in which two grids differ; 1 if their sizes do.
inline double cell_distance(const Grid& a, const Grid& b) {
  if (a.height != b.height || a.width != b.width || a.cells.empty()) return 1.0;
  std::size_t different = 0;
  for (std::size_t i = 0; i < a.cells.size(); ++i) different += a.cells[i] != b.cells[i] ? 1 : 0;
  return static_cast<double>(different) / static_cast<double>(a.cells.size());
}

/// The share of the cells of `truth` that agree; 0 if the sizes differ.
inline double cell_accuracy(const Grid& prediction, const Grid& truth) {
  if (prediction.height != truth.height || prediction.width != truth.width || truth.cells.empty()) return 0.0;
  std::size_t same = 0;
  for (std::size_t i = 0; i < truth.cells.size(); ++i) same += prediction.cells[i] == truth.cells[i] ? 1 : 0;
  return static_cast<double>(same) / static_cast<double>(truth.cells.size());
}

/// Scores of a set of test inputs, each with its attempts (noise seeds). ARC-AGI allows two attempts an input,
/// ConceptARC three (arXiv 2510.24448).
struct GridScore {
  int inputs = 0;            ///< test inputs
  int solved = 0;            ///< inputs for which some attempt is the whole grid
  double cell_accuracy = 0;  ///< of the first attempts, averaged over inputs

  double exact() const { return inputs > 0 ? static_cast<double>(solved) / inputs : 0.0; }
  /// ARC-AGI counts a task only if every test input is solved; ConceptARC counts inputs.
  bool all_solved() const { return inputs > 0 && solved == inputs; }
};

/// attempts[i] are the decoded answers to the input whose truth is truths[i]; at least one each.
inline GridScore score_grids(std::span<const std::vector<Grid>> attempts, std::span<const Grid> truths) {
  if (attempts.size() != truths.size()) {
    throw_input("score_grids", "number of answers", std::to_string(attempts.size()), std::to_string(truths.size()));
  }
  GridScore score;
  for (std::size_t i = 0; i < truths.size(); ++i) {
    if (attempts[i].empty()) throw_input("score_grids", "number of attempts", "0", "1 or more");
    ++score.inputs;
    score.solved += std::find(attempts[i].begin(), attempts[i].end(), truths[i]) != attempts[i].end() ? 1 : 0;
    score.cell_accuracy += cell_accuracy(attempts[i].front(), truths[i]);
  }
  if (score.inputs > 0) score.cell_accuracy /= score.inputs;
  return score;
}

}  // namespace tasks
SEGUE_NAMESPACE_END
