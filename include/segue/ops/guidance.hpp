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
struct GuidedEulerStep;
}  // namespace op

namespace ops {

/// Classifier-free guidance and an Euler step in one pass, in place:
///   x += delta_sigma·(v_uncond + guidance·(v_cond − v_uncond))
/// or x += delta_sigma·v_cond where v_uncond is absent (then guidance is not read).
///   x, v_cond, v_uncond of one shape, any rank whose leading axes form one row stride; x may be wider than v
/// Computed in Accum<T> of x. @throws InputError if a shape does not fit.
template <class Device, class T, class TV, int Rank>
void guided_euler_step(Exec<Device>& exec, View<T, Rank, typename Device::Space> x,
                       View<TV, Rank, typename Device::Space> v_cond,
                       std::type_identity_t<View<TV, Rank, typename Device::Space>> v_uncond, double guidance,
                       double delta_sigma) {
  static_assert(is_floating<T> && is_floating<std::remove_const_t<TV>>,
                "guided_euler_step: x and v must hold float, double, bfloat16 or float16");
  constexpr std::string_view name = "guided_euler_step";
  detail::check_shape(name, "x", x, x.shape());
  detail::check_shape(name, "v_cond", v_cond, x.shape());
  detail::check_optional(name, "v_uncond", v_uncond, x.shape());
  if (exec.planning() || x.empty()) return;
  using Velocity = View<const std::remove_const_t<TV>, Rank, typename Device::Space>;
  View<const std::remove_const_t<TV>, 2, typename Device::Space> uncond{};
  if (v_uncond.data_handle()) uncond = rows_of(Velocity(v_uncond), name);
  Kernel<op::GuidedEulerStep, Device>::run(exec, rows_of(x, name), rows_of(Velocity(v_cond), name), uncond, guidance,
                                           delta_sigma);
}

template <class T, class TV>
constexpr Cost guided_euler_step_cost(std::int64_t elements) {
  const auto n = static_cast<double>(elements);
  return {5 * n, n * (2 * sizeof(T) + 2 * sizeof(TV))};
}

}  // namespace ops
SEGUE_NAMESPACE_END
