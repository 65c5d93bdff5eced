// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <initializer_list>

#include "segue/train/progress.hpp"
#include "summary.hpp"

namespace experiments {
namespace {

std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, std::abs(value) < 10 ? "%.3f" : "%.1f", value);
  return text;
}

std::string rate(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%g", value);
  return text;
}

/// "0.912 (0.905–0.919)", with how many seeds there are if some are missing; "missing" without any.
std::string cell_text(std::span<const double> values, std::size_t expected, bool failed = false) {
  const Spread s = spread_of(values);
  if (s.count == 0) return failed ? "failed" : "missing";
  std::string text = number(s.mean), beside;
  if (s.count > 1) beside = number(s.low) + "–" + number(s.high);
  if (s.count < expected) {
    beside += (beside.empty() ? "" : ", ") + std::to_string(s.count) + " of " + std::to_string(expected) + " seeds";
  }
  return beside.empty() ? text : text + " (" + beside + ")";
}

std::string cell_text(const Variant& v) {
  const bool failed = std::any_of(v.seeds.begin(), v.seeds.end(), [](const SeedScore& s) { return s.failed; });
  return cell_text(v.scores(), v.seeds.size(), failed);
}

std::string figure(const FigureByShots& figures, int shots) {
  const auto found = figures.find(shots);
  return found == figures.end() ? "" : number(found->second);
}

std::string baseline_text(const Baseline* b) { return b ? number(b->value) : "missing"; }

const Variant* find_mode(const Point& point, Mode mode) {
  for (const Variant& v : point.variants) {
    if (v.mode == mode) return &v;
  }
  return nullptr;
}

/// What a cell says, and the figure in it, if it has one.
struct Entry {
  std::string text;
  std::optional<double> value{};
};

Entry entry_of(const Variant& v) {
  const Spread s = spread_of(v.scores());
  return {cell_text(v), s.count > 0 ? std::optional(s.mean) : std::nullopt};
}

Entry mode_entry(const Point& point, Mode mode) {
  const Variant* v = find_mode(point, mode);
  return v ? entry_of(*v) : Entry{};
}

std::string bold(const std::string& text) { return text.empty() ? text : std::string("**").append(text).append("**"); }

/// A line of a table.
std::string line(std::span<const std::string> cells) {
  std::string text = "|";
  for (const std::string& cell : cells) text.append(" ").append(cell).append(" |");
  return text.append("\n");
}
std::string line(std::initializer_list<std::string> cells) { return line(std::span(cells.begin(), cells.size())); }

/// Mode, rank and transition of a variant.
std::vector<std::string> variant_cells(const Variant& v) {
  return {std::string(name(v.mode)), v.mode == Mode::scratch ? std::string() : std::to_string(v.rank),
          std::string(segue::tasks::name(v.transition))};
}

constexpr const char* kMainHead =
    "| task (score) | n | copy input | best rule without a network | random + LoRA | from scratch | "
    "pretrained + LoRA | small yardstick | paper | to reach |\n|---|---|---|---|---|---|---|---|---|---|\n";

/// The texts of entries, that of the best figure in bold (of equals each).
std::vector<std::string> with_best_in_bold(std::span<const Entry> entries, bool higher_is_better) {
  std::optional<double> best;
  for (const Entry& e : entries) {
    if (e.value && (!best || (higher_is_better ? *e.value > *best : *e.value < *best))) best = e.value;
  }
  std::vector<std::string> texts;
  for (const Entry& e : entries) texts.push_back(e.value && e.value == best ? bold(e.text) : e.text);
  return texts;
}

std::string score_line(const std::string& title, const Row& row, int shots, const std::string& copied,
                       std::span<const Entry> entries, bool higher_is_better) {
  std::vector<std::string> cells = {title, std::to_string(shots), copied};
  for (std::string& text : with_best_in_bold(entries, higher_is_better)) cells.push_back(std::move(text));
  cells.insert(cells.end(), {figure(row.yardstick, shots), figure(row.paper, shots), figure(row.reach, shots)});
  return line(cells);
}

