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
struct MseForward;
struct MseBackward;
}  // namespace op

namespace detail {

template <class TP, class TT, class Space>
void check_mse(std::string_view op, const View<TP, 4, Space>& pred, const View<TT, 4, Space>& target,
               const View<const float, 1, Space>& weight, std::int64_t first_frame) {
  check_shape(op, "pred", pred, {-1, -1, -1, -1});
  check_shape(op, "target", target, pred.shape());
  check_optional(op, "weight", weight, {pred.extent(0)});
  if (first_frame < 0 || (first_frame >= pred.extent(2) && !pred.empty()))
    throw_input(op, "first_frame", std::to_string(first_frame),
                "less than the " + std::to_string(pred.extent(2)) + " frames of pred");
}

}  // namespace detail

namespace ops {

/// loss = 1/B · Σ_b weight(b) · mean over c, f >= first_frame, s of (pred − target)².
///   pred, target (B, C, F, S) with S the elements of a frame, last axis contiguous, other strides free
///   weight       (B) float, absent: 1
///   first_frame  frames below it take no part; 0 for all
///   loss         (1) double; 0 for an empty batch
/// Differences in Accum<T>, sums in double, in an order that depends on the shapes alone.
/// @throws InputError if a shape does not fit or no frame is left.
template <class Device, class T>
void mse_forward(Exec<Device>& exec, View<T, 4, typename Device::Space> pred,
                 std::type_identity_t<View<const std::remove_const_t<T>, 4, typename Device::Space>> target,
                 View<const float, 1, typename Device::Space> weight, std::int64_t first_frame,
                 View<double, 1, typename Device::Space> loss) {
  static_assert(is_floating<std::remove_const_t<T>>, "mse_forward: pred must hold float, double, bfloat16 or float16");
  detail::check_mse("mse_forward", pred, target, weight, first_frame);
  detail::check_shape("mse_forward", "loss", loss, {1});
  if (exec.planning()) return;
  Kernel<op::MseForward, Device>::run(exec, View<const std::remove_const_t<T>, 4, typename Device::Space>(pred), target,
                                      weight, first_frame, loss);
}

/// dpred = dloss · weight(b) · 2·(pred − target)/(B·n), n the elements of a sample that take part; 0 below first_frame.
///   dloss (1) double; dpred (B, C, F, S), may be pred. The gradient of target is −dpred.
template <class Device, class T>
void mse_backward(Exec<Device>& exec, std::type_identity_t<View<const T, 4, typename Device::Space>> pred,
                  std::type_identity_t<View<const T, 4, typename Device::Space>> target,
                  View<const float, 1, typename Device::Space> weight, std::int64_t first_frame,
                  std::type_identity_t<View<const double, 1, typename Device::Space>> dloss,
                  View<T, 4, typename Device::Space> dpred, GradMode mode) {
  static_assert(is_floating<T>, "mse_backward: dpred must hold float, double, bfloat16 or float16");
  detail::check_mse("mse_backward", pred, target, weight, first_frame);
  detail::check_shape("mse_backward", "dloss", dloss, {1});
  detail::check_shape("mse_backward", "dpred", dpred, pred.shape());
  if (exec.planning() || pred.empty()) return;
  Kernel<op::MseBackward, Device>::run(exec, pred, target, weight, first_frame, dloss, dpred, mode);
}

template <class T>
constexpr Cost mse_forward_cost(std::int64_t elements) {
  const auto n = static_cast<double>(elements);
  return {3 * n, 2 * n * sizeof(T)};
}

template <class T>
constexpr Cost mse_backward_cost(std::int64_t elements) {
  const auto n = static_cast<double>(elements);
  return {2 * n, 3 * n * sizeof(T)};
}

}  // namespace ops
SEGUE_NAMESPACE_END
