// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#include "segue/tasks/maze.hpp"

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "segue/tasks/arc.hpp"
#include "segue/tasks/arc_decode.hpp"
#include "support/catch.hpp"
#include "support/errors.hpp"

using namespace segue;
using tasks::Grid;

namespace {

using Cell = std::pair<int, int>;

Grid maze_of(const std::vector<std::string>& rows) {
  const std::string values = "# SE*";
  Grid grid{static_cast<int>(rows.size()), static_cast<int>(rows[0].size()), {}};
  for (const std::string& row : rows) {
    for (const char c : row) grid.cells.push_back(static_cast<std::uint8_t>(values.find(c)));
  }
  return grid;
}

/// The open cells beside a cell.
std::vector<Cell> open_beside(const Grid& maze, Cell at) {
  std::vector<Cell> out;
  for (const auto& [dy, dx] : {Cell(-1, 0), Cell(0, 1), Cell(1, 0), Cell(0, -1)}) {
    const Cell next{at.first + dy, at.second + dx};
    if (next.first < 0 || next.second < 0 || next.first >= maze.height || next.second >= maze.width) continue;
    if (maze.at(next.first, next.second) != tasks::maze_wall) out.push_back(next);
  }
  return out;
}

/// Every way without repetition from `at` to the end, depth first.
void all_ways(const Grid& maze, Cell at, std::set<Cell>& on_way, std::vector<std::set<Cell>>& found) {
  if (maze.at(at.first, at.second) == tasks::maze_end) {
    found.push_back(on_way);
    return;
  }
  for (const Cell& next : open_beside(maze, at)) {
    if (!on_way.insert(next).second) continue;
    all_ways(maze, next, on_way, found);
    on_way.erase(next);
  }
}

}  // namespace

TEST_CASE("mazes are perfect and their one way is the answer", "[tasks]") {
  for (const int side : {21, 13}) {
    const tasks::GridTask task = tasks::make_maze_task({side, side}, 15, 40, 1);
    for (const auto* pairs : {&task.train, &task.test}) {
      for (const tasks::GridPair& pair : *pairs) {
        const Grid& maze = pair.input;
        REQUIRE(maze.height == side);
        REQUIRE(maze.width == side);
        CHECK(maze.at(1, 1) == tasks::maze_start);
        CHECK(maze.at(side - 2, side - 2) == tasks::maze_end);
        int cells = 0, edges = 0, starts = 0, ends = 0;
        for (int y = 0; y < side; ++y) {
          for (int x = 0; x < side; ++x) {
            const std::uint8_t value = maze.at(y, x);
            CHECK(value <= tasks::maze_end);
            if (y == 0 || x == 0 || y == side - 1 || x == side - 1) CHECK(value == tasks::maze_wall);
            if (y % 2 == 1 && x % 2 == 1) CHECK(value != tasks::maze_wall);
            if (y % 2 == 0 && x % 2 == 0) CHECK(value == tasks::maze_wall);
            starts += value == tasks::maze_start ? 1 : 0;
            ends += value == tasks::maze_end ? 1 : 0;
            if (value == tasks::maze_wall) continue;
            ++cells;
            edges += static_cast<int>(open_beside(maze, {y, x}).size());
          }
        }
        CHECK(starts == 1);
        CHECK(ends == 1);
        // A tree: connected (below), and one edge fewer than cells (each was counted from both of its ends).
        CHECK(edges / 2 == cells - 1);
        std::set<Cell> seen = {{1, 1}};
        std::vector<Cell> queue = {{1, 1}};
        for (std::size_t i = 0; i < queue.size(); ++i) {
          for (const Cell& next : open_beside(maze, queue[i])) {
            if (seen.insert(next).second) queue.push_back(next);
          }
        }
        CHECK(static_cast<int>(seen.size()) == cells);

        std::set<Cell> on_way = {{1, 1}};
        std::vector<std::set<Cell>> ways;
        all_ways(maze, {1, 1}, on_way, ways);
        REQUIRE(ways.size() == 1);
        for (int y = 0; y < side; ++y) {
          for (int x = 0; x < side; ++x) {
            const bool between = ways[0].count({y, x}) == 1 && maze.at(y, x) == tasks::maze_path;
            CHECK(pair.output.at(y, x) == (between ? tasks::maze_solution : maze.at(y, x)));
          }
        }
      }
    }
    for (const tasks::GridPair& test : task.test) {
      for (const tasks::GridPair& train : task.train) {
        double both = 0, either = 0;
        for (std::size_t i = 0; i < test.output.cells.size(); ++i) {
          const bool a = test.output.cells[i] == 4, b = train.output.cells[i] == 4;
          both += a && b ? 1 : 0;
          either += a || b ? 1 : 0;
        }
        CHECK(1 - both / either >= 0.5);
      }
    }
  }
}

