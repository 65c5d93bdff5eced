// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#include "segue/tasks/metrics.hpp"

#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/errors.hpp"

using namespace segue;
using tasks::Score;

TEST_CASE("foreground is a mean above 127", "[tasks]") {
  const io::Image picture{4, 1, 3, {127, 127, 127, 127, 127, 128, 255, 126, 0, 255, 127, 0}};
  CHECK(tasks::foreground(picture) == std::vector<std::uint8_t>{0, 1, 0, 1});
  const io::Image grey{2, 1, 1, {127, 128}};
  CHECK(tasks::foreground(grey) == std::vector<std::uint8_t>{0, 1});
}

TEST_CASE("intersection over union", "[tasks]") {
  const std::vector<std::uint8_t> a = {1, 1, 0, 0}, b = {0, 1, 1, 0}, none = {0, 0, 0, 0};
  CHECK(tasks::intersection_over_union(a, b) == 1.0 / 3.0);
  CHECK(tasks::intersection_over_union(a, a) == 1.0);
  CHECK(tasks::intersection_over_union(a, none) == 0.0);
  CHECK(tasks::intersection_over_union(none, none) == 0.0);
}

TEST_CASE("scores are averaged over pictures", "[tasks]") {
  const io::Image white{1, 1, 3, {255, 255, 255}}, black{1, 1, 3, {0, 0, 0}}, grey{1, 1, 3, {200, 200, 200}};
  const std::vector<tasks::Pair> items = {{"a", black, white}, {"b", black, black}};
  const std::vector<io::Image> answers = {grey, black};
  CHECK(tasks::score_pictures(Score::Iou, answers, items) == 0.5);
  CHECK(tasks::score_pictures(Score::Exact, answers, items) == 0.5);
  CHECK(tasks::score_pictures(Score::Mae, answers, items) == 27.5);
  CHECK_THROWS_AS(tasks::score_pictures(Score::Pck, answers, items), InputError);
  const io::Image wide{2, 1, 3, {0, 0, 0, 0, 0, 0}};
  CHECK(support::message_of<InputError>([&] { tasks::iou(wide, white); }) ==
        "iou: prediction is 2x1x3, expected 1x1x3 like the target");
}

TEST_CASE("the score follows from the task, and has a name", "[tasks]") {
  CHECK(tasks::default_score(true, false, true) == Score::Pck);
  CHECK(tasks::default_score(false, true, false) == Score::Exact);
  CHECK(tasks::default_score(false, false, true) == Score::Iou);
  CHECK(tasks::default_score(false, false, false) == Score::Mae);
  for (const Score score : tasks::all_scores) {
    CHECK(tasks::score_from_name(tasks::name(score)) == score);
    CHECK(tasks::higher_is_better(score) == (score != Score::Mae));
  }
  CHECK_THROWS_AS(tasks::score_from_name("dice"), InputError);
}
