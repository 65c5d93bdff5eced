// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>

#include "segue/core/cuda_config.cuh"
#include "segue/ops/types.hpp"

// Activations of one value in a kernel, in float or double; the formulas are those of ops/cpu/activation_math.hpp.

SEGUE_KERNELS_BEGIN

/// 1 / (1 + e^-x); float within 4 ulp.
__device__ __forceinline__ float sigmoid(float x) { return __fdividef(1.0f, 1.0f + expf(-x)); }
__device__ __forceinline__ double sigmoid(double x) { return 1.0 / (1.0 + exp(-x)); }

template <ops::Activation Act, class A>
__device__ __forceinline__ A activate(A x) {
  using ops::Activation;
  if constexpr (Act == Activation::gelu_tanh) {
    return x * sigmoid(x * detail::gelu_tanh_scale<A> * (x * x * detail::gelu_tanh_cubic<A> + A(1)));
  } else if constexpr (Act == Activation::gelu) {
    return x * A(0.5) * (erf(x * A(0.70710678118654752440)) + A(1));
  } else if constexpr (Act == Activation::silu) {
    return x * sigmoid(x);
  } else {
    return x;
  }
}

/// The activation's derivative at x.
template <ops::Activation Act, class A>
__device__ __forceinline__ A activation_slope(A x) {
  using ops::Activation;
  if constexpr (Act == Activation::gelu_tanh) {
    const A xx = x * x;
    const A s = sigmoid(x * detail::gelu_tanh_scale<A> * (xx * detail::gelu_tanh_cubic<A> + A(1)));
    const A du = (xx * (A(3) * detail::gelu_tanh_cubic<A>)+A(1)) * detail::gelu_tanh_scale<A>;
    return s + x * du * s * (A(1) - s);
  } else if constexpr (Act == Activation::gelu) {
    const A cdf = (erf(x * A(0.70710678118654752440)) + A(1)) * A(0.5);
    return cdf + x * exp(x * x * A(-0.5)) * A(0.39894228040143267794);
  } else if constexpr (Act == Activation::silu) {
    const A s = sigmoid(x);
    return s + x * s * (A(1) - s);
  } else {
    return A(1);
  }
}

/// Calls `f.operator()<Act>()` with the activation as a constant: one branch that all threads take alike.
template <class F>
__device__ __forceinline__ void with_activation(ops::Activation activation, F&& f) {
  using ops::Activation;
  switch (activation) {
    case Activation::gelu_tanh: f.template operator()<Activation::gelu_tanh>(); return;
    case Activation::gelu: f.template operator()<Activation::gelu>(); return;
    case Activation::silu: f.template operator()<Activation::silu>(); return;
    case Activation::none: f.template operator()<Activation::none>(); return;
  }
}

SEGUE_KERNELS_END
