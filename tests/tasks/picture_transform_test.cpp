// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#include "segue/tasks/picture_transform.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/paths.hpp"
#include "support/pictures.hpp"

using namespace segue;
using io::Image;
using support::noise;
using tasks::PictureTransform;
namespace fs = std::filesystem;

namespace {

int value(const Image& image, int x, int y, int c = 0) {
  return image.pixels[static_cast<std::size_t>((y * image.width + x) * image.channels + c)];
}

/// '.' is `low`, any other letter `high`.
Image drawn(const std::vector<std::string>& rows, std::uint8_t low, std::uint8_t high) {
  Image image{static_cast<int>(rows[0].size()), static_cast<int>(rows.size()), 3, {}};
  for (const std::string& row : rows) {
    for (const char c : row) image.pixels.insert(image.pixels.end(), 3, c == '.' ? low : high);
  }
  return image;
}

std::vector<std::string> letters(const Image& edges) {
  std::vector<std::string> rows;
  for (int y = 0; y < edges.height; ++y) {
    rows.emplace_back();
    for (int x = 0; x < edges.width; ++x) rows.back() += value(edges, x, y) == 255 ? '#' : '.';
  }
  return rows;
}

}  // namespace

TEST_CASE("flips move every pixel to the other side", "[tasks]") {
  const Image image = noise(7, 5, 1);
  const tasks::Pair flip = tasks::transform_picture(PictureTransform::Flip, {"a", image});
  const tasks::Pair over = tasks::transform_picture(PictureTransform::FlipVertical, {"b", image});
  CHECK(flip.name == "a");
  CHECK(flip.input == image);
  for (int y = 0; y < 5; ++y) {
    for (int x = 0; x < 7; ++x) {
      for (int c = 0; c < 3; ++c) {
        CHECK(value(flip.target, x, y, c) == value(image, 6 - x, y, c));
        CHECK(value(over.target, x, y, c) == value(image, x, 4 - y, c));
      }
    }
  }
}

TEST_CASE("zoom shows the middle half at twice the size", "[tasks]") {
  // A row of equal columns: output column 2k + 1 lies a quarter of a pixel right of the centre of input column k.
  Image image{8, 8, 3, {}};
  for (int i = 0; i < 64; ++i) image.pixels.insert(image.pixels.end(), 3, static_cast<std::uint8_t>(i % 8 * 32));
  const tasks::Pair pair = tasks::transform_picture(PictureTransform::Zoom, {"a", image});
  const std::vector<int> expected = {64, 72, 88, 104, 120, 136, 152, 160};
  for (int x = 0; x < 8; ++x) CHECK(value(pair.target, x, 3) == expected[static_cast<std::size_t>(x)]);
  CHECK(pair.target.height == 8);
  const tasks::Pair odd = tasks::transform_picture(PictureTransform::Zoom, {"a", noise(7, 5, 1)});
  CHECK(odd.target.width == 7);
  CHECK(odd.target.height == 5);
}

TEST_CASE("colourise shows grey and asks for colour, inpaint hides the middle", "[tasks]") {
  Image image = noise(8, 8, 2);
  const tasks::Pair grey = tasks::transform_picture(PictureTransform::Colourise, {"a", image});
  CHECK(grey.target == image);
  for (int i = 0; i < 64; ++i) {
    const int x = i % 8, y = i / 8;
    const double luma = 0.299 * value(image, x, y, 0) + 0.587 * value(image, x, y, 1) + 0.114 * value(image, x, y, 2);
    CHECK(std::abs(value(grey.input, x, y, 0) - luma) < 0.51);
    CHECK(value(grey.input, x, y, 1) == value(grey.input, x, y, 0));
    CHECK(value(grey.input, x, y, 2) == value(grey.input, x, y, 0));
  }
  const tasks::Pair hole = tasks::transform_picture(PictureTransform::Inpaint, {"a", image});
  CHECK(hole.target == image);
  for (int i = 0; i < 64; ++i) {
    const int x = i % 8, y = i / 8;
    const bool inside = x >= 2 && x < 6 && y >= 2 && y < 6;
    for (int c = 0; c < 3; ++c) CHECK(value(hole.input, x, y, c) == (inside ? 127 : value(image, x, y, c)));
  }
}

