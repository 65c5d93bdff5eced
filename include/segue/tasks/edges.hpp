// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "segue/core/error.hpp"
#include "segue/io/image.hpp"

SEGUE_NAMESPACE_BEGIN
namespace tasks {

/// Thresholds on the gradient |dx| + |dy| of 3x3 Sobel sums: edges begin above `high` and go on above `low`.
struct CannySpec {
  int low = 100, high = 200;
};

namespace detail {

/// The Sobel sums of a grey picture, (H, W) each; beyond its border the picture goes on with its last pixel.
struct Gradient {
  int width = 0, height = 0;
  std::vector<int> dx, dy;

  explicit Gradient(const io::Image& grey)
      : width(grey.width), height(grey.height), dx(grey.pixels.size()), dy(grey.pixels.size()) {
    const auto value = [&](int y, int x) -> int { return grey.pixels[index(y, x)]; };
    for (int y = 0; y < height; ++y) {
      const int above = std::max(y - 1, 0), below = std::min(y + 1, height - 1);
      for (int x = 0; x < width; ++x) {
        const int left = std::max(x - 1, 0), right = std::min(x + 1, width - 1);
        dx[index(y, x)] = value(above, right) - value(above, left) + 2 * (value(y, right) - value(y, left)) +
                          value(below, right) - value(below, left);
        dy[index(y, x)] = value(below, left) - value(above, left) + 2 * (value(below, x) - value(above, x)) +
                          value(below, right) - value(above, right);
      }
    }
  }

  std::size_t index(int y, int x) const {
    return static_cast<std::size_t>(y) * static_cast<std::size_t>(width) + static_cast<std::size_t>(x);
  }
  /// |dx| + |dy|; 0 outside.
  int magnitude(int y, int x) const {
    if (y < 0 || x < 0 || y >= height || x >= width) return 0;
    return std::abs(dx[index(y, x)]) + std::abs(dy[index(y, x)]);
  }

  /// Whether the magnitude is a maximum along the gradient, whose direction is rounded to one of four at 22.5 degrees
  /// (13573 is the tangent in 15 bits). Of two equal neighbours along an axis the first is the maximum.
  bool is_ridge(int y, int x) const {
    const int m = magnitude(y, x);
    const std::int64_t across = std::abs(dx[index(y, x)]), down = std::int64_t{std::abs(dy[index(y, x)])} << 15;
    const std::int64_t flat = across * 13573, steep = flat + (across << 16);
    if (down < flat) return m > magnitude(y, x - 1) && m >= magnitude(y, x + 1);
    if (down > steep) return m > magnitude(y - 1, x) && m >= magnitude(y + 1, x);
    const int side = (dx[index(y, x)] < 0) != (dy[index(y, x)] < 0) ? -1 : 1;
    return m > magnitude(y - 1, x - side) && m > magnitude(y + 1, x + side);
  }
};

}  // namespace detail

/// The edges of a picture, white (255) on black, 3 channels. J. Canny, "A computational approach to edge detection",
/// 1986, in whole numbers as OpenCV's `Canny(grey, low, high)` computes it: no smoothing, 3x3 Sobel sums, |dx| + |dy|,
/// thinned along the gradient, and of what is above `low` only what is joined (8 neighbours) to something above `high`.
/// Grey as `load_image` has it. Raises InputError for thresholds that are negative or the wrong way round.
inline io::Image canny_edges(const io::Image& image, const CannySpec& spec = {}) {
  if (spec.low < 0 || spec.high < spec.low) {
    throw_input("canny_edges", "thresholds", std::to_string(spec.low) + " and " + std::to_string(spec.high),
                "0 <= low <= high");
  }
  const detail::Gradient gradient(io::convert_channels(image, 1));
  enum class Mark : std::uint8_t { Nothing, Candidate, Edge };
  std::vector<Mark> marks(gradient.dx.size(), Mark::Nothing);
  std::vector<int> stack;
  for (int y = 0; y < gradient.height; ++y) {
    for (int x = 0; x < gradient.width; ++x) {
      const int m = gradient.magnitude(y, x);
      if (m <= spec.low || !gradient.is_ridge(y, x)) continue;
      marks[gradient.index(y, x)] = m > spec.high ? Mark::Edge : Mark::Candidate;
      if (m > spec.high) stack.push_back(static_cast<int>(gradient.index(y, x)));
    }
  }
  while (!stack.empty()) {
    const int y = stack.back() / gradient.width, x = stack.back() % gradient.width;
    stack.pop_back();
    for (int v = std::max(y - 1, 0); v <= std::min(y + 1, gradient.height - 1); ++v) {
      for (int u = std::max(x - 1, 0); u <= std::min(x + 1, gradient.width - 1); ++u) {
        Mark& mark = marks[gradient.index(v, u)];
        if (mark != Mark::Candidate) continue;
        mark = Mark::Edge;
        stack.push_back(static_cast<int>(gradient.index(v, u)));
      }
    }
  }
  io::Image edges{image.width, image.height, 3, {}};
  edges.pixels.reserve(marks.size() * 3);
  for (const Mark mark : marks) edges.pixels.insert(edges.pixels.end(), 3, mark == Mark::Edge ? 255 : 0);
  return edges;
}

}  // namespace tasks
SEGUE_NAMESPACE_END
