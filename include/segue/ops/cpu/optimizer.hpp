// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>

#include "segue/ops/cpu/activation_math.hpp"
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

}  // namespace detail

template <>
struct Kernel<op::AdamWStep, Cpu> {
  template <class TP, class TG>
  static void run(Exec<Cpu>& exec, std::span<const ops::AdamWTensor<TP, TG>> tensors, const ops::AdamWOptions& options,
                  std::int64_t step, double grad_scale) {
    using A = Accum<TP>;
    // Many small tensors are one list of pieces, so that threads share them evenly.
    constexpr std::int64_t piece = 4096;
    std::int64_t pieces = 0;
    for (const auto& tensor : tensors) pieces += ceil_div(tensor.count, piece);
    const Factors<A> factors(options, step, grad_scale);
    detail::parallel_for(
        exec, pieces,
        [&](std::int64_t begin, std::int64_t end) {
          for (const auto& tensor : tensors) {
            const std::int64_t own = ceil_div(tensor.count, piece);
            for (std::int64_t i = std::max<std::int64_t>(begin, 0); i < std::min(end, own); ++i)
              update(tensor, i * piece, std::min(piece, tensor.count - i * piece), factors);
            begin -= own;
            end -= own;
            if (end <= 0) break;
          }
        },
        detail::elementwise_grain / piece);
  }

 private:
  template <class A>
  struct Factors {
    Factors(const ops::AdamWOptions& o, std::int64_t step, double scale)
        : grad_scale(static_cast<A>(scale)),
          kept(static_cast<A>(1 - o.lr * o.weight_decay)),
          beta2(static_cast<A>(o.beta2)),
          rest1(static_cast<A>(1 - o.beta1)),
          rest2(static_cast<A>(1 - o.beta2)),
          eps(static_cast<A>(o.eps)),
          step_size(static_cast<A>(o.lr / (1 - std::pow(o.beta1, static_cast<double>(step))))),
          root_correction(static_cast<A>(std::sqrt(1 - std::pow(o.beta2, static_cast<double>(step))))) {}
    A grad_scale, kept, beta2, rest1, rest2, eps, step_size, root_correction;
  };

  template <class TP, class TG, class A>
  static void update(const ops::AdamWTensor<TP, TG>& tensor, std::int64_t start, std::int64_t length,
                     const Factors<A>& f) {
    using V = detail::simd::Vec<A>;
    TP* const param = tensor.param + start;
    const TG* const grad = tensor.grad + start;
    A* const m = tensor.m + start;
    A* const v = tensor.v + start;
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
    });
  }
};

template <>
struct Kernel<op::GlobalNorm, Cpu> {
  template <class TG>
  static double run(Exec<Cpu>& exec, std::span<const View<const TG, 1, HostSpace>> grads) {
    double total = 0;
    for (const auto& g : grads) total += Kernel<op::Dot, Cpu>::dot(exec, g, g);
    return std::sqrt(total);
  }
};

SEGUE_NAMESPACE_END
