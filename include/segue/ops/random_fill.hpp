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
struct FillUniform;
struct FillNormal;
struct Dropout;
}  // namespace op

namespace ops {

/// x(i) = low + (high − low)·u(i) with u(i) in [0, 1) word i % 4 of the key's block i / 4, i the row-major number of
/// the element. In float whatever T is, so that every element type sees the same draw; the same bits on every device.
///   x any rank whose leading axes form one row stride
/// @throws InputError if they do not.
template <class Device, class T, int Rank>
void fill_uniform(Exec<Device>& exec, View<T, Rank, typename Device::Space> x, const RandomKey& key, double low = 0,
                  double high = 1) {
  static_assert(is_floating<T>, "fill_uniform: x must hold float, double, bfloat16 or float16");
  const auto rows = detail::fewest_rows("fill_uniform", x);
  if (exec.planning() || x.empty()) return;
  Kernel<op::FillUniform, Device>::run(exec, rows, key, low, high);
}

/// x(i) = mean + deviation·z(i) with z(i) standard normal (Box–Muller on the block that `fill_uniform` reads).
///   x any rank whose leading axes form one row stride
/// @throws InputError if they do not.
template <class Device, class T, int Rank>
void fill_normal(Exec<Device>& exec, View<T, Rank, typename Device::Space> x, const RandomKey& key, double mean = 0,
                 double deviation = 1) {
  static_assert(is_floating<T>, "fill_normal: x must hold float, double, bfloat16 or float16");
  const auto rows = detail::fewest_rows("fill_normal", x);
  if (exec.planning() || x.empty()) return;
  Kernel<op::FillNormal, Device>::run(exec, rows, key, mean, deviation);
}

/// y = x/(1 − p) where u(i) >= p, else 0, with u(i) as in `fill_uniform` and i the row-major number of the element.
/// Nothing is kept: the backward is the same call on dy with the same key.
///   x, y of one shape, any rank whose leading axes form one row stride; y may be x; 0 <= p < 1
/// @throws InputError if a shape or p does not fit.
template <class Device, class T, int Rank>
void dropout_forward(Exec<Device>& exec, std::type_identity_t<View<const T, Rank, typename Device::Space>> x, double p,
                     const RandomKey& key, View<T, Rank, typename Device::Space> y,
                     GradMode mode = GradMode::overwrite) {
  static_assert(is_floating<T>, "dropout_forward: y must hold float, double, bfloat16 or float16");
  constexpr std::string_view name = "dropout_forward";
  detail::check_shape(name, "x", x, y.shape());
  detail::check_shape(name, "y", y, y.shape());
  if (!(p >= 0 && p < 1)) throw_input(name, "p", std::to_string(p), "a number in [0, 1)");
  if (exec.planning() || y.empty()) return;
  Kernel<op::Dropout, Device>::run(exec, rows_of(x, name), p, key, rows_of(y, name), mode);
}

/// Gradient of `dropout_forward` under the same key.
template <class Device, class T, int Rank>
void dropout_backward(Exec<Device>& exec, std::type_identity_t<View<const T, Rank, typename Device::Space>> dy,
                      double p, const RandomKey& key, View<T, Rank, typename Device::Space> dx, GradMode mode) {
  dropout_forward(exec, dy, p, key, dx, mode);
}

/// Integer work of the generator is not counted.
template <class T>
constexpr Cost fill_random_cost(std::int64_t elements) {
  const auto n = static_cast<double>(elements);
  return {2 * n, n * sizeof(T)};
}

template <class T>
constexpr Cost dropout_cost(std::int64_t elements) {
  const auto n = static_cast<double>(elements);
  return {n, 2 * n * sizeof(T)};
}

}  // namespace ops
SEGUE_NAMESPACE_END
