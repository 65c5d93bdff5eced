// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "segue/ops/cuda/attention_tiles.cuh"

// Attention forward on tensor cores: a block of threads holds a tile of queries and walks over the keys with a running
// maximum and sum (Dao, "FlashAttention-2", arXiv:2307.08691). Warps share keys, never queries, so the softmax stays in
// a warp and the scores, rounded, are the left operand of the second product as they lie in registers.
//
// Blocks with half a tile, whose warps have half the queries, come last and even out what the multiprocessors have to
// do; a query's bits do not depend on where it is.

SEGUE_KERNELS_BEGIN

template <class T>
struct AttentionForwardArguments {
  AttentionRows<const T> q, k, v;
  AttentionRows<T> out;
  const std::uint8_t* mask;  ///< null: every key is shown
  std::int64_t mask_batch;
  float* lse;  ///< may be null
  std::int64_t lse_batch, lse_head;
  int queries, keys, heads, head_dim, pairs;
  int tiles, halves;  ///< of a head's queries: first whole tiles, then halves of one
  float scale;        ///< of scores in base 2, positive
  bool negative;      ///< the scale's sign
};

/// Sizes for rows of D elements. Two sets of keys and values: one is read while the other is filled.
template <int D>
struct AttentionForwardTile {
  static constexpr int warps = D == 256 ? 8 : 4, queries = 128, keys = 64, stages = 2;
  static constexpr int threads = warps * 32, warp_queries = queries / warps;
  static constexpr int blocks = D == 256 ? 1 : 2;  // a multiprocessor
  static constexpr bool has_halves = warp_queries > 16;
  static constexpr int query_bytes = queries * D * 2, key_bytes = keys * D * 2;
  static constexpr int shared_bytes = query_bytes + 2 * stages * key_bytes;
};

/// `Queries` of a head, from `query` on.
template <class T, int D, int Queries>
__device__ __forceinline__ void attend(const AttentionForwardArguments<T>& p, unsigned char* shared_memory, int pair,
                                       int query) {
  using Tile = AttentionForwardTile<D>;
  constexpr int warp_queries = Queries / Tile::warps, MT = warp_queries / 16, NT = Tile::keys / 8, CT = D / 8;
  constexpr float none = -INFINITY;
  const unsigned q_tile = shared_address(shared_memory), k_tile = q_tile + Tile::query_bytes,
                 v_tile = k_tile + Tile::stages * Tile::key_bytes;
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32;

  const int sample = pair / p.heads, head = pair % p.heads;
  const T* k = p.k.at(sample, 0, head);
  const T* v = p.v.at(sample, 0, head);
  const TileCopier<T, D, Tile::threads> copier(thread);
  const int key_tiles = (p.keys + Tile::keys - 1) / Tile::keys;

  ShownKeys shown{p.mask ? p.mask + sample * p.mask_batch : nullptr, p.keys};
  const auto load_keys = [&](int tile, std::uint64_t bits) {
    const unsigned stage = static_cast<unsigned>(tile % Tile::stages * Tile::key_bytes);
    const std::uint64_t mine = bits >> copier.row;
    const auto there = [&](int i) { return (mine >> (i * copier.step) & 1) != 0; };
    copier.template load<Tile::keys>(k_tile + stage, k + std::int64_t{tile} * Tile::keys * p.k.token, p.k.token,
                                     p.k.packed, p.head_dim, there);
    copier.template load<Tile::keys>(v_tile + stage, v + std::int64_t{tile} * Tile::keys * p.v.token, p.v.token,
                                     p.v.packed, p.head_dim, there);
  };
  copier.template load<Queries>(q_tile, p.q.at(sample, query, head), p.q.token, p.q.packed, p.head_dim,
                                [&](int i) { return query + copier.row + i * copier.step < p.queries; });
  shown.fetch(lane, 0);
  std::uint64_t bits = shown.bits();
  load_keys(0, bits);
  commit_copies();
  shown.fetch(lane, Tile::keys);

  const TileReader<D, left_order<false>> q_reader(lane, warp * warp_queries, 0);
  const TileReader<D, right_order<false>> k_reader(lane, 0, 0);
  const TileReader<D, right_order<true>> v_reader(lane, 0, 0);

  float o[MT][CT][4] = {}, top[MT][2], sum[MT][2];
#pragma unroll
  for (int m = 0; m < MT; ++m)
#pragma unroll
    for (int half = 0; half < 2; ++half) top[m][half] = none, sum[m][half] = 0.0f;

  for (int tile = 0; tile < key_tiles; ++tile) {
    const unsigned stage = static_cast<unsigned>(tile % Tile::stages * Tile::key_bytes);
    wait_copies<0>();
    __syncthreads();  // this tile has arrived, and nobody reads the one before it any more
    const std::uint64_t now = bits;
    if (tile + 1 < key_tiles) {
      bits = shown.bits();
      load_keys(tile + 1, bits);
      commit_copies();
      shown.fetch(lane, (tile + 2) * Tile::keys);
    }

    float s[MT][NT][4] = {};
    multiply_tiles<T, D / 16, false, false>(s, q_reader, q_tile, k_reader, k_tile + stage);
    if (p.negative) {
#pragma unroll
      for (int m = 0; m < MT; ++m)
#pragma unroll
        for (int n = 0; n < NT; ++n)
#pragma unroll
          for (int e = 0; e < 4; ++e) s[m][n][e] = -s[m][n][e];
    }
    if (~now != 0) {
      const std::uint64_t mine = now >> (lane % 4 * 2);
#pragma unroll
      for (int n = 0; n < NT; ++n)
#pragma unroll
        for (int e = 0; e < 2; ++e)
          if ((mine >> (n * 8 + e) & 1) == 0) {
#pragma unroll
            for (int m = 0; m < MT; ++m) s[m][n][e] = s[m][n][e + 2] = none;
          }
    }

    float correction[MT][2];
    bool moved = false;
#pragma unroll
    for (int m = 0; m < MT; ++m)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float high = s[m][0][2 * half];
#pragma unroll
        for (int n = 0; n < NT; ++n) high = fmaxf(high, fmaxf(s[m][n][2 * half], s[m][n][2 * half + 1]));
        high = fmaxf(high, __shfl_xor_sync(0xFFFFFFFFu, high, 1));
        high = fmaxf(high, __shfl_xor_sync(0xFFFFFFFFu, high, 2));
        high = fmaxf(high, top[m][half]);
        const float base = high == none ? 0.0f : high * p.scale;
        // Exactly 1 for a maximum that stays: bits must not depend on what other rows of the warp do.
        correction[m][half] = high == top[m][half] ? 1.0f : power_of_2(fmaf(top[m][half], p.scale, -base));
        moved = moved || high != top[m][half];
        top[m][half] = high;
        float part = 0.0f;
#pragma unroll
        for (int n = 0; n < NT; ++n)
#pragma unroll
          for (int e = 2 * half; e < 2 * half + 2; ++e) {
            s[m][n][e] = power_of_2(fmaf(s[m][n][e], p.scale, -base));
            part += s[m][n][e];
          }
        sum[m][half] = fmaf(sum[m][half], correction[m][half], part);
      }
    // After the first tiles a maximum seldom moves.
    if (__any_sync(0xFFFFFFFFu, moved)) {
#pragma unroll
      for (int m = 0; m < MT; ++m)
#pragma unroll
        for (int c = 0; c < CT; ++c)
#pragma unroll
          for (int e = 0; e < 4; ++e) o[m][c][e] *= correction[m][e / 2];
    }

    unsigned weights[MT][NT][2];
#pragma unroll
    for (int m = 0; m < MT; ++m)
#pragma unroll
      for (int n = 0; n < NT; ++n) {
        weights[m][n][0] = narrow<T>(s[m][n][0], s[m][n][1]);
        weights[m][n][1] = narrow<T>(s[m][n][2], s[m][n][3]);
      }
#pragma unroll
    for (int step = 0; step < Tile::keys / 16; ++step) {
      unsigned a[MT][4];
#pragma unroll
      for (int m = 0; m < MT; ++m)
#pragma unroll
        for (int i = 0; i < 4; ++i) a[m][i] = weights[m][2 * step + i / 2][i % 2];
#pragma unroll
      for (int c = 0; c < CT; c += 2) {
        unsigned b[4];
        load_matrices<true>(b, v_reader.at(v_tile + stage, step * 16, c));
#pragma unroll
        for (int m = 0; m < MT; ++m) {
          multiply<T>(o[m][c], a[m], b[0], b[1]);
          multiply<T>(o[m][c + 1], a[m], b[2], b[3]);
        }
      }
    }
  }

  // A lane holds a quarter of each row's columns.
