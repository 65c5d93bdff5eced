// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "segue/core/error.hpp"

SEGUE_NAMESPACE_BEGIN
namespace tasks {

/// Frames, height, width and channels of a clip in pixel space.
struct ClipShape {
  int frames = 0, height = 0, width = 0, channels = 3;

  constexpr std::size_t frame_size() const {
    return static_cast<std::size_t>(height) * static_cast<std::size_t>(width) * static_cast<std::size_t>(channels);
  }
  constexpr std::size_t size() const { return static_cast<std::size_t>(frames) * frame_size(); }
  friend bool operator==(const ClipShape&, const ClipShape&) = default;
};

/// A clip in pixel space: (F, H, W, C) bytes.
struct Clip {
  int frames = 0, height = 0, width = 0, channels = 3;
  std::vector<std::uint8_t> pixels;

  ClipShape shape() const { return {frames, height, width, channels}; }
  std::span<const std::uint8_t> frame(int f) const {
    return std::span<const std::uint8_t>(pixels).subspan(static_cast<std::size_t>(f) * shape().frame_size(),
                                                         shape().frame_size());
  }
  std::span<std::uint8_t> frame(int f) {
    return std::span<std::uint8_t>(pixels).subspan(static_cast<std::size_t>(f) * shape().frame_size(),
                                                   shape().frame_size());
  }
};

/// An all-black clip.
inline Clip make_blank_clip(const ClipShape& shape) {
  return {shape.frames, shape.height, shape.width, shape.channels, std::vector<std::uint8_t>(shape.size())};
}

namespace detail {

inline void check_clip_extents(const char* where, const char* what, std::size_t found, std::size_t expected) {
  if (found != expected) throw_input(where, what, std::to_string(found) + " elements", std::to_string(expected));
}

}  // namespace detail

/// The byte nearest to (v + 1) * 127.5, halves up; clamped to [0, 255]; NaN is 0.
inline std::uint8_t pixel_value(float v) {
  if (!(v > -1.0f)) return 0;
  if (v >= 1.0f) return 255;
  return static_cast<std::uint8_t>(std::fma(v, 127.5f, 128.0f));
}

/// Model space to pixel space: (C, F, H, W) floats to (F, H, W, C) bytes, rounded to nearest and clamped.
/// Raises InputError if an extent does not match.
inline void to_pixel_space(std::span<const float> values, const ClipShape& shape, std::span<std::uint8_t> out) {
  detail::check_clip_extents("to_pixel_space", "values", values.size(), shape.size());
  detail::check_clip_extents("to_pixel_space", "out", out.size(), shape.size());
  const std::size_t places = shape.size() / static_cast<std::size_t>(shape.channels);
  const auto channels = static_cast<std::size_t>(shape.channels);
  for (std::size_t c = 0; c < channels; ++c) {
    for (std::size_t p = 0; p < places; ++p) out[p * channels + c] = pixel_value(values[c * places + p]);
  }
}

}  // namespace tasks
SEGUE_NAMESPACE_END
