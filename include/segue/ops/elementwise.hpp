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
struct Add;
struct Multiply;
struct Axpby;
struct Scale;
struct Fill;
struct Copy;
struct Lerp;
}  // namespace op

namespace ops {

// Every operator here is elementwise over views of one shape whose leading axes form one row stride; each element is
// computed in Accum<T> of the output and rounded once, and outputs may be inputs. All throw InputError if a shape
// does not fit. Cost: `elementwise_cost`.

/// y = a + b.
template <class Device, class T, int Rank>
void add(Exec<Device>& exec, std::type_identity_t<View<const T, Rank, typename Device::Space>> a,
         std::type_identity_t<View<const T, Rank, typename Device::Space>> b, View<T, Rank, typename Device::Space> y) {
  static_assert(is_floating<T>, "add: y must hold float, double, bfloat16 or float16");
  detail::check_shape("add", "a", a, y.shape());
  detail::check_shape("add", "b", b, y.shape());
  detail::check_shape("add", "y", y, y.shape());
  if (exec.planning() || y.empty()) return;
  Kernel<op::Add, Device>::run(exec, rows_of(a, "add"), rows_of(b, "add"), rows_of(y, "add"));
}

/// y = a·b.
template <class Device, class T, int Rank>
void multiply(Exec<Device>& exec, std::type_identity_t<View<const T, Rank, typename Device::Space>> a,
              std::type_identity_t<View<const T, Rank, typename Device::Space>> b,
              View<T, Rank, typename Device::Space> y) {
  static_assert(is_floating<T>, "multiply: y must hold float, double, bfloat16 or float16");
  detail::check_shape("multiply", "a", a, y.shape());
  detail::check_shape("multiply", "b", b, y.shape());
  detail::check_shape("multiply", "y", y, y.shape());
  if (exec.planning() || y.empty()) return;
  Kernel<op::Multiply, Device>::run(exec, rows_of(a, "multiply"), rows_of(b, "multiply"), rows_of(y, "multiply"));
}

/// y = alpha·x + beta·y; beta = 0 never reads y. The element types of x and y may differ.
template <class Device, class TX, class T, int Rank>
void axpby(Exec<Device>& exec, double alpha, View<TX, Rank, typename Device::Space> x, double beta,
           View<T, Rank, typename Device::Space> y) {
  static_assert(is_floating<T> && is_floating<std::remove_const_t<TX>>,
                "axpby: x and y must hold float, double, bfloat16 or float16");
  detail::check_shape("axpby", "x", x, y.shape());
  detail::check_shape("axpby", "y", y, y.shape());
  if (exec.planning() || y.empty()) return;
  Kernel<op::Axpby, Device>::run(exec, alpha,
                                 rows_of(View<const std::remove_const_t<TX>, Rank, typename Device::Space>(x), "axpby"),
                                 beta, rows_of(y, "axpby"));
}

/// y = alpha·x.
template <class Device, class T, int Rank>
void scale(Exec<Device>& exec, double alpha, std::type_identity_t<View<const T, Rank, typename Device::Space>> x,
           View<T, Rank, typename Device::Space> y) {
  static_assert(is_floating<T>, "scale: y must hold float, double, bfloat16 or float16");
  detail::check_shape("scale", "x", x, y.shape());
  detail::check_shape("scale", "y", y, y.shape());
  if (exec.planning() || y.empty()) return;
  Kernel<op::Scale, Device>::run(exec, alpha, rows_of(x, "scale"), rows_of(y, "scale"));
}

/// y = value.
template <class Device, class T, int Rank>
void fill(Exec<Device>& exec, double value, View<T, Rank, typename Device::Space> y) {
  static_assert(is_floating<T> || std::is_integral_v<T>, "fill: y must hold numbers");
  detail::check_shape("fill", "y", y, y.shape());
  if (exec.planning() || y.empty()) return;
  Kernel<op::Fill, Device>::run(exec, value, rows_of(y, "fill"));
}

/// target = source, converted to the target's element type and rounded to nearest even. Any strides on either side,
/// those of a transpose included; the views must not overlap.
template <class Device, class TS, class TD, int Rank>
void copy(Exec<Device>& exec, View<TS, Rank, typename Device::Space> source,
          View<TD, Rank, typename Device::Space> target) {
  if (source.shape() != target.shape())
    throw_input("copy", "shape of source", shape_string(source.shape()), shape_string(target.shape()));
  if (exec.planning() || target.empty()) return;
  Kernel<op::Copy, Device>::run(exec, View<const std::remove_const_t<TS>, Rank, typename Device::Space>(source),
                                target);
}

/// y += weight·(x − y): moving averages (weight = 1 − decay) and blends. The element types of x and y may differ.
template <class Device, class TX, class T, int Rank>
void lerp(Exec<Device>& exec, View<TX, Rank, typename Device::Space> x, double weight,
          View<T, Rank, typename Device::Space> y) {
  static_assert(is_floating<T> && is_floating<std::remove_const_t<TX>>,
                "lerp: x and y must hold float, double, bfloat16 or float16");
  detail::check_shape("lerp", "x", x, y.shape());
  detail::check_shape("lerp", "y", y, y.shape());
  if (exec.planning() || y.empty()) return;
  Kernel<op::Lerp, Device>::run(exec,
                                rows_of(View<const std::remove_const_t<TX>, Rank, typename Device::Space>(x), "lerp"),
                                weight, rows_of(y, "lerp"));
}

/// @param operands how many tensors are read and written, @param flops how many operations an element takes.
template <class T>
constexpr Cost elementwise_cost(std::int64_t elements, int operands, double flops = 1) {
  const auto n = static_cast<double>(elements);
  return {flops * n, operands * n * sizeof(T)};
}

}  // namespace ops
SEGUE_NAMESPACE_END
