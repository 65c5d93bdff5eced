// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>
#include <type_traits>

#include "segue/core/cuda_config.cuh"
#include "segue/core/dtype.hpp"

// What the attention kernels on tensor cores are made of: products of 16 x 8 x 16, tiles in shared memory, and the ways
// between them and rows in global memory.
//
// A tile has rows of D elements (64, 128 or 256), made of chunks of 16 bytes. Chunk c of row r lies at place
// c ^ (r mod 8): eight rows of one column, or one row, touch all 32 banks, whichever way a tile is read.

SEGUE_KERNELS_BEGIN

/// Tokens of every sample and head of one operand; strides in elements, the last axis is contiguous.
template <class T>
struct AttentionRows {
  T* data;
  std::int64_t batch, token, head;
  bool packed;  ///< rows can be accessed 16 bytes at a time

  __device__ __forceinline__ T* at(int sample, int token_index, int head_index) const {
    return data + sample * batch + token_index * token + head_index * head;
  }
};

// --- Instructions ---------------------------------------------------------------------------------------------------

__device__ __forceinline__ unsigned shared_address(const void* p) {
  return static_cast<unsigned>(__cvta_generic_to_shared(p));
}

/// c += a · b for 16 x 16 times 16 x 8, sums in float.
template <class T>
__device__ __forceinline__ void multiply(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
  static_assert(std::is_same_v<T, bfloat16> || std::is_same_v<T, float16>);
  if constexpr (std::is_same_v<T, bfloat16>)
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  else
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

template <bool Transposed>
__device__ __forceinline__ void load_matrices(unsigned (&r)[4], unsigned address) {
  if constexpr (Transposed)
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address));
  else
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address));
}

/// Two floats as two neighbours of type T, the first in the lower half.
template <class T>
__device__ __forceinline__ unsigned narrow(float low, float high) {
  unsigned r;
  if constexpr (std::is_same_v<T, bfloat16>)
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
  else
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
  return r;
}

/// 2^x; results below the normal range are 0.
__device__ __forceinline__ float power_of_2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

__device__ __forceinline__ void store_shared(unsigned address, unsigned x) {
  asm volatile("st.shared.b32 [%0], %1;" ::"r"(address), "r"(x) : "memory");
}
__device__ __forceinline__ void store_shared(unsigned address, const uint4& x) {
  asm volatile("st.shared.v4.b32 [%0], {%1,%2,%3,%4};" ::"r"(address), "r"(x.x), "r"(x.y), "r"(x.z), "r"(x.w)
               : "memory");
}
__device__ __forceinline__ uint4 load_shared(unsigned address) {
  uint4 x;
  asm volatile("ld.shared.v4.b32 {%0,%1,%2,%3}, [%4];"
               : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w)
               : "r"(address)
               : "memory");
  return x;
}

/// 16 bytes from global to shared memory without registers; zeros where there is nothing to read.
__device__ __forceinline__ void copy_async(unsigned address, const void* source, bool there) {
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(address), "l"(source), "r"(there ? 16 : 0)
               : "memory");
}
/// Closes a group of copies.
__device__ __forceinline__ void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
/// Waits for this thread's groups but the last `Pending`.
template <int Pending>
__device__ __forceinline__ void wait_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(Pending) : "memory");
}

/// A barrier in shared memory that is met in two steps: a thread that has arrived goes on and waits later.
__device__ __forceinline__ void barrier_init(unsigned address, int arrivals) {
  asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(address), "r"(arrivals) : "memory");
}
/// Before its place is used again.
__device__ __forceinline__ void barrier_end(unsigned address) {
  asm volatile("mbarrier.inval.shared.b64 [%0];" ::"r"(address) : "memory");
}
__device__ __forceinline__ void barrier_arrive(unsigned address) {
  asm volatile("{ .reg .b64 state; mbarrier.arrive.shared.b64 state, [%0]; }" ::"r"(address) : "memory");
}
/// Waits until all have arrived for the round of this parity; rounds count from 0.
__device__ __forceinline__ void barrier_wait(unsigned address, unsigned parity) {
  unsigned done = 0;
  while (!done)
    asm volatile("{ .reg .pred p; mbarrier.test_wait.parity.shared.b64 p, [%1], %2; selp.b32 %0, 1, 0, p; }"
                 : "=r"(done)
                 : "r"(address), "r"(parity)
                 : "memory");
}

