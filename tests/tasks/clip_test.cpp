// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#include "segue/tasks/clip.hpp"

#include <limits>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/errors.hpp"

using namespace segue;

TEST_CASE("every byte survives model space and back", "[tasks]") {
  // (C, F, H, W) = (3, 1, 16, 16) holds what (F, H, W, C) bytes i % 256 are there.
  std::vector<std::uint8_t> bytes(256 * 3);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::uint8_t>(i % 256);
  std::vector<float> values(bytes.size());
  for (std::size_t i = 0; i < bytes.size(); ++i)
    values[i % 3 * 256 + i / 3] = static_cast<float>(2 * static_cast<int>(bytes[i]) - 255) / 255.0f;
  std::vector<std::uint8_t> back(bytes.size());
  tasks::to_pixel_space(values, {1, 16, 16, 3}, back);
  CHECK(back == bytes);
}

TEST_CASE("values outside of the range are clamped, halves go up", "[tasks]") {
  CHECK(tasks::pixel_value(-3.0f) == 0);
  CHECK(tasks::pixel_value(7.5f) == 255);
  CHECK(tasks::pixel_value(std::numeric_limits<float>::quiet_NaN()) == 0);
  CHECK(tasks::pixel_value(std::numeric_limits<float>::infinity()) == 255);
  CHECK(tasks::pixel_value(0.0f) == 128);  // 127.5
  CHECK(tasks::pixel_value(-0.001f) == 127);
}

TEST_CASE("extents that do not match are refused", "[tasks]") {
  std::vector<std::uint8_t> bytes(11);
  std::vector<float> values(12);
  CHECK_THROWS_AS(tasks::to_pixel_space(values, {2, 1, 2, 3}, bytes), InputError);
  CHECK(support::contains(support::message_of([&] { tasks::to_pixel_space(values, {2, 1, 2, 3}, bytes); }), "11"));
}
