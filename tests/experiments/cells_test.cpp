// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#include "experiments/cells.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <string>

#include "experiments/results.hpp"
#include "fewshot/task.hpp"
#include "segue/core/posix.hpp"
#include "segue/io/image.hpp"
#include "segue/tasks/draws.hpp"
#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/paths.hpp"

using namespace experiments;
using segue::InputError;
using segue::io::Json;
using support::contains;
using support::message_of;

namespace {

Table table_of(const std::string& rows) {
  const std::string text = R"({"defaults": {"task": ["--life", "B3/S2"], "modes": ["pretrained", "scratch"],
    "seeds": [0, 1], "lrs": {"pretrained": [0.1, 0.2, 0.3], "scratch": [0.5]}}, "rows": [)" +
                           rows + "]}";
  return read_table(segue::io::parse_json(text, "t.json"), "t.json");
}

std::vector<std::string> labels_of(const std::vector<Group>& groups) {
  std::vector<std::string> out;
  for (const Group& group : groups) {
    for (const Cell& cell : group.cells) out.push_back(cell.label());
  }
  return out;
}

}  // namespace

TEST_CASE("a row is a cell of rules, and a mode's searches before its fits") {
  const Table table = table_of(R"({"name": "a", "shots": [3]})");
  CHECK(labels_of(groups_of(table)) ==
        std::vector<std::string>{"a-n3-rules", "a-n3-pretrained-r16-lr0.1", "a-n3-pretrained-r16-lr0.2",
                                 "a-n3-pretrained-r16-lr0.3", "a-n3-pretrained-r16-s0", "a-n3-pretrained-r16-s1",
                                 "a-n3-scratch-s0", "a-n3-scratch-s1"});
}

TEST_CASE("every rate is tried with every augmentation") {
  const Table table = table_of(R"({"name": "a", "shots": [3], "augments": ["none", "turns+colours"], "seeds": [1]})");
  CHECK(labels_of(groups_of(table)) ==
        std::vector<std::string>{"a-n3-rules", "a-n3-pretrained-r16-lr0.1", "a-n3-pretrained-r16-lr0.2",
                                 "a-n3-pretrained-r16-lr0.3", "a-n3-pretrained-r16-turns+colours-lr0.1",
                                 "a-n3-pretrained-r16-turns+colours-lr0.2", "a-n3-pretrained-r16-turns+colours-lr0.3",
                                 "a-n3-pretrained-r16-s1", "a-n3-scratch-lr0.5", "a-n3-scratch-turns+colours-lr0.5",
                                 "a-n3-scratch-s1"});
  std::set<std::string> settings;
  for (const Group& group : groups_of(table)) {
    for (const Cell& cell : group.cells) settings.insert(segue::io::dump_json(cell.settings()));
  }
  CHECK(settings.size() == 11);
}

TEST_CASE("what two rows ask for is fitted once, and never without its searches") {
  const Table table = table_of(R"({"name": "a", "modes": ["pretrained"]},
                                  {"name": "b", "modes": ["pretrained"], "ranks": [4, 16]},
                                  {"name": "c", "modes": ["pretrained"], "attempts": 2})");
  std::map<std::string, int> fits;
  for (const Group& group : groups_of(table)) {
    std::set<double> searched;
    for (const Cell& cell : group.cells) {
      if (cell.kind == CellKind::search) searched.insert(cell.lr);
      if (cell.kind != CellKind::fit) continue;
      CHECK(searched == std::set<double>{0.1, 0.2, 0.3});
      ++fits[segue::io::dump_json(cell.settings())];
    }
  }
  CHECK(fits.size() == 6);  // a's two, two more of rank 4, two more of two attempts
  for (const auto& [settings, count] : fits) CHECK(count == 1);
}

