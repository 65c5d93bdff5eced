// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "segue/ops/cuda/reduce.cuh"
#include "segue/ops/loss.hpp"

SEGUE_KERNELS_BEGIN

/// i / d of two that are not negative: short where both are.
__device__ __forceinline__ std::int64_t quotient(std::int64_t i, std::int64_t d) {
  if (((i | d) >> 32) == 0) return static_cast<unsigned>(i) / static_cast<unsigned>(d);
  return i / d;
}

/// A (B, C, F, S) array.
template <class T>
struct Frames {
  T* data;
  std::int64_t batch, channel, frame;  ///< strides

  __device__ __forceinline__ T* line(std::int64_t b, std::int64_t c, std::int64_t f) const {
    return data + b * batch + c * channel + f * frame;
  }
};

/// Packs of frames [first, first + frames) of every sample and channel, in this order.
template <int N>
struct FramePacks {
  std::int64_t channels, frames, length, first;

  struct Place {
    std::int64_t b, c, f, s;
    int n;
  };
  __device__ __forceinline__ Place operator()(std::int64_t i) const {
    const std::int64_t packs = quotient(length + N - 1, N);
    const std::int64_t line = quotient(i, packs), sample = quotient(line, frames), b = quotient(sample, channels);
    const std::int64_t s = (i - line * packs) * N;
    return {b, sample - b * channels, first + line - sample * frames, s,
            length - s < N ? static_cast<int>(length - s) : N};
  }
};

/// What a pack adds to the weighted sum of squared differences.
template <bool Aligned, class T>
struct SquaredError {
  static constexpr int pack = pack_of<T>;
  Frames<const T> pred, target;
  const float* weight;
  FramePacks<pack> packs;

  __device__ __forceinline__ double operator()(std::int64_t i) const {
    using A = Accum<T>;
    const auto [b, c, f, s, n] = packs(i);
    const Pack<A, pack> p = load_pack<Aligned, pack, A>(pred.line(b, c, f) + s, n);
    const Pack<A, pack> t = load_pack<Aligned, pack, A>(target.line(b, c, f) + s, n);
    Pack<double, pack> squares;
#pragma unroll
    for (int k = 0; k < pack; ++k) {
      const auto d = static_cast<double>(p.v[k] - t.v[k]);
      squares.v[k] = d * d;
    }
    return pack_sum(squares) * (weight ? static_cast<double>(weight[b]) : 1.0);
  }
};

/// dpred = dloss·factor·weight(b)·(pred − target) from frame `first` on, 0 before it. dpred may be pred.
template <bool Aligned, class T>
__global__ void __launch_bounds__(256)
    squared_error_gradient(std::int64_t items, FramePacks<pack_of<T>> packs, std::int64_t first, Frames<const T> pred,
                           Frames<const T> target, const float* weight, const double* dloss, double factor,
                           Frames<T> dpred, bool accumulate) {
  using A = Accum<T>;
  constexpr int N = pack_of<T>;
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= items) return;
  const auto [b, c, f, s, n] = packs(i);
  const auto scale = static_cast<A>(*dloss * factor * (weight ? static_cast<double>(weight[b]) : 1.0));
  Pack<A, N> out = {};
  if (f >= first) {
    out = load_pack<Aligned, N, A>(pred.line(b, c, f) + s, n);
    const Pack<A, N> t = load_pack<Aligned, N, A>(target.line(b, c, f) + s, n);
#pragma unroll
    for (int k = 0; k < N; ++k) out.v[k] = (out.v[k] - t.v[k]) * scale;
  }
  store_gradient<Aligned>(dpred.line(b, c, f) + s, out, n, accumulate);
}

SEGUE_KERNELS_END

SEGUE_NAMESPACE_BEGIN
namespace detail {

template <class T>
kernels::Frames<T> frames_of(const View<T, 4, CudaSpace>& x) {
  return {x.data_handle(), x.stride(0), x.stride(1), x.stride(2)};
}

}  // namespace detail

template <>
struct Kernel<op::MseForward, Cuda> {
  template <class T>
  static void run(Exec<Cuda>& exec, View<const T, 4, CudaSpace> pred, View<const T, 4, CudaSpace> target,
                  View<const float, 1, CudaSpace> weight, std::int64_t first_frame, View<double, 1, CudaSpace> loss) {
    constexpr int pack = kernels::pack_of<T>;
    const std::int64_t frames = pred.extent(2) - first_frame, length = pred.extent(3);
    const std::int64_t lines = pred.extent(0) * pred.extent(1) * frames;
    const double elements = static_cast<double>(lines * length);
    detail::with_flag(detail::packs(pred, pack) && detail::packs(target, pack), [&](auto aligned) {
      detail::reduce<double>(exec, "mse_forward", lines * ceil_div(length, pack),
                             kernels::SquaredError<aligned(), T>{detail::frames_of(pred),
                                                                 detail::frames_of(target),
                                                                 weight.data_handle(),
                                                                 {pred.extent(1), frames, length, first_frame}},
                             kernels::StoreSum{loss.data_handle(), elements > 0 ? 1 / elements : 0});
    });
  }
};

template <>
struct Kernel<op::MseBackward, Cuda> {
  template <class T>
  static void run(Exec<Cuda>& exec, View<const T, 4, CudaSpace> pred, View<const T, 4, CudaSpace> target,
                  View<const float, 1, CudaSpace> weight, std::int64_t first_frame,
                  View<const double, 1, CudaSpace> dloss, View<T, 4, CudaSpace> dpred, ops::GradMode mode) {
    constexpr int pack = kernels::pack_of<T>;
    const std::int64_t frames = pred.extent(2), length = pred.extent(3);
    const std::int64_t lines = pred.extent(0) * pred.extent(1);
    const double elements = static_cast<double>(lines * (frames - first_frame) * length);
    const std::int64_t items = lines * frames * ceil_div(length, pack);
    detail::with_flag(
        detail::packs(pred, pack) && detail::packs(target, pack) && detail::packs(dpred, pack), [&](auto aligned) {
          launch(exec, "mse_backward", kernels::squared_error_gradient<aligned(), T>,
                 dim3(static_cast<unsigned>(ceil_div(items, 256))), dim3(256), 0, items,
                 kernels::FramePacks<pack>{pred.extent(1), frames, length, 0}, first_frame, detail::frames_of(pred),
                 detail::frames_of(target), weight.data_handle(), dloss.data_handle(), 2 / elements,
                 detail::frames_of(dpred), mode == ops::GradMode::accumulate);
        });
  }
};

SEGUE_NAMESPACE_END
