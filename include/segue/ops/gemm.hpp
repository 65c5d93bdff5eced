// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>

#include "segue/core/dispatch.hpp"
#include "segue/core/dtype.hpp"
#include "segue/core/exec.hpp"
#include "segue/ops/cost.hpp"
#include "segue/ops/types.hpp"

SEGUE_NAMESPACE_BEGIN
namespace op {
struct Gemm;
struct GemmChoices;
}  // namespace op

namespace ops {

/// Factors of the product and of what `c` held before.
struct GemmScale {
  double alpha = 1;
  double beta = 0;
};

/// What a GEMM does to each element before it is stored, while it is still in the cache.
template <class TC, class TBias, class Space>
struct Epilogue {
  View<const TBias, 1, Space> bias{};  ///< (N), or absent
  Activation activation = Activation::none;
  View<TC, 2, Space> pre_activation{};  ///< (M, N): the value before the activation, or absent
};

}  // namespace ops

namespace detail {

/// GEMM operands are all double, or any mix of the narrower types.
template <class... T>
inline constexpr bool gemm_types = (is_floating<T> && ...) &&
                                   ((std::is_same_v<T, double> && ...) || (!std::is_same_v<T, double> && ...));

}  // namespace detail

namespace ops {

/// Work of an (M, K) x (K, N) product.
template <class TA, class TB, class TC>
constexpr Cost gemm_cost(std::int64_t m, std::int64_t n, std::int64_t k) {
  const auto md = static_cast<double>(m), nd = static_cast<double>(n), kd = static_cast<double>(k);
  return {2 * md * nd * kd, md * kd * sizeof(TA) + kd * nd * sizeof(TB) + md * nd * sizeof(TC)};
}

/// The choices among algorithms that were measured or restored so far, as text for a checkpoint: with them a run has
/// the same bits again. Empty where nothing was measured, and on Cpu, where there is nothing to choose.
template <class Device>
std::string gemm_choices(Exec<Device>& exec) {
  return Kernel<op::GemmChoices, Device>::text(exec);
}

/// Uses these choices from now on, on a deterministic Exec too. False, and nothing changes, if they were made by
/// another version of the library or on another kind of device, where no run has the same bits.
/// @throws InputError if the text is damaged.
template <class Device>
bool restore_gemm_choices(Exec<Device>& exec, std::string_view text) {
  return Kernel<op::GemmChoices, Device>::restore(exec, text);
}

/// Bytes of scratch that `gemm` needs for op(a): (M, K) and op(b): (K, N).
template <class TA, class TB, class TC, class Device>
std::size_t gemm_workspace_bytes(const Exec<Device>& exec, std::int64_t m, std::int64_t n, std::int64_t k, Transpose ta,
                                 Transpose tb) {
  return Kernel<op::Gemm, Device>::template workspace_bytes<TA, TB, TC>(exec, m, n, k, ta, tb);
}

/// c = act(alpha · op(a) · op(b) + beta · c + bias)
///
/// Shapes: op(a): (M, K), op(b): (K, N), c: (M, N), bias: (N); `Transpose::yes` reads a as (K, M), b as (N, K).
/// Dtypes: any mix of float, bfloat16 and float16, or all double; sums in `Accum`. On Cuda a and b have one type, and c
/// has it too or is float; products of floats follow `Exec::gemm_math`. Row strides are free. On a Cpu with AMX a
/// product whose b is bfloat16, sums in float, goes by its tiles, elements of a as sums of bfloat16s: exactly, but for
/// floats below 2^-103, which lose low bits. Subnormal operands and sums count as zero there.
/// Aliasing: c and pre_activation overlap nothing else. With beta = 0 what c held is not read.
/// Determinism: on Cpu an element's bits depend on its row of op(a), its column of op(b) and K; not on M, N, threads or
/// where in the matrix it lies. On Cuda they depend on shapes, strides and alignment too, and are the same in every run
/// with the same cuBLASLt and kind of device, and the same choices where products are tuned. An epilogue that the
/// library does not fuse is applied to sums that were rounded to c's type.
/// Scratch: at least `gemm_workspace_bytes` bytes.
/// @throws InputError if shapes do not match or the scratch is too small.
template <class Device, class A, class B, class C, class TBias = typename C::value_type>
void gemm(Exec<Device>& exec, const A& a, Transpose ta, const B& b, Transpose tb, const C& c, GemmScale scale,
          const Epilogue<typename C::value_type, TBias, typename Device::Space>& epilogue,
          View<std::byte, 1, typename Device::Space> scratch) {
  using TA = typename A::value_type;
  using TB = typename B::value_type;
  using TC = typename C::value_type;
  static_assert(detail::gemm_types<TA, TB, TC, TBias>,
                "gemm(exec, a, ta, b, tb, c, ...): element types must be all double, or any mix of float, bfloat16 and "
                "float16; cast the operands first");
  static_assert(!std::is_const_v<typename C::element_type>,
                "gemm(exec, a, ta, b, tb, c, ...): c must be a Tensor or a View of elements that are not const");
  const View<const TA, 2, typename Device::Space> av = detail::const_view(a);
  const View<const TB, 2, typename Device::Space> bv = detail::const_view(b);
  const View<TC, 2, typename Device::Space> cv = c;
  const std::int64_t m = cv.extent(0), n = cv.extent(1), k = av.extent(ta == Transpose::no ? 1 : 0);
  detail::check_shape("gemm", "a", av, ta == Transpose::no ? Shape<2>{m, k} : Shape<2>{k, m});
  detail::check_shape("gemm", "b", bv, tb == Transpose::no ? Shape<2>{k, n} : Shape<2>{n, k});
  detail::check_shape("gemm", "c", cv, {m, n});
  if (epilogue.bias.data_handle()) detail::check_shape("gemm", "bias", epilogue.bias, {n});
  if (epilogue.pre_activation.data_handle())
    detail::check_shape("gemm", "pre_activation", epilogue.pre_activation, {m, n});
  detail::check_scratch("gemm", scratch, gemm_workspace_bytes<TA, TB, TC>(exec, m, n, k, ta, tb));
  if (exec.planning() || m == 0 || n == 0) return;
  Kernel<op::Gemm, Device>::run(exec, av, ta, bv, tb, cv, scale, epilogue, scratch);
}

}  // namespace ops
SEGUE_NAMESPACE_END
