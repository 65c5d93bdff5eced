// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#include "segue/tasks/keypoints.hpp"

#include <cmath>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/paths.hpp"

using namespace segue;
using tasks::Colour;
using tasks::Point;
using tasks::Pose;

namespace {

std::string written(const support::TempDir& dir, const std::string& text) {
  const std::string path = (dir / "keypoints.json").string();
  write_file_atomically(path, text);
  return path;
}

int lit(const io::Image& image) {
  int count = 0;
  for (std::size_t p = 0; p < image.pixels.size(); p += 3) {
    count += image.pixels[p] || image.pixels[p + 1] || image.pixels[p + 2] ? 1 : 0;
  }
  return count;
}

}  // namespace

TEST_CASE("discs have the radius of the data sets", "[tasks]") {
  const std::vector<Colour> red = {Colour{255, 0, 0}};
  // Rows of 3, 5, 7, 7, 7, 5, 3 pixels at 128; a 3x3 block at 64.
  CHECK(lit(tasks::draw_pose({Point{60.4, 60.7}}, red, 128, 128)) == 37);
  CHECK(lit(tasks::draw_pose({Point{30.2, 30.4}}, red, 64, 64)) == 9);
  CHECK(lit(tasks::draw_pose({Point{0.0, 0.0}}, red, 64, 64)) == 4);  // clipped at the corner
  CHECK(lit(tasks::draw_pose({Point{-100.0, 0.0}}, red, 64, 64)) == 0);
  CHECK(lit(tasks::draw_pose({std::nullopt}, red, 64, 64)) == 0);
}

TEST_CASE("a drawn pose is read back within half a pixel", "[tasks]") {
  const std::vector<Colour> colours = {Colour{255, 0, 0}, Colour{0, 255, 30}, Colour{60, 0, 255}};
  const Pose pose = {Point{12.3, 40.9}, std::nullopt, Point{50.0, 20.5}};
  const Pose read = tasks::decode_pose(tasks::draw_pose(pose, colours, 64, 64), colours);
  REQUIRE(read.size() == 3);
  REQUIRE(read[0].has_value());
  REQUIRE(read[2].has_value());
  CHECK(!read[1].has_value());
  CHECK(std::abs(read[0]->x - pose[0]->x) <= 0.5);
  CHECK(std::abs(read[0]->y - pose[0]->y) <= 0.5);
  CHECK(std::abs(read[2]->x - pose[2]->x) <= 0.5);
  CHECK(std::abs(read[2]->y - pose[2]->y) <= 0.5);
}

TEST_CASE("dots that are dim, smeared or of a neighbour's colour are read too", "[tasks]") {
  const std::vector<Colour> colours = {Colour{255, 0, 0}, Colour{255, 89, 0}};
  // A bright dot of the first part, and far off a dimmer stain of colours between the two: a centroid of all that is
  // red would lie between them.
  io::Image picture = tasks::draw_pose({Point{10.5, 20.5}, std::nullopt}, colours, 64, 64);
  const io::Image stain = tasks::draw_pose({Point{50.5, 40.5}}, std::vector<Colour>{Colour{70, 12, 0}}, 64, 64);
  for (std::size_t i = 0; i < picture.pixels.size(); ++i) picture.pixels[i] |= stain.pixels[i];
  const Pose read = tasks::decode_pose(picture, colours);
  REQUIRE(read[0].has_value());
  CHECK(std::hypot(read[0]->x - 10.5, read[0]->y - 20.5) < 1e-9);
  // Where the second part is known to be near the stain, the stain is it.
  const std::vector<Pose> known = {{std::nullopt, Point{48, 40}}, {std::nullopt, Point{52, 42}}};
  const tasks::PosePrior prior = tasks::pose_prior(known, 64, 64);
  CHECK(!prior.parts[0].has_value());
  CHECK(prior.parts[1]->mean.x == 50.0);
  CHECK(prior.parts[1]->variance.x == 4.0 + 4.0);  // a 32nd of 64 pixels, squared, on top
  const Pose told = tasks::decode_pose(picture, colours, prior);
  REQUIRE(told[1].has_value());
  CHECK(std::hypot(told[1]->x - 50.5, told[1]->y - 40.5) < 0.1);
}

