// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "segue/tasks/arc.hpp"
#include "segue/tasks/arc_decode.hpp"
#include "segue/tasks/named_task.hpp"
#include "support/catch.hpp"
#include "support/errors.hpp"

using namespace segue;
using tasks::Grid;
using tasks::GridPair;

namespace {

/// The share of cells in which two inputs differ, counted by hand.
double apart(const GridPair& a, const GridPair& b) {
  int different = 0;
  for (std::size_t i = 0; i < a.input.cells.size(); ++i) different += a.input.cells[i] != b.input.cells[i] ? 1 : 0;
  return different / static_cast<double>(a.input.cells.size());
}

/// Rows of digits as a grid.
Grid grid_of(const std::vector<std::string>& rows) {
  Grid grid{static_cast<int>(rows.size()), static_cast<int>(rows[0].size()), {}};
  for (const std::string& row : rows) {
    for (const char c : row) grid.cells.push_back(static_cast<std::uint8_t>(c - '0'));
  }
  return grid;
}

}  // namespace

TEST_CASE("elementary automata follow Wolfram's numbers", "[tasks]") {
  // Rule 90 is the exclusive or of the neighbours: one cell becomes Pascal's triangle modulo 2.
  std::vector<std::uint8_t> row = {0, 0, 0, 0, 1, 0, 0, 0, 0};
  row = tasks::step_elementary(90, row);
  CHECK(row == std::vector<std::uint8_t>{0, 0, 0, 1, 0, 1, 0, 0, 0});
  row = tasks::step_elementary(90, row);
  row = tasks::step_elementary(90, row);
  CHECK(row == std::vector<std::uint8_t>{0, 1, 0, 1, 0, 1, 0, 1, 0});
  // Rule 170 copies the right neighbour, 240 the left one: both wrap.
  CHECK(tasks::step_elementary(170, std::vector<std::uint8_t>{1, 0, 0, 1}) == std::vector<std::uint8_t>{0, 0, 1, 1});
  CHECK(tasks::step_elementary(240, std::vector<std::uint8_t>{1, 0, 0, 1}) == std::vector<std::uint8_t>{1, 1, 0, 0});
  // Rule 110, all eight neighbourhoods: 111 110 101 100 011 010 001 000 -> 0 1 1 0 1 1 1 0.
  const std::array<int, 8> table = {0, 1, 1, 1, 0, 1, 1, 0};
  for (int seen = 0; seen < 8; ++seen) {
    const std::vector<std::uint8_t> three = {static_cast<std::uint8_t>(seen >> 2),
                                             static_cast<std::uint8_t>(seen >> 1 & 1),
                                             static_cast<std::uint8_t>(seen & 1)};
    CHECK(tasks::step_elementary(110, three)[1] == table[static_cast<std::size_t>(seen)]);
  }
  CHECK_THROWS_AS(tasks::step_elementary(256, row), InputError);
}

TEST_CASE("elementary tasks show one row and ask for all", "[tasks]") {
  const tasks::GridTask task = tasks::make_named_task("eca:30", 20, 40);
  CHECK(task.name == "eca-30");
  REQUIRE(task.test.size() == 40);
  std::set<std::vector<std::uint8_t>> firsts;
  for (const auto* pairs : {&task.train, &task.test}) {
    for (const GridPair& pair : *pairs) {
      REQUIRE(pair.input.height == 8);
      REQUIRE(pair.input.width == 16);
      REQUIRE(pair.output.cells.size() == 128);
      for (int x = 0; x < 16; ++x) {
        CHECK(pair.input.at(0, x) == pair.output.at(0, x));
        CHECK((pair.input.at(0, x) == 1 || pair.input.at(0, x) == 2));
        for (int y = 1; y < 8; ++y) {
          CHECK(pair.input.at(y, x) == 0);
          // Rule 30: left xor (centre or right).
          const int l = pair.output.at(y - 1, (x + 15) % 16) - 1, c = pair.output.at(y - 1, x) - 1,
                    r = pair.output.at(y - 1, (x + 1) % 16) - 1;
          CHECK(pair.output.at(y, x) == 1 + (l ^ (c | r)));
        }
      }
      firsts.insert(pair.input.cells);
    }
  }
  CHECK(firsts.size() == 60);
  // The distance is that of the rows of 16 cells: at .5 eight of them differ.
  const tasks::GridTask far = tasks::make_elementary_task({.rule = 30, .min_distance = 0.5}, 5, 20, 42);
  for (const GridPair& test : far.test) {
    for (const GridPair& train : far.train) CHECK(apart(test, train) * 128 >= 8);
  }
  CHECK_THROWS_AS(tasks::make_elementary_task({.width = 2}, 1, 1, 0), InputError);
  CHECK_THROWS_AS(tasks::make_elementary_task({.steps = 0}, 1, 1, 0), InputError);
}

