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
struct RopeTable;
struct RopeForward;
struct RmsNormRopeForward;
struct RmsNormRopeBackward;
}  // namespace op

namespace ops {

/// Extents of a clip in tokens; token (f, h, w) is number (f·height + h)·width + w.
struct RopeGrid {
  std::int64_t frames = 1;
  std::int64_t height = 1;
  std::int64_t width = 1;

  constexpr std::int64_t tokens() const { return frames * height * width; }
};

/// How many dimensions of a head each axis rotates, in this order; each even.
struct RopeAxes {
  int frame = 0;
  int height = 0;
  int width = 0;

  constexpr int head_dim() const { return frame + height + width; }
};

/// Wan's split: a third for height and for width, rounded down to even, the rest for the frame: 128 -> 44, 42, 42.
constexpr RopeAxes rope_axes(int head_dim) {
  const int side = 2 * (head_dim / 6);
  return {head_dim - 2 * side, side, side};
}

/// Angles position·theta^(−2i/d), i < d/2, of every token and axis; d is the axis' share of the head. In double, then
/// rounded, as diffusers' WanRotaryPosEmbed does.
///   cos, sin (grid.tokens(), head_dim/2) float
/// @throws InputError for odd shares or shapes that do not fit.
template <class Device>
void rope_table(Exec<Device>& exec, const RopeGrid& grid, const RopeAxes& axes, double theta,
                View<float, 2, typename Device::Space> cos, View<float, 2, typename Device::Space> sin) {
  constexpr std::string_view name = "rope_table";
  detail::check(grid.frames >= 0 && grid.height >= 0 && grid.width >= 0, name, "the grid has a negative extent");
  if (axes.frame < 0 || axes.height < 0 || axes.width < 0 || axes.frame % 2 || axes.height % 2 || axes.width % 2)
    throw_input(name, "axes", shape_string(Shape<3>{axes.frame, axes.height, axes.width}), "even numbers");
  detail::check_shape(name, "cos", cos, {grid.tokens(), axes.head_dim() / 2});
  detail::check_shape(name, "sin", sin, {grid.tokens(), axes.head_dim() / 2});
  if (exec.planning() || cos.empty()) return;
  Kernel<op::RopeTable, Device>::run(exec, grid, axes, theta, cos, sin);
}

}  // namespace ops

namespace detail {

/// @returns whether a table is given. Rows of x beyond the first T reuse it: row r uses table row r % T.
template <class Space>
bool check_rope(std::string_view op, const View<const float, 2, Space>& cos, const View<const float, 2, Space>& sin,
                int heads, std::int64_t rows, std::int64_t columns) {
  check((cos.data_handle() == nullptr) == (sin.data_handle() == nullptr), op,
        "cos and sin come together, one of them is absent");
  if (!cos.data_handle()) return false;
  if (heads <= 0 || columns % (2 * heads) != 0)
    throw_input(op, "heads", std::to_string(heads), "a divisor of half the row length " + std::to_string(columns));
  check_shape(op, "cos", cos, {cos.extent(0), columns / heads / 2});
  check_shape(op, "sin", sin, {cos.extent(0), columns / heads / 2});
  if (cos.extent(0) == 0 ? rows != 0 : rows % cos.extent(0) != 0)
    throw_input(op, "rows of x", std::to_string(rows), "a multiple of the table's " + std::to_string(cos.extent(0)));
  return true;
}

}  // namespace detail

