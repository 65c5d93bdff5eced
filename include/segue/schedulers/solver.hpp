// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "segue/ops/guidance.hpp"

SEGUE_NAMESPACE_BEGIN
namespace schedulers {

/// How a step is taken: `step(exec, x, v, sigma, sigma_next)` moves x, in place, from sigma to sigma_next given the
/// velocity v = dx/dσ at sigma. x and v are `View`s of (B, C, F, H, W); x may be wider than v. A solver that remembers
/// earlier steps keeps them as members and clears them in `begin()`, which is called once a clip if it is there.
///
/// A solver that can take guidance into its step offers
/// `guided_step(exec, x, v_cond, v_uncond, guidance, sigma, sigma_next)` too; for the others the two velocities are
/// combined first.
template <class T, class Device, class X, class V>
concept Solver = requires(T& solver, Exec<Device>& exec, View<X, 5, typename Device::Space> x,
                          View<V, 5, typename Device::Space> v, double sigma) {
  solver.step(exec, x, v, sigma, sigma);
};

/// x += (σ' − σ)·v.
struct Euler {
  template <class Device, class X, class V, int Rank>
  void step(Exec<Device>& exec, View<X, Rank, typename Device::Space> x, View<V, Rank, typename Device::Space> v,
            double sigma, double sigma_next) {
    ops::guided_euler_step(exec, x, v, {}, 1.0, sigma_next - sigma);
  }
  template <class Device, class X, class V, int Rank>
  void guided_step(Exec<Device>& exec, View<X, Rank, typename Device::Space> x,
                   View<V, Rank, typename Device::Space> v_cond, View<V, Rank, typename Device::Space> v_uncond,
                   double guidance, double sigma, double sigma_next) {
    ops::guided_euler_step(exec, x, v_cond, v_uncond, guidance, sigma_next - sigma);
  }
};

}  // namespace schedulers
SEGUE_NAMESPACE_END