// --- Tiles ----------------------------------------------------------------------------------------------------------

/// Where a lane reads its part of 16 x 16 matrices of a tile with rows of D elements.
///   rows_first: matrices 0..3 are (upper left, lower left, upper right, lower right): left operands that lie as they
///               are used, right operands that lie as steps by columns (read transposed)
///   columns_first: (upper left, upper right, lower left, lower right): the other two.
enum class MatrixOrder { rows_first, columns_first };

template <int D, MatrixOrder Order>
struct TileReader {
  unsigned lane_offset;

  __device__ __forceinline__ TileReader(int lane, int row, int chunk) {
    const int upper = lane % 8 + (Order == MatrixOrder::rows_first ? lane / 8 % 2 : lane / 16) * 8;
    const int right = Order == MatrixOrder::rows_first ? lane / 16 : lane / 8 % 2;
    lane_offset = static_cast<unsigned>((row + upper) * D * 2 + (((chunk + right) ^ (lane % 8)) << 4));
  }
  /// The address for the matrices `row` rows below and `chunk` chunks to the right; `chunk` is even, and shares no
  /// binary digit with the constructor's.
  __device__ __forceinline__ unsigned at(unsigned tile, int row, int chunk) const {
    return (lane_offset ^ static_cast<unsigned>((chunk & 7) << 4)) + tile +
           static_cast<unsigned>(((chunk & ~7) << 4) + row * D * 2);
  }
};

/// acc (MT·16 x NT·8) += left · right over Steps·16 steps, from shared memory.
template <class T, int Steps, bool TransposedLeft, bool TransposedRight, int MT, int NT, class Left, class Right>
__device__ __forceinline__ void multiply_tiles(float (&acc)[MT][NT][4], const Left& left, unsigned left_tile,
                                               const Right& right, unsigned right_tile) {
#pragma unroll
  for (int k = 0; k < Steps; ++k) {
    unsigned a[MT][4];
#pragma unroll
    for (int m = 0; m < MT; ++m) {
      if constexpr (TransposedLeft)
        load_matrices<true>(a[m], left.at(left_tile, k * 16, m * 2));
      else
        load_matrices<false>(a[m], left.at(left_tile, m * 16, k * 2));
    }
#pragma unroll
    for (int n = 0; n < NT; n += 2) {
      unsigned b[4];
      if constexpr (TransposedRight)
        load_matrices<true>(b, right.at(right_tile, k * 16, n));
      else
        load_matrices<false>(b, right.at(right_tile, n * 8, k * 2));
#pragma unroll
      for (int m = 0; m < MT; ++m) {
        multiply<T>(acc[m][n], a[m], b[0], b[1]);
        multiply<T>(acc[m][n + 1], a[m], b[2], b[3]);
      }
    }
  }
}
template <bool Transposed>
inline constexpr MatrixOrder left_order = Transposed ? MatrixOrder::columns_first : MatrixOrder::rows_first;
template <bool Transposed>
inline constexpr MatrixOrder right_order = Transposed ? MatrixOrder::rows_first : MatrixOrder::columns_first;

/// Copies rows into a tile and back, each thread a column of chunks.
template <class T, int D, int Threads>
struct TileCopier {
  static constexpr int chunks = D / 8, step = Threads / chunks;
  static_assert(step % 8 == 0);  // a thread's rows lie at one place of the swizzle
  int row, column;
  unsigned shared_offset;

  __device__ __forceinline__ explicit TileCopier(int thread)
      : row(thread / chunks),
        column(thread % chunks * 8),
        shared_offset(static_cast<unsigned>(row * D * 2 + ((thread % chunks ^ (row & 7)) << 4))) {}