namespace ops {

/// Direction of a rotation: `backward` applies the transpose, which is the gradient.
enum class Rotation : std::uint8_t { forward, backward };

/// Rotates interleaved pairs of every head: (a, b) -> (a·cos − b·sin, a·sin + b·cos).
///   x, y     (B·T, H·D), row strides free; y may be x
///   cos, sin (T, D/2) float; row r of x uses table row r % T
/// The gradient of x is the backward rotation of dy. Source: Su et al., "RoFormer", 2021.
/// @throws InputError if a shape does not fit.
template <class Device, class T>
void rope_forward(Exec<Device>& exec, View<const std::type_identity_t<T>, 2, typename Device::Space> x,
                  View<const float, 2, typename Device::Space> cos, View<const float, 2, typename Device::Space> sin,
                  int heads, View<T, 2, typename Device::Space> y, Rotation rotation = Rotation::forward,
                  GradMode mode = GradMode::overwrite) {
  static_assert(is_floating<T>, "rope_forward: y must hold float, double, bfloat16 or float16");
  constexpr std::string_view name = "rope_forward";
  const std::int64_t rows = x.extent(0), columns = x.extent(1);
  detail::check_shape(name, "x", x, {-1, -1});
  detail::check_shape(name, "y", y, {rows, columns});
  detail::check(detail::check_rope(name, cos, sin, heads, rows, columns), name, "cos and sin are absent");
  if (exec.planning() || x.empty()) return;
  Kernel<op::RopeForward, Device>::run(exec, x, cos, sin, heads, y, rotation, mode);
}

/// Gradient of `rope_forward`: the backward rotation of dy.
template <class Device, class T>
void rope_backward(Exec<Device>& exec, View<const std::type_identity_t<T>, 2, typename Device::Space> dy,
                   View<const float, 2, typename Device::Space> cos, View<const float, 2, typename Device::Space> sin,
                   int heads, View<T, 2, typename Device::Space> dx, GradMode mode) {
  rope_forward(exec, dy, cos, sin, heads, dx, Rotation::backward, mode);
}

template <class T>
constexpr Cost rope_forward_cost(std::int64_t rows, std::int64_t columns) {
  const double n = static_cast<double>(rows) * static_cast<double>(columns);
  return {3 * n, 2 * n * sizeof(T)};
}

/// q/k normalisation and rotary embedding in one pass: x̂ = x·rstd over the whole row of H·D (before the head split,
/// as Wan has it), times weight, then `rope_forward`. Without cos and sin it is RMSNorm alone.
///   x, y     (B·T, H·D), row strides free; y may be x
///   weight   (H·D), absent: 1
///   cos, sin (T, D/2) float or absent; row r of x uses table row r % T
///   rstd     (R) in Accum<T>, absent if unwanted; the backward reads it
/// The bits of a row depend on nothing but the row and its position. @throws InputError if a shape does not fit.
template <class Device, class T, class TW>
void rms_norm_rope_forward(Exec<Device>& exec, View<const std::type_identity_t<T>, 2, typename Device::Space> x,
                           View<TW, 1, typename Device::Space> weight, double eps,
                           View<const float, 2, typename Device::Space> cos,
                           View<const float, 2, typename Device::Space> sin, int heads,
                           View<T, 2, typename Device::Space> y,
                           std::type_identity_t<View<Accum<T>, 1, typename Device::Space>> rstd) {
  static_assert(is_floating<T>, "rms_norm_rope_forward: y must hold float, double, bfloat16 or float16");
  constexpr std::string_view name = "rms_norm_rope_forward";
  const std::int64_t rows = x.extent(0), columns = x.extent(1);
  detail::check_shape(name, "x", x, {-1, -1});
  detail::check_shape(name, "y", y, {rows, columns});
  detail::check_optional(name, "weight", weight, {columns});
  detail::check_rope(name, cos, sin, heads, rows, columns);
  detail::check_optional(name, "rstd", rstd, {rows});
  if (exec.planning() || x.empty()) return;
  Kernel<op::RmsNormRopeForward, Device>::run(
      exec, x, View<const std::remove_const_t<TW>, 1, typename Device::Space>(weight), eps, cos, sin, heads, y, rstd);
}

template <class T>
constexpr Cost rms_norm_rope_forward_cost(std::int64_t rows, std::int64_t columns) {
  const double n = static_cast<double>(rows) * static_cast<double>(columns);
  return {8 * n, 2 * n * sizeof(T)};
}

/// Bytes of scratch for `rms_norm_rope_backward`; 0 will do where dweight is unwanted.
template <class T, class Device>
std::int64_t rms_norm_rope_backward_workspace_bytes(const Exec<Device>& exec, std::int64_t rows, std::int64_t columns) {
  return Kernel<op::RmsNormRopeBackward, Device>::template workspace_bytes<T>(exec, rows, columns);
}

/// Gradients of `rms_norm_rope_forward`. With u the backward rotation of dy and g = u·weight:
///   dx = rstd·(g − x̂·mean_c(g·x̂)),   dweight = Σ_r u·x̂
///   dy, x (R, H·D); rstd (R) as the forward left it; dx may be dy; dweight (H·D); each output absent if unwanted
/// Sums over rows are taken in an order that depends on the shapes alone.
/// @throws InputError if a shape does not fit or scratch is too small.
template <class Device, class T, class TW, class TG>
void rms_norm_rope_backward(Exec<Device>& exec, View<const std::type_identity_t<T>, 2, typename Device::Space> dy,
                            View<const std::type_identity_t<T>, 2, typename Device::Space> x,
                            std::type_identity_t<View<const Accum<T>, 1, typename Device::Space>> rstd,
                            View<TW, 1, typename Device::Space> weight,
                            View<const float, 2, typename Device::Space> cos,
                            View<const float, 2, typename Device::Space> sin, int heads,
                            View<T, 2, typename Device::Space> dx, GradMode dx_mode,
                            View<TG, 1, typename Device::Space> dweight, GradMode weight_mode,
                            View<std::byte, 1, typename Device::Space> scratch) {
  static_assert(is_floating<T>, "rms_norm_rope_backward: dx must hold float, double, bfloat16 or float16");
  constexpr std::string_view name = "rms_norm_rope_backward";
  const std::int64_t rows = x.extent(0), columns = x.extent(1);
  detail::check_shape(name, "x", x, {-1, -1});
  detail::check_shape(name, "dy", dy, {rows, columns});
  detail::check_shape(name, "rstd", rstd, {rows});
  detail::check_optional(name, "weight", weight, {columns});
  detail::check_rope(name, cos, sin, heads, rows, columns);
  detail::check_optional(name, "dx", dx, {rows, columns});
  detail::check_optional(name, "dweight", dweight, {columns});
  if (dweight.data_handle())
    detail::check_scratch(name, scratch, rms_norm_rope_backward_workspace_bytes<T>(exec, rows, columns));
  if (exec.planning() || columns == 0) return;
  Kernel<op::RmsNormRopeBackward, Device>::run(exec, dy, x, rstd,
                                               View<const std::remove_const_t<TW>, 1, typename Device::Space>(weight),
                                               cos, sin, heads, dx, dx_mode, dweight, weight_mode, scratch);
}

template <class T>
constexpr Cost rms_norm_rope_backward_cost(std::int64_t rows, std::int64_t columns) {
  const double n = static_cast<double>(rows) * static_cast<double>(columns);
  return {13 * n, 3 * n * sizeof(T)};
}

}  // namespace ops
SEGUE_NAMESPACE_END
