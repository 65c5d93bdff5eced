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
struct GatedResidualForward;
struct GatedResidualBackward;
}  // namespace op

namespace ops {

/// A factor for every row, read from a table: row r uses table row `group(r)` if `group` is given, else
/// `r / rows_per_group` (as in `Modulation`). Absent if `gate` has no data: a factor of 1.
template <class TM, class Space>
struct Gate {
  View<const TM, 2, Space> gate{};
  View<const std::int32_t, 1, Space> group{};
  std::int64_t rows_per_group = 0;

  explicit operator bool() const { return gate.data_handle() != nullptr; }
};

/// y = x + gate·h; x + h where the gate is absent, x + gate where h is.
///   x, h, y (R, C), row strides free; y may be x or h
/// The gradient of x is dy itself. Rounded once. @throws InputError if a shape does not fit.
template <class Device, class T, class TM>
void gated_residual_forward(Exec<Device>& exec, View<const std::type_identity_t<T>, 2, typename Device::Space> x,
                            View<const std::type_identity_t<T>, 2, typename Device::Space> h,
                            const Gate<TM, typename Device::Space>& gate, View<T, 2, typename Device::Space> y) {
  static_assert(is_floating<T>, "gated_residual_forward: y must hold float, double, bfloat16 or float16");
  constexpr std::string_view name = "gated_residual_forward";
  const std::int64_t rows = x.extent(0), columns = x.extent(1);
  detail::check_shape(name, "x", x, {-1, -1});
  detail::check_optional(name, "h", h, {rows, columns});
  detail::check(h.data_handle() || gate || x.empty(), name, "both h and the gate are absent");
  detail::check_shape(name, "y", y, {rows, columns});
  if (gate) detail::check_row_groups(name, "gate", gate.gate, gate.group, gate.rows_per_group, rows, columns);
  if (exec.planning() || x.empty()) return;
  Kernel<op::GatedResidualForward, Device>::run(exec, x, h, gate, y);
}

template <class T>
constexpr Cost gated_residual_forward_cost(std::int64_t rows, std::int64_t columns) {
  const double n = static_cast<double>(rows) * static_cast<double>(columns);
  return {2 * n, 3 * n * sizeof(T)};
}

/// Bytes of scratch for `gated_residual_backward`; 0 will do where dgate is unwanted.
template <class T, class Device>
std::int64_t gated_residual_backward_workspace_bytes(const Exec<Device>& exec, std::int64_t rows, std::int64_t columns,
                                                     std::int64_t table_rows) {
  return Kernel<op::GatedResidualBackward, Device>::template workspace_bytes<T>(exec, rows, columns, table_rows);
}

/// dh = gate·dy and dgate = Σ_{r of the group} dy·h; each absent if unwanted.
///   dh    (R, C), may be dy; `h` is read for dgate only; where it is absent its elements are 1
///   dgate (table rows, C): every row is written, those of no token with 0
/// Sums over rows are taken in an order that depends on the shapes alone.
/// @throws InputError if a shape does not fit or scratch is too small.
template <class Device, class T, class TM>
void gated_residual_backward(Exec<Device>& exec, View<const std::type_identity_t<T>, 2, typename Device::Space> dy,
                             View<const std::type_identity_t<T>, 2, typename Device::Space> h,
                             const Gate<TM, typename Device::Space>& gate, View<T, 2, typename Device::Space> dh,
                             GradMode dh_mode, std::type_identity_t<View<TM, 2, typename Device::Space>> dgate,
                             GradMode dgate_mode, View<std::byte, 1, typename Device::Space> scratch) {
  static_assert(is_floating<T>, "gated_residual_backward: dh must hold float, double, bfloat16 or float16");
  constexpr std::string_view name = "gated_residual_backward";
  const std::int64_t rows = dy.extent(0), columns = dy.extent(1);
  detail::check_shape(name, "dy", dy, {-1, -1});
  detail::check_optional(name, "h", h, {rows, columns});
  detail::check_optional(name, "dh", dh, {rows, columns});
  if (gate) detail::check_row_groups(name, "gate", gate.gate, gate.group, gate.rows_per_group, rows, columns);
  if (dgate.data_handle()) {
    detail::check(static_cast<bool>(gate), name, "dgate was asked for, but there is no gate");
    detail::check_shape(name, "dgate", dgate, {gate.gate.extent(0), columns});
    detail::check_scratch(name, scratch,
                          gated_residual_backward_workspace_bytes<T>(exec, rows, columns, gate.gate.extent(0)));
  }
  if (exec.planning() || columns == 0) return;
  Kernel<op::GatedResidualBackward, Device>::run(exec, dy, h, gate, dh, dh_mode, dgate, dgate_mode, scratch);
}

template <class T>
constexpr Cost gated_residual_backward_cost(std::int64_t rows, std::int64_t columns) {
  const double n = static_cast<double>(rows) * static_cast<double>(columns);
  return {3 * n, 3 * n * sizeof(T)};
}

}  // namespace ops
SEGUE_NAMESPACE_END