TEST_CASE("the ant turns right on 0, left on 1, flips and walks", "[tasks]") {
  tasks::LangtonState state{grid_of({"000", "000", "000"}), 1, 1, 0};
  tasks::step_langton(state);
  CHECK(state.cells == grid_of({"000", "010", "000"}));
  CHECK(tasks::langton_grid(state) == grid_of({"000", "013", "000"}));
  // Four steps on white trace a square; the fifth is on the first cell, now 1: left, back to white.
  for (int i = 0; i < 3; ++i) tasks::step_langton(state);
  CHECK(state.cells == grid_of({"000", "011", "011"}));
  CHECK(tasks::langton_grid(state) == grid_of({"000", "061", "011"}));
  tasks::step_langton(state);
  CHECK(tasks::langton_grid(state) == grid_of({"000", "501", "011"}));
  // West on a 0: right, to the north.
  tasks::step_langton(state);
  CHECK(tasks::langton_grid(state) == grid_of({"200", "101", "011"}));
  // Over the borders.
  tasks::LangtonState edge{grid_of({"10", "00"}), 0, 0, 0};
  tasks::step_langton(edge);  // on a 1: left, to the west, which wraps
  CHECK(tasks::langton_grid(edge) == grid_of({"05", "00"}));
  tasks::step_langton(edge);  // on a 0: right, to the north, which wraps
  CHECK(tasks::langton_grid(edge) == grid_of({"01", "02"}));
}

TEST_CASE("tasks on the ant start in the centre and keep apart", "[tasks]") {
  for (const int steps : {2, 10}) {
    const tasks::GridTask task = tasks::make_named_task("langton:" + std::to_string(steps), 30, 50);
    for (const GridPair& pair : task.test) {
      int ants = 0, ones = 0;
      for (const std::uint8_t cell : pair.input.cells) {
        ants += cell >= 2 ? 1 : 0;
        ones += cell == 1 ? 1 : 0;
      }
      CHECK(ants == 1);
      CHECK(pair.input.at(4, 4) == 2);
      CHECK(ones > 12);
      // An ant of our own, by compass.
      Grid g = pair.input;
      g.at(4, 4) = 0;
      int y = 4, x = 4;
      char heading = 'N';
      for (int s = 0; s < steps; ++s) {
        const std::string compass = "NESW";
        const std::size_t at = compass.find(heading);
        heading = compass[(at + (g.at(y, x) ? 3u : 1u)) % 4];
        g.at(y, x) = g.at(y, x) ? 0 : 1;
        if (heading == 'N') y = y == 0 ? 7 : y - 1;
        if (heading == 'S') y = y == 7 ? 0 : y + 1;
        if (heading == 'W') x = x == 0 ? 7 : x - 1;
        if (heading == 'E') x = x == 7 ? 0 : x + 1;
      }
      g.at(y, x) =
          static_cast<std::uint8_t>((g.at(y, x) ? 6 : 2) + static_cast<int>(std::string("NESW").find(heading)));
      CHECK(g == pair.output);
      for (const GridPair& train : task.train) CHECK(apart(pair, train) >= 0.3);
    }
  }
  CHECK(tasks::make_named_task("langton", 1, 0).name == "langton-2");
}

TEST_CASE("items of named tasks are nested, seeded and legible on small canvases", "[tasks]") {
  for (const std::string name :
       {"eca:110", "life:B3/S2", "langton:5", "maze", "maze-small", "maze-larger", "mini-sudoku", "sudoku"}) {
    INFO(name);
    const tasks::GridTask task = tasks::make_named_task(name, 12, 8), smaller = tasks::make_named_task(name, 5, 8);
    const tasks::GridTask other = tasks::make_named_task(name, 1, 0, 999);
    REQUIRE(task.train.size() == 12);
    REQUIRE(task.test.size() == 8);
    for (std::size_t i = 0; i < 5; ++i) {
      CHECK(smaller.train[i].input == task.train[i].input);
      CHECK(smaller.train[i].output == task.train[i].output);
      CHECK(smaller.train[i].name == "train/" + std::to_string(i));
    }
    CHECK(other.train[0].input != task.train[0].input);
    CHECK(task.train[0].input != task.train[1].input);
    for (const int canvas : {64, 128}) {
      const tasks::Arc arc(task, canvas);
      CHECK(arc.skipped() == 0);
      CHECK(arc.geometry().cell >= 3);
      for (const GridPair& pair : arc.test(1)) {
        const tasks::Pair drawn = arc.render(pair);
        CHECK(tasks::decode_grid(drawn.input, pair.input.height, pair.input.width, arc.geometry()) == pair.input);
        CHECK(tasks::decode_grid(drawn.target, pair.output.height, pair.output.width, arc.geometry()) == pair.output);
      }
    }
  }
}

