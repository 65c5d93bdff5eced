// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "segue/core/cuda_config.cuh"
#include "segue/core/dtype.hpp"
#include "segue/core/view.hpp"

// What memory-bound kernels share: 16-byte accesses and sums over warps and blocks in a fixed order.

SEGUE_KERNELS_BEGIN

/// N neighbours that are loaded and stored by one instruction.
template <class T, int N>
struct alignas(sizeof(T) * static_cast<std::size_t>(N)) Pack {
  T v[static_cast<std::size_t>(N)];
};

/// Elements of T in 16 bytes.
template <class T>
inline constexpr int pack_of = static_cast<int>(16 / sizeof(T));

template <int N, class T>
__device__ __forceinline__ Pack<T, N> load(const T* p) {
  return *reinterpret_cast<const Pack<T, N>*>(p);
}
template <int N, class T>
__device__ __forceinline__ void store(T* p, const Pack<T, N>& x) {
  *reinterpret_cast<Pack<T, N>*>(p) = x;
}

/// The same through registers of another type: loads TF as TA.
template <int N, class TA, class TF>
__device__ __forceinline__ Pack<TA, N> load_as(const TF* p) {
  constexpr int width = N * static_cast<int>(sizeof(TF)) <= 16 ? N : pack_of<TF>;
  Pack<TA, N> out;
#pragma unroll
  for (int i = 0; i < N; i += width) {
    const Pack<TF, width> part = load<width>(p + i);
#pragma unroll
    for (int k = 0; k < width; ++k) out.v[i + k] = cast<TA>(part.v[k]);
  }
  return out;
}
template <int N, class TF, class TA>
__device__ __forceinline__ void store_as(TF* p, const Pack<TA, N>& x) {
  constexpr int width = N * static_cast<int>(sizeof(TF)) <= 16 ? N : pack_of<TF>;
#pragma unroll
  for (int i = 0; i < N; i += width) {
    Pack<TF, width> part;
#pragma unroll
    for (int k = 0; k < width; ++k) part.v[k] = cast<TF>(x.v[i + k]);
    store<width>(p + i, part);
  }
}

/// The sum over a warp, in every lane; the order is that of a butterfly.
template <class A>
__device__ __forceinline__ A warp_sum(A x) {
#pragma unroll
  for (int mask = 16; mask > 0; mask /= 2) x += __shfl_xor_sync(0xFFFFFFFFu, x, mask);
  return x;
}
template <class A>
__device__ __forceinline__ A warp_max(A x) {
#pragma unroll
  for (int mask = 16; mask > 0; mask /= 2) {
    const A other = __shfl_xor_sync(0xFFFFFFFFu, x, mask);
    x = other > x ? other : x;
  }
  return x;
}

/// The sums of K values over a block of whole warps (at most 32), in every thread. All threads take part. Two calls in
/// a row may use one `shared`, K times 32 elements, only with another array or a barrier between.
template <int K, class A>
__device__ __forceinline__ void block_sums(A (&x)[K], A* shared) {
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int warps = static_cast<int>(blockDim.x) / 32;
#pragma unroll
  for (int k = 0; k < K; ++k) x[k] = warp_sum(x[k]);
  if (warps == 1) return;
  if (lane == 0) {
#pragma unroll
    for (int k = 0; k < K; ++k) shared[k * 32 + warp] = x[k];
  }
  __syncthreads();
#pragma unroll
  for (int k = 0; k < K; ++k) x[k] = warp_sum(lane < warps ? shared[k * 32 + lane] : A(0));
}

SEGUE_KERNELS_END

SEGUE_NAMESPACE_BEGIN
namespace detail {

/// Whether rows of a view can be read N elements at a time. An absent view does not stand in the way.
template <class T, int Rank, class Space>
bool packs(const View<T, Rank, Space>& x, std::int64_t n) {
  if (!x.data_handle()) return true;
  if (reinterpret_cast<std::uintptr_t>(x.data_handle()) % (static_cast<std::size_t>(n) * sizeof(T)) != 0) {
    // Wider than one access: it is made of accesses of 16 bytes.
    if (static_cast<std::size_t>(n) * sizeof(T) <= 16 || reinterpret_cast<std::uintptr_t>(x.data_handle()) % 16 != 0)
      return false;
  }
  if (x.extent(Rank - 1) % n != 0) return false;
  for (int i = 0; i + 1 < Rank; ++i)
    if (x.extent(i) > 1 && x.stride(i) % n != 0) return false;
  return true;
}

}  // namespace detail
SEGUE_NAMESPACE_END