TEST_CASE("votes of pixels read what is drawn, and are drawn away by stains", "[tasks]") {
  const std::vector<Colour> colours = {Colour{255, 0, 0}, Colour{0, 255, 30}, Colour{60, 0, 255}};
  io::Image picture = tasks::draw_pose({Point{12.3, 40.9}, std::nullopt, Point{50.0, 20.5}}, colours, 64, 64);
  const Pose read = tasks::decode_pose_by_votes(picture, colours);
  REQUIRE((read[0] && !read[1] && read[2]));
  CHECK(std::hypot(read[0]->x - 12.5, read[0]->y - 40.5) < 1e-9);
  CHECK(std::hypot(read[2]->x - 50.5, read[2]->y - 20.5) < 1e-9);
  // One pixel of half the weight in the other corner; at 128 it would not vote.
  const auto corner = picture.pixels.end() - 3;
  *corner = 129;
  const Pose drawn_away = tasks::decode_pose_by_votes(picture, colours);
  CHECK(std::abs(drawn_away[0]->x - (9 * 255 * 12.5 + 129 * 63.5) / (9 * 255 + 129)) < 1e-9);
  CHECK(std::abs(drawn_away[0]->y - (9 * 255 * 40.5 + 129 * 63.5) / (9 * 255 + 129)) < 1e-9);
  *corner = 128;
  CHECK(std::abs(tasks::decode_pose_by_votes(picture, colours)[0]->x - 12.5) < 1e-9);
  CHECK_THROWS_AS(tasks::decode_pose_by_votes(io::Image{1, 1, 1, {0}}, colours), InputError);
}

TEST_CASE("what does not show its colour is absent, however likely it is", "[tasks]") {
  const std::vector<Colour> red = {Colour{255, 0, 0}};
  const std::vector<Pose> known = {{Point{32, 32}}};
  const tasks::PosePrior prior = tasks::pose_prior(known, 64, 64);
  io::Image picture{64, 64, 3, std::vector<std::uint8_t>(64 * 64 * 3, 90)};  // grey is 55 degrees from red
  CHECK(!tasks::decode_pose(picture, red, prior)[0].has_value());
  picture = tasks::draw_pose({Point{32, 32}}, std::vector<Colour>{Colour{4, 0, 0}}, 64, 64);
  CHECK(!tasks::decode_pose(picture, red, prior)[0].has_value());
  picture = tasks::draw_pose({Point{32, 32}}, std::vector<Colour>{Colour{40, 0, 0}}, 64, 64);
  CHECK(tasks::decode_pose(picture, red, prior)[0].has_value());
  CHECK_THROWS_AS(tasks::decode_pose(io::Image{1, 1, 1, {0}}, red), InputError);
}

TEST_CASE("PCK counts hits, misses and dots for nothing", "[tasks]") {
  // 0.05 of the diagonal of 64x64 is 4.5255 pixels.
  const Pose label = {Point{10, 10}, Point{20, 20}, Point{30, 30}, std::nullopt, std::nullopt};
  const Pose guess = {Point{14.5, 10}, Point{20, 24.6}, std::nullopt, Point{1, 1}, std::nullopt};
  tasks::PckCount count = tasks::count_pck(guess, label, 64, 64);
  CHECK(count.hits == 1);
  CHECK(count.labelled == 3);
  CHECK(count.spurious == 1);
  count += count;
  CHECK(count.value() == 1.0 / 3.0);
  CHECK(tasks::PckCount{}.value() == 0.0);
  CHECK_THROWS_AS(tasks::count_pck({Point{}}, label, 64, 64), InputError);
}

TEST_CASE("keypoints.json is read, and its faults are named", "[tasks]") {
  const support::TempDir dir;
  const std::string good = R"({"parts": ["nose", "tail"], "colours": [[255, 0, 0], [0, 255, 30]], "size": 128,
    "points": {"train": {"a": [[1.5, 2], null]}, "test": {"b": [null, [3, 4]]}}})";
  const tasks::Keypoints read = tasks::read_keypoints(written(dir, good));
  CHECK(read.parts == std::vector<std::string>{"nose", "tail"});
  CHECK(read.colours[1] == Colour{0, 255, 30});
  CHECK(read.size == 128.0);
  REQUIRE(read.train.count("a") == 1);
  CHECK(read.train.at("a")[0]->x == 1.5);
  CHECK(!read.train.at("a")[1].has_value());
  const Pose scaled = tasks::scale_pose(read.test.at("b"), read.size, 64, 32);
  CHECK(scaled[1]->x == 1.5);
  CHECK(scaled[1]->y == 1.0);

  const auto fault = [&](const std::string& from, const std::string& to) {
    std::string text = good;
    text.replace(text.find(from), from.size(), to);
    const std::string path = written(dir, text);
    return support::message_of<InputError>([&] { tasks::read_keypoints(path); });
  };
  CHECK(support::contains(fault("[0, 255, 30]", "[0, 256, 30]"), "colours"));
  CHECK(support::contains(fault(", [0, 255, 30]", ""), "number of colours is 1, expected 2"));
  CHECK(support::contains(fault("\"size\": 128", "\"size\": 0"), "size"));
  CHECK(support::contains(fault("[[1.5, 2], null]", "[[1.5, 2]]"), "points of train/a"));
  CHECK(support::contains(fault("[3, 4]", "[3]"), "points of test/b"));
  CHECK(support::contains(fault("\"points\"", "\"dots\""), "keypoints.json"));
}
