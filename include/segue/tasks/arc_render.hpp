// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "segue/core/error.hpp"
#include "segue/core/nearest_name.hpp"
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

/// The colours of wall, path, start, end and solution (arXiv 2510.24448).
inline constexpr std::array<std::array<std::uint8_t, 3>, 5> maze_palette = {
    {{71, 48, 45}, {255, 255, 255}, {72, 191, 132}, {244, 96, 54}, {46, 134, 171}}};

/// The colours of the values 0, 1, 2, …
constexpr std::span<const std::array<std::uint8_t, 3>> palette_colours(GridPalette palette) {
  return palette == GridPalette::Maze ? std::span<const std::array<std::uint8_t, 3>>(maze_palette) : arc_palette;
}

/// How a grid is laid out. `Plain`: a square canvas for a rectangle of cells, so that a long row has tiny cells.
/// `Solid`: the same without lines, whose pixels the cells get. `Folded`, for grids of one row: the row runs on in the
/// next line of a board, as text does, and its cells are larger.
enum class Layout : std::uint8_t { Plain, Solid, Folded };

inline constexpr std::array<Layout, 3> all_layouts = {Layout::Plain, Layout::Solid, Layout::Folded};

/// "plain", "solid", "folded".
constexpr std::string_view name(Layout layout) {
  return layout == Layout::Plain ? "plain" : layout == Layout::Solid ? "solid" : "folded";
}

/// Raises InputError that lists the names.
inline Layout layout_from_name(std::string_view text) {
  for (const Layout layout : all_layouts)
    if (name(layout) == text) return layout;
  throw_input("layout", "name", in_quotes(text), "plain, solid or folded");
}

/// The colour of the lines between cells.
inline constexpr std::array<std::uint8_t, 3> arc_line_colour = {85, 85, 85};

/// How grids are laid out on a square canvas: solid cells of `cell` pixels, `line` pixels of line around each; the
/// block of a grid is centred (floor division). One geometry serves all grids of a task.
///
/// Folded: a board of `fold` lines of `fold` cells each and no lines between them; a row of n cells fills its lines
/// from the left, beginning in line `first_line`, whatever n is, so that cell i of every grid lies in one place.
struct ArcGeometry {
  int canvas = 400;
  int cell = 0;
  int line = 2;
  GridPalette palette = GridPalette::Arc;
  int fold = 0;        ///< cells a line of the board; 0 is the plain layout
  int first_line = 0;  ///< the line of the board that holds cell 0

  constexpr Layout layout() const { return fold > 0 ? Layout::Folded : line > 0 ? Layout::Plain : Layout::Solid; }
  constexpr int extent(int cells) const { return cells * (cell + line) + line; }
  constexpr int start(int cells) const { return (canvas - extent(cells)) / 2; }
  /// The first pixel of cell `index` in a row (column) of `cells` cells.
  constexpr int cell_start(int cells, int index) const { return start(cells) + line + index * (cell + line); }
  /// The first pixel (x, y) of a cell of a grid of height x width cells.
  constexpr std::array<int, 2> corner(int height, int width, int row, int column) const {
    if (fold > 0) return {column % fold * cell, (first_line + column / fold) * cell};
    return {cell_start(width, column), cell_start(height, row)};
  }
  /// Whether a grid of height x width cells has room.
  constexpr bool fits(int height, int width) const {
    if (cell < 1) return false;
    if (fold > 0) return height == 1 && width <= (fold - first_line) * fold;
    return extent(height) <= canvas && extent(width) <= canvas;
  }
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

/// The same without lines at any size: cells of floor(S / m). Empty if a cell would have no pixel.
constexpr std::optional<ArcGeometry> fit_solid_geometry(int longest_side, int canvas) {
  if (longest_side < 1 || canvas / longest_side < 1) return std::nullopt;
  return ArcGeometry{canvas, canvas / longest_side, 0};
}

/// The folded geometry of a task whose longest row has n cells: the board has the smallest power of two F of lines of F
/// cells that hold n, and cells of floor(S / F). So cells are as large as they can be where their borders fall on those
/// of a model's patches: on 64 pixels up to 16 cells have 16 pixels each, up to 64 have 8, up to 256 have 4; on 128
/// pixels twice that. The lines in use are in the middle of the board. Empty if a cell would have no pixel.
constexpr std::optional<ArcGeometry> fit_folded_geometry(int longest_row, int canvas) {
  if (longest_row < 1) return std::nullopt;
  int fold = 1;
  while (fold <= canvas && fold * fold < longest_row) fold *= 2;
  if (canvas / fold < 1) return std::nullopt;
  const int lines = (longest_row + fold - 1) / fold;
  return ArcGeometry{canvas, canvas / fold, 0, GridPalette::Arc, fold, (fold - lines) / 2};
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
  if (geometry.fits(grid.height, grid.width)) return;
  throw_input(where, "grid",
              std::to_string(grid.height) + "x" + std::to_string(grid.width) + " cells of " +
                  std::to_string(geometry.cell) + " pixels",
              std::string(geometry.fold > 0 ? "a row" : "a grid") + " that fits " + std::to_string(geometry.canvas) +
                  " pixels");
}

}  // namespace detail

/// Draws a grid: black canvas, the grid's block in the line colour, solid cells on it. Raises InputError if the grid
/// does not fit or holds a value that the palette does not have.
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
  const auto palette = palette_colours(geometry.palette);
  for (int row = 0; row < grid.height; ++row) {
    for (int column = 0; column < grid.width; ++column) {
      const std::uint8_t value = grid.at(row, column);
      if (value >= palette.size()) {
        throw_input("render_grid", "cell", std::to_string(value), "0 to " + std::to_string(palette.size() - 1));
      }
      const auto [x, y] = geometry.corner(grid.height, grid.width, row, column);
      detail::fill_rectangle(image, x, y, geometry.cell, geometry.cell, palette[value]);
    }
  }
  return image;
}

}  // namespace tasks
SEGUE_NAMESPACE_END
