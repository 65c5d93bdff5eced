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
#include "segue/tasks/generate/palette.hpp"
#include "segue/tasks/generate/scene.hpp"

SEGUE_NAMESPACE_BEGIN
namespace tasks::detail {

/// A piece of connected cells that moves in whole steps, grows as a line, or changes colour.
struct BlockPiece {
  std::vector<std::array<int, 2>> cells;
  int dx = 0, dy = 0;          // a frame
  int grow_x = 0, grow_y = 0;  // a line that gets longer
  std::size_t colour = 0, later_colour = 0;
  int turns = 1 << 20;  // the frame from which it has its later colour
};

/// A clip on a grid of plain cells: pieces that step, fall, slide until a wall, grow into lines, change colour.
inline void draw_block_clip(Draws& draws, Canvas& canvas, int frames, std::span<std::uint8_t> out) {
  const int side = std::min(canvas.width(), canvas.height());
  const int across = std::min(draws.between(3, 16), side / 2), line = draws.chance(128) ? 1 : 0;
  const int cell = std::max((side - line) / across - line, 1), extent = across * (cell + line) + line;
  const int x0 = (canvas.width() - extent) / 2, y0 = (canvas.height() - extent) / 2;
  std::array<Rgb, 5> colours{};
  for (Rgb& c : colours) c = random_colour(draws);
  const bool dark = draws.chance(150);
  const Rgb ground = dark ? Rgb{} : random_colour(draws);
  const Rgb lines = draws.chance(128) ? Rgb{85, 85, 85} : random_colour(draws);
  const Rgb outside = draws.chance(180) ? Rgb{} : random_colour(draws);
  std::vector<BlockPiece> pieces;
  const int count = draws.between(1, 5);
  for (int k = 0; k < count; ++k) {
    BlockPiece piece;
    std::array<int, 2> at = {draws.below(across), draws.below(across)};
    const int size = draws.between(1, 7);
    for (int i = 0; i < size; ++i) {
      piece.cells.push_back(at);
      at[static_cast<std::size_t>(draws.below(2))] += draws.chance(128) ? 1 : -1;
    }
    piece.colour = piece.later_colour = static_cast<std::size_t>(draws.below(5));
    switch (draws.below(5)) {
      case 0: break;
      case 1:
      case 2: {
        const bool along_x = draws.chance(128);
        (along_x ? piece.dx : piece.dy) = draws.between(1, 3) * (draws.chance(128) ? 1 : -1);
        break;
      }
      case 3: {
        const bool along_x = draws.chance(128);
        (along_x ? piece.grow_x : piece.grow_y) = draws.chance(128) ? 1 : -1;
        piece.cells.resize(1);
        break;
      }
      default:
        piece.later_colour = static_cast<std::size_t>(draws.below(5));
        piece.turns = draws.between(1, std::max(frames - 1, 1));
        break;
    }
    pieces.push_back(piece);
  }
  const bool walls = draws.chance(160);
  const auto fill = [&](int left, int top, int wide, int high, const Rgb& c) {
    const std::int32_t values[3] = {c.r, c.g, c.b};
    for (int channel = 0; channel < 3; ++channel) {
      std::int32_t* plane = canvas.plane(channel).data();
      for (int y = std::max(top, 0); y < std::min(top + high, canvas.height()); ++y) {
        for (int x = std::max(left, 0); x < std::min(left + wide, canvas.width()); ++x) {
          plane[static_cast<std::ptrdiff_t>(y) * canvas.width() + x] = values[channel];
        }
      }
    }
  };
  const std::size_t frame_size = out.size() / static_cast<std::size_t>(frames);
  for (int f = 0; f < frames; ++f) {
    fill(0, 0, canvas.width(), canvas.height(), outside);
    fill(x0, y0, extent, extent, line > 0 ? lines : ground);
    for (int row = 0; row < across; ++row) {
      for (int column = 0; column < across; ++column) {
        fill(x0 + line + column * (cell + line), y0 + line + row * (cell + line), cell, cell, ground);
      }
    }
    for (const BlockPiece& piece : pieces) {
      int shift_x = piece.dx * f, shift_y = piece.dy * f;
      if (walls) {  // slides until a cell of it meets the wall
        for (const auto& c : piece.cells) {
          shift_x = std::clamp(shift_x, std::min(-c[0], 0), std::max(across - 1 - c[0], 0));
          shift_y = std::clamp(shift_y, std::min(-c[1], 0), std::max(across - 1 - c[1], 0));
        }
      }
      const Rgb colour = colours[f >= piece.turns ? piece.later_colour : piece.colour];
      const int longer = piece.grow_x != 0 || piece.grow_y != 0 ? f * std::max(across / 4, 1) : 0;
      for (const auto& c : piece.cells) {
        for (int step = 0; step <= longer; ++step) {
          const int x = c[0] + shift_x + piece.grow_x * step, y = c[1] + shift_y + piece.grow_y * step;
          if (x < 0 || y < 0 || x >= across || y >= across) continue;
          fill(x0 + line + x * (cell + line), y0 + line + y * (cell + line), cell, cell, colour);
        }
      }
    }
    canvas.write(out.subspan(static_cast<std::size_t>(f) * frame_size, frame_size));
  }
}

}  // namespace tasks::detail
SEGUE_NAMESPACE_END
