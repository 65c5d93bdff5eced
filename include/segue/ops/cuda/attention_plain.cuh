// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>

#include "segue/ops/cuda/access.cuh"
#include "segue/ops/cuda/attention_tiles.cuh"

// Attention without tensor cores, for float and double and any head dimension: exact products in Accum<T>. A block owns
// a tile of queries or keys and one slice of columns of its result, and computes the scores for itself. The backward
// has one kernel for dq and one for dk and dv, so that nothing is summed across blocks.

SEGUE_KERNELS_BEGIN

template <class T>
struct AttentionPlainArguments {
  AttentionRows<const T> q, k, v, dout;
  AttentionRows<T> out, dq, dk, dv;
  const std::uint8_t* mask;  ///< null: every key is shown
  std::int64_t mask_batch;
  Accum<T>* lse;  ///< written by the forward, if it is there
  std::int64_t lse_batch, lse_head;
  const Accum<T>* rows_lse;  ///< read by the backward: (pairs, queries), +inf where nothing is seen
  const Accum<T>* delta;     ///< likewise
  int queries, keys, heads, head_dim;
  Accum<T> scale;
};

/// A thread makes 4 x 4 sums of a square tile.
template <class T>
struct AttentionPlainTile {
  using A = Accum<T>;
  static constexpr int side = sizeof(A) == 8 ? 32 : 64, groups = side / 4, threads = groups * groups, steps = 16;
  static constexpr int pitch = side + 4;

  alignas(32) A left[steps][pitch], right[steps][pitch];  // channels of rows and columns
  A weight[side][pitch], rows[side][pitch];               // of the second product: step by row, step by column

  static __device__ __forceinline__ int row() { return static_cast<int>(threadIdx.x) / groups * 4; }
  static __device__ __forceinline__ int column() { return static_cast<int>(threadIdx.x) % groups * 4; }

  /// acc = x · yᵀ. Rows from x_count and y_count on count as zero, and those of y that `shown` denies.
  template <class ShownX, class ShownY>
  __device__ void scores(A (&acc)[4][4], const T* x, std::int64_t x_stride, const ShownX& x_shown, const T* y,
                         std::int64_t y_stride, const ShownY& y_shown, int width) {
#pragma unroll
    for (int i = 0; i < 4; ++i)
#pragma unroll
      for (int j = 0; j < 4; ++j) acc[i][j] = A(0);
    for (int c = 0; c < width; c += steps) {
      for (int at = static_cast<int>(threadIdx.x); at < side * steps; at += threads) {
        const int r = at / steps, channel = at % steps;
        const bool inside = c + channel < width;
        left[channel][r] = inside && x_shown(r) ? cast<A>(x[r * x_stride + c + channel]) : A(0);
        right[channel][r] = inside && y_shown(r) ? cast<A>(y[r * y_stride + c + channel]) : A(0);
      }
      __syncthreads();
#pragma unroll 4
      for (int step = 0; step < steps; ++step) multiply_add(acc, left[step], right[step]);
      __syncthreads();
    }
  }

  /// acc += weightᵀ · y for `width` columns of y from `first` on.
  template <class Shown>
  __device__ void accumulate(A (&acc)[4][4], const T* y, std::int64_t stride, const Shown& shown, int first,
                             int width) {
    for (int at = static_cast<int>(threadIdx.x); at < side * side; at += threads) {
      const int r = at / side, c = at % side;
      rows[r][c] = first + c < width && shown(r) ? cast<A>(y[r * stride + first + c]) : A(0);
    }
    __syncthreads();
#pragma unroll 4
    for (int step = 0; step < side; ++step) multiply_add(acc, weight[step], rows[step]);
    __syncthreads();
  }

  static __device__ void store(const A (&acc)[4][4], T* target, std::int64_t stride, int rows_left, int first,
                               int width) {
#pragma unroll
    for (int i = 0; i < 4; ++i)
#pragma unroll
      for (int j = 0; j < 4; ++j)
        if (row() + i < rows_left && first + column() + j < width)
          target[(row() + i) * stride + first + column() + j] = cast<T>(acc[i][j]);
  }

