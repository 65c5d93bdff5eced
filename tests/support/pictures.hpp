// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "segue/io/image.hpp"
#include "segue/tasks/draws.hpp"

namespace support {

/// A picture of three channels whose values are drawn from `seed`.
inline segue::io::Image noise(int width, int height, std::uint64_t seed) {
  segue::io::Image image{width, height, 3, {}};
  segue::tasks::Draws draws(seed);
  for (int i = 0; i < width * height * 3; ++i) image.pixels.push_back(static_cast<std::uint8_t>(draws.below(256)));
  return image;
}

}  // namespace support