TEST_CASE("a key stays what it is, and changes with each setting and with the model") {
  const Table table = table_of(R"({"name": "a", "shots": [10]})");
  Cell cell{CellKind::fit, &table.rows[0], 10, Mode::pretrained, 16, segue::tasks::Transition::Discrete, 0, 0};
  Json identity = Json::object();
  identity["device"] = "cpu";
  // FNV-1a of the two documents below, by another program: results on disk must be found again by later versions.
  CHECK(segue::io::dump_json(cell.settings(), -1) ==
        R"({"kind":"fit","task":["--life","B3/S2"],"shots":10,"test":0,"mode":"pretrained","rank":16,)"
        R"("transition":"discrete","steps":400,"batch":16,"sample_steps":20,"shift":25.0,"seed":0,"lrs":[0.1,0.2,0.3],)"
        R"("attempts":1})");
  const std::string key = key_of(cell.settings(), identity);
  CHECK(key == "4e653947eb9ea512");

  std::set<std::string> keys = {key};
  const auto differs = [&](const Cell& other) { return keys.insert(key_of(other.settings(), identity)).second; };
  Cell other = cell;
  other.seed = 1;
  CHECK(differs(other));
  other = cell;
  other.rank = 4;
  CHECK(differs(other));
  other = cell;
  other.mode = Mode::scratch;
  CHECK(differs(other));
  other = cell;
  other.shots = 3;
  CHECK(differs(other));
  other = cell;
  other.transition = segue::tasks::Transition::Tiles;
  CHECK(differs(other));
  other = cell;
  other.kind = CellKind::rules;
  CHECK(differs(other));
  for (const char* change : {R"("steps": 5)", R"("batch": 5)", R"("shift": 5)", R"("sample_steps": 5)", R"("test": 5)",
                             R"("attempts": 5)", R"("task": [])", R"("lrs": {"pretrained": [0.7]})", R"("average": 5)",
                             R"("canvas": 128)", R"("augments": ["turns"])"}) {
    const Table changed = table_of(std::string(R"({"name": "a", "modes": ["pretrained"], )") + change + "}");
    other = cell;
    other.row = &changed.rows[0];
    INFO(change);
    CHECK(differs(other));
  }
  identity["device"] = "cuda";
  CHECK(key_of(cell.settings(), identity) != key);

  // The name of a row is not a setting.
  const Table renamed = table_of(R"({"name": "b", "shots": [10]})");
  other = cell;
  other.row = &renamed.rows[0];
  identity["device"] = "cpu";
  CHECK(key_of(other.settings(), identity) == key);
}

TEST_CASE("shards take every group once, evenly, and always the same ones") {
  const Table table = table_of(R"({"name": "a", "shots": [3, 10, 30]}, {"name": "b", "task": [], "shots": [10, 30],
                                   "steps": 100})");
  const std::vector<Group> groups = groups_of(table);
  double all = 0, largest = 0;
  for (const Group& group : groups) {
    double cost = 0;
    for (const Cell& cell : group.cells) cost += cell.cost();
    all += cost;
    largest = std::max(largest, cost);
  }
  for (const int parts : {1, 2, 3, 50}) {
    const std::vector<int> shards = shards_of(groups, parts);
    REQUIRE(shards.size() == groups.size());
    CHECK(shards == shards_of(groups, parts));
    std::vector<double> load(static_cast<std::size_t>(parts), 0.0);
    for (std::size_t g = 0; g < groups.size(); ++g) {
      REQUIRE(shards[g] >= 0);
      REQUIRE(shards[g] < parts);
      for (const Cell& cell : groups[g].cells) load[static_cast<std::size_t>(shards[g])] += cell.cost();
    }
    CHECK(*std::max_element(load.begin(), load.end()) <= all / parts + largest);
  }
}

TEST_CASE("patterns of cells") {
  CHECK(matches_glob("wbc-cell-n10-scratch-s0", "*"));
  CHECK(matches_glob("wbc-cell-n10-scratch-s0", "wbc-*-s?"));
  CHECK(matches_glob("aab", "*ab"));
  CHECK(matches_glob("", "*"));
  CHECK_FALSE(matches_glob("wbc-cell-n10-scratch-s0", "wbc-*-s"));
  CHECK_FALSE(matches_glob("ab", "a"));
  CHECK_FALSE(matches_glob("", "?"));
}

TEST_CASE("pairs that are held out: each of three alone below ten, the last fifth from ten on") {
  using Folds = std::vector<std::vector<std::size_t>>;
  CHECK(held_out_folds(2) == Folds{{0}, {1}});
  CHECK(held_out_folds(3) == Folds{{0}, {1}, {2}});
  CHECK(held_out_folds(9) == Folds{{0}, {1}, {2}});
  CHECK(held_out_folds(10) == Folds{{8, 9}});
  CHECK(held_out_folds(14) == Folds{{12, 13}});
  CHECK(held_out_folds(30) == Folds{{24, 25, 26, 27, 28, 29}});
  CHECK(contains(message_of<InputError>([] { held_out_folds(1); }), "is 1, expected 2 or more"));
}