 private:
  static __device__ __forceinline__ void multiply_add(A (&acc)[4][4], const A* x, const A* y) {
    const Pack<A, 4> a = load<4>(x + row()), b = load<4>(y + column());
#pragma unroll
    for (int i = 0; i < 4; ++i)
#pragma unroll
      for (int j = 0; j < 4; ++j) acc[i][j] += a.v[i] * b.v[j];
  }
};

/// Which head a block works on: x counts tiles of rows, y slices of columns, and x goes on over pairs.
struct AttentionPlainPlace {
  int sample, head, pair, first, column;

  __device__ AttentionPlainPlace(int rows, int side, int heads) {
    const int tiles = (rows + side - 1) / side, block = static_cast<int>(blockIdx.x);
    pair = block / tiles;
    first = block % tiles * side;
    sample = pair / heads;
    head = pair % heads;
    column = static_cast<int>(blockIdx.y) * side;
  }
};

template <class T>
__global__ void __launch_bounds__(AttentionPlainTile<T>::threads)
    attention_forward_plain(const AttentionPlainArguments<T> p) {
  using Tile = AttentionPlainTile<T>;
  using A = Accum<T>;
  __shared__ Tile tile;
  const AttentionPlainPlace at(p.queries, Tile::side, p.heads);
  const std::uint8_t* mask = p.mask ? p.mask + at.sample * p.mask_batch : nullptr;
  const T* q = p.q.at(at.sample, at.first, at.head);
  const auto query_there = [&](int r) { return at.first + r < p.queries; };

  A o[4][4] = {}, top[4], sum[4] = {};
  for (A& x : top) x = A(-INFINITY);
  for (int key = 0; key < p.keys; key += Tile::side) {
    const auto shown = [&](int r) { return key + r < p.keys && (!mask || mask[key + r] != 0); };
    A s[4][4];
    tile.scores(s, q, p.q.token, query_there, p.k.at(at.sample, key, at.head), p.k.token, shown, p.head_dim);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      A high = A(-INFINITY);
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        s[i][j] = shown(Tile::column() + j) ? s[i][j] * p.scale : A(-INFINITY);
        high = s[i][j] > high ? s[i][j] : high;
      }
#pragma unroll
      for (int m = Tile::groups / 2; m > 0; m /= 2) {
        const A other = __shfl_xor_sync(0xFFFFFFFFu, high, m);
        high = other > high ? other : high;
      }
      high = top[i] > high ? top[i] : high;
      const A base = high == A(-INFINITY) ? A(0) : high, correction = exp(top[i] - base);
      top[i] = high;
      A part = A(0);
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const A weight = exp(s[i][j] - base);
        tile.weight[Tile::column() + j][Tile::row() + i] = weight;
        part += weight;
        o[i][j] *= correction;
      }
      sum[i] = sum[i] * correction + part;
    }
    tile.accumulate(o, p.v.at(at.sample, key, at.head), p.v.token, shown, at.column, p.head_dim);
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) {
#pragma unroll
    for (int m = Tile::groups / 2; m > 0; m /= 2) sum[i] += __shfl_xor_sync(0xFFFFFFFFu, sum[i], m);
    const A inverse = sum[i] == A(0) ? A(0) : A(1) / sum[i];
#pragma unroll
    for (int j = 0; j < 4; ++j) o[i][j] *= inverse;
    const int query = at.first + Tile::row() + i;
    if (p.lse && blockIdx.y == 0 && Tile::column() == 0 && query < p.queries)
      p.lse[at.sample * p.lse_batch + at.head * p.lse_head + query] =
          sum[i] == A(0) ? A(-INFINITY) : top[i] + log(sum[i]);
  }
  Tile::store(o, p.out.at(at.sample, at.first, at.head), p.out.token, p.queries - at.first, at.column, p.head_dim);
}

