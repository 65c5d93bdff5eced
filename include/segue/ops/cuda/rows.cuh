// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <utility>

#include "segue/core/dispatch.hpp"
#include "segue/core/launch.cuh"
#include "segue/ops/cuda/access.cuh"
#include "segue/ops/cuda/pointwise.cuh"
#include "segue/ops/types.hpp"

// How the threads of a row share it out: thread t of n holds the packs t, t + n, t + 2n, … of N elements. Whether a
// pack is read by one instruction or element by element, and whether a row is held in registers or read again for
// every pass, changes neither the owner of an element nor the order of a sum: not the bits.

SEGUE_KERNELS_BEGIN

/// Rows of a matrix, or of a table; none where `data` is null.
template <class T>
struct Rows {
  T* data = nullptr;
  std::int64_t stride = 0;

  __device__ __forceinline__ T* operator()(std::int64_t r) const { return data ? data + r * stride : nullptr; }
};

/// The row of a table that row r uses: see `ops::Modulation`.
struct RowGroups {
  const std::int32_t* group = nullptr;
  Divider rows_per_group{};

  __device__ __forceinline__ int operator()(int r) const {
    return group ? group[r] : static_cast<int>(static_cast<unsigned>(r) / rows_per_group);
  }
};

/// N elements as A. Where rows are not aligned, `n` of them are there; the others are zero.
template <bool Aligned, int N, class A, class T>
__device__ __forceinline__ Pack<A, N> load_pack(const T* p, int n) {
  if constexpr (Aligned) {
    return load_as<N, A>(p);
  } else {
    Pack<A, N> out;
#pragma unroll
    for (int i = 0; i < N; ++i) out.v[i] = i < n ? cast<A>(p[i]) : A(0);
    return out;
  }
}
template <bool Aligned, int N, class A, class T>
__device__ __forceinline__ void store_pack(T* p, const Pack<A, N>& x, int n) {
  if constexpr (Aligned) {
    store_as<N>(p, x);
  } else {
#pragma unroll
    for (int i = 0; i < N; ++i)
      if (i < n) p[i] = cast<T>(x.v[i]);
  }
}
/// Writes or adds a pack of a gradient.
template <bool Aligned, int N, class A, class T>
__device__ __forceinline__ void store_gradient(T* p, Pack<A, N> x, int n, bool accumulate) {
  if (accumulate) {
    const Pack<A, N> before = load_pack<Aligned, N, A>(p, n);
#pragma unroll
    for (int i = 0; i < N; ++i) x.v[i] += before.v[i];
  }
  store_pack<Aligned>(p, x, n);
}

template <class A, int N, class T>
__device__ __forceinline__ Pack<A, N> widen(const Pack<T, N>& x) {
  Pack<A, N> out;
#pragma unroll
  for (int i = 0; i < N; ++i) out.v[i] = cast<A>(x.v[i]);
  return out;
}

/// Multiplies a pack by the elements of a table row at column c…, or adds them, if there is such a row.
template <bool Aligned, int N, class A, class TW>
__device__ __forceinline__ void multiply_by(Pack<A, N>& v, const TW* row, int c, int n) {
  if (!row) return;
  const Pack<A, N> w = load_pack<Aligned, N, A>(row + c, n);
#pragma unroll
  for (int i = 0; i < N; ++i) v.v[i] *= w.v[i];
}
template <bool Aligned, int N, class A, class TW>
__device__ __forceinline__ void add_to(Pack<A, N>& v, const TW* row, int c, int n) {
  if (!row) return;
  const Pack<A, N> w = load_pack<Aligned, N, A>(row + c, n);
#pragma unroll
  for (int i = 0; i < N; ++i) v.v[i] += w.v[i];
}

/// The sum of a pack: a tree, so that few additions wait for one another.
template <int N, class A>
__device__ __forceinline__ A pack_sum(Pack<A, N> x) {
#pragma unroll
  for (int half = N / 2; half > 0; half /= 2) {
#pragma unroll
    for (int i = 0; i < half; ++i) x.v[i] += x.v[i + half];
  }
  return x.v[0];
}

/// This thread's part of a row: P packs in registers, or read anew for every pass where P is 0.
template <int P, bool Aligned, int N, class A, class T>
struct RowPart {
  static_assert(P == 0 || Aligned, "RowPart: rows that are not aligned are not held");

  const T* row;
  Pack<A, N> held[P > 0 ? P : 1];

  __device__ __forceinline__ RowPart(const T* row_of, int columns) : row(row_of) {
#pragma unroll
    for (int p = 0; p < P; ++p) {
      const int c = (static_cast<int>(threadIdx.x) + p * static_cast<int>(blockDim.x)) * N;
      if (c < columns) held[p] = load_as<N, A>(row + c);
    }
  }
};

