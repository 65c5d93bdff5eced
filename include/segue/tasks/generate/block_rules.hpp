// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "segue/core/config.hpp"
#include "segue/tasks/draws.hpp"
#include "segue/tasks/grid.hpp"

SEGUE_NAMESPACE_BEGIN
namespace tasks {

/// How the cells of a block world move. 0 is a free cell, the rest are colours.
enum class BlockMove : std::uint8_t {
  Fall,     ///< grains fall, and slide off each other's flanks
  Flow,     ///< like grains, and what lies spreads sideways
  Drift,    ///< each colour is a cloud that moves as one and comes back on the other side
  Spread,   ///< seeds take the free cells beside them; one colour is a wall
  Stencil,  ///< a cell takes the majority, the first or the largest of a few cells at fixed places
  Swap,     ///< cells change places in pairs, the pairs shifting from step to step
  Turn,     ///< squares of 2 x 2 cells turn by a quarter
  Push,     ///< one colour walks and pushes others before it
  Pulse,    ///< a front runs through a medium, which then rests for some steps
  Stripes,  ///< a front runs over a still picture and shifts the colours it passes
};
inline constexpr int block_move_count = 10;

enum class BlockVote : std::uint8_t { Majority, First, Largest };

/// A rule of a block world. What tasks test is not among these rules: none is outer-totalistic on the eight neighbours
/// with two states (Life and its kin), and no stencil of several cells reads only the row or the column before it, so
/// that iterating a rule never draws the history of a one-dimensional automaton.
struct BlockRule {
  BlockMove move = BlockMove::Fall;
  int colours = 2;                         ///< 1 … 5, the free colour not counted
  std::array<int, 2> heading = {0, 1};     ///< (dx, dy), where things fall, run or grow to; one of the four
  std::vector<std::array<int, 2>> places;  ///< of a stencil: (dx, dy); of drift: a step for each colour
  BlockVote vote = BlockVote::Majority;    ///< of a stencil
  int reach = 4;                           ///< of spread: how many of the four sides it takes, 1 … 4
  int phase = 0;                           ///< of swaps, turns and stripes
};

/// Any rule.
inline BlockRule random_block_rule(Draws& draws) {
  constexpr std::array<std::array<int, 2>, 4> sides = {{{1, 0}, {0, 1}, {-1, 0}, {0, -1}}};
  BlockRule rule;
  rule.move = static_cast<BlockMove>(draws.below(block_move_count));
  rule.colours = draws.between(1, 5);
  rule.heading = draws.chance(128) ? sides[1] : sides[static_cast<std::size_t>(draws.below(4))];
  rule.phase = draws.below(12);
  rule.reach = draws.between(1, 4);
  rule.vote = static_cast<BlockVote>(draws.below(3));
  switch (rule.move) {
    case BlockMove::Drift:
      for (int c = 0; c < rule.colours; ++c) {
        std::array<int, 2> step{};
        while (step[0] == 0 && step[1] == 0) step = {draws.between(-2, 2), draws.between(-2, 2)};
        rule.places.push_back(step);
      }
      break;
    case BlockMove::Stencil: {
      rule.colours = draws.between(2, 5);
      const int count = draws.between(1, 4);
      for (;;) {
        rule.places.clear();
        while (static_cast<int>(rule.places.size()) < count) {
          const std::array<int, 2> place = {draws.between(-2, 2), draws.between(-2, 2)};
          if (place[0] == 0 && place[1] == 0) continue;
          if (std::find(rule.places.begin(), rule.places.end(), place) == rule.places.end())
            rule.places.push_back(place);
        }
        const auto on_one_line = [&](std::size_t axis) {
          return std::all_of(rule.places.begin(), rule.places.end(),
                             [&](const auto& p) { return p[axis] == rule.places.front()[axis]; });
        };
        if (count == 1 || (!on_one_line(0) && !on_one_line(1))) break;
      }
      break;
    }
    case BlockMove::Spread:
    case BlockMove::Push:
    case BlockMove::Pulse: rule.colours = draws.between(2, 5); break;
    default: break;
  }
  return rule;
}

namespace detail {

/// v modulo n, never negative.
constexpr int wrapped(int v, int n) { return ((v % n) + n) % n; }

inline bool inside(const Grid& grid, int x, int y) { return x >= 0 && y >= 0 && x < grid.width && y < grid.height; }

/// Calls `each(x, y)` for all cells, those that lie farthest along `heading` first.
template <class Each>
void walk_against(const Grid& grid, std::array<int, 2> heading, Each&& each) {
  for (int j = 0; j < grid.height; ++j) {
    for (int i = 0; i < grid.width; ++i) {
      each(heading[0] > 0 ? grid.width - 1 - i : i, heading[1] > 0 ? grid.height - 1 - j : j);
    }
  }
}

inline void fall_once(Grid& grid, std::array<int, 2> heading, bool flows, int step) {
  const int side = step % 2 == 0 ? 1 : -1;
  const std::array<int, 2> across = {heading[1] * side, heading[0] * side};
  const Grid before = grid;
  walk_against(grid, heading, [&](int x, int y) {
    const std::uint8_t colour = grid.at(y, x);
    if (colour == 0 || before.at(y, x) == 0) return;
    const auto moved = [&](int dx, int dy) {
      if (!inside(grid, x + dx, y + dy) || grid.at(y + dy, x + dx) != 0) return false;
      grid.at(y + dy, x + dx) = colour;
      grid.at(y, x) = 0;
      return true;
    };
    if (moved(heading[0], heading[1])) return;
    if (moved(heading[0] + across[0], heading[1] + across[1])) return;
    if (moved(heading[0] - across[0], heading[1] - across[1])) return;
    if (flows && !moved(across[0], across[1])) moved(-across[0], -across[1]);
  });
}

inline std::uint8_t vote_of(const BlockRule& rule, const Grid& grid, int x, int y) {
  std::array<int, 10> count{};
  std::uint8_t best = 0;
  for (const auto& p : rule.places) {
    const std::uint8_t c = grid.at(wrapped(y + p[1], grid.height), wrapped(x + p[0], grid.width));
    if (rule.vote == BlockVote::First && c != 0) return c;
    if (rule.vote == BlockVote::Largest) best = std::max(best, c);
    // A tie is won by the colour that was as frequent first.
    if (rule.vote == BlockVote::Majority && ++count[c] > count[best]) best = c;
  }
  return best;
}

/// Walkers (colour 1) take one step with all that stands in a row before them, if there is room.
inline void push_once(Grid& grid, std::array<int, 2> heading) {
  walk_against(grid, heading, [&](int x, int y) {
    if (grid.at(y, x) != 1) return;
    int n = 1;
    while (inside(grid, x + n * heading[0], y + n * heading[1]) &&
           grid.at(y + n * heading[1], x + n * heading[0]) != 0) {
      ++n;
    }
    if (!inside(grid, x + n * heading[0], y + n * heading[1])) return;
    for (; n > 0; --n) {
      grid.at(y + n * heading[1], x + n * heading[0]) = grid.at(y + (n - 1) * heading[1], x + (n - 1) * heading[0]);
    }
    grid.at(y, x) = 0;
  });
}

}  // namespace detail

/// The grid after one more step; `step` counts from 0. Colours above the rule's are kept as they are drawn.
inline Grid step_block_rule(const BlockRule& rule, const Grid& grid, int step) {
  Grid next = grid;
  const int w = grid.width, h = grid.height;
  switch (rule.move) {
    case BlockMove::Fall: detail::fall_once(next, rule.heading, false, step); break;
    case BlockMove::Flow: detail::fall_once(next, rule.heading, true, step); break;
    case BlockMove::Push: detail::push_once(next, rule.heading); break;
    case BlockMove::Drift:
      std::fill(next.cells.begin(), next.cells.end(), std::uint8_t{0});
      for (int y = 0; y < h; ++y) {
        for (int x = 0; x < w; ++x) {
          const std::uint8_t c = grid.at(y, x);
          if (c == 0) continue;
          const auto& d = rule.places[(c - 1u) % rule.places.size()];
          std::uint8_t& to = next.at(detail::wrapped(y + d[1], h), detail::wrapped(x + d[0], w));
          to = std::max(to, c);
        }
      }
      break;
    case BlockMove::Spread: {
      const std::array<int, 2> a = rule.heading;
      const std::array<std::array<int, 2>, 4> from = {{{-a[0], -a[1]}, {a[1], a[0]}, {-a[1], -a[0]}, {a[0], a[1]}}};
      for (int y = 0; y < h; ++y) {
        for (int x = 0; x < w; ++x) {
          for (std::size_t k = 0; k < static_cast<std::size_t>(rule.reach) && next.at(y, x) == 0; ++k) {
            const int sx = x + from[k][0], sy = y + from[k][1];
            // The last colour is the wall.
            if (detail::inside(grid, sx, sy) && grid.at(sy, sx) != rule.colours) next.at(y, x) = grid.at(sy, sx);
          }
        }
      }
      break;
    }
    case BlockMove::Stencil:
      for (int y = 0; y < h; ++y) {
        for (int x = 0; x < w; ++x) next.at(y, x) = detail::vote_of(rule, grid, x, y);
      }
      break;
    case BlockMove::Swap: {
      const bool along_x = rule.heading[0] != 0;
      const int n = along_x ? w : h;
      for (int line = 0; line < (along_x ? h : w); ++line) {
        // Neighbouring lines pair up differently, unless the phase says that all are alike.
        for (int k = (rule.phase + step + (rule.phase % 3 == 0 ? 0 : line)) % 2; k + 1 < n; k += 2) {
          std::swap(along_x ? next.at(line, k) : next.at(k, line),
                    along_x ? next.at(line, k + 1) : next.at(k + 1, line));
        }
      }
      break;
    }
    case BlockMove::Turn: {
      const int start = (rule.phase + step) % 2;
      const bool clockwise = rule.phase % 3 != 0;
      for (int y = start; y + 1 < h; y += 2) {
        for (int x = start; x + 1 < w; x += 2) {
          const std::uint8_t a = grid.at(y, x), b = grid.at(y, x + 1), c = grid.at(y + 1, x), d = grid.at(y + 1, x + 1);
          next.at(y, x) = clockwise ? c : b;
          next.at(y, x + 1) = clockwise ? a : d;
          next.at(y + 1, x) = clockwise ? d : a;
          next.at(y + 1, x + 1) = clockwise ? b : c;
        }
      }
      break;
    }
    case BlockMove::Pulse:
      // Free cells are lit by a lit side (colour 1); then they pass through the other colours back to free.
      for (int y = 0; y < h; ++y) {
        for (int x = 0; x < w; ++x) {
          const int c = grid.at(y, x);
          if (c > 0) {
            next.at(y, x) = static_cast<std::uint8_t>(c >= rule.colours ? 0 : c + 1);
            continue;
          }
          for (const auto& d : {std::array{1, 0}, std::array{-1, 0}, std::array{0, 1}, std::array{0, -1}}) {
            if (detail::inside(grid, x + d[0], y + d[1]) && grid.at(y + d[1], x + d[0]) == 1) next.at(y, x) = 1;
          }
        }
      }
      break;
    case BlockMove::Stripes: {
      const int slope = rule.phase % 3 - 1, period = rule.phase % 4 + 3;
      for (int y = 0; y < h; ++y) {
        for (int x = 0; x < w; ++x) {
          const int along = rule.heading[0] * x + rule.heading[1] * y + slope * (rule.heading[0] != 0 ? y : x);
          if (detail::wrapped(along - step, period) != 0) continue;
          next.at(y, x) = static_cast<std::uint8_t>((grid.at(y, x) + 1) % (rule.colours + 1));
        }
      }
      break;
    }
  }
  return next;
}

}  // namespace tasks
SEGUE_NAMESPACE_END
