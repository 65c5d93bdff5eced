// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#include "experiments/summary.hpp"

#include <cmath>
#include <string>

#include "experiments/charts.hpp"
#include "support/catch.hpp"
#include "support/errors.hpp"

using namespace experiments;
using segue::io::Json;
using support::contains;

namespace {

bool near(double a, double b) { return std::abs(a - b) < 1e-12; }

Table table_of(const std::string& rows) {
  const std::string text = R"({"defaults": {"task": [], "shots": [10], "modes": ["pretrained"], "seeds": [0, 1, 2],
    "lrs": {"pretrained": [0.1, 0.2], "scratch": [0.5]}}, "rows": [)" +
                           rows + "]}";
  return read_table(segue::io::parse_json(text, "t.json"), "t.json");
}

/// What a run would have left for a cell.
Json result(const Cell& cell, const std::string& rest, const std::string& weights = "w",
            const std::string& date = "2026-01-02T00:00:00Z") {
  Json json = segue::io::parse_json("{" + rest + "}", "rest");
  json["settings"] = cell.settings();
  json["identity"] = Json::object();
  if (cell.kind == CellKind::rules) {
    json["identity"]["canvas"] = "64x64";
  } else {
    json["identity"]["device"] = "cpu";
    json["identity"]["precision"] = "fp32";
    json["identity"]["config"] = "c";
    if (cell.mode == Mode::pretrained) json["identity"]["weights"] = weights;
    json["device"] = "a processor";
    json["model"] = "wan";
  }
  json["score_name"] = "iou";
  json["date"] = date;
  json["seconds"] = 2;
  return json;
}

Cell fit(const Table& table, std::uint64_t seed, std::size_t row = 0, Mode mode = Mode::pretrained) {
  return {CellKind::fit,
          &table.rows[row],
          10,
          mode,
          mode == Mode::scratch ? 0 : 16,
          segue::tasks::Transition::Discrete,
          seed,
          0};
}

Cell rules(const Table& table, std::size_t row = 0) {
  return {.kind = CellKind::rules, .row = &table.rows[row], .shots = 10};
}

std::string text_of(const Summary& summary) { return markdown_of(summary, {}, ""); }

}  // namespace

TEST_CASE("mean, extremes and deviation of a sample") {
  const std::vector<double> three = {2, 4, 9}, one = {5};
  const Spread s = spread_of(three);
  CHECK(s.count == 3);
  CHECK(near(s.mean, 5));
  CHECK(s.low == 2);
  CHECK(s.high == 9);
  CHECK(near(s.sd, std::sqrt(13.0)));  // ((-3)² + (-1)² + 4²) / 2
  CHECK(spread_of(one).sd == 0);
  CHECK(spread_of({}).count == 0);
}

TEST_CASE("a report gives means and extremes over seeds, marks the best rule, and invents nothing") {
  const Table table =
      table_of(R"({"name": "a", "paper": {"10": 0.75}, "reach": {"10": 0.9}}, {"name": "b", "test": 5})");
  const std::vector<Json> cells = {
      result(rules(table), R"("baselines": {"copy_input": 0.1, "otsu": 0.6, "mean_mask": 0.4}, "test_items": 50)"),
      result(fit(table, 0), R"("score": 0.5, "lr": 0.2)"), result(fit(table, 1), R"("score": 0.8, "lr": 0.2)"),
      result(fit(table, 2), R"("score": 0.2, "lr": 0.2)")};
  const Summary summary = summarise(table, cells);
  CHECK(summary.expected == 8);
  CHECK(summary.missing == 4);
  CHECK(summary.seconds == 8);
  const std::string text = text_of(summary);
  CHECK(contains(text, "| a (iou) | 10 | 0.100 | **otsu 0.600** |  |  | 0.500 (0.200–0.800) |  | 0.750 | 0.900 |\n"));
  CHECK(contains(text, "| b | 10 | missing | missing |  |  | missing |  |  |  |\n"));
  CHECK(contains(text, "copy_input 0.100, **otsu 0.600**, mean_mask 0.400"));
  CHECK(contains(text, "4 of 8 cells are there."));
  CHECK(contains(text, "Device: a processor. Pretrained backbone: wan (weights w)."));
  CHECK(contains(text, "| a | 10 | pretrained | 16 | discrete | 0.1, 0.2 | 0.2 | none | none |\n"));
  CHECK_FALSE(contains(text, "| b | 10 | pretrained"));

  const Json json = json_of(summary);
  const Json& score = json.at("rows", "").items()[0].at("variants", "").items()[0].at("score", "");
  CHECK(near(score.get<double>("mean", ""), 0.5));
  CHECK(near(score.get<double>("sd", ""), 0.3));
  const Json& missing = json.at("rows", "").items()[1].at("variants", "").items()[0];
  CHECK(missing.at("score", "").get<int>("seeds", "") == 0);
  CHECK_FALSE(missing.at("score", "").contains("mean"));
  CHECK(missing.at("by_seed", "").items()[2].get<std::string>("state", "") == "missing");
}

