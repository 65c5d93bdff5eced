// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "table.hpp"

namespace experiments {

/// rules: what simple rules without a network score; search: one learning rate and augmentation tried on held-out
/// training pairs; fit: all training pairs fitted, the test items answered.
enum class CellKind : std::uint8_t { rules, search, fit };
std::string_view name(CellKind kind);

/// One piece of work with one result file.
struct Cell {
  CellKind kind = CellKind::fit;
  const Row* row = nullptr;
  int shots = 0;
  Mode mode = Mode::pretrained;
  int rank = 0;
  segue::tasks::Transition transition = segue::tasks::Transition::Discrete;
  std::uint64_t seed = 0;
  double lr = 0;                              ///< of a search; a fit takes the best of the row's
  segue::tasks::Augmentation augmentation{};  ///< likewise

  /// Everything that decides the result, but for model and device: equal settings are one cell, whichever rows they
  /// are in.
  segue::io::Json settings() const;
  /// "wbc-cell-n10-pretrained-s0": what people read; not unique.
  std::string label() const;
  /// Clips seen by the model, forward and backward: what its time is about proportional to.
  double cost() const;
};

/// Cells that belong together, since the fits need the searches: they are never split over machines.
struct Group {
  std::vector<Cell> cells;
};

/// All groups of a table in its order. A rules or fit cell is in one of them; a search is in each whose fits need it,
/// before them.
std::vector<Group> groups_of(const Table& table);

/// The ranks that a mode is fitted with: without an adapter there is none to vary, and it is 0.
std::vector<int> ranks_of(const Row& row, Mode mode);

/// The searches that a fit chooses its rate and augmentation from: seed 0, one a candidate; none if there is no choice.
std::vector<Cell> searches_of(const Cell& fit);

/// Which of `parts` machines takes each group: the one with the least to do so far, so that the loads are even. It
/// depends on the groups and on `parts` alone.
std::vector<int> shards_of(std::span<const Group> groups, int parts);

/// 16 hexadecimal digits (FNV-1a, 64 bits) of settings and of what model and device are.
std::string key_of(const segue::io::Json& settings, const segue::io::Json& identity);

/// Whether a text matches a pattern of '*' (anything) and '?' (one character).
bool matches_glob(std::string_view text, std::string_view pattern);

/// Places of the training pairs that are held out, a list a fit: below 10 pairs each of the first three alone
/// (leave-one-out), else the last fifth, at least two, together.
std::vector<std::vector<std::size_t>> held_out_folds(std::size_t pairs);

/// A learning rate and an augmentation, and how they did on the held-out training pairs.
struct Tried {
  double lr = 0;
  double score = 0;
  double loss = 0;      ///< denoising loss at fixed sigmas
  bool failed = false;  ///< the fit broke off
  segue::tasks::Augmentation augmentation{};
};

/// The place of the best candidate: by score, equal scores by loss, equal losses the smaller rate; failed ones last.
std::size_t choose_candidate(std::span<const Tried> tried, bool higher_is_better);

}  // namespace experiments
