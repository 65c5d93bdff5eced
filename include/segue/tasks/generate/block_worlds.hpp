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
#include "segue/tasks/generate/block_rules.hpp"
#include "segue/tasks/generate/finish.hpp"
#include "segue/tasks/generate/palette.hpp"
#include "segue/tasks/grid.hpp"

SEGUE_NAMESPACE_BEGIN
namespace tasks {
namespace detail {

/// Where the grid is in the picture, in pixels.
struct BlockLayout {
  int cell = 8, columns = 8, rows = 8, left = 0, top = 0, line = 0;
};

/// Mostly cells of 8 pixels of 64 that begin at multiples of 8, since that is how grids of tasks are drawn.
inline BlockLayout random_block_layout(Draws& draws, const ClipSpec& spec) {
  BlockLayout l;
  const int side = std::min(spec.width, spec.height), unit = std::max(side / 64, 1);
  constexpr std::array<int, 6> usual = {4, 8, 8, 8, 8, 16};
  l.cell = draws.chance(170) ? usual[static_cast<std::size_t>(draws.below(6))] : draws.between(4, 16);
  l.cell = std::clamp(l.cell * unit, 2, std::max(side / 3, 2));
  const auto count = [&](int pixels) {
    const int most = std::min(std::max(pixels / l.cell, 1), 16);
    return draws.chance(140) ? most : draws.between(std::min(3, most), most);
  };
  l.columns = count(spec.width);
  l.rows = draws.chance(180) ? std::min(l.columns, spec.height / l.cell) : count(spec.height);
  const int free_x = spec.width - l.columns * l.cell, free_y = spec.height - l.rows * l.cell;
  if (draws.chance(180)) {
    l.left = free_x / 2 / (8 * unit) * (8 * unit);
    l.top = free_y / 2 / (8 * unit) * (8 * unit);
  } else {
    l.left = draws.between(0, free_x);
    l.top = draws.between(0, free_y);
  }
  if (l.cell >= 6 * unit && draws.chance(40)) l.line = unit;
  return l;
}

/// Cells to begin with: scattered, in heaps, rectangles, or a few single ones.
inline Grid random_block_grid(Draws& draws, const BlockRule& rule, int columns, int rows) {
  Grid grid{rows, columns, std::vector<std::uint8_t>(static_cast<std::size_t>(columns * rows))};
  const auto colour = [&] { return static_cast<std::uint8_t>(draws.between(1, rule.colours)); };
  const int style = draws.below(4), cells = columns * rows;
  if (style < 2) {
    const int density = rule.move == BlockMove::Spread || rule.move == BlockMove::Pulse ? draws.between(10, 60)
                                                                                        : draws.between(40, 150);
    for (std::uint8_t& c : grid.cells) c = draws.chance(density) ? colour() : std::uint8_t{0};
  } else if (style == 2) {
    const int count = draws.between(1, 5);
    for (int k = 0; k < count; ++k) {
      const int w = draws.between(1, std::max(columns / 2, 1)), h = draws.between(1, std::max(rows / 2, 1));
      const int x0 = draws.below(columns), y0 = draws.below(rows);
      const std::uint8_t c = colour();
      for (int y = y0; y < std::min(y0 + h, rows); ++y) {
        for (int x = x0; x < std::min(x0 + w, columns); ++x) grid.at(y, x) = c;
      }
    }
  } else {
    const int count = draws.between(std::min(3, cells), std::max(cells / 4, 3));
    for (int k = 0; k < count; ++k) grid.cells[static_cast<std::size_t>(draws.below(cells))] = colour();
  }
  // Something must be able to move.
  grid.cells[static_cast<std::size_t>(draws.below(cells))] = 1;
  return grid;
}

inline void draw_block_grid(const Grid& grid, const BlockLayout& l, std::span<const Rgb> colours, const Rgb& outside,
                            const Rgb& lines, const ClipSpec& spec, std::span<std::uint8_t> frame) {
  // Lines of pixels that cross the same cells alike are alike.
  struct Crossed {
    int cell = -1;
    bool on_line = false;
    bool operator==(const Crossed&) const = default;
  };
  const auto crossed = [&l](int place, int begin, int count) {
    const int d = place - begin, cell = d >= 0 ? d / l.cell : -1;
    return cell >= 0 && cell < count ? Crossed{cell, d % l.cell < l.line} : Crossed{};
  };
  std::vector<Crossed> columns;
  for (int x = 0; x < spec.width; ++x) columns.push_back(crossed(x, l.left, l.columns));
  std::uint8_t* to = frame.data();
  Crossed before;
  for (int y = 0; y < spec.height; ++y) {
    const Crossed row = crossed(y, l.top, l.rows);
    if (y > 0 && row == before) {
      const std::ptrdiff_t size = 3 * static_cast<std::ptrdiff_t>(spec.width);
      to = std::copy_n(to - size, size, to);
      continue;
    }
    before = row;
    for (const Crossed& column : columns) {
      const bool in = row.cell >= 0 && column.cell >= 0;
      const bool on_line = row.on_line || column.on_line;
      const Rgb& c = !in ? outside : (on_line ? lines : colours[grid.at(row.cell, column.cell)]);
      *to++ = static_cast<std::uint8_t>(c.r);
      *to++ = static_cast<std::uint8_t>(c.g);
      *to++ = static_cast<std::uint8_t>(c.b);
    }
  }
}

}  // namespace detail

/// Draws a clip of a world of plain cells that moves by a local rule (see `BlockMove`), (F, H, W, 3) bytes. Half of the
/// clips change once, after `frames_before_cut`, by one step or a few; the others take a step a frame.
/// Raises InputError for a bad spec or an `out` of another size.
inline void draw_block_world(Draws& draws, const ClipSpec& spec, std::span<std::uint8_t> out) {
  check_clip(spec, out, "draw_block_world");
  const detail::BlockLayout layout = detail::random_block_layout(draws, spec);
  BlockRule rule = random_block_rule(draws);
  std::array<Rgb, 6> colours{};
  for (std::size_t k = 0; k < colours.size(); ++k) {
    // Cells are told apart by colour alone.
    for (bool clear = false; !clear;) {
      colours[k] = k == 0 && draws.chance(170) ? Rgb{} : random_colour(draws);
      clear = true;
      for (std::size_t j = 0; j < k; ++j) {
        const Rgb &a = colours[j], &b = colours[k];
        clear = clear && std::abs(a.r - b.r) + std::abs(a.g - b.g) + std::abs(a.b - b.b) > 140;
      }
    }
  }
  const Rgb outside = draws.chance(200) ? colours[0] : random_colour(draws);
  const Rgb lines = draws.chance(128) ? Rgb{85, 85, 85} : random_colour(draws);
  const bool cut = draws.chance(128);
  const int steps = cut ? (draws.chance(200) ? 1 : draws.between(2, 4)) : 1;
  const auto advance = [&](Grid grid, int first) {
    for (int k = 0; k < steps; ++k) grid = step_block_rule(rule, grid, first + k);
    return grid;
  };
  Grid grid = detail::random_block_grid(draws, rule, layout.columns, layout.rows);
  for (int tries = 0; tries < 8 && advance(grid, 0) == grid; ++tries) {
    if (tries % 2 == 1) rule = random_block_rule(draws);
    grid = detail::random_block_grid(draws, rule, layout.columns, layout.rows);
  }
  for (int f = 0; f < spec.frames; ++f) {
    const bool moves = f > 0 && (!cut || f == frames_before_cut(spec));
    if (moves) grid = advance(grid, cut ? 0 : f - 1);
    const std::span<std::uint8_t> frame = clip_frame(spec, out, f);
    if (f == 0 || moves) {
      detail::draw_block_grid(grid, layout, colours, outside, lines, spec, frame);
    } else {
      const std::span<const std::uint8_t> last = clip_frame(spec, out, f - 1);
      std::copy(last.begin(), last.end(), frame.begin());
    }
  }
}

}  // namespace tasks
SEGUE_NAMESPACE_END