template <class T>
__global__ void __launch_bounds__(AttentionPlainTile<T>::threads)
    attention_backward_queries_plain(const AttentionPlainArguments<T> p) {
  using Tile = AttentionPlainTile<T>;
  using A = Accum<T>;
  __shared__ Tile tile;
  const AttentionPlainPlace at(p.queries, Tile::side, p.heads);
  const std::uint8_t* mask = p.mask ? p.mask + at.sample * p.mask_batch : nullptr;
  const auto query_there = [&](int r) { return at.first + r < p.queries; };
  A lse[4], delta[4], dq[4][4] = {};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const std::int64_t row = std::int64_t{at.pair} * p.queries + at.first + Tile::row() + i;
    lse[i] = query_there(Tile::row() + i) ? p.rows_lse[row] : A(INFINITY);
    delta[i] = query_there(Tile::row() + i) ? p.delta[row] : A(0);
  }
  for (int key = 0; key < p.keys; key += Tile::side) {
    const auto shown = [&](int r) { return key + r < p.keys && (!mask || mask[key + r] != 0); };
    A s[4][4], dp[4][4];
    const T* k = p.k.at(at.sample, key, at.head);
    tile.scores(s, p.q.at(at.sample, at.first, at.head), p.q.token, query_there, k, p.k.token, shown, p.head_dim);
    tile.scores(dp, p.dout.at(at.sample, at.first, at.head), p.dout.token, query_there, p.v.at(at.sample, key, at.head),
                p.v.token, shown, p.head_dim);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const bool counts = shown(Tile::column() + j);
#pragma unroll
      for (int i = 0; i < 4; ++i)
        tile.weight[Tile::column() + j][Tile::row() + i] =
            counts ? p.scale * exp(s[i][j] * p.scale - lse[i]) * (dp[i][j] - delta[i]) : A(0);
    }
    tile.accumulate(dq, k, p.k.token, shown, at.column, p.head_dim);
  }
  Tile::store(dq, p.dq.at(at.sample, at.first, at.head), p.dq.token, p.queries - at.first, at.column, p.head_dim);
}

template <class T>
__global__ void __launch_bounds__(AttentionPlainTile<T>::threads)
    attention_backward_keys_plain(const AttentionPlainArguments<T> p) {
  using Tile = AttentionPlainTile<T>;
  using A = Accum<T>;
  __shared__ Tile tile;
  const AttentionPlainPlace at(p.keys, Tile::side, p.heads);
  const std::uint8_t* mask = p.mask ? p.mask + at.sample * p.mask_batch : nullptr;
  const auto shown = [&](int r) { return at.first + r < p.keys && (!mask || mask[at.first + r] != 0); };
  A dk[4][4] = {}, dv[4][4] = {};
  for (int query = 0; query < p.queries; query += Tile::side) {
    const auto query_there = [&](int r) { return query + r < p.queries; };
    const T* q = p.q.at(at.sample, query, at.head);
    const T* dout = p.dout.at(at.sample, query, at.head);
    A s[4][4], dp[4][4];
    tile.scores(s, p.k.at(at.sample, at.first, at.head), p.k.token, shown, q, p.q.token, query_there, p.head_dim);
    tile.scores(dp, p.v.at(at.sample, at.first, at.head), p.v.token, shown, dout, p.dout.token, query_there,
                p.head_dim);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const bool there = query_there(Tile::column() + j);
      const std::int64_t row = std::int64_t{at.pair} * p.queries + query + Tile::column() + j;
      const A lse = there ? p.rows_lse[row] : A(INFINITY), delta = there ? p.delta[row] : A(0);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const A weight = shown(Tile::row() + i) ? exp(s[i][j] * p.scale - lse) : A(0);
        s[i][j] = weight;
        dp[i][j] = p.scale * weight * (dp[i][j] - delta);
        tile.weight[Tile::column() + j][Tile::row() + i] = weight;
      }
    }
    tile.accumulate(dv, dout, p.dout.token, query_there, at.column, p.head_dim);
#pragma unroll
    for (int j = 0; j < 4; ++j)
#pragma unroll
      for (int i = 0; i < 4; ++i) tile.weight[Tile::column() + j][Tile::row() + i] = dp[i][j];
    tile.accumulate(dk, q, p.q.token, query_there, at.column, p.head_dim);
  }
  if (p.dk.data)
    Tile::store(dk, p.dk.at(at.sample, at.first, at.head), p.dk.token, p.keys - at.first, at.column, p.head_dim);
  if (p.dv.data)
    Tile::store(dv, p.dv.at(at.sample, at.first, at.head), p.dv.token, p.keys - at.first, at.column, p.head_dim);
}

SEGUE_KERNELS_END