#pragma unroll
  for (int m = 0; m < MT; ++m)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float total = sum[m][half];
      total += __shfl_xor_sync(0xFFFFFFFFu, total, 1);
      total += __shfl_xor_sync(0xFFFFFFFFu, total, 2);
      sum[m][half] = total == 0.0f ? 0.0f : 1.0f / total;
      const int row = query + warp * warp_queries + m * 16 + half * 8 + lane / 4;
      if (p.lse && lane % 4 == 0 && row < p.queries)
        p.lse[sample * p.lse_batch + head * p.lse_head + row] =
            total == 0.0f ? none : fmaf(top[m][half] * p.scale, 0.69314718f, logf(total));
    }
  wait_copies<0>();
  __syncthreads();
  narrow_to_tile<T, D>(q_tile, lane, warp * warp_queries, 0, o, [&](int m, int half) { return sum[m][half]; });
  __syncthreads();
  const int rows = p.queries - query;
  copier.template store<Queries>(q_tile, p.out.at(sample, query, head), p.out.token, p.out.packed, p.head_dim, rows);
}

/// Tiles of one head follow each other, so that its keys are read from the second-level cache. A kernel of its own for
/// whole tiles: to fetch the code for halves too takes a tenth of a short kernel's time.
template <class T, int D, bool Halves>
__global__ void __launch_bounds__(AttentionForwardTile<D>::threads, AttentionForwardTile<D>::blocks)
    attention_forward_tiles(const AttentionForwardArguments<T> p) {
  constexpr int queries = AttentionForwardTile<D>::queries;
  extern __shared__ __align__(1024) unsigned char shared_memory[];
  const int block = static_cast<int>(blockIdx.x), half = block - p.pairs * p.tiles;
  if (!Halves || half < 0)
    attend<T, D, queries>(p, shared_memory, block / p.tiles, block % p.tiles * queries);
  else if constexpr (Halves)
    attend<T, D, queries / 2>(p, shared_memory, half / p.halves, p.tiles * queries + half % p.halves * (queries / 2));
}

SEGUE_KERNELS_END
