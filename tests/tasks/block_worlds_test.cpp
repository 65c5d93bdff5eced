// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#include "segue/tasks/generate/block_worlds.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/errors.hpp"

using namespace segue;
using tasks::BlockMove;
using tasks::BlockRule;
using tasks::Grid;

namespace {

/// "10.|..2": rows divided by bars, dots are free.
Grid grid(const std::string& text) {
  Grid g{1, 0, {}};
  for (const char c : text) {
    if (c == '|') {
      ++g.height;
    } else {
      g.cells.push_back(c == '.' ? std::uint8_t{0} : static_cast<std::uint8_t>(c - '0'));
    }
  }
  g.width = static_cast<int>(g.cells.size()) / g.height;
  return g;
}

BlockRule rule(BlockMove move, int colours = 3) {
  BlockRule r;
  r.move = move;
  r.colours = colours;
  return r;
}

/// Whether the eight neighbours' count and the cell itself say what becomes of a cell, as in Life and its kin.
/// Cells at the rim are left out, so that it does not matter whether the world wraps.
bool is_like_life(const BlockRule& r, tasks::Draws& draws) {
  std::array<std::array<std::set<int>, 9>, 2> outcomes;
  bool changes = false;
  for (int trial = 0; trial < 60; ++trial) {
    Grid g{8, 8, std::vector<std::uint8_t>(64)};
    const int density = draws.between(40, 200);
    for (std::uint8_t& c : g.cells) c = draws.chance(density) ? 1 : 0;
    const Grid next = tasks::step_block_rule(r, g, trial % 4);
    for (int y = 1; y < 7; ++y) {
      for (int x = 1; x < 7; ++x) {
        std::size_t count = 0;
        for (int dy = -1; dy <= 1; ++dy) {
          for (int dx = -1; dx <= 1; ++dx) count += (dx != 0 || dy != 0) && g.at(y + dy, x + dx) != 0 ? 1u : 0u;
        }
        outcomes[g.at(y, x)][count].insert(next.at(y, x));
        changes = changes || next.at(y, x) != g.at(y, x);
        if (next.at(y, x) > 1) return false;  // three states at least
      }
    }
  }
  for (const auto& by_count : outcomes) {
    for (const auto& o : by_count) {
      if (o.size() > 1) return false;
    }
  }
  return changes;
}

}  // namespace

TEST_CASE("block worlds move by their rules", "[tasks]") {
  SECTION("grains fall, and slide off a flank") {
    CHECK(tasks::step_block_rule(rule(BlockMove::Fall), grid("1..|...|..."), 0) == grid("...|1..|..."));
    CHECK(tasks::step_block_rule(rule(BlockMove::Fall), grid("...|.1.|.2."), 1) == grid("...|...|12."));
    CHECK(tasks::step_block_rule(rule(BlockMove::Fall), grid("...|1..|222"), 0) == grid("...|1..|222"));
    BlockRule left = rule(BlockMove::Fall);
    left.heading = {-1, 0};
    CHECK(tasks::step_block_rule(left, grid("..1|1.."), 0) == grid(".1.|1.."));
  }
  SECTION("what flows spreads on the ground") {
    CHECK(tasks::step_block_rule(rule(BlockMove::Flow), grid("1..|222"), 0) == grid(".1.|222"));
  }
  SECTION("clouds wrap, each colour with its own step") {
    BlockRule r = rule(BlockMove::Drift, 2);
    r.places = {{1, 0}, {0, -1}};
    CHECK(tasks::step_block_rule(r, grid("..1|.2.|..."), 0) == grid("12.|...|..."));
  }
  SECTION("seeds spread to free cells, walls do not") {
    BlockRule r = rule(BlockMove::Spread, 3);
    r.reach = 4;
    CHECK(tasks::step_block_rule(r, grid("...|.1.|3.."), 0) == grid(".1.|111|31."));
    r.reach = 1;
    CHECK(tasks::step_block_rule(r, grid("...|.1.|3.."), 0) == grid("...|.1.|31."));
  }
  SECTION("stencils read fixed places") {
    BlockRule r = rule(BlockMove::Stencil, 3);
    r.places = {{-1, 0}};
    CHECK(tasks::step_block_rule(r, grid("123|..."), 0) == grid("312|..."));
    r.places = {{-1, 0}, {1, 0}, {0, 1}};
    r.vote = tasks::BlockVote::Largest;
    CHECK(tasks::step_block_rule(r, grid("1..|.2."), 0) == grid(".21|2.2"));
    r.vote = tasks::BlockVote::First;
    CHECK(tasks::step_block_rule(r, grid("1..|.2."), 0) == grid(".11|2.2"));
    r.vote = tasks::BlockVote::Majority;
    CHECK(tasks::step_block_rule(r, grid("12.|11."), 0) == grid(".12|111"));
  }
  SECTION("pairs swap, squares turn") {
    BlockRule r = rule(BlockMove::Swap);
    r.heading = {1, 0};
    CHECK(tasks::step_block_rule(r, grid("12.3|...1"), 0) == grid("213.|..1."));
    CHECK(tasks::step_block_rule(r, grid("12.3|...1"), 1) == grid("1.23|...1"));
    BlockRule turn = rule(BlockMove::Turn);
    turn.phase = 4;
    CHECK(tasks::step_block_rule(turn, grid("12|34"), 0) == grid("31|42"));
  }
  SECTION("walkers push what stands in a row, unless a wall is behind it") {
    BlockRule r = rule(BlockMove::Push);
    r.heading = {1, 0};
    CHECK(tasks::step_block_rule(r, grid("132.|.132"), 0) == grid(".132|.132"));
  }
  SECTION("a pulse lights free sides and then rests") {
    CHECK(tasks::step_block_rule(rule(BlockMove::Pulse, 2), grid("2..|.1.|..."), 0) == grid(".1.|121|.1."));
  }
}

