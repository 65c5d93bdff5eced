// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "segue/ops/gemm.hpp"

SEGUE_NAMESPACE_BEGIN
namespace op {
struct LinearBackwardBias;
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

/// y = act(x · weightᵀ + bias), as torch.nn.functional.linear.
///
/// Shapes: x (M, K), weight (N, K), bias (N) or `{}`, y and pre_activation (M, N); pre_activation or `{}` receives the
/// value before the activation, for the backward. Row strides are free.
/// Dtypes, aliasing, determinism, errors: as `gemm`. A row's bits do not depend on the other rows.
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
/// Determinism: as `gemm`; a row's bits do not depend on the other rows.
template <class Device, class DY, class W, class DX>
void linear_backward_input(Exec<Device>& exec, const DY& dy, const W& weight, const DX& dx, GradMode mode,
                           View<std::byte, 1, typename Device::Space> scratch) {
  using TDx = typename DX::value_type;
  gemm(exec, dy, Transpose::no, weight, Transpose::no, dx, GemmScale{.beta = mode == GradMode::accumulate ? 1.0 : 0.0},
       Epilogue<TDx, TDx, typename Device::Space>{}, scratch);
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
/// Determinism: rows are summed in chunks of 64 that are added in order. Scratch: none is needed on the CPU.
/// @throws InputError if the shapes do not match.
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
  if (exec.planning() || dbv.empty() || (mode == GradMode::accumulate && dyv.empty())) return;
  Kernel<op::LinearBackwardBias, Device>::run(exec, dyv, dbv, mode, scratch);
}

}  // namespace ops
SEGUE_NAMESPACE_END
