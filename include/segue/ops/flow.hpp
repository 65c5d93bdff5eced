// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "segue/core/dispatch.hpp"
#include "segue/core/dtype.hpp"
#include "segue/core/exec.hpp"
#include "segue/ops/checks.hpp"
#include "segue/ops/cost.hpp"

SEGUE_NAMESPACE_BEGIN
namespace op {
struct NoiseBatch;
}  // namespace op

namespace ops {

/// How one sample of a batch is noised: written by the host, read where the batch lives.
struct NoiseDraw {
  RandomKey key;
  double sign = 1;  ///< of the noise: −1 for the other half of an antithetic pair
  double state_data = 0, state_noise = 1;
  double target_data = -1, target_noise = 1;
  float timestep = 0;
  float weight = 1;
};

/// The inputs of a flow-matching step. With n = sign·z, z the standard normals of the sample's key, element i of a
/// sample numbered row-major as `fill_normal` numbers it, and n rounded to T as `fill_normal` rounds it:
///   state(b) = state_data·clips(b) + state_noise·n,   target(b) = target_data·clips(b) + target_noise·n,
/// timesteps(b) and weights(b) copied out of the draws. The same bits as `fill_normal` and `axpby` give one by one: the
/// noise term is rounded to T before the clip is added, and a clip whose factor is 0 is not read.
///   clips, state, target (B, C, F, H, W), last axis contiguous, other strides free; state and target must not overlap
///   clips or each other; draws, timesteps, weights (B); weights may be absent
/// @throws InputError if a shape does not fit.
template <class Device, class T>
void noise_batch(Exec<Device>& exec, std::type_identity_t<View<const T, 5, typename Device::Space>> clips,
                 std::type_identity_t<View<const NoiseDraw, 1, typename Device::Space>> draws,
                 View<T, 5, typename Device::Space> state,
                 std::type_identity_t<View<T, 5, typename Device::Space>> target,
                 std::type_identity_t<View<float, 1, typename Device::Space>> timesteps,
                 std::type_identity_t<View<float, 1, typename Device::Space>> weights) {
  static_assert(is_floating<T>, "noise_batch: state must hold float, double, bfloat16 or float16");
  constexpr std::string_view name = "noise_batch";
  detail::check_shape(name, "state", state, clips.shape());
  detail::check_shape(name, "clips", clips, clips.shape());
  detail::check_shape(name, "target", target, clips.shape());
  detail::check_shape(name, "draws", draws, {clips.extent(0)});
  detail::check_shape(name, "timesteps", timesteps, {clips.extent(0)});
  detail::check_optional(name, "weights", weights, {clips.extent(0)});
  if (exec.planning() || clips.extent(0) == 0) return;
  Kernel<op::NoiseBatch, Device>::run(exec, clips, draws, state, target, timesteps, weights);
}

/// Integer work of the generator is not counted.
template <class T>
constexpr Cost noise_batch_cost(std::int64_t elements) {
  const auto n = static_cast<double>(elements);
  return {7 * n, 3 * n * sizeof(T)};
}

}  // namespace ops
SEGUE_NAMESPACE_END
