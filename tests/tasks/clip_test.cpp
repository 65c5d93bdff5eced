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
  std::vector<std::uint8_t> bytes(256 * 3);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::uint8_t>(i % 256);
  const tasks::ClipShape shape{1, 16, 16, 3};
  std::vector<float> values(bytes.size());
  std::vector<std::uint8_t> back(bytes.size());
  tasks::to_model_space(bytes, shape, values);
  tasks::to_pixel_space(values, shape, back);
  CHECK(back == bytes);
  CHECK(tasks::model_value(0) == -1.0f);
  CHECK(tasks::model_value(255) == 1.0f);
}

TEST_CASE("model space is (C, F, H, W)", "[tasks]") {
  // (F, H, W, C) = (2, 1, 2, 3)
  const std::vector<std::uint8_t> bytes = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
  std::vector<float> values(12);
  tasks::to_model_space(bytes, {2, 1, 2, 3}, values);
  const std::vector<int> order = {0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11};
  for (std::size_t i = 0; i < 12; ++i) CHECK(values[i] == tasks::model_value(static_cast<std::uint8_t>(order[i])));
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
  CHECK_THROWS_AS(tasks::to_model_space(bytes, {2, 1, 2, 3}, values), InputError);
  CHECK(support::contains(support::message_of([&] { tasks::to_model_space(bytes, {2, 1, 2, 3}, values); }), "11"));
}
