// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>

#include "segue/ops/elementwise.hpp"

SEGUE_NAMESPACE_BEGIN
namespace schedulers {

/// data·x0 + noise·n: what a point of a path, its velocity and the target of a prediction all are.
struct Mixture {
  double data = 0;
  double noise = 0;
};

/// A path at one sigma: where it is, and its derivative with respect to sigma.
struct PathPoint {
  Mixture state;
  Mixture velocity;
};

/// How data and noise mix: `at(sigma)` for sigma in [0, 1], data at 0 and noise at 1.
template <class T>
concept Path = requires(const T& path, double sigma) {
  { path.at(sigma) } -> std::same_as<PathPoint>;
};

/// The straight line of flow matching: x = (1 − σ)·x0 + σ·n, dx/dσ = n − x0.
/// Source: Lipman et al., "Flow matching for generative modeling", 2022; Wan, LTX-Video, HunyuanVideo.
struct LinearPath {
  constexpr PathPoint at(double sigma) const { return {{1.0 - sigma, sigma}, {-1.0, 1.0}}; }
};

/// out = m.data·x0 + m.noise·n. All of one shape, any rank whose leading axes form one row stride; the element types
/// may differ. `out` may be neither input.
template <class Device, class TX, class TN, class T, int Rank>
void mix(Exec<Device>& exec, const Mixture& m, View<TX, Rank, typename Device::Space> x0,
         View<TN, Rank, typename Device::Space> noise, View<T, Rank, typename Device::Space> out) {
  ops::axpby(exec, m.noise, noise, 0.0, out);
  if (m.data != 0) ops::axpby(exec, m.data, x0, 1.0, out);
}

}  // namespace schedulers
SEGUE_NAMESPACE_END