  /// Loads `Rows` rows from `source` on, of `width` elements each; what lies beyond the width, and the rows that
  /// `there(index)` denies, become zeros. `index` counts the thread's rows: row + index · step.
  template <int Rows, class There>
  __device__ __forceinline__ void load(unsigned tile, const T* source, std::int64_t stride, bool packed, int width,
                                       const There& there) const {
    static_assert(Rows % step == 0);
    if (packed) {
      const T* p = source + row * stride + column;
      const bool inside = column < width;
#pragma unroll
      for (int i = 0; i < Rows / step; ++i)
        copy_async(tile + shared_offset + static_cast<unsigned>(i * step * D * 2), p + i * step * stride,
                   inside && there(i));
    } else {
#pragma unroll 1
      for (int i = 0; i < Rows / step; ++i) {
        const T* p = source + (row + i * step) * stride + column;
        unsigned words[4] = {};
        const int count = there(i) ? width - column : 0;
#pragma unroll
        for (int e = 0; e < 8; ++e)
          if (e < count) words[e / 2] |= static_cast<unsigned>(p[e].bits) << (e % 2 * 16);
        store_shared(tile + shared_offset + static_cast<unsigned>(i * step * D * 2),
                     make_uint4(words[0], words[1], words[2], words[3]));
      }
    }
  }

  /// Writes the first `count` of `Rows` rows to `target`.
  template <int Rows>
  __device__ __forceinline__ void store(unsigned tile, T* target, std::int64_t stride, bool packed, int width,
                                        int count) const {
    static_assert(Rows % step == 0);
#pragma unroll 1
    for (int i = 0; i < Rows / step; ++i) {
      if (row + i * step >= count || column >= width) continue;
      const uint4 x = load_shared(tile + shared_offset + static_cast<unsigned>(i * step * D * 2));
      T* p = target + (row + i * step) * stride + column;
      if (packed) {
        *reinterpret_cast<uint4*>(p) = x;
      } else {
        const unsigned words[4] = {x.x, x.y, x.z, x.w};
#pragma unroll
        for (int e = 0; e < 8; ++e)
          if (column + e < width) p[e].bits = static_cast<std::uint16_t>(words[e / 2] >> (e % 2 * 16));
      }
    }
  }
};

/// Writes sums, times a factor for each of a thread's rows, into a tile as elements of T.
template <class T, int D, int MT, int NT, class Factor>
__device__ __forceinline__ void narrow_to_tile(unsigned tile, int lane, int row, int chunk,
                                               const float (&acc)[MT][NT][4], const Factor& factor) {
  const int r = lane / 4;
  const unsigned base = tile + static_cast<unsigned>((row + r) * D * 2 + lane % 4 * 4);
#pragma unroll
  for (int m = 0; m < MT; ++m)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float f = factor(m, half);
#pragma unroll
      for (int n = 0; n < NT; ++n)
        store_shared(base + static_cast<unsigned>((m * 16 + half * 8) * D * 2 + (((chunk + n) ^ r) << 4)),
                     narrow<T>(acc[m][n][2 * half] * f, acc[m][n][2 * half + 1] * f));
    }
}

// --- Keys that a mask hides -----------------------------------------------------------------------------------------

/// Which of 64 keys take part, a bit each: they are there and the mask, if there is one, shows them. The bytes are read
/// one call ahead of their use.
struct ShownKeys {
  const std::uint8_t* mask;  ///< of the sample; may be null
  int keys;
  bool low = false, high = false;

  /// Reads what the mask says of the keys from `first` on.
  __device__ __forceinline__ void fetch(int lane, int first) {
    low = first + lane < keys;
    high = first + 32 + lane < keys;
    if (mask) {
      low = low && mask[first + lane] != 0;
      high = high && mask[first + 32 + lane] != 0;
    }
  }
  /// All lanes of a warp take part.
  __device__ __forceinline__ std::uint64_t bits() const {
    return __ballot_sync(0xFFFFFFFFu, low) | std::uint64_t{__ballot_sync(0xFFFFFFFFu, high)} << 32;
  }
};

SEGUE_KERNELS_END
