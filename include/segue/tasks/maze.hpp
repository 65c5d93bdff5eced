// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "segue/core/error.hpp"
#include "segue/tasks/draws.hpp"
#include "segue/tasks/generate/grid_task.hpp"
#include "segue/tasks/grid.hpp"

SEGUE_NAMESPACE_BEGIN
namespace tasks {

/// The values of a maze's cells (colours: maze_palette).
inline constexpr std::uint8_t maze_wall = 0, maze_path = 1, maze_start = 2, maze_end = 3, maze_solution = 4;

namespace detail {

/// The cells next to `cell`, `stride` away along the axes, that are inside a height x width grid.
template <class Visit>
void for_neighbours(int cell, int height, int width, int stride, Visit&& visit) {
  const int row = cell / width, column = cell % width;
  if (row >= stride) visit(cell - stride * width);
  if (row + stride < height) visit(cell + stride * width);
  if (column >= stride) visit(cell - stride);
  if (column + stride < width) visit(cell + stride);
}

/// For every cell that is reached from `from` over cells for which `open(cell)` holds, the cell it was reached from
/// first (`from` itself for `from`), else -1: shortest ways, breadth first.
template <class Open>
std::vector<int> reach_from(int from, int height, int width, const Open& open) {
  std::vector<int> parent(static_cast<std::size_t>(height) * static_cast<std::size_t>(width), -1), queue = {from};
  parent[static_cast<std::size_t>(from)] = from;
  for (std::size_t at = 0; at < queue.size(); ++at) {
    const int cell = queue[at];
    for_neighbours(cell, height, width, 1, [&](int next) {
      if (parent[static_cast<std::size_t>(next)] >= 0 || !open(next)) return;
      parent[static_cast<std::size_t>(next)] = cell;
      queue.push_back(next);
    });
  }
  return parent;
}

inline int find_cell(const Grid& grid, std::uint8_t value, const char* what) {
  for (std::size_t i = 0; i < grid.cells.size(); ++i) {
    if (grid.cells[i] == value) return static_cast<int>(i);
  }
  throw_input("maze", std::string("has no ") + what);
}

}  // namespace detail

/// A perfect maze of side x side cells: rooms at the odd rows and columns, joined by a spanning tree that is uniform
/// over all spanning trees; start (1, 1), end (side - 2, side - 2). D. Wilson, "Generating random spanning trees more
/// quickly than the cover time", 1996.
inline Grid draw_maze(Draws& draws, int side) {
  if (side < 5 || side % 2 == 0) throw_input("maze", "side", std::to_string(side), "an odd number, 5 or more");
  Grid maze{side, side, std::vector<std::uint8_t>(static_cast<std::size_t>(side) * static_cast<std::size_t>(side))};
  const auto at = [&](int cell) -> std::uint8_t& { return maze.cells[static_cast<std::size_t>(cell)]; };
  const auto is_inner = [&](int cell) {
    const int row = cell / side, column = cell % side;
    return row > 0 && row < side - 1 && column > 0 && column < side - 1;
  };
  std::vector<int> way(maze.cells.size());
  at(side + 1) = maze_path;
  for (int row = 1; row < side; row += 2) {
    for (int column = 1; column < side; column += 2) {
      // A random walk to the tree; leaving a room again overwrites the way out of it, which erases the loop.
      const int first = row * side + column;
      for (int room = first; at(room) == maze_wall;) {
        std::array<int, 4> choices{};
        std::size_t count = 0;
        detail::for_neighbours(room, side, side, 2, [&](int next) {
          if (is_inner(next)) choices[count++] = next;
        });
        const int next = choices[static_cast<std::size_t>(draws.below(static_cast<int>(count)))];
        way[static_cast<std::size_t>(room)] = next;
        room = next;
      }
      for (int room = first; at(room) == maze_wall;) {
        const int next = way[static_cast<std::size_t>(room)];
        at(room) = at((room + next) / 2) = maze_path;
        room = next;
      }
    }
  }
  maze.at(1, 1) = maze_start;
  maze.at(side - 2, side - 2) = maze_end;
  return maze;
}

/// The maze with the cells of a shortest way between start and end, which keep their values, marked as the solution.
/// Raises InputError if there is no start, no end or no way.
inline Grid solve_maze(const Grid& maze) {
  const int start = detail::find_cell(maze, maze_start, "start"), end = detail::find_cell(maze, maze_end, "end");
  const std::vector<int> parent = detail::reach_from(start, maze.height, maze.width, [&](int cell) {
    return maze.cells[static_cast<std::size_t>(cell)] != maze_wall;
  });
  if (parent[static_cast<std::size_t>(end)] < 0) throw_input("maze", "has no way from start to end");
  Grid solved = maze;
  for (int cell = parent[static_cast<std::size_t>(end)]; cell != start; cell = parent[static_cast<std::size_t>(cell)]) {
    solved.cells[static_cast<std::size_t>(cell)] = maze_solution;
  }
  return solved;
}

/// 1 - |A and B| / |A or B| of the cells that two solved mazes mark as the solution; 1 if their sizes differ.
inline double path_distance(const Grid& a, const Grid& b) {
  if (a.height != b.height || a.width != b.width) return 1.0;
  int both = 0, either = 0;
  for (std::size_t i = 0; i < a.cells.size(); ++i) {
    const bool in_a = a.cells[i] == maze_solution, in_b = b.cells[i] == maze_solution;
    both += in_a && in_b ? 1 : 0;
    either += in_a || in_b ? 1 : 0;
  }
  return either > 0 ? 1.0 - static_cast<double>(both) / either : 0.0;
}

/// What an answer says of the way through a maze.
struct PathReading {
  bool exact = false;       ///< the marked cells are those of the solution
  bool connected = false;   ///< marked cells that are no walls join start and end
  double length_ratio = 0;  ///< marked cells over those of the solution
};

/// @param answer a decoded answer; one of another size marks no cell. @param truth the solved maze: it says where
/// walls, start and end are.
inline PathReading read_path(const Grid& answer, const Grid& truth) {
  if (answer.height != truth.height || answer.width != truth.width) return {};
  PathReading reading;
  reading.exact = true;
  int marked = 0, solution = 0;
  for (std::size_t i = 0; i < truth.cells.size(); ++i) {
    const bool answered = answer.cells[i] == maze_solution, right = truth.cells[i] == maze_solution;
    reading.exact = reading.exact && answered == right;
    marked += answered ? 1 : 0;
    solution += right ? 1 : 0;
  }
  const int end = detail::find_cell(truth, maze_end, "end");
  const std::vector<int> parent =
      detail::reach_from(detail::find_cell(truth, maze_start, "start"), truth.height, truth.width, [&](int cell) {
        const auto i = static_cast<std::size_t>(cell);
        return cell == end || (answer.cells[i] == maze_solution && truth.cells[i] != maze_wall);
      });
  reading.connected = parent[static_cast<std::size_t>(end)] >= 0;
  reading.length_ratio = solution > 0 ? static_cast<double>(marked) / solution : 0.0;
  return reading;
}

/// How a set of answers did. The paper's names: PSR is the share of answers with a connected way, RPL the mean length
/// ratio of these. Only the first attempt counts for both.
struct PathScore {
  int inputs = 0;
  int exact = 0;            ///< inputs for which some attempt has exactly the right path
  int connected = 0;        ///< first attempts that join start and end
  double length_ratio = 0;  ///< mean over the connected ones; 0 if there is none

