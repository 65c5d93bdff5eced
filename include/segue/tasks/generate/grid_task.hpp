// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "segue/core/error.hpp"
#include "segue/tasks/draws.hpp"
#include "segue/tasks/grid.hpp"

SEGUE_NAMESPACE_BEGIN
namespace tasks {

/// How many items of a generated task are drawn, from which seed, and how far a test item keeps from the training
/// items.
struct GridTaskSize {
  std::string name;
  int train = 0, test = 0;
  std::uint64_t seed = 0;
  double min_distance = 0;
};

/// The share of the cells in which the inputs of two pairs differ.
inline double input_distance(const GridPair& a, const GridPair& b) { return cell_distance(a.input, b.input); }

/// A generated task. Item i of `train` depends on (seed, i) alone, so smaller sets are the beginnings of larger ones.
/// A test item differs from every training item by `min_distance` or more and never by 0: items that are nearer are
/// drawn again, up to 20,000 times each, and then InputError is raised.
/// @param draw_train, draw_test GridPair(Draws&); the names of the pairs are set here.
/// @param distance double(const GridPair&, const GridPair&), 0 to 1.
template <class DrawTrain, class DrawTest, class Distance>
GridTask make_grid_task(const GridTaskSize& size, const DrawTrain& draw_train, const DrawTest& draw_test,
                        const Distance& distance) {
  GridTask task;
  task.name = size.name;
  for (int i = 0; i < size.train; ++i) {
    Draws draws(size.seed, static_cast<std::uint64_t>(i));
    task.train.push_back(draw_train(draws));
    task.train.back().name = "train/" + std::to_string(i);
  }
  const auto too_near = [&](const GridPair& candidate) {
    for (const GridPair& pair : task.train) {
      const double apart = distance(candidate, pair);
      if (apart == 0 || apart < size.min_distance) return true;
    }
    return false;
  };
  for (int i = 0; i < size.test; ++i) {
    // Test items have streams of their own, far from those of the training items.
    Draws draws(size.seed, (std::uint64_t{1} << 32) + static_cast<std::uint64_t>(i));
    GridPair pair = draw_test(draws);
    for (int attempt = 1; too_near(pair); ++attempt) {
      if (attempt == 20000) {
        throw_input(size.name, "min_distance", std::to_string(size.min_distance),
                    "a distance from all " + std::to_string(size.train) +
                        " training items that one of 20,000 random items reaches");
      }
      pair = draw_test(draws);
    }
    pair.name = "test/" + std::to_string(i);
    task.test.push_back(std::move(pair));
  }
  return task;
}

/// The same where training and test items are drawn alike.
template <class Draw, class Distance>
GridTask make_grid_task(const GridTaskSize& size, const Draw& draw, const Distance& distance) {
  return make_grid_task(size, draw, draw, distance);
}

}  // namespace tasks
SEGUE_NAMESPACE_END
