// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "segue/ops/cuda/attention_tiles.cuh"

// Attention backward on tensor cores: a block of threads holds a tile of keys with the sums of dk and dv, walks over
// tiles of queries, and computes each probability once for all three gradients (five products).
//
// dq needs a sum over the blocks of a head. They add to a float buffer one after the other, in the order of their keys:
// a block waits before each tile of queries until its predecessor is through with it. Blocks take their work from a
// counter, so whoever is waited for has begun earlier and is running; all blocks walk in the same direction, so they
// wait once, at the start. Long rows of keys may be cut into several chains with a buffer each, and queries into
// several splits with sums of dk and dv each; `attention_finish` adds those in order.

SEGUE_KERNELS_BEGIN

template <class T>
struct AttentionBackwardArguments {
  AttentionRows<const T> q, k, v, dout;
  AttentionRows<T> dq, dk, dv;  ///< each may be null
  const std::uint8_t* mask;     ///< null: every key is shown
  std::int64_t mask_batch;
  const float *lse, *delta;               ///< (pairs, query tiles · 64); lse in base 2, +inf where nothing is seen
  float *dq_parts, *dk_parts, *dv_parts;  ///< (chains or splits, pairs, tiles, a tile in the order of its threads)
  unsigned *ticket, *progress;            ///< of each unit: tiles of queries done
  int queries, keys, heads, head_dim, pairs, query_tiles, key_tiles, splits, split_tiles, chains, chain_tiles;
  float scale, scale_2;  ///< of scores, and of scores in base 2
};

/// Sizes for rows of D elements, and which warp makes which part of each product.
template <int D>
struct AttentionBackwardTile {
  static constexpr int queries = 64, keys = D == 256 ? 64 : 128, threads = 256, stages = 2;
  static constexpr int key_bytes = keys * D * 2, query_bytes = queries * D * 2, weight_bytes = queries * keys * 2;
  static constexpr int statistic_bytes = queries * 4;
  static constexpr int shared_bytes =
      2 * key_bytes + 2 * stages * query_bytes + 2 * weight_bytes + 2 * stages * statistic_bytes + 16;

  // Scores and dq: 2 warps share the queries and 4 the keys or columns.
  static constexpr int score_columns = keys / 4, dq_columns = D / 4;
  // dk and dv: the keys are shared by as many warps as makes parts of 32 keys.
  static constexpr int key_warps = keys / 32, dk_columns = D * key_warps / 8;
  static constexpr int dq_elements = queries * D, dk_elements = keys * D;
};

/// Sums as they lie in a warp's registers, to and from a buffer that only these kernels read.
template <int MT, int NT>
__device__ __forceinline__ void load_sums(float (&acc)[MT][NT][4], const float* tile, int warp, int lane) {
  const float4* p = reinterpret_cast<const float4*>(tile) + (warp * MT * NT) * 32 + lane;
#pragma unroll
  for (int m = 0; m < MT; ++m)
#pragma unroll
    for (int n = 0; n < NT; ++n) {
      const float4 x = __ldcg(p + (m * NT + n) * 32);  // other multiprocessors wrote it: not from the first-level cache
      acc[m][n][0] = x.x, acc[m][n][1] = x.y, acc[m][n][2] = x.z, acc[m][n][3] = x.w;
    }
}
template <int MT, int NT>
__device__ __forceinline__ void store_sums(const float (&acc)[MT][NT][4], float* tile, int warp, int lane) {
  float4* p = reinterpret_cast<float4*>(tile) + (warp * MT * NT) * 32 + lane;
#pragma unroll
  for (int m = 0; m < MT; ++m)
#pragma unroll
    for (int n = 0; n < NT; ++n)
      __stcg(p + (m * NT + n) * 32, make_float4(acc[m][n][0], acc[m][n][1], acc[m][n][2], acc[m][n][3]));
}

__device__ __forceinline__ unsigned load_acquire(const unsigned* p) {
  unsigned x;
  asm volatile("ld.acquire.gpu.u32 %0, [%1];" : "=r"(x) : "l"(p) : "memory");
  return x;
}
__device__ __forceinline__ void store_release(unsigned* p, unsigned x) {
  asm volatile("st.release.gpu.u32 [%0], %1;" ::"l"(p), "r"(x) : "memory");
}

