// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#include "cells.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <set>
#include <tuple>

#include "segue/core/error.hpp"

namespace experiments {

using segue::io::Json;

namespace {

std::string number_text(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%g", value);
  return text;
}

/// Test items that a row answers where nothing else is said: about what the data sets hold.
constexpr int kUsualTest = 50;
/// The canvas that a model is taken to have been trained with.
constexpr double kUsualCanvas = 64;

std::vector<std::string> names_of(std::span<const segue::tasks::Augmentation> kinds) {
  std::vector<std::string> names;
  for (const segue::tasks::Augmentation& kind : kinds) names.push_back(segue::tasks::name(kind));
  return names;
}

}  // namespace

std::string_view name(CellKind kind) {
  return kind == CellKind::rules ? "rules" : kind == CellKind::search ? "search" : "fit";
}

// What is as it always was is left out where it came later, so that earlier results keep their keys.
Json Cell::settings() const {
  Json json = Json::object();
  json["kind"] = name(kind);
  json["task"] = row->words;
  json["shots"] = shots;
  // A search asks none of them, but what is generated may depend on how many there are.
  json["test"] = row->test;
  if (row->canvas > 0) json["canvas"] = row->canvas;
  if (kind == CellKind::rules) return json;
  json["mode"] = name(mode);
  if (mode != Mode::scratch) json["rank"] = rank;
  json["transition"] = segue::tasks::name(transition);
  json["steps"] = row->steps;
  json["batch"] = row->batch;
  json["sample_steps"] = row->sample_steps;
  json["shift"] = row->shift;
  if (row->average != 1) json["average"] = row->average;
  json["seed"] = seed;
  if (kind == CellKind::search) {
    json["lr"] = lr;
    if (augmentation.any()) json["augment"] = segue::tasks::name(augmentation);
  } else {
    json["lrs"] = row->lrs.at(mode);
    if (row->augments != std::vector<segue::tasks::Augmentation>{{}}) json["augments"] = names_of(row->augments);
    json["attempts"] = row->attempts;
  }
  return json;
}

std::string Cell::label() const {
  std::string text = row->name;
  std::replace(text.begin(), text.end(), '/', '-');
  text.append("-n").append(std::to_string(shots));
  if (kind == CellKind::rules) return text.append("-rules");
  text.append("-").append(name(mode));
  if (mode != Mode::scratch) text.append("-r").append(std::to_string(rank));
  if (transition != segue::tasks::Transition::Discrete) text.append("-").append(segue::tasks::name(transition));
  if (kind == CellKind::search) {
    if (augmentation.any()) text.append("-").append(segue::tasks::name(augmentation));
    return text.append("-lr").append(number_text(lr));
  }
  return text.append("-s").append(std::to_string(seed));
}

double Cell::cost() const {
  if (kind == CellKind::rules) return 1;
  // A backward pass is about two forwards.
  const double clip = row->canvas > 0 ? row->canvas / kUsualCanvas * (row->canvas / kUsualCanvas) : 1;
  const double fitted = 3.0 * clip * row->steps * row->batch;
  if (kind == CellKind::fit)
    return fitted + clip * row->sample_steps * row->average * row->attempts * (row->test > 0 ? row->test : kUsualTest);
  double cost = 0;
  for (const auto& fold : held_out_folds(static_cast<std::size_t>(shots))) {
    cost += fitted + clip * row->sample_steps * row->average * static_cast<double>(fold.size());
  }
  return cost;
}

std::vector<Group> groups_of(const Table& table) {
  std::vector<Group> groups;
  std::set<std::string> seen;
  const auto is_new = [&](const Cell& cell) { return seen.insert(segue::io::dump_json(cell.settings(), -1)).second; };
  for (const Row& row : table.rows) {
    for (const int shots : row.shots) {
      const Cell rules{.kind = CellKind::rules, .row = &row, .shots = shots};
      if (is_new(rules)) groups.push_back({{rules}});
      for (const Mode mode : row.modes) {
        for (const int rank : ranks_of(row, mode)) {
          for (const segue::tasks::Transition transition : row.transitions) {
            Cell cell{CellKind::fit, &row, shots, mode, rank, transition, 0, 0};
            Group group;
            for (const std::uint64_t seed : row.seeds) {
              cell.seed = seed;
              if (is_new(cell)) group.cells.push_back(cell);
            }
            if (group.cells.empty()) continue;
            // Another group may hold the same searches: whoever comes first makes them.
            const std::vector<Cell> searches = searches_of(cell);
            group.cells.insert(group.cells.begin(), searches.begin(), searches.end());
            groups.push_back(std::move(group));
          }
        }
      }
    }
  }
  return groups;
}

std::vector<int> ranks_of(const Row& row, Mode mode) { return mode == Mode::scratch ? std::vector<int>{0} : row.ranks; }

std::vector<Cell> searches_of(const Cell& fit) {
  const std::vector<double>& rates = fit.row->lrs.at(fit.mode);
  std::vector<Cell> out;
  if (rates.size() * fit.row->augments.size() == 1) return out;
  for (const segue::tasks::Augmentation& augmentation : fit.row->augments) {
    for (const double lr : rates) {
      Cell cell = fit;
      cell.kind = CellKind::search;
      cell.seed = 0;
      cell.lr = lr;
      cell.augmentation = augmentation;
      out.push_back(cell);
    }
  }
  return out;
}

std::vector<int> shards_of(std::span<const Group> groups, int parts) {
  std::vector<double> load(static_cast<std::size_t>(parts), 0.0);
  std::vector<int> out;
  for (const Group& group : groups) {
    const auto least = std::min_element(load.begin(), load.end());
    for (const Cell& cell : group.cells) *least += cell.cost();
    out.push_back(static_cast<int>(least - load.begin()));
  }
  return out;
}

std::string key_of(const Json& settings, const Json& identity) {
  std::uint64_t hash = 0xCBF29CE484222325u;
  for (const Json* part : {&settings, &identity}) {
    for (const char c : segue::io::dump_json(*part, -1)) {
      hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
    }
  }
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(hash));
  return text;
}

