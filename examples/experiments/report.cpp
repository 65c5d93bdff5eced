// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#include "report.hpp"

#include <algorithm>
#include <cstdio>

#include "charts.hpp"
#include "results.hpp"
#include "segue/core/posix.hpp"

namespace experiments {

using segue::join_path;
using segue::io::Json;

namespace {

std::vector<Json> gather(const Settings& settings) {
  std::vector<std::string> folders = {settings.out};
  folders.insert(folders.end(), settings.with.begin(), settings.with.end());
  std::vector<Json> cells;
  for (const std::string& folder : folders) {
    if (!segue::is_directory(join_path(folder, "cells"))) {
      segue::throw_input(folder, "has no folder 'cells': no experiment ran there");
    }
    for (const auto& [key, path] : cell_files(folder)) cells.push_back(read_cell(path));
  }
  return cells;
}

/// Draws what there is to see. @returns the files' names relative to `out`.
std::vector<std::string> draw_all(const Summary& summary, const std::string& out) {
  std::vector<std::string> plots;
  segue::make_directories(join_path(out, "plots"));
  const auto add = [&](const auto& chart, const std::string& name) {
    if (chart.series.empty()) return;
    plots.push_back("plots/" + name + ".png");
    draw(chart, join_path(out, plots.back()));
  };
  std::string family;
  for (const RowSummary& row : summary.rows) {
    if (row.row->is_study()) continue;
    if (row.row->family.empty()) {
      // A single number of pairs makes no line: the report's table says as much.
      if (row.points.size() > 1) add(line_chart_of(row), row.row->name);
    } else if (row.row->family != family) {
      for (const int shots : row.row->shots) {
        add(bar_chart_of(summary, row.row->family, shots), row.row->family + "-n" + std::to_string(shots));
      }
    }
    family = row.row->family;
  }
  return plots;
}

}  // namespace

void report(const Settings& settings) {
  const Table table = read_table(settings.table);
  const std::vector<Json> cells = gather(settings);
  const Summary summary = summarise(table, cells);
  std::vector<std::string> plots;
  std::string without;
  if (has_charts()) {
    plots = draw_all(summary, settings.out);
  } else {
    without = "Plots were left out: this program was built without cairo.";
  }
  segue::write_file_atomically(join_path(settings.out, "results.json"), segue::io::dump_json(json_of(summary)) + "\n");
  segue::write_file_atomically(join_path(settings.out, "report.md"), markdown_of(summary, plots, without));
  std::printf("%zu of %zu cells; %zu plots; see %s\n", summary.expected - summary.missing, summary.expected,
              plots.size(), join_path(settings.out, "report.md").c_str());
  if (!without.empty()) std::printf("%s\n", without.c_str());
}

}  // namespace experiments
