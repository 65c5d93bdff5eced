// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "cells.hpp"
#include "segue/io/json.hpp"

namespace experiments {

/// Mean, smallest and largest value, and the standard deviation of a sample (n − 1; 0 for one value).
struct Spread {
  std::size_t count = 0;
  double mean = 0, low = 0, high = 0, sd = 0;
};
Spread spread_of(std::span<const double> values);

struct SeedScore {
  std::uint64_t seed = 0;
  std::optional<double> score;  ///< none: the cell is missing or its fit broke off
  bool failed = false;
  double lr = 0;
  std::vector<double> by_attempts{};
  std::string augment{};  ///< the augmentation that was chosen
};

/// One setting of a row with all its seeds, those that are missing too.
struct Variant {
  Mode mode = Mode::pretrained;
  int rank = 0;
  segue::tasks::Transition transition = segue::tasks::Transition::Discrete;
  std::vector<SeedScore> seeds;

  std::vector<double> scores() const;
};

struct Baseline {
  std::string name;
  double value = 0;
};

struct Point {
  int shots = 0;
  int test_items = 0;
  std::vector<Baseline> baselines;  ///< empty: the cell is missing
  std::vector<Variant> variants;

  /// The best of the rules without a network, copying the input among them; null without any.
  const Baseline* best(bool higher_is_better) const;
  const Baseline* find(std::string_view name) const;
};

struct RowSummary {
  const Row* row = nullptr;
  std::string score;  ///< "iou", …; empty while no cell is there
  std::vector<Point> points;

  bool higher_is_better() const { return score != "mae"; }
};

/// What the cells say about a table. Cells of another model or device than the newest are counted and left out.
struct Summary {
  std::vector<RowSummary> rows;
  std::set<std::string> devices, models;
  std::string first_date, last_date;
  std::size_t expected = 0, missing = 0, failed = 0, stale = 0;
  double seconds = 0;  ///< of the cells of the table that were found, and of their searches
};

/// @param cells what the result files hold; of equal ones the first counts. `table` must outlive the result.
Summary summarise(const Table& table, std::span<const segue::io::Json> cells);

/// Everything, for programs.
segue::io::Json json_of(const Summary& summary);

/// The tables, for people. @param plots file names of charts relative to the text; `without_plots` says why there are
/// none.
std::string markdown_of(const Summary& summary, std::span<const std::string> plots, const std::string& without_plots);

/// The scores of a family's members averaged seed by seed; seeds that a member lacks are left out.
Variant mean_of_family(std::span<const RowSummary> rows, const std::string& family, int shots, Mode mode);

}  // namespace experiments