TEST_CASE("spanning trees are uniform", "[tasks]") {
  // Side 5 has 2x2 rooms: the four trees of a square of rooms. Side 7 by Kirchhoff's theorem has 192.
  for (const auto& [side, trees] : {std::pair(5, 4), std::pair(7, 192)}) {
    std::map<std::vector<std::uint8_t>, int> counts;
    const int draws_made = trees * 250;
    tasks::Draws draws(3);
    for (int i = 0; i < draws_made; ++i) ++counts[tasks::draw_maze(draws, side).cells];
    CHECK(static_cast<int>(counts.size()) == trees);
    // Pearson's statistic: its mean is trees - 1, its variance 2 (trees - 1); five deviations.
    double square = 0;
    for (const auto& [cells, count] : counts) square += (count - 250.0) * (count - 250.0) / 250.0;
    CHECK(square < trees - 1 + 5 * std::sqrt(2.0 * (trees - 1)));
  }
  tasks::Draws draws(1);
  CHECK_THROWS_AS(tasks::draw_maze(draws, 12), InputError);
  CHECK_THROWS_AS(tasks::draw_maze(draws, 3), InputError);
}

TEST_CASE("a way through a maze is read off an answer", "[tasks]") {
  const Grid maze = maze_of({"#######", "#S  # #", "### # #", "#   # #", "# ### #", "#    E#", "#######"});
  const Grid solved = tasks::solve_maze(maze);
  CHECK(solved == maze_of({"#######", "#S**# #", "###*# #", "#***# #", "#*### #", "#****E#", "#######"}));
  CHECK(tasks::path_distance(solved, solved) == 0.0);
  CHECK(tasks::path_distance(solved, maze) == 1.0);

  tasks::PathReading reading = tasks::read_path(solved, solved);
  CHECK(reading.exact);
  CHECK(reading.connected);
  CHECK(reading.length_ratio == 1.0);
  // What is no part of the path is not looked at.
  Grid faded = solved;
  faded.at(0, 0) = tasks::maze_path;
  CHECK(tasks::read_path(faded, solved).exact);
  // A detour into the dead end: connected, not exact, 12 cells of 11.
  Grid detour = solved;
  detour.at(1, 5) = tasks::maze_solution;
  reading = tasks::read_path(detour, solved);
  CHECK(!reading.exact);
  CHECK(reading.connected);
  CHECK(reading.length_ratio == 12.0 / 11.0);
  // A cell is missing; then the gap is bridged through a wall, which is no way.
  Grid gap = solved;
  gap.at(3, 1) = tasks::maze_path;
  CHECK(!tasks::read_path(gap, solved).connected);
  gap.at(4, 2) = tasks::maze_solution;
  CHECK(!tasks::read_path(gap, solved).connected);
  CHECK(!tasks::read_path(Grid{1, 1, {4}}, solved).exact);

  const std::vector<Grid> truths = {solved, solved};
  const std::vector<std::vector<Grid>> attempts = {{gap, solved}, {detour, gap}};
  const tasks::PathScore score = tasks::score_paths(attempts, truths);
  CHECK(score.exact_share() == 0.5);
  CHECK(score.success_rate() == 0.5);
  CHECK(score.length_ratio == 12.0 / 11.0);
  CHECK_THROWS_AS(tasks::score_paths(attempts, std::span(truths).first(1)), InputError);
  CHECK(support::message_of<InputError>([] { tasks::solve_maze(Grid{1, 3, {1, 1, 2}}); }) == "maze: has no end");
  CHECK(support::message_of<InputError>([] {
          tasks::solve_maze(Grid{1, 3, {3, 0, 2}});
        }) == "maze: has no way from start to end");
}

TEST_CASE("mazes are drawn in their own colours", "[tasks]") {
  const tasks::Arc arc(tasks::make_maze_task({13, 13}, 1, 1, 1), 64);
  const tasks::Pair pair = arc.render(arc.test(1)[0]);
  const auto colour = [](const io::Image& image, int x, int y) {
    const auto at = static_cast<std::size_t>((y * image.width + x) * 3);
    return std::array<int, 3>{image.pixels[at], image.pixels[at + 1], image.pixels[at + 2]};
  };
  // 13 cells of 4 pixels begin at 6: the border is wall, the start is the second cell, the end the last but one.
  CHECK(colour(pair.input, 5, 30) == std::array<int, 3>{0, 0, 0});
  CHECK(colour(pair.input, 6, 6) == std::array<int, 3>{71, 48, 45});
  CHECK(colour(pair.input, 10, 10) == std::array<int, 3>{72, 191, 132});
  CHECK(colour(pair.input, 13, 13) == std::array<int, 3>{72, 191, 132});
  CHECK(colour(pair.target, 6 + 11 * 4, 6 + 11 * 4) == std::array<int, 3>{244, 96, 54});
  std::set<std::array<int, 3>> colours;
  for (int i = 0; i < 64 * 64; ++i) colours.insert(colour(pair.target, i % 64, i / 64));
  CHECK(colours.count({46, 134, 171}) == 1);
  CHECK(colours.count({255, 255, 255}) == 1);
  CHECK(colours.size() == 6);
}