/// Calls `f(pack of every part…, c, n)` in the order of the packs: c is the column of their first element, n how many
/// elements there are. f may change the packs, which lasts where they are held.
template <int P, bool Aligned, int N, class A, class F, class... T>
__device__ __forceinline__ void for_packs(int columns, F&& f, RowPart<P, Aligned, N, A, T>&... parts) {
  if constexpr (P > 0) {
#pragma unroll
    for (int p = 0; p < P; ++p) {
      const int c = (static_cast<int>(threadIdx.x) + p * static_cast<int>(blockDim.x)) * N;
      if (c < columns) f(parts.held[p]..., c, N);
    }
  } else {
    for (int c = static_cast<int>(threadIdx.x) * N; c < columns; c += static_cast<int>(blockDim.x) * N) {
      const int n = columns - c < N ? columns - c : N;
      [&](auto... packs) { f(packs..., c, n); }(load_pack<Aligned, N, A>(parts.row + c, n)...);
    }
  }
}

/// The sums of K values over the threads of a row, in every one of them: some lanes of a warp (a power of two), or the
/// whole warps of a block. Two calls in a row need two arrays `shared`, K times 32 elements each.
template <int K, class A>
__device__ __forceinline__ void row_sums(A (&x)[K], A* shared) {
  if (blockDim.x >= 32) return block_sums(x, shared);
  // Other rows of the warp may have ended.
  const unsigned first = threadIdx.y * blockDim.x % 32;
  const unsigned lanes = ((1u << blockDim.x) - 1) << first;
  for (unsigned mask = blockDim.x / 2; mask > 0; mask /= 2) {
#pragma unroll
    for (int k = 0; k < K; ++k) x[k] += __shfl_xor_sync(lanes, x[k], static_cast<int>(mask));
  }
}

SEGUE_KERNELS_END

SEGUE_NAMESPACE_BEGIN
namespace detail {

inline constexpr int most_held_packs = 3;

/// How many threads a row takes, how many packs each of them holds (0: none, the row is too long), how many rows a
/// block takes. It depends on the length of a row alone, as the order of a row's sums does.
struct RowPlan {
  int threads = 32;
  int held = 0;
  int rows_a_block = 1;

  dim3 block() const { return dim3(static_cast<unsigned>(threads), static_cast<unsigned>(rows_a_block)); }
  dim3 grid(std::int64_t rows) const { return dim3(static_cast<unsigned>(ceil_div(rows, rows_a_block))); }
};

/// @param most how many packs of the row a thread may hold.
inline RowPlan row_plan(std::int64_t packs, int most = most_held_packs) {
  RowPlan plan;
  const std::int64_t threads = std::clamp<std::int64_t>(ceil_div(packs, most), 8, 512);
  plan.threads = 8;
  while (plan.threads < 32 && plan.threads < threads) plan.threads *= 2;
  if (threads > 32) plan.threads = static_cast<int>(ceil_div(threads, 32) * 32);
  const std::int64_t held = ceil_div(packs, plan.threads);
  plan.held = held <= most ? static_cast<int>(held) : 0;
  plan.rows_a_block = plan.threads > 32 ? 1 : 128 / plan.threads;
  return plan;
}

/// Calls `f(held, aligned)` with constants: rows that are held are aligned.
template <int Most = most_held_packs, class F>
void with_row_plan(const RowPlan& plan, bool aligned, F&& f) {
  if (!aligned) return f(std::integral_constant<int, 0>{}, std::false_type{});
  dispatch("with_row_plan", "held packs", plan.held, std::make_integer_sequence<int, Most + 1>{},
           [&](auto held) { f(held, std::true_type{}); });
}

/// Calls `f(flag)` with a constant.
template <class F>
void with_flag(bool flag, F&& f) {
  if (flag)
    f(std::true_type{});
  else
    f(std::false_type{});
}

/// Kernels count rows and columns in 32 bits.
inline int int_extent(std::string_view op, std::string_view what, std::int64_t extent) {
  if (extent > std::numeric_limits<std::int32_t>::max() - (1 << 20))
    throw_input(op, what, std::to_string(extent), "less than 2^31 - 2^20 on this device");
  return static_cast<int>(extent);
}

template <class T>
kernels::Rows<T> rows_at(const View<T, 2, CudaSpace>& x) {
  return {x.data_handle(), x.stride(0)};
}

inline kernels::RowGroups row_groups(const View<const std::int32_t, 1, CudaSpace>& group, std::int64_t rows_per_group) {
  constexpr std::int64_t most = std::numeric_limits<std::int32_t>::max();
  return {group.data_handle(), kernels::Divider(std::clamp<std::int64_t>(rows_per_group, 1, most))};
}

}  // namespace detail
SEGUE_NAMESPACE_END
