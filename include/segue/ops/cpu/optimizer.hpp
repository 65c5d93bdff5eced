// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>

#include "segue/ops/cpu/activation_math.hpp"
#include "segue/ops/cpu/elementwise.hpp"
#include "segue/ops/cpu/reduce.hpp"
#include "segue/ops/optimizer.hpp"

SEGUE_NAMESPACE_BEGIN
namespace detail {

/// Correctly rounded, as std::sqrt is; but that one sets errno, which keeps it out of vectors.
template <class A>
SEGUE_FORCE_INLINE simd::Vec<A> square_root(simd::Vec<A> x) {
#if __has_builtin(__builtin_elementwise_sqrt)
  return __builtin_elementwise_sqrt(x);
#else
  if constexpr (std::is_same_v<A, float>) {
#if defined(__AVX__) && !defined(__AVX512F__)
    return __builtin_ia32_sqrtps256(x);
#elif defined(__SSE2__) && !defined(__AVX__)
    return __builtin_ia32_sqrtps(x);
#endif
  }
  return simd::map<A>(x, [](A v) { return std::sqrt(v); });
#endif
}

/// Calls `f(tensor, start, length)` for pieces of all tensors: many small tensors are one list, so that threads share
/// them evenly.
template <class Tensor, class F>
void for_each_tensor_piece(const Exec<Cpu>& exec, std::span<const Tensor> tensors, F&& f) {
  constexpr std::int64_t piece = 4096;
  std::int64_t pieces = 0;
  for (const auto& tensor : tensors) pieces += ceil_div(tensor.count, piece);
  parallel_for(
      exec, pieces,
      [&](std::int64_t begin, std::int64_t end) {
        for (const auto& tensor : tensors) {
          const std::int64_t own = ceil_div(tensor.count, piece);
          for (std::int64_t i = std::max<std::int64_t>(begin, 0); i < std::min(end, own); ++i)
            f(tensor, i * piece, std::min(piece, tensor.count - i * piece));
          begin -= own;
          end -= own;
          if (end <= 0) break;
        }
      },
      elementwise_grain / piece);
}

}  // namespace detail

template <>
struct Kernel<op::AdamWStep, Cpu> {
  template <class TP, class TG, class TV>
  static void run(Exec<Cpu>& exec, std::span<const ops::AdamWTensor<TP, TG, TV>> tensors,
                  const detail::AdamWFactors<Accum<TP>>& factors) {
    detail::for_each_tensor_piece(
        exec, tensors, [&](const ops::AdamWTensor<TP, TG, TV>& tensor, std::int64_t start, std::int64_t length) {
          update(tensor, start, length, factors);
        });
  }

  template <class TP, class TG, class TV>
  static void run(Exec<Cpu>& exec, std::span<const ops::AdamWTensor<TP, TG, TV>> tensors,
                  const ops::AdamWOptions& options, View<const ops::UpdateState, 1, HostSpace> state) {
    if (!state(0).skip) run(exec, tensors, detail::adamw_factors<Accum<TP>>(options, state(0)));
  }

 private:
  template <class TP, class TG, class TV, class A>
  static void update(const ops::AdamWTensor<TP, TG, TV>& tensor, std::int64_t start, std::int64_t length,
                     const detail::AdamWFactors<A>& f) {
    using V = detail::simd::Vec<A>;
    TP* const param = tensor.param + start;
    const TG* const grad = tensor.grad + start;
    A* const m = tensor.m + start;
    A* const v = tensor.v + start;
    TV* const value = tensor.value && tensor.value_columns == 0 ? tensor.value + start : nullptr;
    const A kept = tensor.decay ? f.kept : A(1);
    detail::row_vectors<A>(1, length, [&](std::int64_t c, std::int64_t, auto n) {
      const V g = detail::simd::load<A>(grad + c, n) * f.grad_scale;
      V first = detail::simd::load<A>(static_cast<const A*>(m + c), n);
      first += f.rest1 * (g - first);
      const V second = detail::simd::load<A>(static_cast<const A*>(v + c), n) * f.beta2 + g * g * f.rest2;
      const V denominator = detail::square_root<A>(second) / f.root_correction + f.eps;
      const V p =
          detail::simd::load<A>(static_cast<const TP*>(param + c), n) * kept - f.step_size * (first / denominator);
      detail::simd::store<A>(m + c, first, n);
      detail::simd::store<A>(v + c, second, n);
      detail::simd::store<A>(param + c, p, n);
      if (value) detail::simd::store<A>(value + c, detail::simd::load<A>(static_cast<const TP*>(param + c), n), n);
    });
    if (!tensor.value || value) return;
    for (std::int64_t i = 0; i < length; ++i)
      tensor.value[tensor.value_index(start + i, tensor.value_columns, tensor.value_stride)] = cast<TV>(param[i]);
  }
};

template <>
struct Kernel<op::GlobalNorm, Cpu> {
  template <class TG>
  static std::size_t workspace_bytes(const Exec<Cpu>&, std::span<const View<const TG, 1, HostSpace>>) {
    return 0;
  }
  template <class TG>
  static double sum_of_squares(Exec<Cpu>& exec, std::span<const View<const TG, 1, HostSpace>> grads) {
    double total = 0;
    for (const auto& g : grads) total += Kernel<op::Dot, Cpu>::dot(exec, g, g);
    return total;
  }
  template <class TG>
  static void run(Exec<Cpu>& exec, std::span<const View<const TG, 1, HostSpace>> grads, View<double, 1, HostSpace> out,
                  View<std::byte, 1, HostSpace>) {
    out(0) = sum_of_squares(exec, grads);
  }
};

template <>
struct Kernel<op::BeginUpdate, Cpu> {
  static void run(Exec<Cpu>&, View<ops::UpdateState, 1, HostSpace> state, View<const double, 1, HostSpace> norm_squared,
                  const ops::UpdateOptions& options) {
    detail::begin_update(state(0), norm_squared(0), options);
  }
};

template <>
struct Kernel<op::EmaStep, Cpu> {
  template <class TX, class T>
  static void run(Exec<Cpu>& exec, std::span<const ops::EmaTensor<TX, T>> tensors,
                  View<const ops::UpdateState, 1, HostSpace> state) {
    using A = Accum<T>;
    if (state(0).skip) return;
    const auto weight = detail::simd::broadcast(static_cast<A>(state(0).ema_weight));
    detail::for_each_tensor_piece(exec, tensors,
                                  [&](const ops::EmaTensor<TX, T>& tensor, std::int64_t start, std::int64_t length) {
                                    detail::row_vectors<A>(1, length, [&](std::int64_t c, std::int64_t, auto n) {
                                      detail::lerp_vector<A>(n, weight, tensor.x + start + c, tensor.y + start + c);
                                    });
                                  });
  }
};

SEGUE_NAMESPACE_END