TEST_CASE("the best learning rate: by score, then by loss, then the smaller; failures last") {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const auto best = [](std::vector<Tried> tried, bool higher = true) {
    return tried[choose_candidate(tried, higher)].lr;
  };
  CHECK(best({{1, 0.5, 9, false}, {2, 0.7, 9, false}, {3, 0.6, 0, false}}) == 2);
  CHECK(best({{1, 0.5, 9, false}, {2, 0.7, 9, false}, {3, 0.6, 0, false}}, false) == 1);
  CHECK(best({{1, 0, 0.3, false}, {2, 0, 0.2, false}, {3, 0, 0.4, false}}) == 2);
  CHECK(best({{3, 0, 0.2, false}, {2, 0, 0.2, false}}) == 2);
  CHECK(best({{1, 0.9, 0, true}, {2, 0.1, 9, false}}) == 2);
  CHECK(best({{1, nan, 0, false}, {2, 0.1, 9, false}}) == 2);
  CHECK(best({{1, 0, nan, false}, {2, 0, 9, false}}) == 2);
  CHECK(best({{2, 0, 0, true}, {1, 0, 0, true}}) == 1);
  const std::vector<Tried> kinds = {
      {1, 0.5, 0, false, {}}, {1, 0.7, 0, false, {.turns = true}}, {2, 0.6, 0, false, {}}};
  CHECK(kinds[choose_candidate(kinds, true)].augmentation.turns);
  CHECK(contains(message_of<InputError>([] { choose_candidate({}, true); }), "is 0, expected 1 or more"));
}

TEST_CASE("a task with pairs held out learns from the others, asks these, and has nothing of the test items") {
  fewshot::Options options;
  options.shots = 5;
  const std::vector<std::size_t> asked = {4, 1};
  SECTION("grids") {
    options.life = "B3/S23";
    const fewshot::Task task(options, 64, 64);
    const fewshot::Task part = task.hold_out(asked);
    REQUIRE(part.train().size() == 3);
    REQUIRE(part.test().size() == 2);
    CHECK(part.train()[1].name == task.train()[2].name);
    CHECK(part.test()[0].name == task.train()[1].name);
    CHECK(part.test()[1].target.pixels == task.train()[4].target.pixels);
    // The right answers of the held-out pairs are all right; those of test items are not.
    const auto targets = [](std::span<const segue::tasks::Pair> pairs) {
      std::vector<segue::io::Image> out;
      for (const auto& pair : pairs) out.push_back(pair.target);
      return std::vector<std::vector<segue::io::Image>>{out};
    };
    CHECK(part.evaluate(targets(part.test())).value == 1.0);
    CHECK(part.evaluate(targets(task.test().first(2))).value < 1.0);
  }
  SECTION("pictures") {
    const fewshot::Task task(options, 64, 64);
    const fewshot::Task part = task.hold_out(asked);
    CHECK(part.score() == segue::tasks::Score::Iou);
    CHECK(part.test()[1].input.pixels == task.train()[4].input.pixels);
    CHECK(part.baselines().size() == task.baselines().size());
    const std::vector<std::size_t> all = {0, 1, 2, 3, 4}, beyond = {5};
    CHECK(contains(message_of<InputError>([&] { task.hold_out(all); }), "number of held-out pairs is 5"));
    CHECK(contains(message_of<InputError>([&] { task.hold_out({}); }), "number of held-out pairs is 0"));
    CHECK(contains(message_of<InputError>([&] { task.hold_out(beyond); }), "is 5, expected below 5"));
  }
}

