// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>

#include "options.hpp"
#include "segue/train/objective.hpp"
#include "segue/train/trainer.hpp"

namespace fewshot {

using Objective = segue::train::FlowMatchingObjective<segue::schedulers::LogitNormalTime>;

inline Objective objective(const Options& options) {
  Objective made;
  made.times.shift = options.shift;
  return made;
}

/// How a few pairs are fitted, whatever trains.
inline segue::train::TrainerOptions recipe(const Options& options) {
  segue::train::TrainerOptions t;
  t.steps = options.steps;
  t.lr = options.lr;
  t.schedule = {.decay = segue::train::LrDecay::linear, .warmup = std::min(options.steps / 10, 20)};
  t.adamw.beta2 = 0.95;
  t.adamw.weight_decay = 0;
  t.seed = options.seed;
  return t;
}

}  // namespace fewshot
