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
struct LayerNormForward;
struct LayerNormBackward;
struct RmsNormForward;
struct RmsNormBackward;
}  // namespace op

namespace ops {

/// A scale and a shift for every row, read from tables: row r uses table row `group(r)` if `group` is given, else
/// `r / rows_per_group`. Per-sample tables need rows_per_group = tokens of a sample; per-token timesteps need `group`.
///   scale, shift  (table rows, C), row stride free: a slice of a (B, 6, C) table will do
///   group         (R) int32, values in [0, table rows): not checked, they may live on a device
/// Absent if `scale` has no data; scale and shift come together.
template <class TM, class Space>
struct Modulation {
  View<const TM, 2, Space> scale{};
  View<const TM, 2, Space> shift{};
  View<const std::int32_t, 1, Space> group{};
  std::int64_t rows_per_group = 0;

  explicit operator bool() const { return scale.data_handle() != nullptr; }
};

}  // namespace ops

namespace detail {

template <class TM, class Space>
void check_modulation(std::string_view op, const ops::Modulation<TM, Space>& modulation, std::int64_t rows,
                      std::int64_t columns) {
  check((modulation.scale.data_handle() == nullptr) == (modulation.shift.data_handle() == nullptr), op,
        "scale and shift of a modulation come together, one of them is absent");
  if (!modulation) return;
  check_row_groups(op, "scale", modulation.scale, modulation.group, modulation.rows_per_group, rows, columns);
  check_shape(op, "shift", modulation.shift, {modulation.scale.extent(0), columns});
}

template <class TM, class Space>
void check_modulation_gradients(std::string_view op, const ops::Modulation<TM, Space>& modulation,
                                const View<TM, 2, Space>& dscale, const View<TM, 2, Space>& dshift,
                                std::int64_t columns) {
  if (!dscale.data_handle() && !dshift.data_handle()) return;
  check(static_cast<bool>(modulation), op, "dscale and dshift were asked for, but there is no modulation");
  check_optional(op, "dscale", dscale, {modulation.scale.extent(0), columns});
  check_optional(op, "dshift", dshift, {modulation.scale.extent(0), columns});
}

}  // namespace detail

