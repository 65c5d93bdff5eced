// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>

#include "segue/ops/activation.hpp"
#include "segue/ops/gemm.hpp"

SEGUE_NAMESPACE_BEGIN
namespace op {
struct LinearBackwardBias;
struct LinearBackwardWeightAndBias;
struct LinearBackwardInputThroughActivation;
}  // namespace op

namespace ops {

/// Work of a linear layer over M rows; the two backwards cost the same.
template <class TX, class TW, class TY>
constexpr Cost linear_cost(std::int64_t m, std::int64_t n, std::int64_t k) {
  return gemm_cost<TX, TW, TY>(m, n, k);
}

template <class TX, class TW, class TY, class Device>
std::size_t linear_forward_workspace_bytes(const Exec<Device>& exec, std::int64_t m, std::int64_t n, std::int64_t k) {
  return gemm_workspace_bytes<TX, TW, TY>(exec, m, n, k, Transpose::no, Transpose::yes);
}
template <class TDy, class TW, class TDx, class Device>
std::size_t linear_backward_input_workspace_bytes(const Exec<Device>& exec, std::int64_t m, std::int64_t n,
                                                  std::int64_t k) {
  return gemm_workspace_bytes<TDy, TW, TDx>(exec, m, k, n, Transpose::no, Transpose::no);
}
template <class TDy, class TX, class TDw, class Device>
std::size_t linear_backward_weight_workspace_bytes(const Exec<Device>& exec, std::int64_t m, std::int64_t n,
                                                   std::int64_t k) {
  return gemm_workspace_bytes<TDy, TX, TDw>(exec, n, k, m, Transpose::yes, Transpose::no);
}
template <class TDy, class Device>
std::size_t linear_backward_bias_workspace_bytes(const Exec<Device>& exec, std::int64_t m, std::int64_t n) {
  return Kernel<op::LinearBackwardBias, Device>::template workspace_bytes<TDy>(exec, m, n);
}
template <class TDy, class TX, class TDw, class Device>
std::size_t linear_backward_weight_and_bias_workspace_bytes(const Exec<Device>& exec, std::int64_t m, std::int64_t n,
                                                            std::int64_t k) {
  return std::max(linear_backward_weight_workspace_bytes<TDy, TX, TDw>(exec, m, n, k),
                  linear_backward_bias_workspace_bytes<TDy>(exec, m, n));
}
template <class TDy, class TW, class TDx, class Device>
std::size_t linear_backward_input_through_activation_workspace_bytes(const Exec<Device>& exec, std::int64_t m,
                                                                     std::int64_t n, std::int64_t k, GradMode mode) {
  return Kernel<op::LinearBackwardInputThroughActivation, Device>::template workspace_bytes<TDy, TW, TDx>(exec, m, n, k,
                                                                                                          mode);
}

/// y = act(x · weightᵀ + bias), as torch.nn.functional.linear.
///
/// Shapes: x (M, K), weight (N, K), bias (N) or `{}`, y and pre_activation (M, N); pre_activation or `{}` receives the
/// value before the activation, for the backward. Row strides are free.
/// Dtypes, aliasing, determinism, errors: as `gemm`. On Cpu a row's bits do not depend on the other rows.
template <class Device, class X, class W, class Y,
          class Bias = View<const typename W::value_type, 1, typename Device::Space>>
void linear_forward(Exec<Device>& exec, const X& x, const W& weight, const Bias& bias, Activation activation,
                    const Y& y,
                    View<std::type_identity_t<typename Y::value_type>, 2, typename Device::Space> pre_activation,
                    View<std::byte, 1, typename Device::Space> scratch) {
  using TBias = typename Bias::value_type;
  gemm(exec, x, Transpose::no, weight, Transpose::yes, y, GemmScale{},
       Epilogue<typename Y::value_type, TBias, typename Device::Space>{
           .bias = detail::const_view(bias), .activation = activation, .pre_activation = pre_activation},
       scratch);
}

/// dx = dy · weight (or dx += ...). Shapes: dy (M, N), weight (N, K), dx (M, K).
/// Determinism: as `gemm`; on Cpu a row's bits do not depend on the other rows.
template <class Device, class DY, class W, class DX>
void linear_backward_input(Exec<Device>& exec, const DY& dy, const W& weight, const DX& dx, GradMode mode,
                           View<std::byte, 1, typename Device::Space> scratch) {
  using TDx = typename DX::value_type;
  gemm(exec, dy, Transpose::no, weight, Transpose::no, dx, GemmScale{.beta = mode == GradMode::accumulate ? 1.0 : 0.0},
       Epilogue<TDx, TDx, typename Device::Space>{}, scratch);
}

/// dx = (dy · weight) ⊙ act'(pre_activation) (or dx += ...): back through a linear layer and the activation before it,
/// y = act(pre_activation) · weightᵀ, without a gradient of the activation's value in memory in between.
/// Shapes: dy (M, N), weight (N, K), pre_activation and dx (M, K), both of one type.
/// Dtypes, aliasing, determinism, errors: as `gemm`. Scratch: at least
/// `linear_backward_input_through_activation_workspace_bytes` bytes.
template <class Device, class DY, class W, class DX>
void linear_backward_input_through_activation(
    Exec<Device>& exec, const DY& dy, const W& weight, Activation activation,
    View<const std::type_identity_t<typename DX::value_type>, 2, typename Device::Space> pre_activation, const DX& dx,
    GradMode mode, View<std::byte, 1, typename Device::Space> scratch) {
  using TDy = typename DY::value_type;
  using TW = typename W::value_type;
  using TDx = typename DX::value_type;
  static_assert(detail::gemm_types<TDy, TW, TDx>,
                "linear_backward_input_through_activation(exec, dy, weight, ...): element types must be all double, or "
                "any mix of float, bfloat16 and float16; cast the operands first");
  constexpr std::string_view name = "linear_backward_input_through_activation";
  const View<const TDy, 2, typename Device::Space> dyv = detail::const_view(dy);
  const View<const TW, 2, typename Device::Space> wv = detail::const_view(weight);
  const View<TDx, 2, typename Device::Space> dxv = dx;
  const std::int64_t m = dxv.extent(0), k = dxv.extent(1), n = dyv.extent(1);
  detail::check_shape(name, "dy", dyv, {m, n});
  detail::check_shape(name, "weight", wv, {n, k});
  detail::check_shape(name, "pre_activation", pre_activation, {m, k});
  detail::check_shape(name, "dx", dxv, {m, k});
  detail::check_scratch(name, scratch,
                        linear_backward_input_through_activation_workspace_bytes<TDy, TW, TDx>(exec, m, n, k, mode));
  if (exec.planning() || dxv.empty()) return;
  Kernel<op::LinearBackwardInputThroughActivation, Device>::run(exec, dyv, wv, activation, pre_activation, dxv, mode,
                                                                scratch);
}

/// dweight = dyᵀ · x (or dweight += ...). Shapes: dy (M, N), x (M, K), dweight (N, K).
/// Determinism: rows are summed in fixed panels, whatever the thread count.
template <class Device, class DY, class X, class DW>
void linear_backward_weight(Exec<Device>& exec, const DY& dy, const X& x, const DW& dweight, GradMode mode,
                            View<std::byte, 1, typename Device::Space> scratch) {
  using TDw = typename DW::value_type;
  gemm(exec, dy, Transpose::yes, x, Transpose::no, dweight, GemmScale{.beta = mode == GradMode::accumulate ? 1.0 : 0.0},
       Epilogue<TDw, TDw, typename Device::Space>{}, scratch);
}

/// dbias = Σ over rows of dy (or dbias += ...). Shapes: dy (M, N), dbias (N); the two may differ in type.
/// Determinism: rows are summed in chunks that are added in order.
/// Scratch: at least `linear_backward_bias_workspace_bytes` bytes; none on the CPU.
/// @throws InputError if the shapes do not match or the scratch is too small.
template <class Device, class DY, class DB>
void linear_backward_bias(Exec<Device>& exec, const DY& dy, const DB& dbias, GradMode mode,
                          View<std::byte, 1, typename Device::Space> scratch = {}) {
  static_assert(detail::gemm_types<typename DY::value_type, typename DB::value_type>,
                "linear_backward_bias(exec, dy, dbias, ...): dy and dbias must both be double, or any mix of float, "
                "bfloat16 and float16");
  const View<const typename DY::value_type, 2, typename Device::Space> dyv = detail::const_view(dy);
  const View<typename DB::value_type, 1, typename Device::Space> dbv = dbias;
  detail::check_shape("linear_backward_bias", "dy", dyv, {-1, dbv.extent(0)});
  detail::check_shape("linear_backward_bias", "dbias", dbv, {dbv.extent(0)});
  detail::check_scratch(
      "linear_backward_bias", scratch,
      linear_backward_bias_workspace_bytes<typename DY::value_type>(exec, dyv.extent(0), dbv.extent(0)));
  if (exec.planning() || dbv.empty() || (mode == GradMode::accumulate && dyv.empty())) return;
  Kernel<op::LinearBackwardBias, Device>::run(exec, dyv, dbv, mode, scratch);
}

/// dweight and dbias of one dy, as `linear_backward_weight` and `linear_backward_bias` make them. On Cuda the product
/// sums a small dy on its way, which saves a pass over it.
/// Shapes: dy (M, N), x (M, K), dweight (N, K), dbias (N). Dtypes, aliasing: as `gemm`.
/// Determinism: the same bits in every run; on Cuda not always those of `linear_backward_bias`.
/// Scratch: at least `linear_backward_weight_and_bias_workspace_bytes` bytes.
/// @throws InputError if the shapes do not match or the scratch is too small.
template <class Device, class DY, class X, class DW, class DB>
void linear_backward_weight_and_bias(Exec<Device>& exec, const DY& dy, const X& x, const DW& dweight,
                                     GradMode weight_mode, const DB& dbias, GradMode bias_mode,
                                     View<std::byte, 1, typename Device::Space> scratch) {
  using TDy = typename DY::value_type;
  using TX = typename X::value_type;
  using TDw = typename DW::value_type;
  using TDb = typename DB::value_type;
  using Space = typename Device::Space;
  static_assert(detail::gemm_types<TDy, TX, TDw> && detail::gemm_types<TDy, TDb>,
                "linear_backward_weight_and_bias(exec, dy, x, ...): element types must be all double, or any mix of "
                "float, bfloat16 and float16; cast the operands first");
  constexpr std::string_view name = "linear_backward_weight_and_bias";
  const View<const TDy, 2, Space> dyv = detail::const_view(dy);
  const View<const TX, 2, Space> xv = detail::const_view(x);
  const View<TDw, 2, Space> dwv = dweight;
  const View<TDb, 1, Space> dbv = dbias;
  const std::int64_t m = dyv.extent(0), n = dwv.extent(0), k = dwv.extent(1);
  detail::check_shape(name, "dy", dyv, {m, n});
  detail::check_shape(name, "x", xv, {m, k});
  detail::check_shape(name, "dbias", dbv, {n});
  detail::check_scratch(name, scratch, linear_backward_weight_and_bias_workspace_bytes<TDy, TX, TDw>(exec, m, n, k));
  if (exec.planning()) return;
  Kernel<op::LinearBackwardWeightAndBias, Device>::run(exec, dyv, xv, dwv, weight_mode, dbv, bias_mode, scratch);
}

}  // namespace ops
SEGUE_NAMESPACE_END