TEST_CASE("some seeds missing and fits that broke off are said") {
  const Table table = table_of(R"({"name": "a"}, {"name": "b", "test": 5})");
  std::vector<Json> cells = {result(fit(table, 0), R"("score": 0.5, "lr": 0.2)"),
                             result(fit(table, 2), R"("score": 0.7, "lr": 0.2)")};
  for (const std::uint64_t seed : {0, 1, 2})
    cells.push_back(result(fit(table, seed, 1), R"("failed": "x", "lr": 0.2)"));
  const Summary summary = summarise(table, cells);
  CHECK(summary.failed == 3);
  const std::string text = text_of(summary);
  CHECK(contains(text, "**0.600 (0.500–0.700, 2 of 3 seeds)**"));
  CHECK(contains(text, "| failed |"));
  CHECK(contains(text, "3 of these broke off"));
}

TEST_CASE("cells of earlier weights are not mixed with those of later ones") {
  const Table table = table_of(R"({"name": "a", "modes": ["pretrained", "scratch"]})");
  const std::vector<Json> cells = {result(fit(table, 0), R"("score": 0.1, "lr": 0.2)", "old"),
                                   result(fit(table, 1), R"("score": 0.2, "lr": 0.2)", "old"),
                                   result(fit(table, 0, 0, Mode::scratch), R"("score": 0.3, "lr": 0.5)"),
                                   result(fit(table, 1), R"("score": 0.9, "lr": 0.2)", "new", "2026-01-03T00:00:00Z")};
  const Summary summary = summarise(table, cells);
  CHECK(summary.stale == 2);
  const std::string text = text_of(summary);
  CHECK(contains(text, "| 0.300 (1 of 3 seeds) | **0.900 (1 of 3 seeds)** |"));
  CHECK(contains(text, "2 more are of an earlier model"));
}

TEST_CASE("a family is one line: the mean over its members, seed by seed, of seeds that all members have") {
  const Table table = table_of(R"({"name": "f", "each": ["x", "y"], "task": ["--arc", "${each}"]})");
  const std::vector<Json> cells = {result(rules(table, 0), R"("baselines": {"copy_input": 0.2})"),
                                   result(rules(table, 1), R"("baselines": {"copy_input": 0.4})"),
                                   result(fit(table, 0, 0), R"("score": 0.1, "lr": 0.2)"),
                                   result(fit(table, 0, 1), R"("score": 0.3, "lr": 0.2)"),
                                   result(fit(table, 1, 0), R"("score": 0.5, "lr": 0.2)"),
                                   result(fit(table, 1, 1), R"("score": 0.7, "lr": 0.2)"),
                                   result(fit(table, 2, 0), R"("score": 1.0, "lr": 0.2)")};
  const Summary summary = summarise(table, cells);
  const std::string text = text_of(summary);
  CHECK(contains(text, "| f, mean of 2 (iou) | 10 | 0.300 | 0.300 |  |  | **0.400 (0.200–0.600, 2 of 3 seeds)** |"));
  CHECK(contains(text, "| y | 10 | 0.400 | copy_input 0.400 |  |  | **0.500 (0.300–0.700, 2 of 3 seeds)** |"));

  const BarChart chart = bar_chart_of(summary, "f", 10);
  CHECK(chart.names == std::vector<std::string>{"x", "y"});
  REQUIRE(chart.series.size() == 1);
  CHECK(near(chart.series[0].values[1]->mean, 0.5));
}

TEST_CASE("a study shows its variants and the scores of further attempts") {
  const Table table = table_of(R"({"name": "a", "attempts": 2, "seeds": [0, 1]})");
  const std::vector<Json> cells = {
      result(fit(table, 0), R"("score": 0.5, "score_by_attempts": [0.5, 0.6], "lr": 0.2)"),
      result(fit(table, 1), R"("score": 0.7, "score_by_attempts": [0.7, 0.9], "lr": 0.2)")};
  const std::string text = text_of(summarise(table, cells));
  CHECK(contains(text, "| n | mode | rank | transition | 1 attempt | best of 2 |\n"));
  CHECK(contains(text, "| 10 | pretrained | 16 | discrete | 0.600 (0.500–0.700) | 0.750 (0.600–0.900) |\n"));
}

TEST_CASE("a chart holds what is known and leaves gaps for the rest") {
  const Table table = table_of(R"({"name": "a", "shots": [3, 10], "paper": {"3": 0.25}})");
  const std::vector<Json> cells = {result(rules(table), R"("baselines": {"copy_input": 0.1, "otsu": 0.6})"),
                                   result(fit(table, 0), R"("score": 0.5, "lr": 0.2)")};
  const LineChart chart = line_chart_of(summarise(table, cells).rows[0]);
  CHECK(chart.ticks == std::vector<std::string>{"3", "10"});
  REQUIRE(chart.series.size() == 4);
  CHECK(chart.series[0].look == Look::pretrained);
  CHECK_FALSE(chart.series[0].values[0]);
  CHECK(chart.series[0].values[1]->mean == 0.5);
  CHECK(chart.series[1].values[1]->mean == 0.6);
  CHECK(chart.series[2].look == Look::copy_input);
  CHECK(chart.series[3].values[0]->mean == 0.25);
}
