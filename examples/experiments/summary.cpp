// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#include "summary.hpp"

#include <algorithm>
#include <cmath>
#include <map>

namespace experiments {

using segue::io::Json;

namespace {

constexpr const char* kWhere = "a result";

std::string text_of(const Json& json, std::string_view key) { return json.get_or<std::string>(key, "", kWhere); }

/// The parts of an identity that must be the newest ones: fits share device and shape, pretrained ones the weights.
std::vector<std::string> parts_of(const Json& identity) {
  std::vector<std::string> parts = {"scoring=" + std::to_string(identity.get_or<int>("scoring", 1, kWhere))};
  if (identity.contains("canvas")) {
    parts.push_back("canvas=" + text_of(identity, "canvas"));
    return parts;
  }
  parts.push_back("fits=" + text_of(identity, "device") + " " + text_of(identity, "precision") + " " +
                  text_of(identity, "config"));
  if (identity.contains("weights")) parts.push_back("weights=" + text_of(identity, "weights"));
  return parts;
}

std::string kind_of(const std::string& part) { return part.substr(0, part.find('=')); }

/// The cells by their settings, searches too; those of the newest model and device alone.
std::map<std::string, const Json*> newest(std::span<const Json> cells, Summary& summary) {
  std::map<std::string, std::pair<std::string, std::string>> latest;  // kind -> date, part
  for (const Json& cell : cells) {
    for (const std::string& part : parts_of(cell.at("identity", kWhere))) {
      auto& best = latest[kind_of(part)];
      best = std::max(best, std::pair(text_of(cell, "date"), part));
    }
  }
  std::map<std::string, const Json*> out;
  for (const Json& cell : cells) {
    const auto parts = parts_of(cell.at("identity", kWhere));
    const bool current = std::all_of(parts.begin(), parts.end(),
                                     [&](const std::string& part) { return latest[kind_of(part)].second == part; });
    if (current) {
      out.emplace(segue::io::dump_json(cell.at("settings", kWhere), -1), &cell);
    } else {
      ++summary.stale;
    }
  }
  return out;
}

class Gatherer {
 public:
  Gatherer(Summary& summary, std::map<std::string, const Json*> cells) : summary_(summary), cells_(std::move(cells)) {}

  /// Null where it is missing. Cells that several rows share are counted once.
  const Json* find(const Cell& cell) {
    const std::string settings = segue::io::dump_json(cell.settings(), -1);
    const auto found = cells_.find(settings);
    const Json* json = found == cells_.end() ? nullptr : found->second;
    if (!counted_.insert(settings).second) return json;
    ++summary_.expected;
    if (!json) {
      ++summary_.missing;
      return nullptr;
    }
    spend(*json);
    if (cell.kind == CellKind::fit) {
      for (const Cell& search : searches_of(cell)) {
        const std::string wanted = segue::io::dump_json(search.settings(), -1);
        const auto tried = cells_.find(wanted);
        if (counted_.insert(wanted).second && tried != cells_.end()) spend(*tried->second);
      }
    }
    const std::string date = text_of(*json, "date");
    if (summary_.first_date.empty() || date < summary_.first_date) summary_.first_date = date;
    summary_.last_date = std::max(summary_.last_date, date);
    if (json->contains("device")) summary_.devices.insert(text_of(*json, "device"));
    const Json& identity = json->at("identity", kWhere);
    if (identity.contains("weights")) {
      summary_.models.insert(
          text_of(*json, "model").append(" (weights ").append(text_of(identity, "weights")).append(")"));
    }
    if (json->contains("failed")) ++summary_.failed;
    return json;
  }

 private:
  void spend(const Json& cell) { summary_.seconds += cell.get_or<double>("seconds", 0, kWhere); }