bool matches_glob(std::string_view text, std::string_view pattern) {
  if (pattern.empty()) return text.empty();
  if (pattern[0] == '*') {
    for (std::size_t i = 0; i <= text.size(); ++i) {
      if (matches_glob(text.substr(i), pattern.substr(1))) return true;
    }
    return false;
  }
  return !text.empty() && (pattern[0] == '?' || pattern[0] == text[0]) &&
         matches_glob(text.substr(1), pattern.substr(1));
}

std::vector<std::vector<std::size_t>> held_out_folds(std::size_t pairs) {
  if (pairs < 2) {
    segue::throw_input("held-out pairs", "number of training pairs", std::to_string(pairs), "2 or more");
  }
  std::vector<std::vector<std::size_t>> folds;
  if (pairs < 10) {
    for (std::size_t i = 0; i < std::min<std::size_t>(pairs, 3); ++i) folds.push_back({i});
    return folds;
  }
  folds.emplace_back();
  for (std::size_t i = pairs - std::max<std::size_t>(2, pairs / 5); i < pairs; ++i) folds[0].push_back(i);
  return folds;
}

std::size_t choose_candidate(std::span<const Tried> tried, bool higher_is_better) {
  if (tried.empty()) segue::throw_input("choice of rate and augmentation", "number of candidates", "0", "1 or more");
  const auto rank = [&](const Tried& t) {
    const double badness = higher_is_better ? -t.score : t.score;
    // What is not finite has no order, and is no success either.
    const bool failed = t.failed || !std::isfinite(t.score);
    const double loss = std::isfinite(t.loss) ? t.loss : HUGE_VAL;
    return failed ? std::tuple(1, 0.0, 0.0, t.lr) : std::tuple(0, badness, loss, t.lr);
  };
  const auto best =
      std::min_element(tried.begin(), tried.end(), [&](const Tried& a, const Tried& b) { return rank(a) < rank(b); });
  return static_cast<std::size_t>(best - tried.begin());
}

}  // namespace experiments
