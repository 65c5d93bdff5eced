// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

#include "segue/core/error.hpp"
#include "segue/io/image.hpp"
#include "segue/tasks/arc_render.hpp"
#include "segue/tasks/grid.hpp"

SEGUE_NAMESPACE_BEGIN
namespace tasks {

/// Whether a tint over the whole picture is taken out before the colours are read.
enum class ColourShift : std::uint8_t { Off, On };

namespace detail {

/// One reading: the value of each cell, the mean of (palette colour - observed colour) and the sum of the distances.
struct GridReading {
  Grid grid;
  std::array<float, 3> shift{};
  double distance = 0;
};

template <class T>
GridReading read_cells(const std::vector<T>& pixels, int height, int width, const ArcGeometry& geometry) {
  GridReading reading;
  reading.grid = {height, width,
                  std::vector<std::uint8_t>(static_cast<std::size_t>(height) * static_cast<std::size_t>(width))};
  std::array<std::int64_t, 3> shift{};
  const auto palette = palette_colours(geometry.palette);
  const int area = geometry.cell * geometry.cell;
  for (int row = 0; row < height; ++row) {
    for (int column = 0; column < width; ++column) {
      // Sums of bytes are exact; sums of shifted values are kept in double.
      std::array<std::conditional_t<std::is_integral_v<T>, std::int32_t, double>, 3> sum{};
      const auto [x0, y0] = geometry.corner(height, width, row, column);
      for (int y = y0; y < y0 + geometry.cell; ++y) {
        const T* pixel = pixels.data() + (static_cast<std::size_t>(y) * static_cast<std::size_t>(geometry.canvas) +
                                          static_cast<std::size_t>(x0)) *
                                             3;
        for (int x = 0; x < geometry.cell; ++x, pixel += 3) {
          sum[0] += pixel[0];
          sum[1] += pixel[1];
          sum[2] += pixel[2];
        }
      }
      std::array<int, 3> observed{};
      for (std::size_t c = 0; c < 3; ++c) observed[c] = static_cast<int>(sum[c] / area);
      std::size_t best = 0;
      int best_square = 1 << 30;
      for (std::size_t k = 0; k < palette.size(); ++k) {
        int square = 0;
        for (std::size_t c = 0; c < 3; ++c) {
          const int difference = palette[k][c] - observed[c];
          square += difference * difference;
        }
        if (square < best_square) {
          best_square = square;
          best = k;
        }
      }
      reading.grid.at(row, column) = static_cast<std::uint8_t>(best);
      reading.distance += std::sqrt(static_cast<double>(best_square));
      for (std::size_t c = 0; c < 3; ++c) shift[c] += palette[best][c] - observed[c];
    }
  }
  const auto cells = static_cast<double>(height) * width;
  for (std::size_t c = 0; c < 3; ++c) reading.shift[c] = static_cast<float>(static_cast<double>(shift[c]) / cells);
  return reading;
}

}  // namespace detail

/// Reads a grid of height x width off a picture in the given geometry (the true output's size is given, as in the
/// paper): the mean RGB of each cell, truncated to whole numbers, then the nearest palette colour by squared distance,
/// the first of equals. With ColourShift::On the mean over cells of (nearest - observed) is first added to the whole
/// picture, clipped to 0 … 255, up to three times, until the summed distance changes by less than 1.
/// Raises InputError if the picture is not the canvas or the grid does not fit.
inline Grid decode_grid(const io::Image& image, int height, int width, const ArcGeometry& geometry,
                        ColourShift shift = ColourShift::On) {
  if (image.width != geometry.canvas || image.height != geometry.canvas || image.channels != 3) {
    throw_input("decode_grid", "image",
                std::to_string(image.width) + "x" + std::to_string(image.height) + "x" + std::to_string(image.channels),
                std::to_string(geometry.canvas) + "x" + std::to_string(geometry.canvas) + "x3");
  }
  if (height < 1 || width < 1) {
    throw_input("decode_grid", "size", std::to_string(height) + "x" + std::to_string(width), "1x1 or more");
  }
  detail::check_grid_fits("decode_grid", Grid{height, width, {}}, geometry);
  detail::GridReading reading = detail::read_cells(image.pixels, height, width, geometry);
  if (shift == ColourShift::Off || reading.distance < 1.0) return reading.grid;
  std::vector<float> pixels(image.pixels.begin(), image.pixels.end());
  double previous = 0;
  for (int pass = 0; pass < 3 && std::abs(previous - reading.distance) >= 1.0; ++pass) {
    previous = reading.distance;
    for (std::size_t i = 0; i < pixels.size(); ++i) {
      pixels[i] = std::clamp(pixels[i] + reading.shift[i % 3], 0.0f, 255.0f);
    }
    reading = detail::read_cells(pixels, height, width, geometry);
  }
  return reading.grid;
}

}  // namespace tasks
SEGUE_NAMESPACE_END