template <class T, int D>
__global__ void __launch_bounds__(AttentionBackwardTile<D>::threads, 1)
    attention_backward_tiles(const AttentionBackwardArguments<T> p) {
  using Tile = AttentionBackwardTile<D>;
  constexpr int N = Tile::keys, M = Tile::queries;
  constexpr int ST = Tile::score_columns / 8, QT = Tile::dq_columns / 8, KT = Tile::dk_columns / 8;
  extern __shared__ __align__(1024) unsigned char shared_memory[];
  const unsigned k_tile = shared_address(shared_memory), v_tile = k_tile + Tile::key_bytes,
                 q_tile = v_tile + Tile::key_bytes, dout_tile = q_tile + Tile::stages * Tile::query_bytes,
                 p_tile = dout_tile + Tile::stages * Tile::query_bytes, ds_tile = p_tile + Tile::weight_bytes,
                 statistics = ds_tile + Tile::weight_bytes;
  constexpr int statistics_at = 2 * Tile::key_bytes + 2 * Tile::stages * Tile::query_bytes + 2 * Tile::weight_bytes;
  const float* lse_tile = reinterpret_cast<const float*>(shared_memory + statistics_at);
  unsigned* slot =
      reinterpret_cast<unsigned*>(shared_memory + statistics_at + 2 * Tile::stages * Tile::statistic_bytes);
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32;

  if (thread == 0) *slot = atomicAdd(p.ticket, 1u);
  __syncthreads();
  const int unit = static_cast<int>(*slot), key_tile = unit % p.key_tiles;
  const int split = unit / p.key_tiles % p.splits, pair = unit / (p.key_tiles * p.splits);
  const int sample = pair / p.heads, head = pair % p.heads, key = key_tile * N;
  const int begin = split * p.split_tiles, end = min(begin + p.split_tiles, p.query_tiles);
  const bool follows = p.dq.data && key_tile % p.chain_tiles != 0;  // others of the chain add to dq before
  float* const dq_parts =
      p.dq_parts + (std::int64_t{key_tile / p.chain_tiles} * p.pairs + pair) * p.query_tiles * Tile::dq_elements;

  const TileCopier<T, D, Tile::threads> copier(thread);
  const T* q = p.q.at(sample, 0, head);
  const T* dout = p.dout.at(sample, 0, head);
  const auto load_queries = [&](int tile) {
    const int stage = tile % Tile::stages, left = p.queries - tile * M - copier.row;
    const unsigned offset = static_cast<unsigned>(stage * Tile::query_bytes);
    const auto there = [&](int i) { return i * copier.step < left; };
    copier.template load<M>(q_tile + offset, q + std::int64_t{tile} * M * p.q.token, p.q.token, p.q.packed, p.head_dim,
                            there);
    copier.template load<M>(dout_tile + offset, dout + std::int64_t{tile} * M * p.dout.token, p.dout.token,
                            p.dout.packed, p.head_dim, there);
    if (thread < M / 2) {
      const float* source = (thread < M / 4 ? p.lse : p.delta) + (std::int64_t{pair} * p.query_tiles + tile) * M;
      copy_async(statistics + static_cast<unsigned>((2 * stage) * Tile::statistic_bytes + thread * 16),
                 source + thread % (M / 4) * 4, true);
    }
  };

  // The columns of this lane's scores, a bit each.
  unsigned shown = 0;
  const int score_column = warp % 4 * Tile::score_columns;
  {
    ShownKeys keys{p.mask ? p.mask + sample * p.mask_batch : nullptr, p.keys};
    std::uint64_t bits[N / 64];
#pragma unroll
    for (int i = 0; i < N / 64; ++i) {
      keys.fetch(lane, key + i * 64);
      bits[i] = keys.bits();
    }
    const auto load_rows = [&](unsigned tile, const AttentionRows<const T>& rows) {
      copier.template load<N>(tile, rows.at(sample, key, head), rows.token, rows.packed, p.head_dim, [&](int i) {
        return (bits[i * copier.step / 64] >> (copier.row + i * copier.step % 64) & 1) != 0;
      });
    };
    load_rows(k_tile, p.k);
    load_rows(v_tile, p.v);
    const std::uint64_t mine = (N == 64 || score_column < 64 ? bits[0] : bits[N / 64 - 1]) >> (score_column % 64);
#pragma unroll
    for (int n = 0; n < ST; ++n) shown |= static_cast<unsigned>(mine >> (n * 8 + lane % 4 * 2) & 3) << (2 * n);
  }
  const bool all_shown = __all_sync(0xFFFFFFFFu, shown == (1u << (2 * ST)) - 1);
  if (begin < end) load_queries(begin);
  commit_copies();

  const int score_row = warp / 4 * 32;
  const int dk_row = warp % Tile::key_warps * 32, dk_chunk = warp / Tile::key_warps * KT;
  const TileReader<D, left_order<false>> q_rows(q_tile, lane, score_row, 0), dout_rows(dout_tile, lane, score_row, 0);
  const TileReader<D, right_order<false>> k_rows(k_tile, lane, score_column, 0), v_rows(v_tile, lane, score_column, 0);
  const TileReader<N, left_order<true>> p_columns(p_tile, lane, 0, dk_row / 8),
      ds_columns(ds_tile, lane, 0, dk_row / 8);
  const TileReader<D, right_order<true>> q_columns(q_tile, lane, 0, dk_chunk),
      dout_columns(dout_tile, lane, 0, dk_chunk);
  const TileReader<N, left_order<false>> ds_rows(ds_tile, lane, score_row, 0);
  const TileReader<D, right_order<true>> k_columns(k_tile, lane, 0, warp % 4 * QT);
  const auto once = [](int, int) { return 1.0f; };

  float dk[2][KT][4] = {}, dv[2][KT][4] = {};
  unsigned known = 0;  // of the predecessor's progress, in one thread
  for (int tile = begin; tile < end; ++tile) {
    const int stage = tile % Tile::stages;
    const unsigned offset = static_cast<unsigned>(stage * Tile::query_bytes);
    wait_copies<0>();
    __syncthreads();  // this tile has arrived, and everybody is through with the one before
    if (tile + 1 < end) {
      load_queries(tile + 1);
      commit_copies();
    }
    const unsigned done = static_cast<unsigned>(tile - begin);
    if (thread == 0 && done > 0) store_release(p.progress + unit, done);
    if (thread == 32 && follows)
      while (known <= done) known = load_acquire(p.progress + unit - 1);

    float s[2][ST][4] = {}, ds[2][ST][4] = {};
    multiply_tiles<T, D / 16, false, false>(s, q_rows, offset, k_rows, 0);
    const float* lse = lse_tile + stage * 2 * M + score_row + lane / 4;
#pragma unroll
    for (int m = 0; m < 2; ++m)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float base = lse[m * 16 + half * 8];
#pragma unroll
        for (int n = 0; n < ST; ++n)
#pragma unroll
          for (int e = 2 * half; e < 2 * half + 2; ++e) s[m][n][e] = power_of_2(fmaf(s[m][n][e], p.scale_2, -base));
      }
    if (!all_shown) {
#pragma unroll
      for (int n = 0; n < ST; ++n)
#pragma unroll
        for (int e = 0; e < 2; ++e)
          if ((shown >> (2 * n + e) & 1) == 0) {
#pragma unroll
            for (int m = 0; m < 2; ++m) s[m][n][e] = s[m][n][e + 2] = 0.0f;
          }
    }
    narrow_to_tile<T, N>(p_tile, lane, score_row, score_column / 8, s, once);

    multiply_tiles<T, D / 16, false, false>(ds, dout_rows, offset, v_rows, 0);
#pragma unroll
    for (int m = 0; m < 2; ++m)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float delta = lse[M + m * 16 + half * 8];
#pragma unroll
        for (int n = 0; n < ST; ++n)
#pragma unroll
          for (int e = 2 * half; e < 2 * half + 2; ++e) ds[m][n][e] = s[m][n][e] * (ds[m][n][e] - delta);
      }
    narrow_to_tile<T, N>(ds_tile, lane, score_row, score_column / 8, ds, once);
    __syncthreads();

    float dq[2][QT][4] = {};
    float* const dq_tile = dq_parts + std::int64_t{tile} * Tile::dq_elements;
    if (follows) load_sums(dq, dq_tile, warp, lane);
    multiply_tiles<T, M / 16, true, true>(dv, p_columns, 0, dout_columns, offset);
    multiply_tiles<T, M / 16, true, true>(dk, ds_columns, 0, q_columns, offset);
    if (p.dq.data) {
      multiply_tiles<T, N / 16, false, true>(dq, ds_rows, 0, k_columns, 0);
      store_sums(dq, dq_tile, warp, lane);
    }
  }

  wait_copies<0>();
  __syncthreads();
  if (thread == 0 && begin < end) store_release(p.progress + unit, static_cast<unsigned>(end - begin));
  if (p.splits > 1) {
    const std::int64_t at = ((std::int64_t{split} * p.pairs + pair) * p.key_tiles + key_tile) * Tile::dk_elements;
    if (p.dk.data) store_sums(dk, p.dk_parts + at, warp, lane);
    if (p.dv.data) store_sums(dv, p.dv_parts + at, warp, lane);
    return;
  }
  narrow_to_tile<T, D>(k_tile, lane, dk_row, dk_chunk, dk, [&](int, int) { return p.scale; });
  narrow_to_tile<T, D>(v_tile, lane, dk_row, dk_chunk, dv, once);
  __syncthreads();
  const int rows = p.keys - key;
  if (p.dk.data)
    copier.template store<N>(k_tile, p.dk.at(sample, key, head), p.dk.token, p.dk.packed, p.head_dim, rows);
  if (p.dv.data)
    copier.template store<N>(v_tile, p.dv.at(sample, key, head), p.dv.token, p.dv.packed, p.head_dim, rows);
}

