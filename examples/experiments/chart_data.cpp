// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "charts.hpp"

namespace experiments {
namespace {

struct ModeLook {
  Mode mode;
  Look look;
  const char* label;
};
constexpr std::array<ModeLook, 3> kModes = {{{Mode::pretrained, Look::pretrained, "pretrained + LoRA"},
                                             {Mode::scratch, Look::scratch, "from scratch"},
                                             {Mode::random, Look::random, "random + LoRA"}}};

Spread one_value(double value) { return {1, value, value, value, 0}; }

std::optional<Spread> spread_of_mode(const Point& point, Mode mode) {
  for (const Variant& v : point.variants) {
    if (v.mode != mode) continue;
    const Spread s = spread_of(v.scores());
    if (s.count > 0) return s;
  }
  return std::nullopt;
}

/// Series of which nothing is known are left out.
void keep(std::vector<Series>& all, Series series) {
  const bool any = std::any_of(series.values.begin(), series.values.end(), [](const auto& v) { return v.has_value(); });
  if (any) all.push_back(std::move(series));
}

std::string score_label(const std::string& score) {
  if (score == "iou") return "IoU";
  if (score == "pck") return "PCK";
  if (score == "exact") return "exact match";
  if (score == "path") return "exact path";
  if (score == "cell_accuracy") return "cell accuracy";
  if (score == "mae") return "mean absolute error (lower is better)";
  return "score";
}

}  // namespace

LineChart line_chart_of(const RowSummary& row) {
  LineChart chart{row.row->name, "training pairs", score_label(row.score), {}, {}};
  for (const Point& point : row.points) chart.ticks.push_back(std::to_string(point.shots));
  const auto add = [&](const std::string& label, Look look, const auto& value_at) {
    Series series{label, look, {}};
    for (const Point& point : row.points) series.values.push_back(value_at(point));
    keep(chart.series, std::move(series));
  };
  for (const ModeLook& m : kModes) add(m.label, m.look, [&](const Point& p) { return spread_of_mode(p, m.mode); });
  const auto baseline = [](const Baseline* b) { return b ? std::optional(one_value(b->value)) : std::nullopt; };
  // Where copying is the only rule, its own line says it all.
  const bool rules =
      std::any_of(row.points.begin(), row.points.end(), [](const Point& p) { return p.baselines.size() > 1; });
  if (rules) {
    add("best rule, no network", Look::best_rule,
        [&](const Point& p) { return baseline(p.best(row.higher_is_better())); });
  }
  add("copy of the input", Look::copy_input, [&](const Point& p) { return baseline(p.find("copy_input")); });
  const auto figures = [&](const std::string& label, Look look, const FigureByShots& known) {
    add(label, look, [&](const Point& p) {
      const auto found = known.find(p.shots);
      return found == known.end() ? std::nullopt : std::optional(one_value(found->second));
    });
  };
  figures("small yardstick", Look::yardstick, row.row->yardstick);
  figures("paper (5B model)", Look::paper, row.row->paper);
  return chart;
}

BarChart bar_chart_of(const Summary& summary, const std::string& family, int shots) {
  BarChart chart{family + ", " + std::to_string(shots) + " training pairs", "score", {}, {}};
  std::vector<const Point*> points;
  for (const RowSummary& row : summary.rows) {
    if (row.row->family != family) continue;
    if (!row.score.empty()) chart.x_label = score_label(row.score);
    for (const Point& point : row.points) {
      if (point.shots != shots) continue;
      chart.names.push_back(row.row->name.substr(family.size() + 1));
      points.push_back(&point);
    }
  }
  for (const ModeLook& m : kModes) {
    Series series{m.label, m.look, {}};
    for (const Point* point : points) series.values.push_back(spread_of_mode(*point, m.mode));
    keep(chart.series, std::move(series));
  }
  return chart;
}

}  // namespace experiments
