// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "segue/core/tensor.hpp"
#include "segue/schedulers/prediction.hpp"
#include "segue/schedulers/solver.hpp"
#include "segue/schedulers/time_grid.hpp"

SEGUE_NAMESPACE_BEGIN
namespace schedulers {

/// A scheduler composed of its parts. Every part is a struct with run-time fields:
/// `FlowMatching<LinearPath, Velocity, ShiftedGrid, Euler> s{.grid = {.shift = 3.0}};`
template <Path PathT = LinearPath, Prediction PredictionT = Velocity, TimeGrid GridT = ShiftedGrid,
          class SolverT = Euler>
struct FlowMatching {
  PathT path{};
  PredictionT prediction{};
  GridT grid{};
  SolverT solver{};

  /// n + 1 sigmas.
  std::vector<double> sigmas(int steps) const { return grid.sigmas(steps); }
  /// Called before the first step of a clip.
  void begin() {
    if constexpr (requires { solver.begin(); }) solver.begin();
  }

  /// Moves x from sigma to sigma_next, given what the network said with the condition and, where guidance is wanted,
  /// without it: v = v_uncond + guidance·(v_cond − v_uncond). `said_uncond` may be empty; then guidance is not read.
  /// Both answers may be overwritten.
  template <class Device, class X, class V>
  void step(Exec<Device>& exec, const Tensor<X, 5, typename Device::Space>& x,
            const Tensor<V, 5, typename Device::Space>& said, const Tensor<V, 5, typename Device::Space>& said_uncond,
            double guidance, double sigma, double sigma_next) {
    static_assert(Solver<SolverT, Device, X, V>,
                  "FlowMatching: the solver needs step(exec, x, v, sigma, sigma_next) over views of five axes");
    const Combination to_v = velocity_from(prediction, path.at(sigma));
    const bool is_velocity = to_v.output == 1 && to_v.state == 0;
    if constexpr (requires {
                    solver.guided_step(exec, x.view(), said.view(), said_uncond.view(), guidance, sigma, sigma_next);
                  }) {
      if (is_velocity && said_uncond) {
        solver.guided_step(exec, x.view(), said.view(), said_uncond.view(), guidance, sigma, sigma_next);
        return;
      }
    }
    if (said_uncond) ops::axpby(exec, 1.0 - guidance, said_uncond.view(), guidance, said.view());
    if (!is_velocity) ops::axpby(exec, to_v.state, x.view(), to_v.output, said.view());
    solver.step(exec, x.view(), said.view(), sigma, sigma_next);
  }
};

/// What a sampler asks of a scheduler: `sigmas(steps)`, `begin()`, `step(…)` as `FlowMatching` has them.
template <class T, class Device, class X, class V>
concept Scheduler = requires(T& scheduler, Exec<Device>& exec, const Tensor<X, 5, typename Device::Space>& x,
                             const Tensor<V, 5, typename Device::Space>& v, double number) {
  { scheduler.sigmas(1) } -> std::same_as<std::vector<double>>;
  scheduler.begin();
  scheduler.step(exec, x, v, v, number, number, number);
};

}  // namespace schedulers
SEGUE_NAMESPACE_END