std::string main_line(const std::string& title, const RowSummary& row, const Point& point) {
  const Baseline* best = point.best(row.higher_is_better());
  const Entry rule =
      best ? Entry{std::string(best->name).append(" ").append(number(best->value)), best->value} : Entry{"missing"};
  const std::array<Entry, 4> entries = {rule, mode_entry(point, Mode::random), mode_entry(point, Mode::scratch),
                                        mode_entry(point, Mode::pretrained)};
  return score_line(title, *row.row, point.shots, baseline_text(point.find("copy_input")), entries,
                    row.higher_is_better());
}

/// The members of a family as one line: means over members, seed by seed.
std::string family_line(const Summary& summary, const RowSummary& first, const Point& point) {
  const std::string& family = first.row->family;
  std::size_t members = 0, with_rules = 0;
  double copied = 0, best = 0;
  for (const RowSummary& row : summary.rows) {
    if (row.row->family != family) continue;
    ++members;
    for (const Point& p : row.points) {
      const Baseline* b = p.best(row.higher_is_better());
      if (p.shots != point.shots || !b) continue;
      ++with_rules;
      best += b->value;
      const Baseline* copy = p.find("copy_input");
      copied += copy ? copy->value : 0;
    }
  }
  const auto mean = [&](double sum) {
    if (with_rules < members) return Entry{"missing"};
    const double value = sum / static_cast<double>(members);
    return Entry{number(value), value};
  };
  const auto mode = [&](Mode m) {
    const bool asked = std::find(first.row->modes.begin(), first.row->modes.end(), m) != first.row->modes.end();
    return asked ? entry_of(mean_of_family(summary.rows, family, point.shots, m)) : Entry{};
  };
  const std::string title = std::string(family)
                                .append(", mean of ")
                                .append(std::to_string(members))
                                .append(" (")
                                .append(first.score)
                                .append(")");
  const std::array<Entry, 4> entries = {mean(best), mode(Mode::random), mode(Mode::scratch), mode(Mode::pretrained)};
  return score_line(title, *first.row, point.shots, mean(copied).text, entries, first.higher_is_better());
}

std::string main_table(const Summary& summary) {
  std::string text, last_family;
  for (const RowSummary& row : summary.rows) {
    if (row.row->is_study()) continue;
    const bool member = !row.row->family.empty();
    if (member && row.row->family == last_family) continue;
    last_family = row.row->family;
    for (const Point& point : row.points) {
      text += member ? family_line(summary, row, point)
                     : main_line(row.row->name + (row.score.empty() ? std::string()
                                                                    : std::string(" (").append(row.score).append(")")),
                                 row, point);
    }
  }
  return text.empty() ? text : "## Scores\n" + (kMainHead + text) + "\n";
}

std::string family_tables(const Summary& summary) {
  std::string text, last_family;
  for (const RowSummary& row : summary.rows) {
    const std::string& family = row.row->family;
    if (family.empty() || row.row->is_study()) continue;
    if (family != last_family) text.append("## ").append(family).append(", member by member\n").append(kMainHead);
    last_family = family;
    for (const Point& point : row.points) text += main_line(row.row->name.substr(family.size() + 1), row, point);
    const bool ends = &row == &summary.rows.back() || (&row + 1)->row->family != family;
    if (ends) text += "\n";
  }
  return text;
}

std::string baseline_table(const Summary& summary) {
  std::string text;
  for (const RowSummary& row : summary.rows) {
    if (!row.row->family.empty() || row.row->is_study()) continue;
    for (const Point& point : row.points) {
      const Baseline* best = point.best(row.higher_is_better());
      std::string all;
      for (const Baseline& b : point.baselines) {
        const std::string one = std::string(b.name).append(" ").append(number(b.value));
        all.append(all.empty() ? "" : ", ").append(&b == best ? bold(one) : one);
      }
      text += line({row.row->name, std::to_string(point.shots), all.empty() ? "missing" : all});
    }
  }
  if (text.empty()) return text;
  return "## Rules without a network\nFrom the same training pairs; the best in bold.\n\n| task | n | scores |\n"
         "|---|---|---|\n" +
         text + "\n";
}

