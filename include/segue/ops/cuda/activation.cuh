// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "segue/ops/activation.hpp"
#include "segue/ops/cuda/activation_math.cuh"
#include "segue/ops/cuda/pointwise.cuh"

SEGUE_KERNELS_BEGIN

template <ops::Activation Act>
struct ActivateElement {
  template <class T>
  __device__ T operator()(T x) const {
    return cast<T>(activate<Act>(cast<Accum<T>>(x)));
  }
};

template <ops::Activation Act>
struct ActivationGradientElement {
  template <class T>
  __device__ T operator()(T x, T dy) const {
    using A = Accum<T>;
    return cast<T>(cast<A>(dy) * activation_slope<Act>(cast<A>(x)));
  }
  template <class T>
  __device__ T operator()(T x, T dy, T dx) const {
    using A = Accum<T>;
    return cast<T>(cast<A>(dx) + cast<A>(dy) * activation_slope<Act>(cast<A>(x)));
  }
};

SEGUE_KERNELS_END

SEGUE_NAMESPACE_BEGIN
namespace detail {

/// Calls `f.operator()<Act>()` on the host with the activation as a constant.
template <class F>
void dispatch_activation(ops::Activation activation, F&& f) {
  using ops::Activation;
  switch (activation) {
    case Activation::gelu_tanh: return f.template operator()<Activation::gelu_tanh>();
    case Activation::gelu: return f.template operator()<Activation::gelu>();
    case Activation::silu: return f.template operator()<Activation::silu>();
    case Activation::none: return f.template operator()<Activation::none>();
  }
}

}  // namespace detail

template <>
struct Kernel<op::ActivationForward, Cuda> {
  template <class T>
  static void run(Exec<Cuda>& exec, ops::Activation activation, View<const T, 2, CudaSpace> x,
                  View<T, 2, CudaSpace> y) {
    detail::dispatch_activation(activation, [&]<ops::Activation Act>() {
      detail::for_each_element(exec, "activation_forward", kernels::ActivateElement<Act>{}, y, x);
    });
  }
};

template <>
struct Kernel<op::ActivationBackward, Cuda> {
  template <class T>
  static void run(Exec<Cuda>& exec, ops::Activation activation, View<const T, 2, CudaSpace> x,
                  View<const T, 2, CudaSpace> dy, View<T, 2, CudaSpace> dx, ops::GradMode mode) {
    constexpr const char* name = "activation_backward";
    detail::dispatch_activation(activation, [&]<ops::Activation Act>() {
      constexpr kernels::ActivationGradientElement<Act> gradient{};
      if (mode == ops::GradMode::overwrite)
        detail::for_each_element(exec, name, gradient, dx, x, dy);
      else
        detail::for_each_element(exec, name, gradient, dx, x, dy, View<const T, 2, CudaSpace>(dx));
    });
  }
};

SEGUE_NAMESPACE_END
