// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#include "segue/tasks/sudoku.hpp"

#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "support/catch.hpp"

using namespace segue;
using tasks::Grid;

namespace {

Grid board_of(const std::string& digits, int side) {
  Grid grid{side, side, {}};
  for (const char c : digits) grid.cells.push_back(static_cast<std::uint8_t>(c - '0'));
  return grid;
}

bool fits(const Grid& g, int row, int column, int digit, int box) {
  for (int i = 0; i < g.width; ++i) {
    if (g.at(row, i) == digit || g.at(i, column) == digit) return false;
    if (g.at(row / box * box + i / box, column / box * box + i % box) == digit) return false;
  }
  return true;
}

/// Plain backtracking in reading order: all solutions, at most `limit`.
void solve(Grid& g, int box, std::size_t cell, std::size_t limit, std::vector<Grid>& found) {
  while (cell < g.cells.size() && g.cells[cell] != 0) ++cell;
  if (cell == g.cells.size()) {
    found.push_back(g);
    return;
  }
  const int row = static_cast<int>(cell) / g.width, column = static_cast<int>(cell) % g.width;
  for (int digit = 1; digit <= g.width && found.size() < limit; ++digit) {
    if (!fits(g, row, column, digit, box)) continue;
    g.at(row, column) = static_cast<std::uint8_t>(digit);
    solve(g, box, cell + 1, limit, found);
    g.at(row, column) = 0;
  }
}

}  // namespace

TEST_CASE("solutions of a sudoku are counted", "[tasks]") {
  // 288 boards of 4x4 exist (Sloane's A107739); fixing the first row leaves 288 / 24.
  CHECK(tasks::count_sudoku_solutions(board_of("0000000000000000", 4), 2, 1000) == 288);
  CHECK(tasks::count_sudoku_solutions(board_of("1234000000000000", 4), 2, 1000) == 12);
  CHECK(tasks::count_sudoku_solutions(board_of("1234000000000000", 4), 2) == 2);
  CHECK(tasks::count_sudoku_solutions(board_of("1200010000000000", 4), 2, 1000) == 0);  // two ones in a box
  // Project Euler's first one.
  const std::string easy = "003020600900305001001806400008102900700000008006708200002609500800203009005010300";
  CHECK(tasks::count_sudoku_solutions(board_of(easy, 9), 3) == 1);
  CHECK_THROWS_AS(tasks::count_sudoku_solutions(board_of("0000", 2), 1), InputError);
  CHECK_THROWS_AS(tasks::count_sudoku_solutions(board_of("0000", 2), 2), InputError);
  CHECK_THROWS_AS(tasks::count_sudoku_solutions(board_of("5000000000000000", 4), 2), InputError);
}

TEST_CASE("generated sudokus are easy, unique, solved and apart", "[tasks]") {
  for (const int box : {2, 3}) {
    const tasks::GridTask task = tasks::make_sudoku_task({.box = box}, 30, 40, 123);
    const int side = box * box;
    double givens = 0;
    std::set<std::vector<std::uint8_t>> solutions;
    for (const auto* pairs : {&task.train, &task.test}) {
      for (const tasks::GridPair& pair : *pairs) {
        Grid board = pair.input;
        REQUIRE(board.height == side);
        std::vector<Grid> found;
        solve(board, box, 0, 2, found);
        REQUIRE(found.size() == 1);
        CHECK(found[0] == pair.output);
        for (const std::uint8_t digit : pair.input.cells) givens += digit != 0 ? 1 : 0;
        solutions.insert(pair.output.cells);
      }
    }
    // 8 of 16, 41 of 81; a board of which no further cell can be emptied has more.
    const double share = givens / 70 / (side * side);
    CHECK(share >= 0.5);
    CHECK(share < 0.53);
    if (box == 3) CHECK(solutions.size() == 70);
    if (box == 2) CHECK(solutions.size() > 40);
    for (const tasks::GridPair& test : task.test) {
      for (const tasks::GridPair& train : task.train) {
        int different = 0;
        for (std::size_t i = 0; i < test.input.cells.size(); ++i) {
          different += test.input.cells[i] != train.input.cells[i] ? 1 : 0;
        }
        CHECK(different >= 0.3 * side * side);
      }
    }
  }
  CHECK_THROWS_AS(tasks::make_sudoku_task({.box = 4}, 1, 1, 0), InputError);
  CHECK_THROWS_AS(tasks::make_sudoku_task({.givens = 0}, 1, 1, 0), InputError);
}