std::string study_tables(const Summary& summary) {
  std::string text;
  for (const RowSummary& row : summary.rows) {
    if (!row.row->is_study()) continue;
    const auto attempts = static_cast<std::size_t>(row.row->attempts);
    text.append("## ").append(row.row->name).append("\nScore: ");
    text.append(row.score.empty() ? "unknown yet" : row.score).append(".\n\n");
    std::vector<std::string> head = {"n", "mode", "rank", "transition", attempts == 1 ? "score" : "1 attempt"};
    for (std::size_t k = 2; k <= attempts; ++k) head.push_back(std::string("best of ").append(std::to_string(k)));
    text += line(head) + line(std::vector<std::string>(head.size(), "---"));
    for (const Point& point : row.points) {
      for (const Variant& v : point.variants) {
        std::vector<std::string> cells = variant_cells(v);
        cells.insert(cells.begin(), std::to_string(point.shots));
        for (std::size_t k = 0; k < attempts; ++k) {
          std::vector<double> values;
          for (const SeedScore& seed : v.seeds) {
            if (k < seed.by_attempts.size()) values.push_back(seed.by_attempts[k]);
          }
          cells.push_back(cell_text(values, v.seeds.size()));
        }
        text += line(cells);
      }
    }
    text += "\n";
  }
  return text;
}

/// Words with commas between them. @param text std::string(item)
template <class Items, class Text>
std::string listed(const Items& items, const Text& text) {
  std::string list;
  for (const auto& item : items) list.append(list.empty() ? "" : ", ").append(text(item));
  return list;
}

std::string names_or_none(const std::set<std::string>& names) {
  return names.empty() ? "none" : listed(names, [](const std::string& name) { return name; });
}

std::string rate_table(const Summary& summary) {
  std::string text;
  for (const RowSummary& row : summary.rows) {
    for (const Point& point : row.points) {
      for (const Variant& v : point.variants) {
        const auto known = std::find_if(v.seeds.begin(), v.seeds.end(), [](const SeedScore& s) { return s.lr > 0; });
        if (known == v.seeds.end()) continue;
        std::vector<std::string> cells = variant_cells(v);
        cells.insert(cells.begin(), {row.row->name, std::to_string(point.shots)});
        const std::string kinds =
            listed(row.row->augments, [](const segue::tasks::Augmentation& kind) { return segue::tasks::name(kind); });
        cells.insert(cells.end(), {listed(row.row->lrs.at(v.mode), rate), rate(known->lr), kinds, known->augment});
        text += line(cells);
      }
    }
  }
  if (text.empty()) return text;
  return "## Learning rates and augmentations\nThe best on held-out training pairs, seed 0, of every rate with every "
         "augmentation; one that has no other was taken without a search.\n\n| task | n | mode | rank | transition | "
         "rates | taken | augmentations | taken |\n"
         "|---|---|---|---|---|---|---|---|---|\n" +
         text + "\n";
}

}  // namespace

std::string markdown_of(const Summary& summary, std::span<const std::string> plots, const std::string& without_plots) {
  std::string text = "# Few-shot experiments\n\nDevice: " + names_or_none(summary.devices) +
                     ". Pretrained backbone: " + names_or_none(summary.models) + ". Cells made from " +
                     (summary.first_date.empty() ? "-" : summary.first_date) + " to " +
                     (summary.last_date.empty() ? "-" : summary.last_date) + ", " +
                     segue::train::duration_text(summary.seconds) + " in all.\n";
  text += std::to_string(summary.expected - summary.missing) + " of " + std::to_string(summary.expected) +
          " cells are there";
  if (summary.failed > 0) text += ", " + std::to_string(summary.failed) + " of these broke off";
  if (summary.stale > 0) {
    text += "; " + std::to_string(summary.stale) + " more are of an earlier model or another device and are left out";
  }
  text += ".\n\nFigures are means over the seeds, with the smallest and the largest in brackets.\n\n";
  text += main_table(summary);
  if (!without_plots.empty()) text += without_plots + "\n\n";
  for (const std::string& plot : plots) text.append("![").append(plot).append("](").append(plot).append(")\n");
  if (!plots.empty()) text += "\n";
  text += baseline_table(summary) + family_tables(summary) + study_tables(summary) + rate_table(summary);
  while (text.ends_with("\n\n")) text.pop_back();
  return text;
}

}  // namespace experiments
