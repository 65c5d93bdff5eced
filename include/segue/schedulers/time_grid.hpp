// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <string>
#include <vector>

#include "segue/core/error.hpp"

SEGUE_NAMESPACE_BEGIN
namespace schedulers {

/// Which sigmas a sampler visits: `sigmas(n)` gives n + 1 values, falling, the last of them 0.
template <class T>
concept TimeGrid = requires(const T& grid, int steps) {
  { grid.sigmas(steps) } -> std::same_as<std::vector<double>>;
};

/// s·σ / (1 + (s − 1)·σ): spends more of the range on noise for s > 1. Source: Esser et al., 2024, section 5.3.
constexpr double shift_sigma(double sigma, double shift) { return shift * sigma / (1.0 + (shift - 1.0) * sigma); }

/// What models take as the timestep of a sigma.
inline constexpr double timestep_scale = 1000.0;

namespace detail {

/// n values from `first` to `last`, shifted, and a 0.
inline std::vector<double> shifted_line(double first, double last, int steps, double shift) {
  if (steps < 1) throw_input("time grid", "steps", std::to_string(steps), "1 or more");
  if (!(shift > 0)) throw_input("time grid", "shift", std::to_string(shift), "a positive number");
  std::vector<double> sigmas(static_cast<std::size_t>(steps) + 1, 0.0);
  for (int i = 0; i < steps; ++i) {
    const double t = steps == 1 ? 0.0 : static_cast<double>(i) / (steps - 1);
    sigmas[static_cast<std::size_t>(i)] = shift_sigma(first + t * (last - first), shift);
  }
  return sigmas;
}

}  // namespace detail

/// A line from 1 to 1/n, shifted once: what the pipelines of diffusers hand to FlowMatchEulerDiscreteScheduler.
struct ShiftedGrid {
  double shift = 1.0;
  std::vector<double> sigmas(int steps) const {
    return detail::shifted_line(1.0, steps > 0 ? 1.0 / steps : 0.0, steps, shift);
  }
};

/// FlowMatchEulerDiscreteScheduler.set_timesteps(n) of diffusers: the ends of the training grid are shifted already,
/// and the line between them is shifted again, so that the lower end is shifted twice.
struct DoublyShiftedGrid {
  double shift = 1.0;
  int num_train_timesteps = 1000;
  std::vector<double> sigmas(int steps) const {
    return detail::shifted_line(1.0, shift_sigma(1.0 / num_train_timesteps, shift), steps, shift);
  }
};

}  // namespace schedulers
SEGUE_NAMESPACE_END
