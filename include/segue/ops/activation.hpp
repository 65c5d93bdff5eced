// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "segue/core/dispatch.hpp"
#include "segue/core/dtype.hpp"
#include "segue/core/exec.hpp"
#include "segue/ops/checks.hpp"
#include "segue/ops/cost.hpp"
#include "segue/ops/types.hpp"

SEGUE_NAMESPACE_BEGIN
namespace op {
struct ActivationForward;
struct ActivationBackward;
}  // namespace op

namespace ops {

/// y = act(x), elementwise, in Accum<T>.
///   x, y of one shape, any rank whose leading axes form one row stride; y may be x
/// @throws InputError if a shape does not fit.
template <class Device, class T, int Rank>
void activation_forward(Exec<Device>& exec, Activation activation,
                        std::type_identity_t<View<const T, Rank, typename Device::Space>> x,
                        View<T, Rank, typename Device::Space> y) {
  static_assert(is_floating<T>, "activation_forward: y must hold float, double, bfloat16 or float16");
  constexpr std::string_view name = "activation_forward";
  detail::check_shape(name, "y", y, x.shape());
  detail::check_shape(name, "x", x, x.shape());
  if (exec.planning() || x.empty()) return;
  Kernel<op::ActivationForward, Device>::run(exec, activation, rows_of(x, name), rows_of(y, name));
}

/// dx = dy·act'(x) with x the value before the activation.
///   x, dy, dx of one shape; dx may be dy or x
/// @throws InputError if a shape does not fit.
template <class Device, class T, int Rank>
void activation_backward(Exec<Device>& exec, Activation activation,
                         std::type_identity_t<View<const T, Rank, typename Device::Space>> x,
                         std::type_identity_t<View<const T, Rank, typename Device::Space>> dy,
                         View<T, Rank, typename Device::Space> dx, GradMode mode) {
  static_assert(is_floating<T>, "activation_backward: dx must hold float, double, bfloat16 or float16");
  constexpr std::string_view name = "activation_backward";
  detail::check_shape(name, "x", x, x.shape());
  detail::check_shape(name, "dy", dy, x.shape());
  detail::check_shape(name, "dx", dx, x.shape());
  if (exec.planning() || x.empty()) return;
  Kernel<op::ActivationBackward, Device>::run(exec, activation, rows_of(x, name), rows_of(dy, name), rows_of(dx, name),
                                              mode);
}

/// A transcendental function counts as 10 operations.
template <class T>
constexpr Cost activation_forward_cost(std::int64_t elements) {
  const auto n = static_cast<double>(elements);
  return {14 * n, 2 * n * sizeof(T)};
}

template <class T>
constexpr Cost activation_backward_cost(std::int64_t elements) {
  const auto n = static_cast<double>(elements);
  return {20 * n, 3 * n * sizeof(T)};
}

}  // namespace ops
SEGUE_NAMESPACE_END
