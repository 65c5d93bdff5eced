// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "segue/core/error.hpp"
#include "segue/core/nearest_name.hpp"
#include "segue/tasks/draws.hpp"
#include "segue/tasks/generate/grid_task.hpp"
#include "segue/tasks/grid.hpp"

SEGUE_NAMESPACE_BEGIN
namespace tasks {

/// A Life-like rule: for each number of live neighbours (of eight), whether a dead cell is born, a live one survives.
struct LifeRule {
  std::array<bool, 9> born{}, survives{};
};

/// Reads "B3/S23" (any case, digits 0 to 8, either list may be empty). Raises InputError.
inline LifeRule parse_life_rule(std::string_view text) {
  const auto fail = [text] { throw_input("life rule", "text", in_quotes(text), "a rule like B3/S23"); };
  LifeRule rule;
  std::size_t at = 0;
  const auto read_list = [&](char letter, std::array<bool, 9>& list) {
    if (at >= text.size() || (text[at] | 0x20) != letter) fail();
    for (++at; at < text.size() && text[at] >= '0' && text[at] <= '8'; ++at) {
      list[static_cast<std::size_t>(text[at] - '0')] = true;
    }
  };
  read_list('b', rule.born);
  if (at >= text.size() || text[at] != '/') fail();
  ++at;
  read_list('s', rule.survives);
  if (at != text.size()) fail();
  return rule;
}

/// One step on a grid that wraps; 0 is dead, anything else alive; the result holds 0 and 1.
inline Grid step_life(const LifeRule& rule, const Grid& grid) {
  Grid next{grid.height, grid.width, std::vector<std::uint8_t>(grid.cells.size())};
  for (int row = 0; row < grid.height; ++row) {
    for (int column = 0; column < grid.width; ++column) {
      std::size_t neighbours = 0;
      for (int dy = -1; dy <= 1; ++dy) {
        for (int dx = -1; dx <= 1; ++dx) {
          if (dy == 0 && dx == 0) continue;
          const int y = (row + dy + grid.height) % grid.height, x = (column + dx + grid.width) % grid.width;
          neighbours += grid.at(y, x) ? 1 : 0;
        }
      }
      const bool alive = grid.at(row, column) ? rule.survives[neighbours] : rule.born[neighbours];
      next.at(row, column) = alive ? 1 : 0;
    }
  }
  return next;
}

/// What is drawn for a Life-like task. The defaults are the paper's (arXiv 2510.24448).
struct LifeTaskSpec {
  std::string rule = "B3/S23";
  int side = 8;
  double density = 0.4;        ///< share of live cells
  int steps = 1;               ///< steps from input to output
  double min_distance = 0.25;  ///< share of the cells in which a test input differs from every training input, at least
};

/// A generated task (see make_grid_task). Raises InputError for a bad spec, or if no test grid far enough from the
/// training ones is found.
inline GridTask make_life_task(const LifeTaskSpec& spec, int train, int test, std::uint64_t seed) {
  if (spec.side < 3) throw_input("life task", "side", std::to_string(spec.side), "3 or more");
  if (!(spec.density > 0 && spec.density < 1)) {
    throw_input("life task", "density", std::to_string(spec.density), "more than 0 and less than 1");
  }
  const LifeRule rule = parse_life_rule(spec.rule);
  const auto cells = static_cast<std::size_t>(spec.side) * static_cast<std::size_t>(spec.side);
  const auto threshold = static_cast<std::uint32_t>(spec.density * 4294967296.0);
  const auto draw = [&](Draws& draws) {
    GridPair pair;
    pair.input = {spec.side, spec.side, std::vector<std::uint8_t>(cells)};
    for (std::uint8_t& cell : pair.input.cells) cell = draws.word() < threshold ? 1 : 0;
    pair.output = pair.input;
    for (int i = 0; i < spec.steps; ++i) pair.output = step_life(rule, pair.output);
    return pair;
  };
  return make_grid_task({"life-" + spec.rule, train, test, seed, spec.min_distance}, draw, input_distance);
}

}  // namespace tasks
SEGUE_NAMESPACE_END
