// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>

#include "segue/core/posix.hpp"
#include "segue/io/json.hpp"

SEGUE_NAMESPACE_BEGIN
namespace train {

namespace detail {

/// The part of a log that a run resumed after `step` keeps: whole lines whose "step" is not past it; none for step 0.
inline std::string kept_lines(std::string_view text, std::int64_t step) {
  std::string kept;
  if (step == 0) return kept;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    if (end == std::string_view::npos) break;
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end + 1);
    try {
      const io::Json json = io::parse_json(line, "log");
      if (json.get<std::int64_t>("step", "log") > step) continue;
    } catch (const InputError&) {
      continue;  // A line that a crash tore.
    }
    kept.append(line).push_back('\n');
  }
  return kept;
}

}  // namespace detail

/// A run's log, one JSON object with a "step" a line. It only grows, except that a resumed run first takes back the
/// lines past the step that it goes on from; a fresh run (0) takes back all.
class JsonlLog {
 public:
  JsonlLog(const std::string& path, std::int64_t resumed_step) : log_(prepare(path, resumed_step)) {}

  void write(const io::Json& line) { log_.line(io::dump_json(line, -1)); }

 private:
  static std::string prepare(const std::string& path, std::int64_t step) {
    if (is_file(path)) {
      const std::string text = read_text_file(path, std::numeric_limits<std::size_t>::max());
      const std::string kept = detail::kept_lines(text, step);
      if (kept != text) write_file_atomically(path, kept);
    }
    return path;
  }

  AppendLog log_;
};

}  // namespace train
SEGUE_NAMESPACE_END
