// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#include "segue/tasks/resample.hpp"

#include <vector>

#include "support/catch.hpp"

using namespace segue;

namespace {

struct Case {
  int width, height;
  std::vector<std::uint8_t> pixels;
};

}  // namespace

TEST_CASE("stretch gives Pillow's bytes", "[tasks]") {
  const io::Image picture{5, 4, 1, {0, 255, 10, 200, 30, 90, 17, 255, 0, 128, 5, 250, 60, 61, 62, 255, 255, 0, 0, 77}};
  // PIL 11.3: Image.fromarray(picture).resize((width, height), Image.BILINEAR)
  const std::vector<Case> cases = {
      {3, 2, {88, 123, 84, 165, 89, 56}},
      {8, 4, {0, 112, 240, 87,  69, 188, 104, 30, 90,  58,  32,  181, 175, 16, 72, 128,
              5, 112, 238, 119, 60, 61,  62,  62, 255, 255, 239, 80,  0,   0,  43, 77}},
      {5, 7, {0,  255, 10, 200, 30, 32, 170, 98,  129, 65, 84, 34, 238, 14,  121, 48, 134, 158,
              31, 95,  23, 250, 56, 57, 63,  166, 253, 21, 22, 72, 255, 255, 0,   0,  77}},
      {2, 4, {116, 105, 94, 99, 120, 70, 185, 36}},
      {1, 1, {101}},
      {5, 4, picture.pixels}};
  for (const Case& expected : cases) {
    const io::Image got = tasks::stretch(picture, expected.width, expected.height);
    INFO(expected.width << "x" << expected.height);
    CHECK(got.width == expected.width);
    CHECK(got.height == expected.height);
    CHECK(got.pixels == expected.pixels);
  }
}

TEST_CASE("stretch treats channels alike", "[tasks]") {
  io::Image grey{3, 2, 1, {10, 200, 30, 40, 50, 255}};
  io::Image colour{3, 2, 3, {}};
  for (const std::uint8_t v : grey.pixels) {
    colour.pixels.insert(colour.pixels.end(), {v, 0, static_cast<std::uint8_t>(255 - v)});
  }
  const io::Image one = tasks::stretch(grey, 7, 5), three = tasks::stretch(colour, 7, 5);
  REQUIRE(three.pixels.size() == 3 * one.pixels.size());
  for (std::size_t i = 0; i < one.pixels.size(); ++i) {
    CHECK(three.pixels[3 * i] == one.pixels[i]);
    CHECK(three.pixels[3 * i + 1] == 0);
  }
}

TEST_CASE("a size without pixels is refused", "[tasks]") {
  const io::Image picture{1, 1, 1, {7}};
  CHECK_THROWS_AS(tasks::stretch(picture, 0, 3), InputError);
  CHECK_THROWS_AS(tasks::stretch(io::Image{}, 3, 3), InputError);
}

TEST_CASE("threshold is strict at 127", "[tasks]") {
  io::Image picture{4, 1, 1, {0, 127, 128, 255}};
  tasks::threshold(picture);
  CHECK(picture.pixels == std::vector<std::uint8_t>{0, 0, 255, 255});
}