/// Adds the parts of one tile in order and writes it as rows.
template <class T, int D, int Rows, int MT, int NT>
__device__ __forceinline__ void finish_tile(const float* parts, std::int64_t stride, int count, unsigned tile, int row,
                                            int chunk, float factor, const AttentionRows<T>& rows, T* target, int width,
                                            int valid) {
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32;
  float sum[MT][NT][4] = {};
  for (int i = 0; i < count; ++i) {
    float part[MT][NT][4];
    load_sums(part, parts + i * stride, warp, lane);
#pragma unroll
    for (int m = 0; m < MT; ++m)
#pragma unroll
      for (int n = 0; n < NT; ++n)
#pragma unroll
        for (int e = 0; e < 4; ++e) sum[m][n][e] += part[m][n][e];
  }
  narrow_to_tile<T, D>(tile, lane, row, chunk, sum, [&](int, int) { return factor; });
  __syncthreads();
  TileCopier<T, D, 256>(thread).template store<Rows>(tile, target, rows.token, rows.packed, width, valid);
}

/// One block a tile of dq, then a tile of dk and dv if they are in parts.
template <class T, int D>
__global__ void __launch_bounds__(256) attention_finish(const AttentionBackwardArguments<T> p) {
  using Tile = AttentionBackwardTile<D>;
  extern __shared__ __align__(1024) unsigned char shared_memory[];
  const unsigned tile = shared_address(shared_memory);
  const int warp = static_cast<int>(threadIdx.x) / 32;
  int unit = static_cast<int>(blockIdx.x);
  const int dq_units = p.dq.data ? p.pairs * p.query_tiles : 0;
  if (unit < dq_units) {
    const int query = unit % p.query_tiles * Tile::queries, pair = unit / p.query_tiles;
    finish_tile<T, D, Tile::queries, 2, Tile::dq_columns / 8>(
        p.dq_parts + std::int64_t{unit} * Tile::dq_elements, std::int64_t{dq_units} * Tile::dq_elements, p.chains, tile,
        warp / 4 * 32, warp % 4 * (Tile::dq_columns / 8), p.scale, p.dq, p.dq.at(pair / p.heads, query, pair % p.heads),
        p.head_dim, p.queries - query);
    return;
  }
  unit -= dq_units;
  const int dk_units = p.pairs * p.key_tiles;
  const bool values = !p.dk.data || unit >= dk_units;
  if (unit >= dk_units) unit -= dk_units;
  const AttentionRows<T>& rows = values ? p.dv : p.dk;
  const int key = unit % p.key_tiles * Tile::keys, pair = unit / p.key_tiles;
  finish_tile<T, D, Tile::keys, 2, Tile::dk_columns / 8>(
      (values ? p.dv_parts : p.dk_parts) + std::int64_t{unit} * Tile::dk_elements,
      std::int64_t{dk_units} * Tile::dk_elements, p.splits, tile, warp % Tile::key_warps * 32,
      warp / Tile::key_warps * (Tile::dk_columns / 8), values ? 1.0f : p.scale, rows,
      rows.at(pair / p.heads, key, pair % p.heads), p.head_dim, p.keys - key);
}

SEGUE_KERNELS_END
