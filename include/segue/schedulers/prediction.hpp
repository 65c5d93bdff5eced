// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "segue/schedulers/path.hpp"

SEGUE_NAMESPACE_BEGIN
namespace schedulers {

/// What the network says: `target(point)` is the mixture of data and noise that it is trained to return at a point of
/// the path. Velocity and data follow from it by solving two equations; see `velocity_from` and `data_from`.
template <class T>
concept Prediction = requires(const T& prediction, const PathPoint& point) {
  { prediction.target(point) } -> std::same_as<Mixture>;
};

/// The network says dx/dσ: n − x0 on the linear path.
struct Velocity {
  constexpr Mixture target(const PathPoint& point) const { return point.velocity; }
};

/// The network says the clean data.
struct DataPrediction {
  constexpr Mixture target(const PathPoint&) const { return {1.0, 0.0}; }
};

/// output·o + state·x for a network's answer o at a point x of the path.
struct Combination {
  double output = 1;
  double state = 0;
};

/// How `wanted` is made of the network's answer (a mixture `target`) and the point x.
/// Undefined (infinite) where the answer and x say the same, as x0 at σ = 0.
constexpr Combination express(const Mixture& wanted, const Mixture& target, const Mixture& x) {
  const double determinant = target.data * x.noise - target.noise * x.data;
  return {(wanted.data * x.noise - wanted.noise * x.data) / determinant,
          (target.data * wanted.noise - target.noise * wanted.data) / determinant};
}

/// dx/dσ from what the network said.
template <Prediction Says>
constexpr Combination velocity_from(const Says& prediction, const PathPoint& point) {
  const Mixture target = prediction.target(point);
  if (target.data == point.velocity.data && target.noise == point.velocity.noise) return {};
  return express(point.velocity, target, point.state);
}

/// The data from what the network said; on the linear path with velocities: x − σ·v.
template <Prediction Says>
constexpr Combination data_from(const Says& prediction, const PathPoint& point) {
  return express({1.0, 0.0}, prediction.target(point), point.state);
}

}  // namespace schedulers
SEGUE_NAMESPACE_END
