// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#include "table.hpp"

#include <algorithm>
#include <set>

#include "segue/core/posix.hpp"

namespace experiments {

using segue::throw_input;
using segue::io::Json;

namespace {

constexpr std::array<std::string_view, 22> kKeys = {
    "canvas", "augments",     "average", "name",  "each",      "task",        "shots",    "test",
    "modes",  "seeds",        "lrs",     "rank",  "ranks",     "transitions", "attempts", "steps",
    "batch",  "sample_steps", "shift",   "paper", "yardstick", "reach"};
/// What the driver says itself, so that a row cannot say it twice.
constexpr std::array<std::string_view, 24> kTakenWords = {
    "--canvas", "--augment",    "--average", "--shots",        "--test",         "--steps",  "--batch",    "--rank",
    "--lr",     "--transition", "--seed",    "--sample-steps", "--sample-batch", "--shift",  "--attempts", "--model",
    "--out",    "--adapter",    "--apply",   "--latents",      "--device",       "--resume", "--stop-at",  "--help"};

/// One row's values, its own before the defaults, with the sentence's beginning.
class Reader {
 public:
  Reader(const Json& row, const Json& defaults, std::string where)
      : row_(row), defaults_(defaults), where_(std::move(where)) {}

  const std::string& where() const { return where_; }

  const Json* find(std::string_view key) const {
    const Json* own = row_.find(key);
    return own ? own : defaults_.find(key);
  }

  template <class T>
  T get(std::string_view key) const {
    const Json* value = find(key);
    if (!value) throw_input(where_, "key " + segue::in_quotes(key) + " is missing, here and in the defaults");
    return value->as<T>(where_, "key " + segue::in_quotes(key));
  }

  int count(std::string_view key, int fallback, int low) const {
    return find(key) ? at_least(get<int>(key), key, low) : fallback;
  }

  std::vector<int> counts(std::string_view key, std::vector<int> fallback, int low) const {
    if (!find(key)) return fallback;
    const auto values = distinct(get<std::vector<int>>(key), key);
    for (const int value : values) at_least(value, key, low);
    return values;
  }

  /// Refuses an empty list and one that says a thing twice.
  template <class T>
  std::vector<T> distinct(std::vector<T> values, std::string_view key) const {
    if (values.empty()) throw_input(where_, "key " + segue::in_quotes(key), "empty", "one value or more");
    std::vector<T> sorted = values;
    std::sort(sorted.begin(), sorted.end());
    if (std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end()) {
      throw_input(where_, "key " + segue::in_quotes(key), "a list with a value twice", "each value once");
    }
    return values;
  }

  /// {"10": 0.5, "30": 0.7}
  FigureByShots figures(std::string_view key) const {
    FigureByShots out;
    const Json* value = find(key);
    if (!value || value->is_null()) return out;
    const std::string what = "key " + segue::in_quotes(key);
    if (!value->is_object()) throw_input(where_, what, value->describe(), "an object of figures by number of pairs");
    for (std::size_t i = 0; i < value->size(); ++i) {
      const std::string& shots = value->keys()[i];
      const bool digits = !shots.empty() && shots.size() < 8 && shots.find_first_not_of("0123456789") == shots.npos;
      if (!digits)
        throw_input(where_, "a key of " + segue::in_quotes(key), segue::in_quotes(shots), "a number of pairs");
      out[std::stoi(shots)] = value->items()[i].as<double>(where_, what + " at " + shots);
    }
    return out;
  }

 private:
  int at_least(int value, std::string_view key, int low) const {
    if (value < low) {
      throw_input(where_, "key " + segue::in_quotes(key), std::to_string(value), std::to_string(low) + " or more");
    }
    return value;
  }