namespace ops {

/// y = (x̂·weight + bias)·(1 + scale) + shift with x̂ = (x − mean)·rstd, rstd = 1/√(var + eps); mean and (biased)
/// variance of each row, in two passes.
///   x, y        (R, C), row strides free; y may be x
///   weight,bias (C), absent: 1 and 0; a bias needs a weight
///   modulation  see `Modulation`, may be absent
///   mean, rstd  (R) in Accum<T>, each absent if unwanted; the backward reads them
/// Arithmetic in Accum<T>. The bits of a row depend on nothing but the row. No scratch.
/// Source: Ba, Kiros, Hinton, "Layer normalization", 2016; modulation as in Peebles & Xie, "DiT", 2023.
/// @throws InputError if a shape does not fit. Cost: `layer_norm_forward_cost`.
template <class Device, class T, class TW, class TM>
void layer_norm_forward(Exec<Device>& exec, View<const std::type_identity_t<T>, 2, typename Device::Space> x,
                        View<TW, 1, typename Device::Space> weight,
                        std::type_identity_t<View<TW, 1, typename Device::Space>> bias,
                        const Modulation<TM, typename Device::Space>& modulation, double eps,
                        View<T, 2, typename Device::Space> y,
                        std::type_identity_t<View<Accum<T>, 1, typename Device::Space>> mean,
                        std::type_identity_t<View<Accum<T>, 1, typename Device::Space>> rstd) {
  static_assert(is_floating<T>, "layer_norm_forward: y must hold float, double, bfloat16 or float16");
  constexpr std::string_view name = "layer_norm_forward";
  const std::int64_t rows = x.extent(0), columns = x.extent(1);
  detail::check_shape(name, "x", x, {-1, -1});
  detail::check_shape(name, "y", y, {rows, columns});
  detail::check_optional(name, "weight", weight, {columns});
  detail::check_optional(name, "bias", bias, {columns});
  detail::check(weight.data_handle() || !bias.data_handle(), name, "bias is given without weight");
  detail::check_modulation(name, modulation, rows, columns);
  detail::check_optional(name, "mean", mean, {rows});
  detail::check_optional(name, "rstd", rstd, {rows});
  if (exec.planning() || x.empty()) return;
  Kernel<op::LayerNormForward, Device>::run(
      exec, x, View<const std::remove_const_t<TW>, 1, typename Device::Space>(weight),
      View<const std::remove_const_t<TW>, 1, typename Device::Space>(bias), modulation, eps, y, mean, rstd);
}

template <class T>
constexpr Cost layer_norm_forward_cost(std::int64_t rows, std::int64_t columns) {
  const double n = static_cast<double>(rows) * static_cast<double>(columns);
  return {9 * n, 2 * n * sizeof(T)};
}

/// Bytes of scratch for `layer_norm_backward`; 0 will do where dx is the only output.
template <class T, class Device>
std::int64_t layer_norm_backward_workspace_bytes(const Exec<Device>& exec, std::int64_t rows, std::int64_t columns,
                                                 std::int64_t table_rows) {
  return Kernel<op::LayerNormBackward, Device>::template workspace_bytes<T>(exec, rows, columns, table_rows);
}

/// Gradients of `layer_norm_forward`. With a = weight·(1 + scale) and g = dy·a:
///   dx      = rstd·(g − mean_c(g) − x̂·mean_c(g·x̂))
///   dweight = Σ_r dy·(1 + scale)·x̂     dbias  = Σ_r dy·(1 + scale)
///   dscale  = Σ_{r of the group} dy·(x̂·weight + bias)     dshift = Σ_{r of the group} dy
///   dy, x          (R, C); mean, rstd (R) as the forward left them
///   dx             (R, C), may be dy
///   dweight, dbias (C), dscale, dshift (table rows, C): every table row is written, those of no token with 0
/// Each output is absent if unwanted. Sums over rows are taken in an order that depends on the shapes alone.
/// @throws InputError if a shape does not fit or scratch is too small.
template <class Device, class T, class TW, class TM, class TG>
void layer_norm_backward(Exec<Device>& exec, View<const std::type_identity_t<T>, 2, typename Device::Space> dy,
                         View<const std::type_identity_t<T>, 2, typename Device::Space> x,
                         std::type_identity_t<View<const Accum<T>, 1, typename Device::Space>> mean,
                         std::type_identity_t<View<const Accum<T>, 1, typename Device::Space>> rstd,
                         View<TW, 1, typename Device::Space> weight,
                         std::type_identity_t<View<TW, 1, typename Device::Space>> bias,
                         const Modulation<TM, typename Device::Space>& modulation,
                         View<T, 2, typename Device::Space> dx, GradMode dx_mode,
                         View<TG, 1, typename Device::Space> dweight,
                         std::type_identity_t<View<TG, 1, typename Device::Space>> dbias, GradMode weight_mode,
                         std::type_identity_t<View<TM, 2, typename Device::Space>> dscale,
                         std::type_identity_t<View<TM, 2, typename Device::Space>> dshift, GradMode modulation_mode,
                         View<std::byte, 1, typename Device::Space> scratch) {
  static_assert(is_floating<T>, "layer_norm_backward: dx must hold float, double, bfloat16 or float16");
  constexpr std::string_view name = "layer_norm_backward";
  const std::int64_t rows = x.extent(0), columns = x.extent(1);
  detail::check_shape(name, "x", x, {-1, -1});
  detail::check_shape(name, "dy", dy, {rows, columns});
  detail::check_shape(name, "mean", mean, {rows});
  detail::check_shape(name, "rstd", rstd, {rows});
  detail::check_optional(name, "weight", weight, {columns});
  detail::check_optional(name, "bias", bias, {columns});
  detail::check_modulation(name, modulation, rows, columns);
  detail::check_optional(name, "dx", dx, {rows, columns});
  detail::check_optional(name, "dweight", dweight, {columns});
  detail::check_optional(name, "dbias", dbias, {columns});
  detail::check_modulation_gradients(name, modulation, dscale, dshift, columns);
  if (dweight.data_handle() || dbias.data_handle() || dscale.data_handle() || dshift.data_handle())
    detail::check_scratch(name, scratch,
                          layer_norm_backward_workspace_bytes<T>(exec, rows, columns, modulation.scale.extent(0)));
  if (exec.planning() || columns == 0) return;
  Kernel<op::LayerNormBackward, Device>::run(
      exec, dy, x, mean, rstd, View<const std::remove_const_t<TW>, 1, typename Device::Space>(weight),
      View<const std::remove_const_t<TW>, 1, typename Device::Space>(bias), modulation, dx, dx_mode, dweight, dbias,
      weight_mode, dscale, dshift, modulation_mode, scratch);
}

template <class T>
constexpr Cost layer_norm_backward_cost(std::int64_t rows, std::int64_t columns) {
  const double n = static_cast<double>(rows) * static_cast<double>(columns);
  return {14 * n, 3 * n * sizeof(T)};
}

/// y = (x·rstd·weight)·(1 + scale) + shift with rstd = 1/√(mean_c(x²) + eps).
/// Arguments, aliasing and determinism as for `layer_norm_forward`.
/// Source: Zhang & Sennrich, "Root mean square layer normalization", 2019.
template <class Device, class T, class TW, class TM>
void rms_norm_forward(Exec<Device>& exec, View<const std::type_identity_t<T>, 2, typename Device::Space> x,
                      View<TW, 1, typename Device::Space> weight,
                      const Modulation<TM, typename Device::Space>& modulation, double eps,
                      View<T, 2, typename Device::Space> y,
                      std::type_identity_t<View<Accum<T>, 1, typename Device::Space>> rstd) {
  static_assert(is_floating<T>, "rms_norm_forward: y must hold float, double, bfloat16 or float16");
  constexpr std::string_view name = "rms_norm_forward";
  const std::int64_t rows = x.extent(0), columns = x.extent(1);
  detail::check_shape(name, "x", x, {-1, -1});
  detail::check_shape(name, "y", y, {rows, columns});
  detail::check_optional(name, "weight", weight, {columns});
  detail::check_modulation(name, modulation, rows, columns);
  detail::check_optional(name, "rstd", rstd, {rows});
  if (exec.planning() || x.empty()) return;
  Kernel<op::RmsNormForward, Device>::run(
      exec, x, View<const std::remove_const_t<TW>, 1, typename Device::Space>(weight), modulation, eps, y, rstd);
}

template <class T>
constexpr Cost rms_norm_forward_cost(std::int64_t rows, std::int64_t columns) {
  const double n = static_cast<double>(rows) * static_cast<double>(columns);
  return {6 * n, 2 * n * sizeof(T)};
}

/// Bytes of scratch for `rms_norm_backward`; 0 will do where dx is the only output.
template <class T, class Device>
std::int64_t rms_norm_backward_workspace_bytes(const Exec<Device>& exec, std::int64_t rows, std::int64_t columns,
                                               std::int64_t table_rows) {
  return Kernel<op::RmsNormBackward, Device>::template workspace_bytes<T>(exec, rows, columns, table_rows);
}

/// Gradients of `rms_norm_forward`; the formulas of `layer_norm_backward` without mean and bias:
///   dx = rstd·(g − x̂·mean_c(g·x̂)),   g = dy·weight·(1 + scale).
template <class Device, class T, class TW, class TM, class TG>
void rms_norm_backward(Exec<Device>& exec, View<const std::type_identity_t<T>, 2, typename Device::Space> dy,
                       View<const std::type_identity_t<T>, 2, typename Device::Space> x,
                       std::type_identity_t<View<const Accum<T>, 1, typename Device::Space>> rstd,
                       View<TW, 1, typename Device::Space> weight,
                       const Modulation<TM, typename Device::Space>& modulation, View<T, 2, typename Device::Space> dx,
                       GradMode dx_mode, View<TG, 1, typename Device::Space> dweight, GradMode weight_mode,
                       std::type_identity_t<View<TM, 2, typename Device::Space>> dscale,
                       std::type_identity_t<View<TM, 2, typename Device::Space>> dshift, GradMode modulation_mode,
                       View<std::byte, 1, typename Device::Space> scratch) {
  static_assert(is_floating<T>, "rms_norm_backward: dx must hold float, double, bfloat16 or float16");
  constexpr std::string_view name = "rms_norm_backward";
  const std::int64_t rows = x.extent(0), columns = x.extent(1);
  detail::check_shape(name, "x", x, {-1, -1});
  detail::check_shape(name, "dy", dy, {rows, columns});
  detail::check_shape(name, "rstd", rstd, {rows});
  detail::check_optional(name, "weight", weight, {columns});
  detail::check_modulation(name, modulation, rows, columns);
  detail::check_optional(name, "dx", dx, {rows, columns});
  detail::check_optional(name, "dweight", dweight, {columns});
  detail::check_modulation_gradients(name, modulation, dscale, dshift, columns);
  if (dweight.data_handle() || dscale.data_handle() || dshift.data_handle())
    detail::check_scratch(name, scratch,
                          rms_norm_backward_workspace_bytes<T>(exec, rows, columns, modulation.scale.extent(0)));
  if (exec.planning() || columns == 0) return;
  Kernel<op::RmsNormBackward, Device>::run(
      exec, dy, x, rstd, View<const std::remove_const_t<TW>, 1, typename Device::Space>(weight), modulation, dx,
      dx_mode, dweight, weight_mode, dscale, dshift, modulation_mode, scratch);
}

template <class T>
constexpr Cost rms_norm_backward_cost(std::int64_t rows, std::int64_t columns) {
  const double n = static_cast<double>(rows) * static_cast<double>(columns);
  return {10 * n, 3 * n * sizeof(T)};
}

}  // namespace ops
SEGUE_NAMESPACE_END
