// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>

#include "segue/ops/cuda/pointwise.cuh"
#include "segue/ops/random_fill.hpp"

SEGUE_KERNELS_BEGIN

struct UniformDraw {
  __device__ __forceinline__ Words<float, 4> operator()(const RandomKey& key, std::uint64_t block) const {
    const Words<std::uint32_t, 4> words = key.block(block);
    return {uniform_from_bits(words[0]), uniform_from_bits(words[1]), uniform_from_bits(words[2]),
            uniform_from_bits(words[3])};
  }
};

struct NormalDraw {
  __device__ __forceinline__ Words<float, 4> operator()(const RandomKey& key, std::uint64_t block) const {
    return normals_from_block(key.block(block));
  }
};

/// Elements a thread draws: whole blocks of the generator, at least one access of 16 bytes.
template <class T>
inline constexpr int drawn_together = pack_of<T> > 4 ? pack_of<T> : 4;

/// x(i) = offset + factor·value(i). `aligned`: rows begin where 16 bytes may be stored at a time.
template <class T, class Draw>
__global__ void __launch_bounds__(pointwise_threads)
    fill_random(Lines<T> x, std::int64_t count, std::int64_t columns, RandomKey unresolved, float offset, float factor,
                bool aligned) {
  constexpr int n = drawn_together<T>;
  const std::int64_t first = (std::int64_t{blockIdx.x} * pointwise_threads + threadIdx.x) * n;
  if (first >= count) return;
  std::int64_t r = columns == count ? 0 : first / columns, c = first - r * columns;
  const RandomKey key = unresolved.resolved();
  Pack<T, n> out;
#pragma unroll
  for (int i = 0; i < n; i += 4) {
    const Words<float, 4> values = Draw()(key, static_cast<std::uint64_t>(first + i) / 4);
#pragma unroll
    for (int k = 0; k < 4; ++k) out.v[i + k] = cast<T>(std::fma(factor, values[static_cast<std::size_t>(k)], offset));
  }
  if (aligned && c + n <= columns) {
    store_as<n>(x.data + r * x.stride + c, out);
  } else {
#pragma unroll
    for (int i = 0; i < n; ++i) {
      if (first + i >= count) return;
      x.data[r * x.stride + c] = out.v[i];
      if (++c == columns) {
        c = 0;
        ++r;
      }
    }
  }
}

// Never contracted with a sum, so that accumulated gradients have the CPU's bits.
__device__ __forceinline__ float product(float a, float b) { return __fmul_rn(a, b); }
__device__ __forceinline__ double product(double a, double b) { return __dmul_rn(a, b); }

/// Whole blocks of the generator a thread; `threshold` is p in units of 2^-24, of which uniforms are multiples. Packed:
/// what a thread draws for lies in one row of `row_items` such parts, and may be read 16 bytes at a time.
template <bool Packed, bool Accumulate, class T>
__global__ void __launch_bounds__(pointwise_threads)
    dropout(Lines<const T> x, Lines<T> y, std::int64_t count, std::int64_t columns, Divider row_items,
            std::uint32_t threshold, Accum<T> factor, RandomKey unresolved) {
  using A = Accum<T>;
  constexpr int n = drawn_together<T>;
  const std::int64_t item = std::int64_t{blockIdx.x} * pointwise_threads + threadIdx.x;
  const std::int64_t first = item * n;
  if (first >= count) return;
  std::int64_t r, c;
  Pack<T, n> in{}, out{};
  if constexpr (Packed) {
    r = static_cast<std::uint32_t>(item) / row_items;
    c = first - r * columns;
    in = load_as<n, T>(x.data + r * x.stride + c);
    if constexpr (Accumulate) out = load_as<n, T>(static_cast<const T*>(y.data + r * y.stride + c));
  } else {
    r = first / columns;
    c = first - r * columns;
  }
  const RandomKey key = unresolved.resolved();
  std::uint32_t words[n];
#pragma unroll
  for (int i = 0; i < n; i += 4) {
    const Words<std::uint32_t, 4> block = key.block(static_cast<std::uint64_t>(first + i) / 4);
#pragma unroll
    for (int k = 0; k < 4; ++k) words[i + k] = block[static_cast<std::size_t>(k)];
  }
  const auto value = [&](int k, T from, T old) {
    const A kept = (words[k] >> 8) >= threshold ? product(cast<A>(from), factor) : A(0);
    return cast<T>(Accumulate ? cast<A>(old) + kept : kept);
  };
  if constexpr (Packed) {
#pragma unroll
    for (int k = 0; k < n; ++k) out.v[k] = value(k, in.v[k], out.v[k]);
    store_as<n>(y.data + r * y.stride + c, out);
  } else {
#pragma unroll
    for (int k = 0; k < n; ++k) {
      if (first + k >= count) return;
      T& to = y.data[r * y.stride + c];
      to = value(k, x.data[r * x.stride + c], Accumulate ? to : T{});
      if (++c == columns) {
        c = 0;
        ++r;
      }
    }
  }
}

