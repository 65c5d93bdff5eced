// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "segue/tasks/arc_render.hpp"
#include "segue/tasks/augment.hpp"
#include "segue/tasks/picture_transform.hpp"
#include "segue/tasks/transition.hpp"

namespace fewshot {

/// What the command line says; defaults are those of `--help`.
struct Options {
  // Where the task comes from: at most one of these; none is the generated task.
  std::string pairs;
  std::string arc;
  std::string latents;
  std::string life;
  std::string task;  ///< the name of a generated task on grids, see segue::tasks::named_tasks
  std::string pictures;
  bool muted = false;
  std::string apply;

  /// What the pictures of `pairs` or `pictures` are made to show; empty: the targets of `pairs`.
  std::optional<segue::tasks::PictureTransform> transform;
  std::optional<segue::tasks::Layout> layout;  ///< of `arc`; empty: what suits the grids

  std::string model;
  int canvas = 0;  ///< side of the pictures in pixels; 0: what the model says
  std::string adapter;
  std::string out;
  std::string score;
  int score_size = 0;  ///< side of the pictures that are judged; 0: as they are drawn

  int shots = 10;
  bool shots_given = false;
  int test_items = 0;  ///< 0: all
  segue::tasks::Augmentation augmentation;
  int attempts = 1;

  int steps = 300;
  int stop_at = 0;  ///< 0: never
  int batch = 4;
  int rank = 16;
  double alpha = 0;  ///< 0: the rank, so that programs that lose alpha still apply the right scale
  double lr = 6e-3;
  double dropout = 0;
  std::vector<std::string> targets;
  std::uint64_t seed = 0;
  segue::tasks::Transition transition = segue::tasks::Transition::Discrete;

  int sample_steps = 6;
  int sample_batch = 10;
  int average = 1;  ///< draws that an answer is the mean of
  double shift = 25.0;
  double guidance = 1.0;
  std::string device;     ///< empty: the one that the program was built for
  std::string precision;  ///< likewise
  int threads = 0;
  int checkpoint_every = 50;
  bool resume = false;
  bool help = false;
};

/// @throws segue::InputError for an unknown option (with the nearest known one), a missing or malformed value.
Options parse_options(int argc, char** argv);

std::string help_text();

/// The weights that ship, if any.
std::string default_model();

}  // namespace fewshot
