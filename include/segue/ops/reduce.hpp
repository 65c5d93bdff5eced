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
struct Sum;
struct Dot;
struct SumRows;
struct HasNonfinite;
}  // namespace op

namespace detail {

template <class T, int Rank, class Space>
View<const std::remove_const_t<T>, 1, Space> flat(std::string_view op, std::string_view argument,
                                                  const View<T, Rank, Space>& x) {
  if (!x.is_contiguous())
    throw_input(op, std::string("strides of ").append(argument), shape_string(x.strides()), "a contiguous view");
  return {x.data_handle(), {x.size()}};
}

}  // namespace detail

namespace ops {

// Sums over whole tensors are kept in double and taken in an order that depends on the count alone, so that they have
// the same bits at any thread count. Results are views: they may live on a device. An empty sum is 0.

/// out(0) = Σ x.
///   x contiguous, any rank; out (1)
/// @throws InputError if x is not contiguous.
template <class Device, class T, int Rank>
void sum(Exec<Device>& exec, View<T, Rank, typename Device::Space> x, View<double, 1, typename Device::Space> out) {
  detail::check_shape("sum", "out", out, {1});
  const auto flat = detail::flat("sum", "x", x);
  if (exec.planning()) return;
  Kernel<op::Sum, Device>::run(exec, flat, out);
}

/// out(0) = Σ a·b.
///   a, b contiguous, of one shape, element types may differ; out (1)
/// @throws InputError if a shape does not fit.
template <class Device, class TA, class TB, int Rank>
void dot(Exec<Device>& exec, View<TA, Rank, typename Device::Space> a, View<TB, Rank, typename Device::Space> b,
         View<double, 1, typename Device::Space> out) {
  detail::check_shape("dot", "b", b, a.shape());
  detail::check_shape("dot", "out", out, {1});
  const auto flat_a = detail::flat("dot", "a", a);
  const auto flat_b = detail::flat("dot", "b", b);
  if (exec.planning()) return;
  Kernel<op::Dot, Device>::run(exec, flat_a, flat_b, out);
}

/// out(0) = Σ x².
template <class Device, class T, int Rank>
void sum_of_squares(Exec<Device>& exec, View<T, Rank, typename Device::Space> x,
                    View<double, 1, typename Device::Space> out) {
  dot(exec, x, x, out);
}

/// Bytes of scratch for `sum_rows`.
template <class T, class Device>
std::int64_t sum_rows_workspace_bytes(const Exec<Device>& exec, std::int64_t rows, std::int64_t columns) {
  return Kernel<op::SumRows, Device>::template workspace_bytes<T>(exec, rows, columns);
}

/// out(c) = Σ_r x(r, c), in Accum<T>, in an order that depends on the shape alone.
///   x (R, C), row stride free; out (C), its element type may differ
/// @throws InputError if a shape does not fit or scratch is too small.
template <class Device, class T, class TOut>
void sum_rows(Exec<Device>& exec, View<T, 2, typename Device::Space> x, View<TOut, 1, typename Device::Space> out,
              GradMode mode, View<std::byte, 1, typename Device::Space> scratch) {
  detail::check_shape("sum_rows", "x", x, {-1, -1});
  detail::check_shape("sum_rows", "out", out, {x.extent(1)});
  detail::check_scratch("sum_rows", scratch,
                        sum_rows_workspace_bytes<std::remove_const_t<T>>(exec, x.extent(0), x.extent(1)));
  if (exec.planning() || out.empty()) return;
  Kernel<op::SumRows, Device>::run(exec, View<const std::remove_const_t<T>, 2, typename Device::Space>(x), out, mode,
                                   scratch);
}

/// flag(0) = 1 if any element is infinite or NaN, else 0; with `accumulate` a set flag stays set, so that one flag can
/// gather many tensors.
///   x contiguous, any rank; flag (1)
/// @throws InputError if x is not contiguous.
template <class Device, class T, int Rank>
void has_nonfinite(Exec<Device>& exec, View<T, Rank, typename Device::Space> x,
                   View<std::int32_t, 1, typename Device::Space> flag, GradMode mode) {
  detail::check_shape("has_nonfinite", "flag", flag, {1});
  const auto flat = detail::flat("has_nonfinite", "x", x);
  if (exec.planning()) return;
  Kernel<op::HasNonfinite, Device>::run(exec, flat, flag, mode);
}

template <class T>
constexpr Cost reduce_cost(std::int64_t elements) {
  const auto n = static_cast<double>(elements);
  return {n, n * sizeof(T)};
}

}  // namespace ops
SEGUE_NAMESPACE_END
