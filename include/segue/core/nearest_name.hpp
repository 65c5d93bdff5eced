// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "segue/core/config.hpp"

SEGUE_NAMESPACE_BEGIN

/// Text from elsewhere, fit for a sentence: control characters (line breaks, terminal commands, zeros) become '?', and
/// what is long is cut.
inline std::string printable(std::string_view text) {
  static constexpr std::size_t longest = 160;
  std::string out;
  for (const char c : text.substr(0, longest)) {
    out.push_back(static_cast<unsigned char>(c) < 0x20 || c == 0x7F ? '?' : c);
  }
  return out.append(text.size() > longest ? "…" : "");
}

/// The same as 'text'.
inline std::string in_quotes(std::string_view text) { return std::string("'").append(printable(text)).append("'"); }

/// Number of single-character insertions, deletions and replacements between two words (Levenshtein).
inline std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j < row.size(); ++j) row[j] = j;
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i + 1;
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({row[j] + 1, row[j + 1] + 1, replaced});
    }
  }
  return row[b.size()];
}

/// The candidate that `name` most likely was meant to be, or "" when none is near (more than a third of the letters
/// would have to change). `candidates` is any range whose elements convert to std::string_view and outlive the result.
/// For error messages: the cost is the product of the lengths, a candidate.
template <class Names>
std::string_view nearest_name(std::string_view name, const Names& candidates) {
  std::string_view best;
  std::size_t best_distance = std::max<std::size_t>(name.size() / 3, 1) + 1;
  for (const auto& candidate : candidates) {
    const std::string_view text = candidate;
    const std::size_t difference = text.size() > name.size() ? text.size() - name.size() : name.size() - text.size();
    if (difference >= best_distance) continue;
    const std::size_t distance = edit_distance(name, text);
    if (distance < best_distance) {
      best_distance = distance;
      best = text;
    }
  }
  return best;
}

/// ", did you mean 'x'?" or nothing: the tail of a sentence that says that `name` is unknown.
template <class Names>
std::string did_you_mean(std::string_view name, const Names& candidates) {
  const std::string_view nearest = nearest_name(name, candidates);
  return nearest.empty() ? std::string() : ", did you mean " + in_quotes(nearest) + "?";
}

SEGUE_NAMESPACE_END
