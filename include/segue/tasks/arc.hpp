// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "segue/core/error.hpp"
#include "segue/core/posix.hpp"
#include "segue/io/json.hpp"
#include "segue/tasks/arc_render.hpp"
#include "segue/tasks/grid.hpp"
#include "segue/tasks/pair.hpp"

SEGUE_NAMESPACE_BEGIN
namespace tasks {

namespace detail {

/// "c" of "a/b/c" and of "a/b/c/".
inline std::string last_name(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path.substr(path.rfind('/') + 1);
}

inline Grid read_grid(const io::Json& json, const std::string& path, const std::string& what) {
  if (!json.is_array() || json.size() == 0) throw_input(path, what, json.describe(), "rows of cells");
  Grid grid;
  grid.height = static_cast<int>(json.size());
  for (const io::Json& row : json.items()) {
    const auto cells = row.as<std::vector<int>>(path, "a row of " + what);
    if (grid.width == 0) grid.width = static_cast<int>(cells.size());
    if (cells.empty() || cells.size() != static_cast<std::size_t>(grid.width)) {
      throw_input(path, "a row of " + what, std::to_string(cells.size()) + " cells", std::to_string(grid.width));
    }
    for (const int cell : cells) {
      if (cell < 0 || cell > 9) throw_input(path, "a cell of " + what, std::to_string(cell), "0 to 9");
      grid.cells.push_back(static_cast<std::uint8_t>(cell));
    }
  }
  return grid;
}

}  // namespace detail

/// Reads a task in the format of ARC: {"train": [{"input": rows, "output": rows}, …], "test": […]}, cells 0 to 9.
/// Raises InputError that names the file and the pair.
inline GridTask read_grid_task(const std::string& path) {
  const io::Json json = io::parse_json(read_text_file(path), path);
  GridTask task;
  const std::string file = detail::last_name(path);
  task.name = file.substr(0, file.rfind('.'));
  for (const auto& [split, pairs] : {std::pair{"train", &task.train}, std::pair{"test", &task.test}}) {
    const io::Json& list = json.at(split, path);
    if (!list.is_array()) throw_input(path, std::string("key '") + split + "'", list.describe(), "an array of pairs");
    for (std::size_t i = 0; i < list.size(); ++i) {
      const std::string what = std::string(split) + " pair " + std::to_string(i);
      const io::Json& entry = list.items()[i];
      pairs->push_back({task.name + "/" + split + "/" + std::to_string(i),
                        detail::read_grid(entry.at("input", path), path, "the input of " + what),
                        detail::read_grid(entry.at("output", path), path, "the output of " + what)});
    }
  }
  return task;
}

/// A grid task laid out on a canvas: which pairs fit, the cell size that all of them share, training and test pairs.
///
/// A path to a file gives that task: its train pairs are the demonstrations, its test pairs are asked. A path to a
/// folder is one rule: the pairs of all its .json files are pooled in byte order of the file names, train before test
/// pairs in a file; the first n are for training and the rest is the test. A rule in two halves, DIR/RULE/{train,test}
/// or DIR/{train,test}/RULE, goes by the path DIR/RULE: the first n pairs of the one half are for training, all pairs
/// of the other are the test. A folder of ConceptARC is no rule: its tasks share a concept, not an answer, and each of
/// its files is learned by itself.
///
/// Unless the caller chooses: on the paper's canvas and larger ones grids are drawn with lines where the task wants
/// them. On smaller ones they are solid, and a task whose every grid has one row is folded where that makes its cells
/// at least twice as large.
class Arc {
 public:
  /// @param path a .json file or a folder of them. @param canvas the side of the square canvas in pixels.
  /// @param layout what suits the task, if empty. Raises InputError for bad files, an empty folder, a folded layout of
  /// grids with several rows, or if no pair fits the canvas.
  Arc(const std::string& path, int canvas, std::optional<Layout> layout = std::nullopt) : path_(path) {
    if (const auto halves = halves_of(path)) {
      task_.train = pairs_in(halves->first);
      task_.test = pairs_in(halves->second);
      task_.name = detail::last_name(path);
    } else if (is_directory(path)) {
      task_.train = pairs_in(path);
      task_.name = detail::last_name(path);
      pooled_ = true;
    } else {
      task_ = read_grid_task(path);
    }
    lay_out(canvas, layout);
  }

  /// A generated task (see named_task.hpp). `train(n)` takes from its train pairs, `test(n)` is its test pairs.
  Arc(GridTask task, int canvas, std::optional<Layout> layout = std::nullopt)
      : path_(task.name), task_(std::move(task)) {
    lay_out(canvas, layout);
  }

