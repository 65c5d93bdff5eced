// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#include "segue/tasks/baselines.hpp"

#include <cmath>
#include <string>
#include <vector>

#include "segue/tasks/pair_folder.hpp"
#include "support/catch.hpp"
#include "support/paths.hpp"

using namespace segue;
using tasks::Pair;
using tasks::Score;

namespace {

/// A row of pixels: grey where `mask` is 0, coloured where it is 1, with a little variation.
Pair row(const std::vector<int>& mask, int shift) {
  const int width = static_cast<int>(mask.size());
  Pair pair{"row", {width, 1, 3, {}}, {width, 1, 3, {}}};
  for (std::size_t x = 0; x < mask.size(); ++x) {
    const auto base = static_cast<std::uint8_t>(60 + 7 * ((x + static_cast<std::size_t>(shift)) % 4));
    const std::uint8_t red = mask[x] ? static_cast<std::uint8_t>(base + 120) : base;
    pair.input.pixels.insert(pair.input.pixels.end(), {red, base, base});
    pair.target.pixels.insert(pair.target.pixels.end(), 3, mask[x] ? 255 : 0);
  }
  return pair;
}

double value_of(const std::vector<tasks::BaselineScore>& scores, const std::string& name) {
  for (const tasks::BaselineScore& s : scores) {
    if (s.name == name) return s.value;
  }
  return -1;
}

}  // namespace

TEST_CASE("baselines learn what they can", "[tasks]") {
  const std::vector<Pair> train = {row({1, 1, 1, 0, 0, 0, 0, 0}, 0), row({1, 1, 0, 0, 0, 0, 0, 1}, 1),
                                   row({1, 0, 1, 0, 0, 0, 0, 0}, 2)};
  const std::vector<Pair> test = {row({0, 0, 0, 0, 0, 1, 1, 1}, 3), row({1, 1, 1, 0, 0, 0, 0, 0}, 1)};
  // Pixels 0, 1 and 2 are foreground in more than half of the training targets.
  CHECK(tasks::foreground(tasks::MeanMask(train)(test[0].input)) == std::vector<std::uint8_t>{1, 1, 1, 0, 0, 0, 0, 0});
  const auto scores = tasks::score_baselines(Score::Iou, true, train, test);
  REQUIRE(scores.size() == 4);
  CHECK(value_of(scores, "copy_input") == 0.0);
  CHECK(value_of(scores, "mean_mask") == 0.5);
  CHECK(value_of(scores, "colour_gaussian") == 1.0);
  CHECK(value_of(scores, "otsu") == 1.0);
  CHECK(tasks::score_baselines(Score::Mae, false, train, test).size() == 1);
  CHECK_THROWS_AS(tasks::ColourGaussian(std::span<const Pair>{}), InputError);
}

TEST_CASE("half of the votes is not more than half", "[tasks]") {
  const std::vector<Pair> train = {row({1, 1, 0}, 0), row({1, 0, 0}, 0)};
  CHECK(tasks::foreground(tasks::MeanMask(train)(train[0].input)) == std::vector<std::uint8_t>{1, 0, 0});
}

TEST_CASE("otsu takes the dark side where that fits", "[tasks]") {
  std::vector<Pair> train = {row({1, 1, 0, 0, 0, 0, 0, 0}, 0)};
  for (std::uint8_t& v : train[0].input.pixels) v = static_cast<std::uint8_t>(255 - v);
  CHECK(tasks::score_predictor(tasks::Otsu(train), Score::Iou, train) == 1.0);
}

TEST_CASE("a class without pixels never wins", "[tasks]") {
  const std::vector<Pair> train = {row({0, 0, 0, 0}, 0)};
  CHECK(tasks::foreground(tasks::ColourGaussian(train)(train[0].input)) == std::vector<std::uint8_t>{0, 0, 0, 0});
}

TEST_CASE("mean_pose averages what is labelled", "[tasks]") {
  const std::vector<tasks::Pose> train = {{tasks::Point{1, 2}, std::nullopt, std::nullopt},
                                          {tasks::Point{3, 6}, tasks::Point{5, 5}, std::nullopt}};
  const tasks::Pose mean = tasks::mean_pose(train);
  CHECK(mean[0]->x == 2.0);
  CHECK(mean[0]->y == 4.0);
  CHECK(mean[1]->x == 5.0);
  CHECK(!mean[2].has_value());
}

TEST_CASE("mode_grid takes the most frequent value of each cell", "[tasks]") {
  const std::vector<tasks::Grid> outputs = {{1, 3, {1, 5, 2}}, {1, 3, {1, 4, 0}}, {1, 3, {3, 4, 2}}, {1, 3, {3, 5, 7}}};
  CHECK(tasks::mode_grid(outputs) == tasks::Grid{1, 3, {1, 4, 2}});
  const std::vector<tasks::Grid> sizes = {{1, 2, {1, 1}}, {2, 1, {1, 1}}};
  CHECK(!tasks::mode_grid(sizes).has_value());
  CHECK_THROWS_AS(tasks::mode_grid(std::span<const tasks::Grid>{}), InputError);
}

TEST_CASE("baselines on real pictures give the known figures", "[tasks][data]") {
  const auto dir = support::data_dir("pairs");
  if (!dir) return;
  struct Row {
    std::string folder;
    int shots;
    std::string baseline;
    double value;
  };
  // Computed independently in Python; three decimals are known.
  const std::vector<Row> rows = {
      {"wbc-cell", 3, "colour_gaussian", 0.863},  {"wbc-cell", 10, "colour_gaussian", 0.872},
      {"wbc-cell", 30, "colour_gaussian", 0.890}, {"wbc-cell", 10, "copy_input", 0.151},
      {"wbc-cell", 10, "mean_mask", 0.757},       {"wbc-nucleus", 10, "colour_gaussian", 0.787},
      {"wbc-nucleus", 10, "copy_input", 0.005},   {"nuclei", 10, "otsu", 0.758},
      {"nuclei", 10, "copy_input", 0.054}};
  for (const Row& row : rows) {
    const tasks::PairFolder folder((*dir / row.folder).string(), 64, 64);
    INFO(row.folder << " " << row.shots << " " << row.baseline);
    CHECK(folder.score() == Score::Iou);
    const double got = value_of(
        tasks::score_baselines(Score::Iou, folder.two_valued(), folder.train(row.shots), folder.test()), row.baseline);
    CHECK(std::abs(got - row.value) < 0.0006);
  }
  const tasks::PairFolder mice((*dir / "mouse-keypoints").string(), 64, 64);
  CHECK(mice.score() == Score::Pck);
  const tasks::Pose mean = tasks::mean_pose(mice.train_poses(30));
  tasks::PckCount guessed, read_back;
  for (std::size_t i = 0; i < mice.test_poses().size(); ++i) {
    const tasks::Pose& label = mice.test_poses()[i];
    guessed += tasks::count_pck(mean, label, 64, 64);
    read_back += tasks::count_pck(tasks::decode_pose(mice.test()[i].target, mice.keypoints()->colours), label, 64, 64);
  }
  CHECK(std::abs(guessed.value() - 0.40) < 0.005);
  CHECK(read_back.value() == 1.0);
  CHECK(read_back.spurious == 0);
}
