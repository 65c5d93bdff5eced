// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>
#include <utility>
#include <vector>

#include "segue/io/image.hpp"
#include "segue/io/json.hpp"
#include "segue/tasks/pair.hpp"

namespace fewshot {

/// One column of the contact sheet.
struct SheetItem {
  const segue::io::Image* input;
  const segue::io::Image* target;  ///< null where there is none
  const segue::io::Image* before;
  const segue::io::Image* after;
};

/// Rows input, target, before, after, those that no item has left out; a column an item; pictures enlarged by whole
/// factors, captions at the left.
segue::io::Image contact_sheet(std::span<const SheetItem> items);

struct Report {
  std::string task;
  segue::io::Json metrics;                     ///< shown as tables
  std::vector<std::pair<int, double>> losses;  ///< (step, loss)
  segue::io::Image sheet;
};

/// A single HTML file without references to others: scores, baselines, loss curve, pictures, settings.
std::string html_report(const Report& report);

}  // namespace fewshot
