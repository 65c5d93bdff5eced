// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <charconv>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "segue/core/error.hpp"
#include "segue/core/nearest_name.hpp"
#include "segue/tasks/automata.hpp"
#include "segue/tasks/elementary.hpp"
#include "segue/tasks/grid.hpp"
#include "segue/tasks/langton.hpp"
#include "segue/tasks/maze.hpp"
#include "segue/tasks/sudoku.hpp"

SEGUE_NAMESPACE_BEGIN
namespace tasks {

/// A generated task that goes by a name, as a program's user types it.
struct NamedTask {
  std::string_view name;
  std::string_view argument;  ///< what follows the name and a colon; empty if nothing may
  std::string_view fallback;  ///< the argument where none is given; empty if one must be
  std::string_view what;      ///< one line
  std::uint64_t seed;         ///< the paper's (arXiv 2510.24448)
};

/// All there are, in the order in which they are listed. Sizes and distances are the defaults of their specs, the
/// paper's: its seeds are kept, but items are drawn by our own generators and are not the paper's.
inline constexpr std::array<NamedTask, 8> named_tasks = {{
    {"eca", "RULE", "", "an elementary automaton, rule 0 to 255: 7 steps from the first row of 16 cells", 42},
    {"life", "RULE", "", "a Life-like automaton, e.g. B3/S23: one step of 8x8 cells", 42},
    {"langton", "STEPS", "2", "Langton's ant on 8x8 cells, some steps on (2 if not given)", 123},
    {"maze", "", "", "the way through a maze of 21x21 cells", 1},
    {"maze-small", "", "", "the way through a maze of 13x13 cells", 1},
    {"maze-larger", "", "", "training on mazes of 13x13 cells, tests on 21x21", 1},
    {"mini-sudoku", "", "", "a Sudoku of 4x4 cells, digits as colours", 123},
    {"sudoku", "", "", "a Sudoku of 9x9 cells, digits as colours", 123},
}};

namespace detail {

/// "eca:RULE, life:RULE, langton[:STEPS], maze, …".
inline std::string list_named_tasks() {
  std::string list;
  for (const NamedTask& task : named_tasks) {
    list.append(list.empty() ? "" : ", ").append(task.name);
    if (task.argument.empty()) continue;
    const bool optional = !task.fallback.empty();
    list.append(optional ? "[:" : ":").append(task.argument).append(optional ? "]" : "");
  }
  return list;
}

inline int read_whole_number(std::string_view task, std::string_view text, int low, int high) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < low || value > high) {
    throw_input("task", "what follows '" + std::string(task) + ":'", in_quotes(text),
                "a whole number from " + std::to_string(low) + " to " + std::to_string(high));
  }
  return value;
}

}  // namespace detail

/// Makes the task that a text names: "eca:110", "life:B3/S2", "langton", "langton:5", "maze", "maze-small",
/// "maze-larger", "mini-sudoku", "sudoku". Items are nested and kept apart as make_grid_task says.
/// @param seed the paper's, if empty. Raises InputError for a name that is unknown (with the nearest known one), or an
/// argument that is missing, malformed or not wanted.
inline GridTask make_named_task(std::string_view text, int train, int test,
                                std::optional<std::uint64_t> seed = std::nullopt) {
  const std::size_t colon = text.find(':');
  const std::string_view name = text.substr(0, colon);
  std::string_view argument = colon == std::string_view::npos ? std::string_view() : text.substr(colon + 1);
  const NamedTask* found = nullptr;
  std::array<std::string_view, named_tasks.size()> names;
  for (std::size_t i = 0; i < names.size(); ++i) {
    names[i] = named_tasks[i].name;
    if (names[i] == name) found = &named_tasks[i];
  }
  if (found == nullptr) {
    const std::string near = did_you_mean(name, names);
    throw_input("task",
                in_quotes(text) + " is no task" + (near.empty() ? "; there are " + detail::list_named_tasks() : near));
  }
  if (found->argument.empty() && colon != std::string_view::npos) {
    throw_input("task", in_quotes(name) + " takes nothing after its name");
  }
  if (!found->argument.empty() && argument.empty()) {
    if (found->fallback.empty()) {
      throw_input("task", in_quotes(name) + " needs a rule: " + std::string(name) + ":" + std::string(found->argument));
    }
    argument = found->fallback;
  }
  const std::uint64_t s = seed.value_or(found->seed);
  if (name == "eca") {
    return make_elementary_task({.rule = detail::read_whole_number(name, argument, 0, 255)}, train, test, s);
  }
  if (name == "life") return make_life_task({.rule = std::string(argument)}, train, test, s);
  if (name == "langton") {
    return make_langton_task({.steps = detail::read_whole_number(name, argument, 1, 1000)}, train, test, s);
  }
  if (name == "maze") return make_maze_task({21, 21}, train, test, s);
  if (name == "maze-small") return make_maze_task({13, 13}, train, test, s);
  if (name == "maze-larger") return make_maze_task({13, 21}, train, test, s);
  return make_sudoku_task({.box = name == "sudoku" ? 3 : 2}, train, test, s);
}

}  // namespace tasks
SEGUE_NAMESPACE_END