TEST_CASE("no rule of block worlds is one that tasks test", "[tasks]") {
  // The check itself knows Life's kin: colours spread to all eight neighbours.
  tasks::Draws draws(1);
  std::set<int> seen;
  for (std::uint64_t i = 0; i < 600; ++i) {
    tasks::Draws rule_draws(7, i);
    const BlockRule r = tasks::random_block_rule(rule_draws);
    seen.insert(static_cast<int>(r.move));
    INFO("rule " << i << ", move " << static_cast<int>(r.move));
    CHECK_FALSE(is_like_life(r, draws));
    if (r.move != BlockMove::Stencil) continue;
    CHECK(r.colours >= 2);  // three states with the free one
    std::set<int> columns, rows;
    for (const auto& p : r.places) {
      columns.insert(p[0]);
      rows.insert(p[1]);
      CHECK((p[0] != 0 || p[1] != 0));
    }
    // Several cells of one line before it would draw the history of a one-dimensional automaton.
    CHECK((r.places.size() == 1 || (columns.size() > 1 && rows.size() > 1)));
  }
  CHECK(seen.size() == static_cast<std::size_t>(tasks::block_move_count));
}

TEST_CASE("half of the block worlds change once, before the middle frame", "[tasks]") {
  const tasks::ClipSpec spec;
  std::vector<std::uint8_t> clip(spec.size()), again(spec.size());
  const std::size_t frame = spec.size() / 5;
  int cuts = 0, changed = 0;
  const int count = 300;
  for (int i = 0; i < count; ++i) {
    tasks::Draws draws(3, static_cast<std::uint64_t>(i)), same(3, static_cast<std::uint64_t>(i));
    tasks::draw_block_world(draws, spec, clip);
    tasks::draw_block_world(same, spec, again);
    REQUIRE(clip == again);
    std::array<bool, 4> steps{};
    std::set<std::array<int, 3>> colours;
    for (std::size_t f = 0; f < 4; ++f) {
      steps[f] = !std::equal(clip.begin() + static_cast<std::ptrdiff_t>(f * frame),
                             clip.begin() + static_cast<std::ptrdiff_t>((f + 1) * frame),
                             clip.begin() + static_cast<std::ptrdiff_t>((f + 1) * frame));
    }
    for (std::size_t p = 0; p < clip.size(); p += 3) colours.insert({clip[p], clip[p + 1], clip[p + 2]});
    CHECK(colours.size() >= 2);
    CHECK(colours.size() <= 8);  // free, five colours, lines, outside
    cuts += steps == std::array{false, true, false, false} ? 1 : 0;
    changed += std::find(steps.begin(), steps.end(), true) != steps.end() ? 1 : 0;
  }
  CHECK(cuts > count * 40 / 100);
  CHECK(cuts < count * 62 / 100);
  CHECK(changed > count * 98 / 100);
}

TEST_CASE("a block world refuses a buffer of another size", "[tasks]") {
  tasks::Draws draws(0);
  std::vector<std::uint8_t> clip(10);
  CHECK(support::message_of([&] { tasks::draw_block_world(draws, {}, clip); }) ==
        "draw_block_world: out is 10 bytes, expected 61440");
}