TEST_CASE("answers of a large canvas may be judged at a smaller size") {
  const support::TempDir dir;
  segue::tasks::Draws draws(4);
  for (const char* split : {"train", "test"}) {
    for (int i = 0; i < 4; ++i) {
      for (const char* side : {"input", "target"}) {
        segue::io::Image image{16, 16, 3, {}};
        const int edge = 3 + 2 * i;
        for (int at = 0; at < 16 * 16; ++at) {
          const int value = side[0] == 'i' ? draws.below(256) : (at % 16 < edge ? 255 : 0);
          image.pixels.insert(image.pixels.end(), 3, static_cast<std::uint8_t>(value));
        }
        const std::string folder = (dir / split / side).string();
        segue::make_directories(folder);
        segue::io::save_png(folder + "/" + std::to_string(i) + ".png", image);
      }
    }
  }
  fewshot::Options options;
  options.pairs = dir.path().string();
  options.shots = 4;
  const fewshot::Task small(options, 8, 8);
  options.score_size = 8;
  const fewshot::Task task(options, 16, 16);
  CHECK(task.test()[0].input.width == 16);
  CHECK(task.baselines() == small.baselines());
  std::vector<segue::io::Image> answers;
  for (const auto& pair : small.test()) answers.push_back(pair.target);
  CHECK(task.evaluate(std::vector<std::vector<segue::io::Image>>{answers}).value == 1.0);
  answers.clear();
  for (const auto& pair : task.test()) answers.push_back(pair.target);
  CHECK(task.evaluate(std::vector<std::vector<segue::io::Image>>{answers}).value > 0.9);
  const auto iou = segue::tasks::Score::Iou;
  CHECK(task.score_picture(iou, 1, answers[0]) < task.score_picture(iou, 1, answers[1]));
  const std::vector<std::size_t> asked = {2};
  const fewshot::Task part = task.hold_out(asked);
  CHECK(part.baselines() == small.hold_out(asked).baselines());
  CHECK(part.train().size() == 3);
  options.score = "exact";
  CHECK(contains(message_of<InputError>([&] { fewshot::Task(options, 16, 16); }),
                 "--score-size: the score is 'exact', expected iou or mae"));
}

TEST_CASE("a task's training pairs are multiplied, first each as it is, then variant by variant") {
  fewshot::Options options;
  options.shots = 3;
  const segue::tasks::Augmentation turns{.turns = true};
  SECTION("grids are drawn again") {
    options.life = "B3/S23";
    const fewshot::Task task(options, 64, 64);
    const auto pairs = task.augmented(turns, 0);
    REQUIRE(pairs.size() == 24);
    std::set<std::vector<std::uint8_t>> seen;
    for (std::size_t i = 0; i < 3; ++i) CHECK(pairs[i].input.pixels == task.train()[i].input.pixels);
    for (const auto& pair : pairs) seen.insert(pair.input.pixels);
    CHECK(seen.size() == 24);
    CHECK(task.augmented(turns, 0, 9).size() == 9);
    // One variant of each at least, and another symmetry for each pair where there is no room for all.
    const auto few = task.augmented(turns, 0, 2);
    REQUIRE(few.size() == 6);
    for (std::size_t i = 0; i < 3; ++i) CHECK(few[3 + i].input.pixels == pairs[3 * (1 + i) + i].input.pixels);
    CHECK(task.augmented({}, 0).size() == 3);
  }
  SECTION("pictures by the seed") {
    const fewshot::Task task(options, 64, 64);
    const segue::tasks::Augmentation drawn{.colours = true};
    const auto pairs = task.augmented(drawn, 0, 12), same = task.augmented(drawn, 0, 12),
               other = task.augmented(drawn, 1, 12);
    REQUIRE(pairs.size() == 12);
    CHECK(pairs[11].input.pixels == same[11].input.pixels);
    CHECK(pairs[11].input.pixels != other[11].input.pixels);
    CHECK(pairs[11].target.pixels == task.train()[2].target.pixels);
  }
}

TEST_CASE("result files are found by the digits that end their names") {
  const support::TempDir dir;
  const std::string out = dir.path().string();
  CHECK(cell_files(out).empty());
  segue::make_directories(out + "/cells");
  for (const char* name : {"a-n3-rules-0123456789abcdef.json", "b.json", "c-0123456789abcdeg.json", "d.txt",
                           "e-0123456789abcdee.json.tmp.7"}) {
    segue::write_file_atomically(out + "/cells/" + name, "{}");
  }
  const auto files = cell_files(out);
  REQUIRE(files.size() == 1);
  CHECK(files.at("0123456789abcdef") == out + "/cells/a-n3-rules-0123456789abcdef.json");
  CHECK(contains(message_of<InputError>([&] { read_cell(files.begin()->second); }), "key 'settings' is missing"));
}
