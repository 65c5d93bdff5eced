// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "summary.hpp"

namespace experiments {

/// How a series is drawn; every kind has a colour of its own, apart for colour-blind readers too, and a mark or dash.
enum class Look : std::uint8_t { pretrained, random, scratch, best_rule, copy_input, paper, yardstick };

/// One value a tick (a line), or a name (bars); none where it is missing.
struct Series {
  std::string label;
  Look look = Look::pretrained;
  std::vector<std::optional<Spread>> values;
};

/// Scores over the number of training pairs.
struct LineChart {
  std::string title, x_label, y_label;
  std::vector<std::string> ticks;
  std::vector<Series> series;
};

/// A group of horizontal bars a name.
struct BarChart {
  std::string title, x_label;
  std::vector<std::string> names;
  std::vector<Series> series;
};

/// False in a build without cairo.
bool has_charts();

/// Writes a PNG. @throws segue::Error in a build without cairo, segue::InputError for a path that cannot be written.
void draw(const LineChart& chart, const std::string& path);
void draw(const BarChart& chart, const std::string& path);

/// The chart of a row that is no study and no member of a family.
LineChart line_chart_of(const RowSummary& row);
/// The chart of a family at one number of pairs: its members, mode by mode.
BarChart bar_chart_of(const Summary& summary, const std::string& family, int shots);

}  // namespace experiments