  double exact_share() const { return inputs > 0 ? static_cast<double>(exact) / inputs : 0.0; }
  double success_rate() const { return inputs > 0 ? static_cast<double>(connected) / inputs : 0.0; }
};

/// attempts[i] are the decoded answers to the maze whose solution is truths[i]; at least one each.
inline PathScore score_paths(std::span<const std::vector<Grid>> attempts, std::span<const Grid> truths) {
  if (attempts.size() != truths.size()) {
    throw_input("score_paths", "number of answers", std::to_string(attempts.size()), std::to_string(truths.size()));
  }
  PathScore score;
  for (std::size_t i = 0; i < truths.size(); ++i) {
    if (attempts[i].empty()) throw_input("score_paths", "number of attempts", "0", "1 or more");
    ++score.inputs;
    bool solved = false;
    for (const Grid& answer : attempts[i]) solved = solved || read_path(answer, truths[i]).exact;
    score.exact += solved ? 1 : 0;
    const PathReading first = read_path(attempts[i].front(), truths[i]);
    if (!first.connected) continue;
    ++score.connected;
    score.length_ratio += first.length_ratio;
  }
  if (score.connected > 0) score.length_ratio /= score.connected;
  return score;
}

/// What is drawn for a task on mazes. The defaults are the paper's (arXiv 2510.24448), whose small mazes have 13 cells
/// a side, and which also trains on small mazes and asks large ones. Small mazes have few ways: beyond some 1,000
/// training items of side 13 no test maze is far enough from all of them.
struct MazeTaskSpec {
  int train_side = 21, test_side = 21;
  double min_distance = 0.5;  ///< path_distance of a test maze from every training maze, at least
};

/// A generated task (see make_grid_task): the input is a maze, the output the solved maze. Drawn without lines in the
/// colours of maze_palette; mazes smaller than the largest of the task lie centred on black.
inline GridTask make_maze_task(const MazeTaskSpec& spec, int train, int test, std::uint64_t seed) {
  const auto draw = [](int side) {
    return [side](Draws& draws) {
      GridPair pair;
      pair.input = draw_maze(draws, side);
      pair.output = solve_maze(pair.input);
      return pair;
    };
  };
  const auto distance = [](const GridPair& a, const GridPair& b) { return path_distance(a.output, b.output); };
  std::string name = "maze-" + std::to_string(spec.train_side);
  if (spec.test_side != spec.train_side) name += "-to-" + std::to_string(spec.test_side);
  GridTask task = make_grid_task({std::move(name), train, test, seed, spec.min_distance}, draw(spec.train_side),
                                 draw(spec.test_side), distance);
  task.palette = GridPalette::Maze;
  task.lines = GridLines::None;
  return task;
}

}  // namespace tasks
SEGUE_NAMESPACE_END
