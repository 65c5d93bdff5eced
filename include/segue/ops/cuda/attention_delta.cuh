// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>

#include "segue/ops/cuda/access.cuh"
#include "segue/ops/cuda/attention_tiles.cuh"

SEGUE_KERNELS_BEGIN

template <class T>
struct AttentionDeltaArguments {
  AttentionRows<const T> out, dout;
  const Accum<T>* lse;
  std::int64_t lse_batch, lse_head;
  Accum<T>*rows_lse, *delta;  ///< (pairs, rows)
  Accum<T> lse_factor;
  std::int64_t count;  ///< pairs · rows
  int queries, rows, heads, head_dim;
  unsigned* counters;  ///< set to 0
  std::int64_t counter_count;
};

/// What the backward needs of a query's row: delta = dout · out, and lse times a factor, +inf where the query saw
/// nothing, so that its probabilities become 0. Rows from `queries` on are such. 16 threads a row.
template <class T>
__global__ void __launch_bounds__(256) attention_delta(const AttentionDeltaArguments<T> p) {
  using A = Accum<T>;
  const std::int64_t thread = std::int64_t{blockIdx.x} * 256 + threadIdx.x;
  for (std::int64_t i = thread; i < p.counter_count; i += std::int64_t{gridDim.x} * 256) p.counters[i] = 0;

  const std::int64_t index = thread / 16;
  const int lane = static_cast<int>(threadIdx.x) % 16;
  const bool inside = index < p.count;
  // Heads lie closest together.
  const int head = static_cast<int>(index % p.heads), row = static_cast<int>(index / p.heads % p.rows),
            sample = static_cast<int>(index / p.heads / p.rows);
  A sum = A(0);
  if (inside && row < p.queries) {
    const T* a = p.out.at(sample, row, head);
    const T* b = p.dout.at(sample, row, head);
    if (p.out.packed && p.dout.packed) {
      constexpr int width = pack_of<T>;
      for (int c = lane * width; c < p.head_dim; c += 16 * width) {
        const Pack<T, width> x = load<width>(a + c), y = load<width>(b + c);
#pragma unroll
        for (int i = 0; i < width; ++i) sum += cast<A>(x.v[i]) * cast<A>(y.v[i]);
      }
    } else {
      for (int c = lane; c < p.head_dim; c += 16) sum += cast<A>(a[c]) * cast<A>(b[c]);
    }
  }
#pragma unroll
  for (int m = 8; m > 0; m /= 2) sum += __shfl_xor_sync(0xFFFFFFFFu, sum, m);
  if (!inside || lane != 0) return;
  A lse = A(-INFINITY);
  if (row < p.queries) lse = p.lse[sample * p.lse_batch + head * p.lse_head + row];
  const std::int64_t at = (std::int64_t{sample} * p.heads + head) * p.rows + row;
  p.rows_lse[at] = lse == A(-INFINITY) ? A(INFINITY) : lse * p.lse_factor;
  p.delta[at] = sum;
}

SEGUE_KERNELS_END
