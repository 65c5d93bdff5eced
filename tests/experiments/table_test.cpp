// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#include "experiments/table.hpp"

#include <string>

#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/paths.hpp"

using namespace experiments;
using segue::InputError;
using support::contains;
using support::message_of;

namespace {

Table read(const std::string& text) { return read_table(segue::io::parse_json(text, "t.json"), "t.json"); }

/// A table of one row with what is given after its name.
std::string with(const std::string& rest) {
  return R"({"defaults": {"modes": ["pretrained"], "lrs": {"pretrained": [0.1]}}, "rows": [{"name": "a")" + rest +
         "}]}";
}

}  // namespace

TEST_CASE("a row's keys go before the defaults, and what neither says has its usual value") {
  const Table table = read(R"({"defaults": {"task": ["--life", "B3/S2"], "modes": ["scratch", "random"], "steps": 7,
                               "lrs": {"scratch": [0.1], "random": [1, 2]}},
                               "rows": [{"name": "a", "steps": 9, "shots": [3, 30], "paper": {"30": 1}},
                                        {"name": "b", "seeds": [4, 2], "ranks": [4, 64], "transitions": ["tiles"],
                                         "augments": ["none", "colours+turns"]}]})");
  REQUIRE(table.rows.size() == 2);
  const Row &a = table.rows[0], &b = table.rows[1];
  CHECK(a.steps == 9);
  CHECK(b.steps == 7);
  CHECK(a.words == std::vector<std::string>{"--life", "B3/S2"});
  CHECK(a.shots == std::vector<int>{3, 30});
  CHECK(b.shots == std::vector<int>{10});
  CHECK(b.seeds == std::vector<std::uint64_t>{4, 2});
  CHECK(a.modes == std::vector<Mode>{Mode::scratch, Mode::random});
  CHECK(a.lrs.at(Mode::random) == std::vector<double>{1, 2});
  CHECK(a.ranks == std::vector<int>{16});
  CHECK(b.ranks == std::vector<int>{4, 64});
  CHECK(b.transitions == std::vector<segue::tasks::Transition>{segue::tasks::Transition::Tiles});
  CHECK(a.paper == FigureByShots{{30, 1.0}});
  CHECK(a.batch == 16);
  CHECK(a.average == 1);
  CHECK(a.augments == std::vector<segue::tasks::Augmentation>{{}});
  CHECK(b.augments == std::vector<segue::tasks::Augmentation>{{}, {.turns = true, .colours = true}});
  CHECK(a.sample_steps == 20);
  CHECK_FALSE(a.is_study());
  CHECK(b.is_study());
}

TEST_CASE("a family is unfolded into its members") {
  const Table table = read(with(R"(, "each": ["x", "y"], "task": ["--arc", "${data}/${each}/${each}"])"));
  REQUIRE(table.rows.size() == 2);
  CHECK(table.rows[0].name == "a/x");
  CHECK(table.rows[1].family == "a");
  CHECK(table.rows[1].words[1] == "${data}/y/y");
}

