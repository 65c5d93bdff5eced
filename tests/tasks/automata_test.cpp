// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#include "segue/tasks/automata.hpp"

#include <set>
#include <string>
#include <vector>

#include "support/catch.hpp"

using namespace segue;
using tasks::Grid;

TEST_CASE("life rules are read", "[tasks]") {
  const tasks::LifeRule life = tasks::parse_life_rule("B3/S23");
  CHECK(life.born[3]);
  CHECK(!life.born[2]);
  CHECK(life.survives[2]);
  CHECK(life.survives[3]);
  CHECK(!life.survives[4]);
  CHECK(tasks::parse_life_rule("b2/s").born[2]);
  for (const std::string bad : {"", "B3", "B3S23", "S23/B3", "B3/S29", "B3/S23 "}) {
    INFO(bad);
    CHECK_THROWS_AS(tasks::parse_life_rule(bad), InputError);
  }
}

TEST_CASE("a glider comes home on a wrapping grid", "[tasks]") {
  Grid grid{8, 8, std::vector<std::uint8_t>(64)};
  for (const auto& [row, column] : std::vector<std::pair<int, int>>{{0, 1}, {1, 2}, {2, 0}, {2, 1}, {2, 2}}) {
    grid.at(row, column) = 1;
  }
  const tasks::LifeRule life = tasks::parse_life_rule("B3/S23");
  Grid moved = grid;
  for (int step = 0; step < 4; ++step) moved = tasks::step_life(life, moved);
  CHECK(moved != grid);
  CHECK(moved.at(1, 2) == 1);  // one cell down and to the right
  CHECK(moved.at(3, 3) == 1);
  for (int step = 4; step < 32; ++step) moved = tasks::step_life(life, moved);
  CHECK(moved == grid);
}

TEST_CASE("life tasks are nested, disjoint and correct", "[tasks]") {
  const tasks::LifeTaskSpec spec;
  const tasks::GridTask task = tasks::make_life_task(spec, 30, 100, 5);
  const tasks::GridTask smaller = tasks::make_life_task(spec, 10, 100, 5);
  const tasks::GridTask other = tasks::make_life_task(spec, 30, 100, 6);
  REQUIRE(task.train.size() == 30);
  REQUIRE(task.test.size() == 100);
  for (std::size_t i = 0; i < 10; ++i) CHECK(smaller.train[i].input == task.train[i].input);
  CHECK(other.train[0].input != task.train[0].input);
  const tasks::LifeRule rule = tasks::parse_life_rule(spec.rule);
  std::set<std::vector<std::uint8_t>> inputs;
  int alive = 0;
  for (const tasks::GridPair& pair : task.test) {
    CHECK(tasks::step_life(rule, pair.input) == pair.output);
    for (const std::uint8_t cell : pair.input.cells) alive += cell;
    for (const tasks::GridPair& seen : task.train) {
      int different = 0;
      for (std::size_t c = 0; c < 64; ++c) different += seen.input.cells[c] != pair.input.cells[c] ? 1 : 0;
      CHECK(different >= 16);
    }
    inputs.insert(pair.input.cells);
  }
  CHECK(inputs.size() == 100);
  CHECK(alive > 0.36 * 6400);
  CHECK(alive < 0.44 * 6400);
}

TEST_CASE("life tasks that cannot be made are refused", "[tasks]") {
  CHECK_THROWS_AS(tasks::make_life_task({.rule = "B3/S23", .density = 0.0}, 1, 1, 0), InputError);
  CHECK_THROWS_AS(tasks::make_life_task({.rule = "B3/S23", .side = 2}, 1, 1, 0), InputError);
  CHECK_THROWS_AS(tasks::make_life_task({.rule = "B3/S23", .min_distance = 0.95}, 30, 1, 0), InputError);
}
