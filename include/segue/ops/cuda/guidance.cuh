// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>

#include "segue/ops/cuda/pointwise.cuh"
#include "segue/ops/guidance.hpp"

SEGUE_KERNELS_BEGIN

template <class T>
struct EulerElement {
  Accum<T> guidance, step;
  template <class TV>
  __device__ T operator()(T x, TV v) const {
    using A = Accum<T>;
    return cast<T>(std::fma(step, cast<A>(v), cast<A>(x)));
  }
  template <class TV>
  __device__ T operator()(T x, TV v_cond, TV v_uncond) const {
    using A = Accum<T>;
    const A u = cast<A>(v_uncond);
    return cast<T>(std::fma(step, std::fma(guidance, cast<A>(v_cond) - u, u), cast<A>(x)));
  }
};

SEGUE_KERNELS_END

SEGUE_NAMESPACE_BEGIN

template <>
struct Kernel<op::GuidedEulerStep, Cuda> {
  template <class T, class TV>
  static void run(Exec<Cuda>& exec, View<T, 2, CudaSpace> x, View<const TV, 2, CudaSpace> v_cond,
                  View<const TV, 2, CudaSpace> v_uncond, double guidance, double delta_sigma) {
    using A = Accum<T>;
    const kernels::EulerElement<T> step{static_cast<A>(guidance), static_cast<A>(delta_sigma)};
    const View<const T, 2, CudaSpace> old(x);
    if (v_uncond.data_handle())
      detail::for_each_element(exec, "guided_euler_step", step, x, old, v_cond, v_uncond);
    else
      detail::for_each_element(exec, "guided_euler_step", step, x, old, v_cond);
  }
};

SEGUE_NAMESPACE_END
