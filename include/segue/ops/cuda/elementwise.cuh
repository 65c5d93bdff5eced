// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>

#include "segue/ops/cuda/copy.cuh"
#include "segue/ops/cuda/pointwise.cuh"
#include "segue/ops/elementwise.hpp"

SEGUE_KERNELS_BEGIN

struct AddElements {
  template <class T>
  __device__ T operator()(T a, T b) const {
    using A = Accum<T>;
    return cast<T>(cast<A>(a) + cast<A>(b));
  }
};

struct MultiplyElements {
  template <class T>
  __device__ T operator()(T a, T b) const {
    using A = Accum<T>;
    return cast<T>(cast<A>(a) * cast<A>(b));
  }
};

template <class T>
struct ScaleElements {
  Accum<T> alpha;
  template <class TX>
  __device__ T operator()(TX x) const {
    return cast<T>(alpha * cast<Accum<T>>(x));
  }
};

// An explicit fma gives every kernel that mixes the same bits.

template <class T>
struct AxpbyElements {
  Accum<T> alpha, beta;
  template <class TX>
  __device__ T operator()(TX x, T y) const {
    using A = Accum<T>;
    return cast<T>(std::fma(alpha, cast<A>(x), beta * cast<A>(y)));
  }
};

template <class T>
struct LerpElements {
  Accum<T> weight;
  template <class TX>
  __device__ T operator()(TX x, T y) const {
    using A = Accum<T>;
    const A old = cast<A>(y);
    return cast<T>(std::fma(weight, cast<A>(x) - old, old));
  }
};

template <class T>
struct FillElements {
  T value;
  __device__ T operator()() const { return value; }
};

SEGUE_KERNELS_END

SEGUE_NAMESPACE_BEGIN

template <>
struct Kernel<op::Add, Cuda> {
  template <class T>
  static void run(Exec<Cuda>& exec, View<const T, 2, CudaSpace> a, View<const T, 2, CudaSpace> b,
                  View<T, 2, CudaSpace> y) {
    detail::for_each_element(exec, "add", kernels::AddElements{}, y, a, b);
  }
};

template <>
struct Kernel<op::Multiply, Cuda> {
  template <class T>
  static void run(Exec<Cuda>& exec, View<const T, 2, CudaSpace> a, View<const T, 2, CudaSpace> b,
                  View<T, 2, CudaSpace> y) {
    detail::for_each_element(exec, "multiply", kernels::MultiplyElements{}, y, a, b);
  }
};

template <>
struct Kernel<op::Axpby, Cuda> {
  template <class TX, class T>
  static void run(Exec<Cuda>& exec, double alpha, View<const TX, 2, CudaSpace> x, double beta,
                  View<T, 2, CudaSpace> y) {
    using A = Accum<T>;
    if (beta == 0)
      detail::for_each_element(exec, "axpby", kernels::ScaleElements<T>{static_cast<A>(alpha)}, y, x);
    else
      detail::for_each_element(exec, "axpby", kernels::AxpbyElements<T>{static_cast<A>(alpha), static_cast<A>(beta)}, y,
                               x, View<const T, 2, CudaSpace>(y));
  }
};

template <>
struct Kernel<op::Scale, Cuda> {
  template <class T>
  static void run(Exec<Cuda>& exec, double alpha, View<const T, 2, CudaSpace> x, View<T, 2, CudaSpace> y) {
    detail::for_each_element(exec, "scale", kernels::ScaleElements<T>{static_cast<Accum<T>>(alpha)}, y, x);
  }
};

template <>
struct Kernel<op::Fill, Cuda> {
  template <class T>
  static void run(Exec<Cuda>& exec, double value, View<T, 2, CudaSpace> y) {
    detail::for_each_element(exec, "fill", kernels::FillElements<T>{cast<T>(value)}, y);
  }
};

template <>
struct Kernel<op::Lerp, Cuda> {
  template <class TX, class T>
  static void run(Exec<Cuda>& exec, View<const TX, 2, CudaSpace> x, double weight, View<T, 2, CudaSpace> y) {
    detail::for_each_element(exec, "lerp", kernels::LerpElements<T>{static_cast<Accum<T>>(weight)}, y, x,
                             View<const T, 2, CudaSpace>(y));
  }
};

SEGUE_NAMESPACE_END
