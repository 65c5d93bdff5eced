// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <bit>
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

namespace detail {

/// Depth-first search for the completions of a Sudoku, always in the cell with the fewest candidates.
class SudokuSearch {
 public:
  /// @param draws if given, digits are tried in an order that is drawn anew for every cell.
  SudokuSearch(const Grid& board, int box, Draws* draws = nullptr) : board_(board), box_(box), draws_(draws) {
    for (std::size_t i = 0; i < board_.cells.size() && valid_; ++i) {
      const std::uint8_t digit = board_.cells[i];
      if (digit == 0) continue;
      if ((candidates(i) >> digit & 1u) == 0) valid_ = false;
      toggle(i, digit);
    }
  }

  /// Counts completions up to `limit`; `solution()` is the last one found.
  int count(int limit) {
    limit_ = limit;
    found_ = 0;
    if (valid_) descend();
    return found_;
  }
  const Grid& solution() const { return solution_; }

 private:
  std::size_t row(std::size_t cell) const { return cell / static_cast<std::size_t>(board_.width); }
  std::size_t column(std::size_t cell) const { return cell % static_cast<std::size_t>(board_.width); }
  std::size_t block(std::size_t cell) const {
    const auto box = static_cast<std::size_t>(box_);
    return row(cell) / box * box + column(cell) / box;
  }
  /// Bit d is set if digit d fits the cell.
  std::uint32_t candidates(std::size_t cell) const {
    const std::uint32_t all = (2u << board_.width) - 2u;
    return all & ~(rows_[row(cell)] | columns_[column(cell)] | blocks_[block(cell)]);
  }
  void toggle(std::size_t cell, std::uint8_t digit) {
    rows_[row(cell)] ^= 1u << digit;
    columns_[column(cell)] ^= 1u << digit;
    blocks_[block(cell)] ^= 1u << digit;
  }

  void descend() {
    std::size_t best = board_.cells.size();
    int fewest = 99;
    for (std::size_t i = 0; i < board_.cells.size(); ++i) {
      if (board_.cells[i] != 0) continue;
      const int fitting = std::popcount(candidates(i));
      if (fitting < fewest) {
        fewest = fitting;
        best = i;
      }
    }
    if (best == board_.cells.size()) {
      solution_ = board_;
      ++found_;
      return;
    }
    const std::uint32_t fitting = candidates(best);
    std::array<std::uint8_t, 9> order = {1, 2, 3, 4, 5, 6, 7, 8, 9};
    const auto digits = std::span<std::uint8_t>(order).first(static_cast<std::size_t>(board_.width));
    if (draws_ != nullptr) draws_->shuffle(digits);
    for (const std::uint8_t digit : digits) {
      if ((fitting >> digit & 1u) == 0) continue;
      board_.cells[best] = digit;
      toggle(best, digit);
      descend();
      toggle(best, digit);
      board_.cells[best] = 0;
      if (found_ >= limit_) return;
    }
  }

  Grid board_, solution_;
  int box_ = 0;
  Draws* draws_ = nullptr;
  std::array<std::uint32_t, 9> rows_{}, columns_{}, blocks_{};
  bool valid_ = true;
  int limit_ = 0, found_ = 0;
};

inline void check_box(int box) {
  if (box != 2 && box != 3) throw_input("sudoku", "side of a box", std::to_string(box), "2 or 3");
}

}  // namespace detail

/// How many ways there are to fill the zeros of a Sudoku of (box * box) x (box * box) cells, counted up to `limit`.
/// Raises InputError if the board has other extents, a digit that is too large, or a box other than 2 or 3.
inline int count_sudoku_solutions(const Grid& board, int box, int limit = 2) {
  detail::check_box(box);
  const int side = box * box;
  if (board.height != side || board.width != side) {
    throw_input("sudoku", "board", std::to_string(board.height) + "x" + std::to_string(board.width) + " cells",
                std::to_string(side) + "x" + std::to_string(side));
  }
  for (const std::uint8_t digit : board.cells) {
    if (digit > side) throw_input("sudoku", "digit", std::to_string(digit), "0 to " + std::to_string(side));
  }
  return detail::SudokuSearch(board, box).count(limit);
}

/// What is drawn for a task on Sudokus. The defaults are the paper's easy ones (arXiv 2510.24448); with box = 2 they
/// are its Mini Sudokus, 4x4.
struct SudokuTaskSpec {
  int box = 3;                ///< the side of a box: 2 or 3
  double givens = 0.5;        ///< share of the cells that are given
  double min_distance = 0.3;  ///< share of the cells in which a test input differs from every training input, at least
};

/// A Sudoku with one solution and that solution. Cells are emptied in random order where the solution stays the only
/// one, until no more than the share `givens` is left, rounded up, or no cell can be emptied.
inline GridPair draw_sudoku(Draws& draws, int box, double givens) {
  detail::check_box(box);
  const int side = box * box, cells = side * side;
  const Grid empty{side, side, std::vector<std::uint8_t>(static_cast<std::size_t>(cells))};
  detail::SudokuSearch search(empty, box, &draws);
  search.count(1);
  GridPair pair;
  pair.input = pair.output = search.solution();
  std::vector<int> places(static_cast<std::size_t>(cells));
  for (int i = 0; i < cells; ++i) places[static_cast<std::size_t>(i)] = i;
  draws.shuffle(std::span<int>(places));
  int left = cells;
  for (const int place : places) {
    if (left - 1 < givens * cells) break;
    std::uint8_t& cell = pair.input.cells[static_cast<std::size_t>(place)];
    cell = 0;
    if (count_sudoku_solutions(pair.input, box) == 1) {
      --left;
    } else {
      cell = pair.output.cells[static_cast<std::size_t>(place)];
    }
  }
  return pair;
}

/// A generated task (see make_grid_task): the input is a Sudoku whose empty cells are 0, the output its one solution.
/// Digits are drawn as the colours of ARC, since a cell of a 64-pixel canvas has no room for a legible numeral.
inline GridTask make_sudoku_task(const SudokuTaskSpec& spec, int train, int test, std::uint64_t seed) {
  if (!(spec.givens > 0 && spec.givens <= 1)) {
    throw_input("sudoku task", "givens", std::to_string(spec.givens), "more than 0 and at most 1");
  }
  const auto draw = [&](Draws& draws) { return draw_sudoku(draws, spec.box, spec.givens); };
  return make_grid_task({spec.box == 2 ? "mini-sudoku" : "sudoku", train, test, seed, spec.min_distance}, draw,
                        input_distance);
}

}  // namespace tasks
SEGUE_NAMESPACE_END
