// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "segue/ops/cuda/elementwise.cuh"
#include "segue/ops/cuda/random_fill.cuh"
#include "segue/ops/flow.hpp"

SEGUE_KERNELS_BEGIN

/// The clips of a batch, and how far apart samples, channels, frames and rows lie.
template <class T>
struct Clips {
  T* data;
  std::int64_t sample, channel, frame, row;
};

/// `data`·x + `factor`·noise, rounded as two `axpby` round.
template <class T>
__device__ __forceinline__ T noised(double data, T x, double factor, T noise) {
  using A = Accum<T>;
  const T scaled = ScaleElements<T>{static_cast<A>(factor)}(noise);
  return data != 0 ? AxpbyElements<T>{static_cast<A>(data), A(1)}(x, scaled) : scaled;
}

/// `sample_blocks` blocks a sample; each thread draws whole blocks of the generator. Packed: the `count` elements of a
/// sample lie side by side in clips, state and target, and may be read 16 bytes at a time.
template <bool Packed, class T>
__global__ void __launch_bounds__(pointwise_threads)
    noise_batch(Clips<const T> clips, const ops::NoiseDraw* draws, Clips<T> state, Clips<T> target, float* timesteps,
                float* weights, std::int64_t count, unsigned sample_blocks, std::int64_t frames, std::int64_t height,
                std::int64_t width) {
  constexpr int n = drawn_together<T>;
  const unsigned b = blockIdx.x / sample_blocks, block = blockIdx.x - b * sample_blocks;
  const ops::NoiseDraw& draw = draws[b];
  if (block == 0 && threadIdx.x == 0) {
    timesteps[b] = draw.timestep;
    if (weights) weights[b] = draw.weight;
  }
  const std::int64_t first = (std::int64_t{block} * pointwise_threads + threadIdx.x) * n;
  if (first >= count) return;
  const T* const clip = clips.data + b * clips.sample;
  T* const to = state.data + b * state.sample;
  T* const goal = target.data + b * target.sample;
  const double state_data = draw.state_data, state_noise = draw.state_noise;
  const double target_data = draw.target_data, target_noise = draw.target_noise;
  const bool reads = state_data != 0 || target_data != 0;
  const bool whole = Packed && first + n <= count;

  Pack<T, n> x{}, noise;
  if (whole && reads) x = load_as<n, T>(clip + first);
  const RandomKey key = draw.key.resolved();
  const auto sign = static_cast<float>(draw.sign);
#pragma unroll
  for (int i = 0; i < n; i += 4) {
    const Words<float, 4> z = NormalDraw()(key, static_cast<std::uint64_t>(first + i) / 4);
#pragma unroll
    for (int k = 0; k < 4; ++k) noise.v[i + k] = cast<T>(std::fma(sign, z[static_cast<std::size_t>(k)], 0.0f));
  }
  if (whole) {
    Pack<T, n> out;
#pragma unroll
    for (int k = 0; k < n; ++k) out.v[k] = noised(state_data, x.v[k], state_noise, noise.v[k]);
    store_as<n>(to + first, out);
#pragma unroll
    for (int k = 0; k < n; ++k) out.v[k] = noised(target_data, x.v[k], target_noise, noise.v[k]);
    store_as<n>(goal + first, out);
    return;
  }
#pragma unroll
  for (int k = 0; k < n; ++k) {
    const std::int64_t i = first + k;
    if (i >= count) return;
    const std::int64_t line = i / width, plane = line / height, c = plane / frames;
    const auto at = [&](const auto& v) {
      return c * v.channel + (plane - c * frames) * v.frame + (line - plane * height) * v.row + (i - line * width);
    };
    const T in = reads ? clip[at(clips)] : T{};
    to[at(state)] = noised(state_data, in, state_noise, noise.v[k]);
    goal[at(target)] = noised(target_data, in, target_noise, noise.v[k]);
  }
}

SEGUE_KERNELS_END

SEGUE_NAMESPACE_BEGIN

template <>
struct Kernel<op::NoiseBatch, Cuda> {
  template <class T>
  static void run(Exec<Cuda>& exec, View<const T, 5, CudaSpace> clips, View<const ops::NoiseDraw, 1, CudaSpace> draws,
                  View<T, 5, CudaSpace> state, View<T, 5, CudaSpace> target, View<float, 1, CudaSpace> timesteps,
                  View<float, 1, CudaSpace> weights) {
    constexpr int threads = kernels::pointwise_threads;
    constexpr std::int64_t each = kernels::drawn_together<T>;
    const std::int64_t batch = clips.extent(0), count = clips[0].size();
    const std::int64_t blocks = std::max<std::int64_t>(1, ceil_div(count, threads * each));
    const auto run_as = [&]<bool Packed>() {
      launch(exec, "noise_batch", kernels::noise_batch<Packed, T>, dim3(static_cast<unsigned>(batch * blocks)),
             dim3(threads), 0, lines(clips), draws.data_handle(), lines(state), lines(target), timesteps.data_handle(),
             weights.data_handle(), count, static_cast<unsigned>(blocks), clips.extent(2), clips.extent(3),
             clips.extent(4));
    };
    if (packed(clips) && packed(state) && packed(target))
      run_as.template operator()<true>();
    else
      run_as.template operator()<false>();
  }

 private:
  template <class T>
  static kernels::Clips<T> lines(const View<T, 5, CudaSpace>& x) {
    return {x.data_handle(), x.stride(0), x.stride(1), x.stride(2), x.stride(3)};
  }
  template <class T>
  static bool packed(const View<T, 5, CudaSpace>& x) {
    constexpr std::int64_t each = kernels::drawn_together<std::remove_const_t<T>>;
    return x[0].is_contiguous() && detail::is_aligned(x.data_handle(), each) &&
           (x.extent(0) == 1 || x.stride(0) % each == 0);
  }
};

SEGUE_NAMESPACE_END
