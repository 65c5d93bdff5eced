// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "segue/core/error.hpp"
#include "segue/io/image.hpp"

SEGUE_NAMESPACE_BEGIN
namespace tasks {
namespace detail {

/// Keeps a product from being contracted into the sum that follows: the taps must not depend on compiler flags.
inline double rounded(double v) {
  volatile double stored = v;
  return stored;
}

/// The taps of one axis: output i is the sum over k of weight[i * width + k] * input[first[i] + k], k < count[i].
struct TriangleTaps {
  static constexpr int bits = 32 - 8 - 2;  // Pillow's: 8 bits of picture, 2 of headroom
  int width = 0;
  std::vector<int> first, count;
  std::vector<std::int32_t> weight;

  TriangleTaps(int in_size, int out_size) {
    const double scale = static_cast<double>(in_size) / out_size;
    const double support = std::max(scale, 1.0);
    const double inverse = 1.0 / support;
    width = static_cast<int>(std::ceil(support)) * 2 + 1;
    first.resize(static_cast<std::size_t>(out_size));
    count.resize(static_cast<std::size_t>(out_size));
    weight.resize(static_cast<std::size_t>(out_size) * static_cast<std::size_t>(width));
    std::vector<double> taps(static_cast<std::size_t>(width));
    for (int i = 0; i < out_size; ++i) {
      const double center = rounded((i + 0.5) * scale);
      const int low = std::max(static_cast<int>(center - support + 0.5), 0);
      const int high = std::min(static_cast<int>(center + support + 0.5), in_size);
      double total = 0;
      for (int k = 0; k < high - low; ++k) {
        const double distance = std::abs(rounded((k + low - center + 0.5) * inverse));
        taps[static_cast<std::size_t>(k)] = distance < 1.0 ? 1.0 - distance : 0.0;
        total += taps[static_cast<std::size_t>(k)];
      }
      first[static_cast<std::size_t>(i)] = low;
      count[static_cast<std::size_t>(i)] = high - low;
      for (int k = 0; k < high - low; ++k) {
        const double share = taps[static_cast<std::size_t>(k)] / total;
        weight[static_cast<std::size_t>(i) * static_cast<std::size_t>(width) + static_cast<std::size_t>(k)] =
            static_cast<std::int32_t>(0.5 + share * (1 << bits));
      }
    }
  }
};

/// One pass over an axis: `outer` slabs of (in_size, inner) bytes become slabs of (out_size, inner).
inline std::vector<std::uint8_t> resample_axis(std::span<const std::uint8_t> in, std::size_t outer, int in_size,
                                               int out_size, std::size_t inner) {
  const TriangleTaps taps(in_size, out_size);
  std::vector<std::uint8_t> out(outer * static_cast<std::size_t>(out_size) * inner);
  std::vector<std::int32_t> sums(inner);
  for (std::size_t o = 0; o < outer; ++o) {
    const std::uint8_t* slab = in.data() + o * static_cast<std::size_t>(in_size) * inner;
    for (std::size_t i = 0; i < static_cast<std::size_t>(out_size); ++i) {
      std::fill(sums.begin(), sums.end(), 1 << (TriangleTaps::bits - 1));
      for (std::size_t k = 0; k < static_cast<std::size_t>(taps.count[i]); ++k) {
        const std::uint8_t* row = slab + (static_cast<std::size_t>(taps.first[i]) + k) * inner;
        const std::int32_t w = taps.weight[i * static_cast<std::size_t>(taps.width) + k];
        for (std::size_t j = 0; j < inner; ++j) sums[j] += w * row[j];
      }
      std::uint8_t* target = out.data() + (o * static_cast<std::size_t>(out_size) + i) * inner;
      for (std::size_t j = 0; j < inner; ++j) {
        target[j] = static_cast<std::uint8_t>(std::clamp(sums[j] >> TriangleTaps::bits, 0, 255));
      }
    }
  }
  return out;
}

}  // namespace detail

/// Stretches a picture to width x height with an antialiased triangle filter: bit for bit the
/// `resize((width, height), BILINEAR)` of Pillow 11 on 8-bit pictures (horizontal pass, then vertical, each rounded to
/// bytes; a pass whose size does not change is skipped). Pillow 13 swaps the passes where the height shrinks by more
/// than twice as many pixels as the width; values then differ by one. The aspect ratio is not kept.
/// Raises InputError for an empty size.
inline io::Image stretch(const io::Image& image, int width, int height) {
  if (width < 1 || height < 1) {
    throw_input("stretch", "size", std::to_string(width) + "x" + std::to_string(height), "at least 1x1");
  }
  if (image.width < 1 || image.height < 1) {
    throw_input("stretch", "image", std::to_string(image.width) + "x" + std::to_string(image.height), "at least 1x1");
  }
  io::Image out = image;
  if (width != image.width) {
    out.pixels = detail::resample_axis(image.pixels, static_cast<std::size_t>(image.height), image.width, width,
                                       static_cast<std::size_t>(image.channels));
    out.width = width;
  }
  if (height != image.height) {
    out.pixels = detail::resample_axis(out.pixels, 1, image.height, height,
                                       static_cast<std::size_t>(width) * static_cast<std::size_t>(image.channels));
    out.height = height;
  }
  return out;
}

/// Every value to 255 if it is above 127, else to 0.
inline void threshold(io::Image& image) {
  for (std::uint8_t& v : image.pixels) v = v > 127 ? 255 : 0;
}

}  // namespace tasks
SEGUE_NAMESPACE_END