TEST_CASE("a table that is wrong is refused in a sentence that names row and key") {
  struct Wrong {
    std::string text, says;
  };
  const std::string task = R"(, "task": [])";
  const std::vector<Wrong> all = {
      {"[]", "t.json: the table is an array of 0, expected an object"},
      {R"({"rows": []})", "key 'rows' is empty, expected one row or more"},
      {R"({"row": []})", "key 'row' is not known, did you mean 'rows'?"},
      {R"({"rows": [3]})", "t.json: row 1: the row is the number 3, expected an object"},
      {R"({"rows": [{}]})", "t.json: row 1: key 'name' is missing"},
      {R"({"rows": [{"name": "../a"}]})", "key 'name' is '../a', expected letters"},
      {R"({"defaults": {"stepss": 3}, "rows": [{"name": "a"}]})",
       "the defaults: key 'stepss' is not known, did you mean 'steps'?"},
      {with(""), "t.json: row 'a': key 'task' is missing, here and in the defaults"},
      {with(task + R"(, "shot": [3])"), "row 'a': key 'shot' is not known, did you mean 'shots'?"},
      {with(task + R"(, "shots": [])"), "key 'shots' is empty"},
      {with(task + R"(, "shots": [0])"), "key 'shots' is 0, expected 1 or more"},
      {with(task + R"(, "shots": [3, 3])"), "key 'shots' is a list with a value twice"},
      {with(task + R"(, "shots": 3)"), "key 'shots' is the number 3, expected an array"},
      {with(task + R"(, "seeds": [-1])"), "key 'seeds' is -1, expected 0 or more"},
      {with(task + R"(, "modes": ["frozen"])"), "a mode is 'frozen', expected pretrained, random or scratch"},
      {with(task + R"(, "modes": ["scratch"])"), "key 'lrs' has no list for mode 'scratch'"},
      {with(task + R"(, "lrs": {"pretrained": [0]})"), "a rate of 'lrs' is 0.0"},
      {with(task + R"(, "lrs": {"pretrained": []})"), "key 'lrs' is empty"},
      {with(task + R"(, "lrs": [0.1])"), "key 'lrs' is an array of 1, expected an object"},
      {with(task + R"(, "lrs": {"pretrained": [0.1, 0.2]}, "shots": [1])"),
       "key 'shots' is 1, expected 2 or more where"},
      {with(task + R"(, "transitions": ["cubic"])"), "'cubic'"},
      {with(task + R"(, "steps": 0)"), "key 'steps' is 0"},
      {with(task + R"(, "average": 0)"), "key 'average' is 0"},
      {with(task + R"(, "canvas": 4)"), "key 'canvas' is 4, expected 8 or more, or 0 for the model's own"},
      {with(task + R"(, "augments": ["turn"])"),
       "row 'a': augmentation: 'turn' is no augmentation, did you mean 'turns'?"},
      {with(task + R"(, "augments": ["turns", "turns"])"), "key 'augments' is a list with a value twice"},
      {with(task + R"(, "augments": ["none", "turns"], "shots": [1])"), "key 'shots' is 1, expected 2 or more where"},
      {with(task + R"(, "shift": 0)"), "key 'shift' is 0.0"},
      {with(task + R"(, "paper": {"ten": 1})"), "a key of 'paper' is 'ten', expected a number of pairs"},
      {with(task + R"(, "paper": {"10": "high"})"), "key 'paper' at 10 is the string 'high'"},
      {with(task + R"(, "each": [])"), "key 'each' is empty"},
      {with(task + R"(, "each": ["x", "x"])"), "a member of 'each' is 'x', expected each once"},
      {with(R"(, "task": ["--shots", "3"])"), "a word of 'task' is '--shots'"},
      {with(R"(, "task": ["--lr=3"])"), "a word of 'task' is '--lr=3'"},
      {with(R"(, "task": ["--augment", "turns"])"), "a word of 'task' is '--augment'"},
      {with(R"(, "task": "--life")"), "key 'task' is the string '--life'"},
      {R"({"defaults": {"modes": ["scratch"], "lrs": {"scratch": [1]}, "task": []}, "rows": [{"name": "a"}, {"name": "a"}]})",
       "row 'a': its name is taken by a row before it"},
  };
  for (const Wrong& wrong : all) {
    INFO(wrong.text);
    const std::string said = message_of<InputError>([&] { read(wrong.text); });
    INFO(said);
    CHECK(said.starts_with("t.json"));
    CHECK(contains(said, wrong.says));
    CHECK_FALSE(contains(said, "\n"));
  }
}

TEST_CASE("the tables that ship can be read") {
  const auto folder = support::tests_dir().parent_path() / "examples/experiments";
  const Table table = read_table((folder / "table.json").string());
  std::size_t rules = 0;
  for (const Row& row : table.rows) rules += row.family == "1D-ARC" ? 1 : 0;
  CHECK(rules == 18);
  CHECK_FALSE(read_table((folder / "table_quick.json").string()).rows.empty());
}
