// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>

#include "segue/ops/cuda/pointwise.cuh"
#include "segue/ops/embedding.hpp"

SEGUE_KERNELS_BEGIN

/// A thread for each frequency of each timestep, and one for the zero of an odd `dim`.
template <class T>
__global__ void __launch_bounds__(pointwise_threads)
    sinusoidal_embedding(const float* t, Lines<T> out, std::int64_t rows, std::int64_t dim, float decay, float steps,
                         bool cos_first) {
  const std::int64_t half = dim / 2, each = half + dim % 2;
  const std::int64_t n = std::int64_t{blockIdx.x} * pointwise_threads + threadIdx.x;
  if (n >= rows * each) return;
  const std::int64_t b = n / each, i = n - b * each;
  T* const row = out.data + b * out.stride;
  if (i == half) {
    row[dim - 1] = cast<T>(0.0f);
    return;
  }
  // Rounded where the CPU's rounds.
  const float exponent = decay * static_cast<float>(i) / steps;
  const auto frequency = static_cast<float>(exp(static_cast<double>(exponent)));
  double sine, cosine;
  sincos(static_cast<double>(t[b] * frequency), &sine, &cosine);
  row[i] = cast<T>(cos_first ? cosine : sine);
  row[half + i] = cast<T>(cos_first ? sine : cosine);
}

SEGUE_KERNELS_END

SEGUE_NAMESPACE_BEGIN

template <>
struct Kernel<op::SinusoidalEmbedding, Cuda> {
  template <class T>
  static void run(Exec<Cuda>& exec, View<const float, 1, CudaSpace> t, View<T, 2, CudaSpace> out,
                  const ops::SinusoidOptions& options) {
    constexpr int threads = kernels::pointwise_threads;
    const std::int64_t rows = out.extent(0), dim = out.extent(1), half = dim / 2;
    launch(exec, "sinusoidal_embedding", kernels::sinusoidal_embedding<T>,
           dim3(static_cast<unsigned>(ceil_div(rows * (half + dim % 2), threads))), dim3(threads), 0, t.data_handle(),
           kernels::Lines<T>{out.data_handle(), out.stride(0)}, rows, dim,
           static_cast<float>(-std::log(options.max_period)),
           static_cast<float>(static_cast<double>(half) - options.downscale_freq_shift),
           options.order == ops::SinusoidOrder::cos_first);
  }
};

SEGUE_NAMESPACE_END