  const Json& row_;
  const Json& defaults_;
  std::string where_;
};

Mode mode_from_name(std::string_view text, const std::string& where) {
  for (const Mode mode : all_modes) {
    if (name(mode) == text) return mode;
  }
  throw_input(where, "a mode", segue::in_quotes(text), "pretrained, random or scratch");
}

std::map<Mode, std::vector<double>> read_lrs(const Reader& reader, const std::vector<Mode>& modes) {
  const auto lists = reader.get<Json>("lrs");
  const std::string& where = reader.where();
  if (!lists.is_object()) throw_input(where, "key 'lrs'", lists.describe(), "an object: a list of rates by mode");
  std::map<Mode, std::vector<double>> out;
  for (const std::string& key : lists.keys()) {
    const auto rates = reader.distinct(lists.get<std::vector<double>>(key, where), "lrs");
    for (const double rate : rates) {
      if (!(rate > 0 && rate < 1e3))
        throw_input(where, "a rate of 'lrs'", std::to_string(rate), "above 0 and below 1000");
    }
    out[mode_from_name(key, where)] = rates;
  }
  for (const Mode mode : modes) {
    if (!out.contains(mode)) throw_input(where, "key 'lrs' has no list for mode " + segue::in_quotes(name(mode)));
  }
  return out;
}

/// A list of words that each name a value; `fallback` alone where the key is missing.
template <class Value>
std::vector<Value> read_named(const Reader& reader, std::string_view key, Value (*from_name)(std::string_view),
                              const Value& fallback) {
  if (!reader.find(key)) return {fallback};
  std::vector<Value> values;
  for (const std::string& word : reader.get<std::vector<std::string>>(key)) {
    try {
      values.push_back(from_name(word));
    } catch (const segue::InputError& error) {
      throw_input(reader.where(), error.what());
    }
  }
  return reader.distinct(values, key);
}

std::vector<std::string> read_words(const Reader& reader) {
  const auto words = reader.get<std::vector<std::string>>("task");
  for (const std::string& word : words) {
    const std::string option = word.substr(0, word.find('='));
    if (std::find(kTakenWords.begin(), kTakenWords.end(), option) != kTakenWords.end()) {
      throw_input(reader.where(), "a word of 'task'", segue::in_quotes(word),
                  "only what says where the task comes from: the rest has keys of its own");
    }
  }
  return words;
}

Row read_row(const Json& json, const Json& defaults, const std::string& table, std::size_t number) {
  const std::string place = table + ": row " + std::to_string(number + 1);
  if (!json.is_object()) throw_input(place, "the row", json.describe(), "an object");
  Row row;
  row.name = json.get<std::string>("name", place);
  const bool plain = !row.name.empty() && row.name.find_first_not_of(
                                              "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                              "0123456789._-") == std::string::npos;
  if (!plain) throw_input(place, "key 'name'", segue::in_quotes(row.name), "letters, digits, '.', '_' and '-'");
  const Reader reader(json, defaults, table + ": row " + segue::in_quotes(row.name));
  json.allow_only(kKeys, reader.where());
  row.words = read_words(reader);
  row.shots = reader.counts("shots", {10}, 1);
  row.test = reader.count("test", 0, 0);
  for (const std::string& mode : reader.get<std::vector<std::string>>("modes")) {
    row.modes.push_back(mode_from_name(mode, reader.where()));
  }
  row.modes = reader.distinct(row.modes, "modes");
  for (const int seed : reader.counts("seeds", {0}, 0)) row.seeds.push_back(static_cast<std::uint64_t>(seed));
  row.lrs = read_lrs(reader, row.modes);
  row.augments = read_named(reader, "augments", segue::tasks::augmentation_from_name, {});
  const bool searched = std::any_of(row.modes.begin(), row.modes.end(),
                                    [&](Mode m) { return row.lrs[m].size() * row.augments.size() > 1; });
  if (searched && *std::min_element(row.shots.begin(), row.shots.end()) < 2) {
    throw_input(reader.where(), "key 'shots'", "1",
                "2 or more where 'lrs' or 'augments' leave a choice: a pair is held out");
  }
  row.ranks = reader.counts("ranks", {reader.count("rank", 16, 1)}, 1);
  row.transitions =
      read_named(reader, "transitions", segue::tasks::transition_from_name, segue::tasks::Transition::Discrete);
  row.attempts = reader.count("attempts", 1, 1);
  row.average = reader.count("average", 1, 1);
  row.canvas = reader.count("canvas", 0, 0);
  if (row.canvas > 0 && row.canvas < 8) {
    throw_input(reader.where(), "key 'canvas'", std::to_string(row.canvas), "8 or more, or 0 for the model's own");
  }
  row.steps = reader.count("steps", 400, 1);
  row.batch = reader.count("batch", 16, 1);
  row.sample_steps = reader.count("sample_steps", 20, 1);
  if (reader.find("shift")) row.shift = reader.get<double>("shift");
  if (!(row.shift >= 0.01 && row.shift <= 100)) {
    throw_input(reader.where(), "key 'shift'", std::to_string(row.shift), "0.01 to 100");
  }
  row.paper = reader.figures("paper");
  row.yardstick = reader.figures("yardstick");
  row.reach = reader.figures("reach");
  return row;
}

}  // namespace

std::string replace_all(std::string text, std::string_view key, std::string_view value) {
  const std::string mark = "${" + std::string(key) + "}";
  for (std::size_t at = 0; (at = text.find(mark, at)) != std::string::npos; at += value.size()) {
    text.replace(at, mark.size(), value);
  }
  return text;
}

Table read_table(const Json& json, const std::string& where) {
  if (!json.is_object()) throw_input(where, "the table", json.describe(), "an object with 'defaults' and 'rows'");
  json.allow_only(std::array<std::string_view, 2>{"defaults", "rows"}, where);
  const Json defaults = json.get_or<Json>("defaults", Json::object(), where);
  if (!defaults.is_object()) throw_input(where, "key 'defaults'", defaults.describe(), "an object");
  defaults.allow_only(kKeys, where + ": the defaults");
  const auto list = json.get<std::vector<Json>>("rows", where);
  if (list.empty()) throw_input(where, "key 'rows'", "empty", "one row or more");
  Table table;
  std::set<std::string> names;
  for (std::size_t i = 0; i < list.size(); ++i) {
    Row row = read_row(list[i], defaults, where, i);
    const std::string place = where + ": row " + segue::in_quotes(row.name);
    if (!names.insert(row.name).second) throw_input(place, "its name is taken by a row before it");
    const auto members = list[i].get_or<std::vector<std::string>>("each", {}, place);
    if (list[i].contains("each") && members.empty()) throw_input(place, "key 'each'", "empty", "one member or more");
    if (members.empty()) table.rows.push_back(row);
    for (const std::string& member : members) {
      Row one = row;
      one.family = row.name;
      one.name = row.name + "/" + member;
      if (!names.insert(one.name).second)
        throw_input(place, "a member of 'each'", segue::in_quotes(member), "each once");
      for (std::string& word : one.words) word = replace_all(word, "each", member);
      table.rows.push_back(std::move(one));
    }
  }
  return table;
}

Table read_table(const std::string& path) {
  return read_table(segue::io::parse_json(segue::read_text_file(path), path), path);
}

}  // namespace experiments
