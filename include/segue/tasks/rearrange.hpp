// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>

#include "segue/core/config.hpp"
#include "segue/io/image.hpp"

SEGUE_NAMESPACE_BEGIN
namespace tasks {
namespace detail {

/// Pixel (x, y) of the result is pixel place(x, y) of the picture.
template <class Place>
io::Image rearrange(const io::Image& image, const Place& place) {
  io::Image out = image;
  const auto channels = static_cast<std::size_t>(image.channels);
  const auto offset = [&](int x, int y) {
    return (static_cast<std::size_t>(y) * static_cast<std::size_t>(image.width) + static_cast<std::size_t>(x)) *
           channels;
  };
  for (int y = 0; y < image.height; ++y) {
    for (int x = 0; x < image.width; ++x) {
      const auto [from_x, from_y] = place(x, y);
      std::copy_n(image.pixels.data() + offset(from_x, from_y), channels, out.pixels.data() + offset(x, y));
    }
  }
  return out;
}

}  // namespace detail
}  // namespace tasks
SEGUE_NAMESPACE_END
