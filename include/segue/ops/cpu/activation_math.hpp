// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>
#include <utility>

#include "segue/ops/cpu/simd.hpp"
#include "segue/ops/types.hpp"

SEGUE_NAMESPACE_BEGIN
namespace detail {
namespace simd {

/// `f` on every lane; what double uses, since it serves gradient checks and not speed.
template <class A, class F>
SEGUE_FORCE_INLINE Vec<A> map(Vec<A> x, F&& f) {
  for (int i = 0; i < lanes<A>; ++i) x[i] = f(static_cast<A>(x[i]));
  return x;
}

/// e^x within 2 ulp; 0 below -87.33 (no subnormals), at most e^88.37. NaN stays NaN.
template <class A>
SEGUE_FORCE_INLINE Vec<A> exp(Vec<A> x) {
  if constexpr (std::is_same_v<A, double>) {
    return map<A>(x, [](double v) { return std::exp(v); });
  } else {
    const Vec<float> lowest = broadcast(-87.33f), highest = broadcast(88.37f);
    const Vec<float> clamped = x > highest ? highest : x < lowest ? lowest : x;
    // Adding 1.5·2^23 rounds to an integer and leaves it in the low bits.
    const Vec<float> shifted = clamped * 1.44269504088896341f + 12582912.0f;
    const Vec<float> n = shifted - 12582912.0f;
    Vec<float> r = clamped - n * 0.693359375f;
    r = r - n * -2.12194440e-4f;
    // Polynomial: Cephes, S. Moshier.
    Vec<float> p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    const Vec<float> scale = std::bit_cast<Vec<float>>((std::bit_cast<Words>(shifted) + 127u) << 23);
    const Vec<float> result = p * scale;
    return x < lowest ? Vec<float>{} : x == x ? result : x;
  }
}

/// 2^x for x at most 0 or little above; 2^-126 below that. The cheap one, for softmax. NaN stays NaN.
template <class A>
SEGUE_FORCE_INLINE Vec<A> exp2_of_negative(Vec<A> x) {
  if constexpr (std::is_same_v<A, double>) {
    return map<A>(x, [](double v) { return std::exp2(v); });
  } else {
    const Vec<float> lowest = broadcast(-126.0f);
    const Vec<float> clamped = x < lowest ? lowest : x;
    const Vec<float> shifted = clamped + 12582912.0f;
    const Vec<float> f = clamped - (shifted - 12582912.0f);
    // Minimax on [-1/2, 1/2], 2e-9 relative.
    Vec<float> p = f * 1.535336050e-04f + 1.339887385e-03f;
    p = p * f + 9.618436918e-03f;
    p = p * f + 5.550332367e-02f;
    p = p * f + 2.402264774e-01f;
    p = p * f + 6.931471825e-01f;
    p = p * f + 1.0f;
    return p * std::bit_cast<Vec<float>>((std::bit_cast<Words>(shifted) + 127u) << 23);
  }
}

/// erf(x) within 4e-7 relative: a rational minimax fit of erf(x)/x in x² up to 3.92, where erf rounds to 1.
template <class A>
SEGUE_FORCE_INLINE Vec<A> erf(Vec<A> x) {
  if constexpr (std::is_same_v<A, double>) {
    return map<A>(x, [](double v) { return std::erf(v); });
  } else {
    const Vec<float> limit = broadcast(3.92f), one = broadcast(1.0f);
    const Vec<float> c = x > limit ? limit : x < -limit ? -limit : x;
    const Vec<float> z = c * c;
    Vec<float> p = z * 1.992415655e-08f + -1.957783297e-06f;
    p = p * z + 1.418412430e-04f;
    p = p * z + 3.701268230e-03f;
    p = p * z + 5.057229847e-02f;
    p = p * z + 1.999168247e-01f;
    p = p * z + 1.128379107e+00f;
    Vec<float> q = z * 9.559526225e-04f + 1.435253210e-02f;
    q = q * z + 1.149952188e-01f;
    q = q * z + 5.105033517e-01f;
    q = q * z + 1.0f;
    const Vec<float> y = c * p / q;
    return y > one ? one : y < -one ? -one : y;
  }
}

/// 1 / (1 + e^-x); in float at least e^-87, since processors take subnormal numbers slowly.
template <class A>
SEGUE_FORCE_INLINE Vec<A> sigmoid(Vec<A> x) {
  if constexpr (std::is_same_v<A, float>) x = x < broadcast(-87.0f) ? broadcast(-87.0f) : x;
  return A{1} / (exp<A>(-x) + A{1});
}

/// tanh(x) within 1e-7 absolute.
template <class A>
SEGUE_FORCE_INLINE Vec<A> tanh(Vec<A> x) {
  return sigmoid<A>(x * A{2}) * A{2} - A{1};
}

}  // namespace simd

/// The activation of a register of values.
template <ops::Activation Act, class A>
SEGUE_FORCE_INLINE simd::Vec<A> activate(simd::Vec<A> x) {
  using ops::Activation;
  if constexpr (Act == Activation::gelu_tanh) {
    return x * simd::sigmoid<A>(x * gelu_tanh_scale<A> * (x * x * gelu_tanh_cubic<A> + A{1}));
  } else if constexpr (Act == Activation::gelu) {
    return x * A(0.5) * (simd::erf<A>(x * A(0.70710678118654752440)) + A{1});
  } else if constexpr (Act == Activation::silu) {
    return x * simd::sigmoid<A>(x);
  } else {
    return x;
  }
}

/// The activation's derivative at a register of values.
template <ops::Activation Act, class A>
SEGUE_FORCE_INLINE simd::Vec<A> activation_slope(simd::Vec<A> x) {
  using ops::Activation;
  if constexpr (Act == Activation::gelu_tanh) {
    const simd::Vec<A> xx = x * x;
    const simd::Vec<A> s = simd::sigmoid<A>(x * gelu_tanh_scale<A> * (xx * gelu_tanh_cubic<A> + A{1}));
    const simd::Vec<A> du = (xx * (A{3} * gelu_tanh_cubic<A>)+A{1}) * gelu_tanh_scale<A>;
    return s + x * du * s * (A{1} - s);
  } else if constexpr (Act == Activation::gelu) {
    const simd::Vec<A> cdf = (simd::erf<A>(x * A(0.70710678118654752440)) + A{1}) * A(0.5);
    return cdf + x * simd::exp<A>(x * x * A(-0.5)) * A(0.39894228040143267794);
  } else if constexpr (Act == Activation::silu) {
    const simd::Vec<A> s = simd::sigmoid<A>(x);
    return s + x * s * (A{1} - s);
  } else {
    return simd::broadcast(A{1});
  }
}

/// Calls `f.operator()<Act>()` with the activation as a constant.
template <class F>
SEGUE_FORCE_INLINE decltype(auto) with_activation(ops::Activation activation, F&& f) {
  using ops::Activation;
  switch (activation) {
    case Activation::gelu_tanh: return f.template operator()<Activation::gelu_tanh>();
    case Activation::gelu: return f.template operator()<Activation::gelu>();
    case Activation::silu: return f.template operator()<Activation::silu>();
    case Activation::none: break;
  }
  return f.template operator()<Activation::none>();
}

/// y[i] = act(x[i]); y may be x.
template <class TX, class TY>
void activation_span(ops::Activation activation, const TX* x, TY* y, std::int64_t n) {
  using A = Accum<TX>;
  with_activation(activation, [&]<ops::Activation Act>() {
    for (std::int64_t i = 0; i < n; i += simd::lanes<A>)
      simd::store<A>(y + i, activate<Act, A>(simd::load<A>(x + i, n - i)), n - i);
  });
}

/// dx[i] = dy[i]·act'(x[i]), added to what dx held when `mode` says so; dx may be dy.
template <class TX, class TDy, class TDx>
void activation_gradient_span(ops::Activation activation, const TX* x, const TDy* dy, TDx* dx, std::int64_t n,
                              ops::GradMode mode) {
  using A = Accum<TX>;
  with_activation(activation, [&]<ops::Activation Act>() {
    for (std::int64_t i = 0; i < n; i += simd::lanes<A>) {
      simd::Vec<A> g = simd::load<A>(dy + i, n - i) * activation_slope<Act, A>(simd::load<A>(x + i, n - i));
      if (mode == ops::GradMode::accumulate) g += simd::load<A>(dx + i, n - i);
      simd::store<A>(dx + i, g, n - i);
    }
  });
}

}  // namespace detail
SEGUE_NAMESPACE_END