  const std::string& name() const { return task_.name; }
  const ArcGeometry& geometry() const { return geometry_; }
  /// Pairs left out because a grid does not fit the canvas.
  int skipped() const { return skipped_; }
  /// Pairs that may be used for training.
  int available() const { return static_cast<int>(task_.train.size()); }

  /// The first n demonstrations. Raises InputError that names both numbers if there are fewer.
  std::span<const GridPair> train(int n) const { return first_items(path_, task_.train, n); }
  /// What is asked if the first n pairs were trained on.
  std::span<const GridPair> test(int n) const {
    if (pooled_) return std::span<const GridPair>(task_.train).subspan(first_items(path_, task_.train, n).size());
    return task_.test;
  }

  /// The pictures of a pair.
  Pair render(const GridPair& pair) const {
    return {pair.name, render_grid(pair.input, geometry_), render_grid(pair.output, geometry_)};
  }

 private:
  /// The folders of a rule that lies in two halves.
  static std::optional<std::pair<std::string, std::string>> halves_of(const std::string& path) {
    const std::string name = detail::last_name(path), folder = path.substr(0, path.rfind(name));
    using Halves = std::pair<std::string, std::string>;
    for (const Halves& halves : {Halves(join_path(path, "train"), join_path(path, "test")),
                                 Halves(folder + "train/" + name, folder + "test/" + name)})
      if (is_directory(halves.first) && is_directory(halves.second)) return halves;
    return std::nullopt;
  }

  static std::vector<GridPair> pairs_in(const std::string& folder) {
    std::vector<GridPair> pairs;
    for (const std::string& name : list_directory(folder)) {
      if (name.front() == '.' || name.size() < 6 || name.substr(name.size() - 5) != ".json") continue;
      GridTask one = read_grid_task(join_path(folder, name));
      std::move(one.train.begin(), one.train.end(), std::back_inserter(pairs));
      std::move(one.test.begin(), one.test.end(), std::back_inserter(pairs));
    }
    if (pairs.empty()) throw_input(folder, "the folder holds no .json file with pairs");
    return pairs;
  }

  /// The first pair with a grid of several rows.
  const GridPair* find_tall_pair() const {
    for (const std::vector<GridPair>* pairs : {&task_.train, &task_.test}) {
      for (const GridPair& pair : *pairs) {
        if (pair.input.height > 1 || pair.output.height > 1) return &pair;
      }
    }
    return nullptr;
  }

  bool folding_pays(int canvas) const {
    if (canvas >= arc_paper_canvas) return false;
    int longest = 0;
    for (const std::vector<GridPair>* pairs : {&task_.train, &task_.test}) {
      for (const GridPair& pair : *pairs) longest = std::max({longest, pair.input.width, pair.output.width});
    }
    const std::optional<ArcGeometry> straight = fit_arc_geometry(longest, canvas);
    const std::optional<ArcGeometry> folded = fit_folded_geometry(longest, canvas);
    return folded && (!straight || folded->cell >= 2 * straight->cell);
  }

  void lay_out(int canvas, std::optional<Layout> layout) {
    const GridPair* tall = find_tall_pair();
    if (layout == Layout::Folded && tall != nullptr) {
      throw_input(path_, "the folded layout is for grids of one row, and those of " + tall->name + " have more");
    }
    const bool folded = layout ? *layout == Layout::Folded : tall == nullptr && folding_pays(canvas);
    const auto fit = [&](int longest) {
      if (folded) return fit_folded_geometry(longest, canvas);
      const bool small = canvas < arc_paper_canvas;
      const bool solid = layout ? *layout == Layout::Solid : small || task_.lines == GridLines::None;
      return solid ? fit_solid_geometry(longest, canvas) : fit_arc_geometry(longest, canvas);
    };
    int longest = 0;
    for (std::vector<GridPair>* pairs : {&task_.train, &task_.test}) {
      std::erase_if(*pairs, [&](const GridPair& pair) {
        const int side = std::max(pair.input.longest_side(), pair.output.longest_side());
        const bool fits = fit(side).has_value();
        if (fits) longest = std::max(longest, side);
        skipped_ += fits ? 0 : 1;
        return !fits;
      });
    }
    const std::optional<ArcGeometry> geometry = fit(longest);
    if (!geometry) throw_input(path_, "no pair of grids fits a canvas of " + std::to_string(canvas) + " pixels");
    geometry_ = *geometry;
    geometry_.palette = task_.palette;
  }

  std::string path_;
  GridTask task_;
  bool pooled_ = false;
  ArcGeometry geometry_;
  int skipped_ = 0;
};

}  // namespace tasks
SEGUE_NAMESPACE_END
