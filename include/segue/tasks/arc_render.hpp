// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>

#include "segue/core/error.hpp"
#include "segue/io/image.hpp"
#include "segue/tasks/grid.hpp"

SEGUE_NAMESPACE_BEGIN
namespace tasks {

/// The colours of the values 0 … 9 (arXiv 2510.24448).
inline constexpr std::array<std::array<std::uint8_t, 3>, 10> arc_palette = {{{0, 0, 0},
                                                                             {0, 116, 217},
                                                                             {255, 65, 54},
                                                                             {46, 204, 64},
                                                                             {255, 220, 0},
                                                                             {170, 170, 170},
                                                                             {240, 18, 190},
                                                                             {255, 133, 27},
                                                                             {127, 219, 255},
                                                                             {135, 12, 37}}};

/// The colour of the lines between cells.
inline constexpr std::array<std::uint8_t, 3> arc_line_colour = {85, 85, 85};

/// How grids are laid out on a square canvas: solid cells of `cell` pixels, `line` pixels of line around each; the
/// block of a grid is centred (floor division). One geometry serves all grids of a task.
struct ArcGeometry {
  int canvas = 400;
  int cell = 0;
  int line = 2;

  constexpr int extent(int cells) const { return cells * (cell + line) + line; }
  constexpr int start(int cells) const { return (canvas - extent(cells)) / 2; }
  /// The first pixel of cell `index` in a row (column) of `cells` cells.
  constexpr int cell_start(int cells, int index) const { return start(cells) + line + index * (cell + line); }
  friend bool operator==(const ArcGeometry&, const ArcGeometry&) = default;
};

/// From this canvas on the paper's rule holds: lines of 2 pixels.
inline constexpr int arc_paper_canvas = 400;

/// The geometry of a task whose longest grid side is m on a canvas of S pixels. S >= 400: cells of
/// floor((S - 2(m+1)) / m) with 2-pixel lines. Smaller: floor((S - (m+1)) / m) with 1-pixel lines if that is at least
/// 2, else floor(S / m) without lines. Empty if a cell would have no pixel.
constexpr std::optional<ArcGeometry> fit_arc_geometry(int longest_side, int canvas) {
  if (longest_side < 1 || canvas < 1) return std::nullopt;
  const int m = longest_side;
  if (canvas >= arc_paper_canvas) {
    const int cell = (canvas - 2 * (m + 1)) / m;
    if (cell < 1) return std::nullopt;
    return ArcGeometry{canvas, cell, 2};
  }
  if (const int cell = (canvas - (m + 1)) / m; cell >= 2) return ArcGeometry{canvas, cell, 1};
  if (canvas / m < 1) return std::nullopt;
  return ArcGeometry{canvas, canvas / m, 0};
}

namespace detail {

inline void fill_rectangle(io::Image& image, int x0, int y0, int width, int height,
                           const std::array<std::uint8_t, 3>& colour) {
  const std::size_t stride = static_cast<std::size_t>(image.width) * 3, bytes = static_cast<std::size_t>(width) * 3;
  std::uint8_t* first = image.pixels.data() + static_cast<std::size_t>(y0) * stride + static_cast<std::size_t>(x0) * 3;
  for (std::size_t i = 0; i < bytes; ++i) first[i] = colour[i % 3];
  for (int y = 1; y < height; ++y) std::memcpy(first + static_cast<std::size_t>(y) * stride, first, bytes);
}

inline void check_grid_fits(const char* where, const Grid& grid, const ArcGeometry& geometry) {
  if (geometry.cell >= 1 && geometry.extent(grid.height) <= geometry.canvas &&
      geometry.extent(grid.width) <= geometry.canvas) {
    return;
  }
  throw_input(where, "grid",
              std::to_string(grid.height) + "x" + std::to_string(grid.width) + " cells of " +
                  std::to_string(geometry.cell) + " pixels",
              "a grid that fits " + std::to_string(geometry.canvas) + " pixels");
}

}  // namespace detail

/// Draws a grid: black canvas, the grid's block in the line colour, solid cells on it. Raises InputError if the grid
/// does not fit or holds a value above 9.
inline io::Image render_grid(const Grid& grid, const ArcGeometry& geometry) {
  detail::check_grid_fits("render_grid", grid, geometry);
  io::Image image;
  image.width = image.height = geometry.canvas;
  image.channels = 3;
  image.pixels.assign(static_cast<std::size_t>(geometry.canvas) * static_cast<std::size_t>(geometry.canvas) * 3, 0);
  if (geometry.line > 0) {
    detail::fill_rectangle(image, geometry.start(grid.width), geometry.start(grid.height), geometry.extent(grid.width),
                           geometry.extent(grid.height), arc_line_colour);
  }
  for (int row = 0; row < grid.height; ++row) {
    for (int column = 0; column < grid.width; ++column) {
      const std::uint8_t value = grid.at(row, column);
      if (value >= arc_palette.size()) throw_input("render_grid", "cell", std::to_string(value), "0 to 9");
      detail::fill_rectangle(image, geometry.cell_start(grid.width, column), geometry.cell_start(grid.height, row),
                             geometry.cell, geometry.cell, arc_palette[value]);
    }
  }
  return image;
}

}  // namespace tasks
SEGUE_NAMESPACE_END