TEST_CASE("edges are thin and lie where the brightness steps", "[tasks]") {
  // Both pixels beside an upright step have the same gradient; of equals the left one stays.
  CHECK(letters(tasks::canny_edges(drawn({"...aaa", "...aaa", "...aaa", "...aaa"}, 0, 255))) ==
        std::vector<std::string>{"..#...", "..#...", "..#...", "..#..."});
  CHECK(letters(tasks::canny_edges(drawn({"....", "....", "aaaa", "aaaa"}, 0, 255))) ==
        std::vector<std::string>{"....", "####", "....", "...."});
  // A step of s has a gradient of 4 s: 50 is not above 200, 25 not above 100.
  CHECK(letters(tasks::canny_edges(drawn({"..aa", "..aa", "..aa"}, 0, 50))) ==
        std::vector<std::string>{"....", "....", "...."});
  CHECK(letters(tasks::canny_edges(drawn({"..aa", "..aa", "..aa"}, 0, 51))) ==
        std::vector<std::string>{".#..", ".#..", ".#.."});
  CHECK(letters(tasks::canny_edges(drawn({"..aa", "..aa", "..aa"}, 0, 25), {100, 100})) ==
        std::vector<std::string>{"....", "....", "...."});
  // A weak edge lives on where it touches a strong one: the step fades from 60 to 30 downwards.
  Image fading = drawn({"..aa", "..aa", "..aa", "..aa", "..aa"}, 0, 60);
  for (int y = 2; y < 5; ++y) {
    for (int x = 2; x < 4; ++x) {
      for (int c = 0; c < 3; ++c) fading.pixels[static_cast<std::size_t>((y * 4 + x) * 3 + c)] = 30;
    }
  }
  const std::vector<std::string> faded = letters(tasks::canny_edges(fading));
  CHECK(faded[0] == ".#..");
  CHECK(faded[4] == ".#..");
  CHECK(letters(tasks::canny_edges(fading, {130, 200}))[4] == "....");
  CHECK_THROWS_AS(tasks::canny_edges(fading, {5, 4}), InputError);
}

TEST_CASE("edges in all directions are those of OpenCV", "[tasks]") {
  Image bowl{16, 12, 3, {}};
  for (int y = 0; y < 12; ++y) {
    for (int x = 0; x < 16; ++x) {
      const int v = (x + 2 * y) % 9 == 0 ? 128 : std::min(255, ((x - 7) * (x - 7) + (y - 5) * (y - 5)) * 9 / 2);
      bowl.pixels.insert(bowl.pixels.end(), 3, static_cast<std::uint8_t>(v));
    }
  }
  // cv2.Canny(grey, 100, 200) and cv2.Canny(grey, 60, 320) of OpenCV 5.0.0.
  std::vector<std::string> expected = {"#..###..........", "..##....#####.#.", ".##...##....#...", ".#..##...#..#.#.",
                                       ".#.#....#.#..#..", ".#....#...#..#.#", ".#..#...#..#.#.#", ".#..#........###",
                                       "..#......#..##..", "..##..#.#..##...", "#..##..#..##..#.", "....#........#.#"};
  CHECK(letters(tasks::canny_edges(bowl)) == expected);
  expected[5] = ".#........#..#.#";
  expected[6] = ".#..#......#.#.#";
  CHECK(letters(tasks::canny_edges(bowl, {60, 320})) == expected);
}

TEST_CASE("pictures of a folder become pairs, halves stay apart", "[tasks]") {
  const support::TempDir dir;
  fs::create_directories(dir / "plain");
  for (const std::string half : {"train", "test"}) {
    fs::create_directories(dir / "halves" / half);
    fs::create_directories(dir / "pairs" / half / "input");
  }
  for (const std::string name : {"b", "a", "c"})
    io::save_png((dir / "plain" / (name + ".png")).string(), noise(6, 6, 3));
  for (const std::string name : {"x", "y"}) {
    io::save_png((dir / "halves" / "train" / (name + ".png")).string(), noise(6, 6, 4));
    io::save_png((dir / "pairs" / "train" / "input" / (name + ".png")).string(), noise(6, 6, 4));
  }
  io::save_png((dir / "halves" / "test" / "z.png").string(), noise(6, 6, 5));
  io::save_png((dir / "pairs" / "test" / "input" / "z.png").string(), noise(6, 6, 5));

  const tasks::TransformFolder plain((dir / "plain").string(), PictureTransform::Flip, 4, 4);
  CHECK(plain.train(2)[0].name == "a");
  CHECK(plain.train(2)[1].name == "b");
  REQUIRE(plain.test(2).size() == 1);
  CHECK(plain.test(2)[0].name == "c");
  CHECK(plain.train(1)[0].target.width == 4);
  CHECK(plain.score() == tasks::Score::Mae);
  CHECK_THROWS_AS(plain.train(4), InputError);
  for (const std::string folder : {"halves", "pairs"}) {
    const tasks::TransformFolder halves((dir / folder).string(), PictureTransform::Edges, 6, 6);
    CHECK(halves.train(2)[1].name == "y");
    CHECK_THROWS_AS(halves.train(3), InputError);
    REQUIRE(halves.test(1).size() == 1);
    CHECK(halves.test(1)[0].name == "z");
    CHECK(halves.test(1)[0].target == tasks::canny_edges(noise(6, 6, 5)));
    CHECK(halves.score() == tasks::Score::Iou);
    CHECK(halves.two_valued());
  }
  CHECK(support::message_of<InputError>([] { tasks::TransformFolder("/nowhere", PictureTransform::Flip, 4, 4); }) ==
        "/nowhere: the folder of pictures is missing");
  CHECK(support::message_of<InputError>([] { tasks::picture_transform_from_name("colorise"); }) ==
        "transform: 'colorise' is no transform, did you mean 'colourise'?");
  CHECK(support::contains(support::message_of<InputError>([] { tasks::picture_transform_from_name("blur9"); }),
                          "there are flip, flip-vertical, zoom, edges, colourise, inpaint"));
  for (const PictureTransform t : tasks::all_picture_transforms) {
    CHECK(tasks::picture_transform_from_name(tasks::name(t)) == t);
  }
}