TEST_CASE("named tasks have the paper's seeds unless another is given", "[tasks]") {
  const auto first = [](const std::string& name, std::optional<std::uint64_t> seed = std::nullopt) {
    return tasks::make_named_task(name, 1, 0, seed).train[0].input;
  };
  CHECK(first("eca:30") == tasks::make_elementary_task({.rule = 30}, 1, 0, 42).train[0].input);
  CHECK(first("life:B3/S23") == tasks::make_life_task({}, 1, 0, 42).train[0].input);
  CHECK(first("langton") == tasks::make_langton_task({}, 1, 0, 123).train[0].input);
  CHECK(first("maze") == tasks::make_maze_task({}, 1, 0, 1).train[0].input);
  CHECK(first("sudoku") == tasks::make_sudoku_task({}, 1, 0, 123).train[0].input);
  CHECK(first("sudoku", 77) == tasks::make_sudoku_task({}, 1, 0, 77).train[0].input);
}

TEST_CASE("tasks without lines give the canvas to their cells", "[tasks]") {
  const auto geometry = [](const char* name, int canvas) {
    return tasks::Arc(tasks::make_named_task(name, 1, 1), canvas).geometry();
  };
  CHECK(geometry("eca:1", 64) == tasks::ArcGeometry{64, 4, 0});
  CHECK(geometry("eca:1", 256) == tasks::ArcGeometry{256, 16, 0});  // the paper's size of cells
  CHECK(geometry("langton", 64) == tasks::ArcGeometry{64, 8, 0});
  CHECK(geometry("maze", 64) == tasks::ArcGeometry{64, 3, 0, tasks::GridPalette::Maze});
  CHECK(geometry("maze", 336) == tasks::ArcGeometry{336, 16, 0, tasks::GridPalette::Maze});  // the paper's
  CHECK(geometry("maze-small", 64) == tasks::ArcGeometry{64, 4, 0, tasks::GridPalette::Maze});
  CHECK(geometry("maze-larger", 128) == tasks::ArcGeometry{128, 6, 0, tasks::GridPalette::Maze});
  CHECK(geometry("sudoku", 64) == tasks::ArcGeometry{64, 7, 0});
  CHECK(geometry("mini-sudoku", 64) == tasks::ArcGeometry{64, 16, 0});
}

TEST_CASE("a task that nobody knows is refused with the nearest name", "[tasks]") {
  const auto fault = [](const std::string& text) {
    return support::message_of<InputError>([&] { tasks::make_named_task(text, 1, 1); });
  };
  CHECK(fault("maze-smal") == "task: 'maze-smal' is no task, did you mean 'maze-small'?");
  CHECK(fault("sudoku9") == "task: 'sudoku9' is no task, did you mean 'sudoku'?");
  CHECK(fault("zebra") ==
        "task: 'zebra' is no task; there are eca:RULE, life:RULE, langton[:STEPS], maze, maze-small, maze-larger, "
        "mini-sudoku, sudoku");
  CHECK(fault("eca") == "task: 'eca' needs a rule: eca:RULE");
  CHECK(fault("eca:256") == "task: what follows 'eca:' is '256', expected a whole number from 0 to 255");
  CHECK(fault("eca:1x") == "task: what follows 'eca:' is '1x', expected a whole number from 0 to 255");
  CHECK(fault("langton:0") == "task: what follows 'langton:' is '0', expected a whole number from 1 to 1000");
  CHECK(fault("maze:21") == "task: 'maze' takes nothing after its name");
  CHECK(fault("life:B9/S") == "life rule: text is 'B9/S', expected a rule like B3/S23");
  CHECK(support::contains(support::message_of<InputError>([] {
                            tasks::make_maze_task({13, 13, 1.1}, 3, 1, 1);
                          }),
                          "maze-13: min_distance is 1.100000, expected a distance from all 3 training items"));
}