SEGUE_KERNELS_END

SEGUE_NAMESPACE_BEGIN
namespace detail {

template <class Draw, class T>
void fill_random(Exec<Cuda>& exec, const char* name, View<T, 2, CudaSpace> x, const RandomKey& key, double offset,
                 double factor) {
  constexpr int threads = kernels::pointwise_threads, each = kernels::drawn_together<T>;
  const bool aligned = is_aligned(x.data_handle(), each) && (x.extent(0) == 1 || packs(x, each));
  launch(exec, name, kernels::fill_random<T, Draw>,
         dim3(static_cast<unsigned>(ceil_div(x.size(), std::int64_t{threads} * each))), dim3(threads), 0,
         kernels::Lines<T>{x.data_handle(), x.stride(0)}, x.size(), x.extent(1), key, static_cast<float>(offset),
         static_cast<float>(factor), aligned);
}

}  // namespace detail

template <>
struct Kernel<op::FillUniform, Cuda> {
  template <class T>
  static void run(Exec<Cuda>& exec, View<T, 2, CudaSpace> x, const RandomKey& key, double low, double high) {
    detail::fill_random<kernels::UniformDraw>(exec, "fill_uniform", x, key, low, high - low);
  }
};

template <>
struct Kernel<op::FillNormal, Cuda> {
  template <class T>
  static void run(Exec<Cuda>& exec, View<T, 2, CudaSpace> x, const RandomKey& key, double mean, double deviation) {
    detail::fill_random<kernels::NormalDraw>(exec, "fill_normal", x, key, mean, deviation);
  }
};

template <>
struct Kernel<op::Dropout, Cuda> {
  template <class T>
  static void run(Exec<Cuda>& exec, View<const T, 2, CudaSpace> x, double p, const RandomKey& key,
                  View<T, 2, CudaSpace> y, ops::GradMode mode) {
    constexpr int threads = kernels::pointwise_threads, each = kernels::drawn_together<T>;
    const std::int64_t count = x.size(), columns = x.extent(1);
    const auto threshold = static_cast<std::uint32_t>(std::ceil(static_cast<double>(static_cast<float>(p)) * 0x1p24));
    const auto run_as = [&]<bool Packed, bool Accumulate>() {
      launch(exec, "dropout_forward", kernels::dropout<Packed, Accumulate, T>,
             dim3(static_cast<unsigned>(ceil_div(count, each * threads))), dim3(threads), 0,
             kernels::Lines<const T>{x.data_handle(), x.stride(0)}, kernels::Lines<T>{y.data_handle(), y.stride(0)},
             count, columns, kernels::Divider(Packed ? columns / each : 1), threshold,
             static_cast<Accum<T>>(1 / (1 - p)), key);
    };
    const bool accumulate = mode == ops::GradMode::accumulate;
    if (detail::packs(x, each) && detail::packs(y, each) && count / each <= detail::most_items)
      accumulate ? run_as.template operator()<true, true>() : run_as.template operator()<true, false>();
    else
      accumulate ? run_as.template operator()<false, true>() : run_as.template operator()<false, false>();
  }
};

SEGUE_NAMESPACE_END
