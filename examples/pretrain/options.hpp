// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

namespace pretrain {

/// What the command line says; defaults are those of `--help`.
struct Options {
  std::string out = "out/pretrain";
  std::string corpus;  ///< empty: what needs no media
  std::string media;   ///< empty: where the corpus says
  std::string init;    ///< empty: random weights
  std::string device;  ///< empty: the one that the program was built for

  int heads = 5;
  int layers = 6;
  int ffn = 960;
  int frames = 5;
  int size = 64;

  int steps = 2000;
  int stop_at = 0;  ///< 0: never
  int batch = 32;
  double lr = 1e-3;
  double weight_decay = 0.01;
  int warmup = -1;           ///< −1: a twentieth of the steps, at most 200
  double decay_share = 1.0;  ///< of the steps after the warm-up, in which the rate falls
  double ema = 0.999;
  double shift = 3.0;
  std::uint64_t seed = 0;

  int threads = 0;
  int workers = 0;  ///< threads that draw clips; 0: all the processor has
  double reuse = 1;
  int sheet_every = 500;
  double checkpoint_seconds = 60;
  bool resume = false;
  bool help = false;
};

/// @throws segue::InputError for an unknown option (with the nearest known one), a missing or malformed value.
Options parse_options(int argc, char** argv);

std::string help_text();

}  // namespace pretrain