  Summary& summary_;
  std::map<std::string, const Json*> cells_;
  std::set<std::string> counted_;
};

SeedScore seed_score(const Json* json, std::uint64_t seed) {
  SeedScore out{seed, {}, false, 0, {}};
  if (!json) return out;
  out.failed = json->contains("failed");
  out.lr = json->get_or<double>("lr", 0, kWhere);
  out.augment = json->get_or<std::string>("augment", "none", kWhere);
  if (out.failed) return out;
  out.score = json->get<double>("score", kWhere);
  out.by_attempts = json->get_or<std::vector<double>>("score_by_attempts", {}, kWhere);
  return out;
}

Json spread_json(std::span<const double> values) {
  Json json = Json::object();
  const Spread s = spread_of(values);
  json["seeds"] = s.count;
  if (s.count == 0) return json;
  json["mean"] = s.mean;
  json["min"] = s.low;
  json["max"] = s.high;
  json["sd"] = s.sd;
  return json;
}

void put_figure(Json& json, const char* key, const FigureByShots& figures, int shots) {
  if (const auto found = figures.find(shots); found != figures.end()) json[key] = found->second;
}

Json json_of(const Variant& v) {
  Json json = Json::object();
  json["mode"] = name(v.mode);
  if (v.mode != Mode::scratch) json["rank"] = v.rank;
  json["transition"] = segue::tasks::name(v.transition);
  json["score"] = spread_json(v.scores());
  Json seeds = Json::array();
  for (const SeedScore& seed : v.seeds) {
    Json one = Json::object();
    one["seed"] = seed.seed;
    if (seed.score) {
      one["score"] = *seed.score;
      one["lr"] = seed.lr;
      one["augment"] = seed.augment;
      if (seed.by_attempts.size() > 1) one["score_by_attempts"] = seed.by_attempts;
    } else {
      one["state"] = seed.failed ? "failed" : "missing";
    }
    seeds.push_back(std::move(one));
  }
  json["by_seed"] = std::move(seeds);
  return json;
}

}  // namespace

Spread spread_of(std::span<const double> values) {
  Spread out;
  out.count = values.size();
  if (values.empty()) return out;
  const auto n = static_cast<double>(values.size());
  for (const double v : values) out.mean += v / n;
  out.low = *std::min_element(values.begin(), values.end());
  out.high = *std::max_element(values.begin(), values.end());
  double squares = 0;
  for (const double v : values) squares += (v - out.mean) * (v - out.mean);
  out.sd = values.size() > 1 ? std::sqrt(squares / (n - 1)) : 0;
  return out;
}

std::vector<double> Variant::scores() const {
  std::vector<double> out;
  for (const SeedScore& seed : seeds) {
    if (seed.score) out.push_back(*seed.score);
  }
  return out;
}

const Baseline* Point::best(bool higher_is_better) const {
  const Baseline* best = nullptr;
  for (const Baseline& b : baselines) {
    if (!best || (higher_is_better ? b.value > best->value : b.value < best->value)) best = &b;
  }
  return best;
}

const Baseline* Point::find(std::string_view wanted) const {
  for (const Baseline& b : baselines) {
    if (b.name == wanted) return &b;
  }
  return nullptr;
}

Summary summarise(const Table& table, std::span<const Json> cells) {
  Summary summary;
  Gatherer gatherer(summary, newest(cells, summary));
  for (const Row& row : table.rows) {
    RowSummary out{&row, "", {}};
    const auto learn_score = [&](const Json* json) {
      if (json && out.score.empty()) out.score = text_of(*json, "score_name");
    };
    for (const int shots : row.shots) {
      Point point{shots, 0, {}, {}};
      Cell cell{.kind = CellKind::rules, .row = &row, .shots = shots};
      if (const Json* rules = gatherer.find(cell)) {
        learn_score(rules);
        point.test_items = rules->get_or<int>("test_items", 0, kWhere);
        const Json& baselines = rules->at("baselines", kWhere);
        for (std::size_t i = 0; i < baselines.size(); ++i) {
          point.baselines.push_back({baselines.keys()[i], baselines.items()[i].as<double>(kWhere, "a baseline")});
        }
      }
      cell.kind = CellKind::fit;
      for (const Mode mode : row.modes) {
        for (const int rank : ranks_of(row, mode)) {
          for (const segue::tasks::Transition transition : row.transitions) {
            Variant variant{mode, rank, transition, {}};
            cell.mode = mode;
            cell.rank = rank;
            cell.transition = transition;
            for (const std::uint64_t seed : row.seeds) {
              cell.seed = seed;
              const Json* json = gatherer.find(cell);
              learn_score(json);
              variant.seeds.push_back(seed_score(json, seed));
            }
            point.variants.push_back(std::move(variant));
          }
        }
      }
      out.points.push_back(std::move(point));
    }
    summary.rows.push_back(std::move(out));
  }
  return summary;
}

Variant mean_of_family(std::span<const RowSummary> rows, const std::string& family, int shots, Mode mode) {
  Variant mean{mode, 0, segue::tasks::Transition::Discrete, {}};
  std::map<std::uint64_t, std::vector<std::optional<double>>> scores;
  for (const RowSummary& row : rows) {
    if (row.row->family != family) continue;
    for (const Point& point : row.points) {
      if (point.shots != shots) continue;
      for (const Variant& v : point.variants) {
        if (v.mode != mode) continue;
        for (const SeedScore& seed : v.seeds) scores[seed.seed].push_back(seed.score);
      }
    }
  }
  for (const auto& [seed, values] : scores) {
    SeedScore one{seed, 0.0, false, 0, {}};
    for (const std::optional<double>& value : values) {
      if (!value) one.score.reset();
      if (one.score) *one.score += *value / static_cast<double>(values.size());
    }
    mean.seeds.push_back(one);
  }
  return mean;
}

Json json_of(const Summary& summary) {
  Json json = Json::object();
  json["first_date"] = summary.first_date;
  json["last_date"] = summary.last_date;
  json["devices"] = std::vector<std::string>(summary.devices.begin(), summary.devices.end());
  json["models"] = std::vector<std::string>(summary.models.begin(), summary.models.end());
  json["expected_cells"] = summary.expected;
  json["missing_cells"] = summary.missing;
  json["failed_cells"] = summary.failed;
  json["cells_left_out"] = summary.stale;
  Json rows = Json::array();
  for (const RowSummary& row : summary.rows) {
    for (const Point& point : row.points) {
      Json one = Json::object();
      one["row"] = row.row->name;
      one["shots"] = point.shots;
      one["score_name"] = row.score;
      one["test_items"] = point.test_items;
      Json baselines = Json::object();
      for (const Baseline& b : point.baselines) baselines[b.name] = b.value;
      one["baselines"] = std::move(baselines);
      if (const Baseline* best = point.best(row.higher_is_better())) one["best_baseline"] = best->name;
      put_figure(one, "yardstick", row.row->yardstick, point.shots);
      put_figure(one, "paper", row.row->paper, point.shots);
      put_figure(one, "reach", row.row->reach, point.shots);
      Json variants = Json::array();
      for (const Variant& v : point.variants) variants.push_back(json_of(v));
      one["variants"] = std::move(variants);
      rows.push_back(std::move(one));
    }
  }
  json["rows"] = std::move(rows);
  return json;
}

}  // namespace experiments
