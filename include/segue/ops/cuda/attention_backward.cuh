// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "segue/ops/cuda/attention_tiles.cuh"

// Attention backward on tensor cores: a block of threads holds a tile of keys with the sums of dk and dv, walks over
// tiles of queries, and computes each probability once for all three gradients (five products).
//
// dq needs a sum over the blocks of a head. They add to a float buffer one after the other, in the order of their keys,
// and the last writes the result: a block waits before each tile of queries until its predecessor is through with it.
// Blocks take their work from a counter, so whoever is waited for has begun earlier and is running; all blocks walk in
// the same direction, so they wait at the start and then follow each other. Where units are few, or in the end too few
// to keep all multiprocessors busy, the queries of all heads or of each sample's last ones are cut into splits with
// sums of dk and dv each, which `attention_finish` adds in order. Whole heads come first, so that short units fill the
// end.
//
// Warps wait for each other as little as they can, so that some multiply while others take exponentials: probabilities
// pass only between the warps of a group, which own the same 32 keys; dq, which needs everybody's, is made one tile
// late.

SEGUE_KERNELS_BEGIN

template <class T>
struct AttentionBackwardArguments {
  AttentionRows<const T> q, k, v, dout;
  AttentionRows<T> dq, dk, dv;  ///< each may be null
  const std::uint8_t* mask;     ///< null: every key is shown
  std::int64_t mask_batch;
  const float *lse, *delta;     ///< (pairs, query tiles · 64); lse in base 2, +inf where nothing is seen
  float* dq_sums;               ///< (pairs, query tiles, a tile in the order of its threads)
  float *dk_parts, *dv_parts;   ///< (splits, pairs that are cut, key tiles, likewise)
  unsigned *ticket, *progress;  ///< next unit of work; of each unit: tiles of queries done
  int queries, keys, heads, head_dim, batch, query_tiles, key_tiles;
  int whole_heads;          ///< of each sample, whose queries are not cut; the others' are, into
  int splits, split_tiles;  ///< so many parts of so many tiles
  int near_pairs;           ///< heads of samples that are worked on side by side
  float scale, scale_2;     ///< of scores, and of scores in base 2
};

/// Heads of all samples whose queries are cut alike, in the order in which they are worked on.
struct AttentionPairs {
  int first_head, heads, count;

  template <class T>
  __device__ static AttentionPairs whole(const AttentionBackwardArguments<T>& p) {
    return {0, p.whole_heads, p.batch * p.whole_heads};
  }
  template <class T>
  __device__ static AttentionPairs cut(const AttentionBackwardArguments<T>& p) {
    const int heads = p.heads - p.whole_heads;
    return {p.whole_heads, heads, p.batch * heads};
  }
  __device__ int sample(int in_order) const { return in_order / heads; }
  __device__ int head(int in_order) const { return first_head + in_order % heads; }
};

/// Sizes for rows of D elements, and which warp makes which part of each product.
template <int D>
struct AttentionBackwardTile {
  static constexpr int queries = 64, keys = D == 256 ? 64 : 128, warps = 8, threads = warps * 32, stages = 2;
  static constexpr int key_bytes = keys * D * 2, query_bytes = queries * D * 2, weight_bytes = queries * keys * 2;
  static constexpr int statistic_bytes = queries * 4;
  static constexpr int shared_bytes =
      2 * key_bytes + 2 * stages * query_bytes + 2 * weight_bytes + 2 * stages * statistic_bytes + 16;
  static constexpr int dq_elements = queries * D, dk_elements = keys * D;

  // A group of warps makes the scores, dk and dv of 32 keys. Two rows of its warps share the queries of the scores, and
  // all of them the columns of dk and dv. For dq two rows of all warps share the queries, the others the columns.
  static constexpr int group_warps = warps / (keys / 32), score_columns = 64 / group_warps;
  static constexpr int dk_columns = D / group_warps, dq_columns = D / (warps / 2);
};

/// Where a warp's parts lie in their products.
template <int D>
struct AttentionBackwardWarp {
  using Tile = AttentionBackwardTile<D>;
  int lane, warp, group;

  __device__ __forceinline__ explicit AttentionBackwardWarp(int thread)
      : lane(thread % 32), warp(thread / 32), group(warp / Tile::group_warps) {}
  __device__ __forceinline__ int score_row() const { return warp % 2 * 32; }
  __device__ __forceinline__ int score_column() const {
    return group * 32 + warp % Tile::group_warps / 2 * Tile::score_columns;
  }
  __device__ __forceinline__ int dk_row() const { return group * 32; }
  __device__ __forceinline__ int dk_column() const { return warp % Tile::group_warps * Tile::dk_columns; }
  __device__ __forceinline__ int dq_row() const { return warp % 2 * 32; }
  __device__ __forceinline__ int dq_column() const { return warp / 2 * Tile::dq_columns; }
  /// Waits for the warps of the group.
  __device__ __forceinline__ void meet_group() const {
    asm volatile("bar.sync %0, %1;" ::"r"(1 + group), "n"(Tile::group_warps * 32) : "memory");
  }
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

/// Writes a warp's part of a tile of dq as rows.
template <class T, int MT, int NT>
__device__ __forceinline__ void store_rows(const float (&acc)[MT][NT][4], float factor, T* target, std::int64_t stride,
                                           bool packed, int row, int rows, int column, int width) {
#pragma unroll
  for (int m = 0; m < MT; ++m)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int r = row + m * 16 + half * 8;
      if (r >= rows) continue;
      T* p = target + r * stride + column;
#pragma unroll
      for (int n = 0; n < NT; ++n) {
        const unsigned x = narrow<T>(acc[m][n][2 * half] * factor, acc[m][n][2 * half + 1] * factor);
        if (packed) {
          if (column + n * 8 < width) *reinterpret_cast<unsigned*>(p + n * 8) = x;
        } else {
          if (column + n * 8 < width) p[n * 8].bits = static_cast<std::uint16_t>(x);
          if (column + n * 8 + 1 < width) p[n * 8 + 1].bits = static_cast<std::uint16_t>(x >> 16);
        }
      }
    }
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
                 statistics = ds_tile + Tile::weight_bytes,
                 dq_made = statistics + 2 * Tile::stages * Tile::statistic_bytes;
  constexpr int statistics_at = 2 * Tile::key_bytes + 2 * Tile::stages * Tile::query_bytes + 2 * Tile::weight_bytes;
  const float* lse_tile = reinterpret_cast<const float*>(shared_memory + statistics_at);
  unsigned* slot = reinterpret_cast<unsigned*>(shared_memory);  // before anything else is there
  const int thread = static_cast<int>(threadIdx.x);
  const AttentionBackwardWarp<D> warp(thread);
  const int lane = warp.lane;

  if (thread == 0) {
    *slot = atomicAdd(p.ticket, 1u);
    barrier_init(dq_made, Tile::threads);
  }
  __syncthreads();
  int unit = static_cast<int>(*slot);
  __syncthreads();
  AttentionPairs pairs = AttentionPairs::whole(p);
  const bool whole = unit < pairs.count * p.key_tiles;
  if (!whole) {
    unit -= pairs.count * p.key_tiles;
    pairs = AttentionPairs::cut(p);
  }
  const int splits = whole ? 1 : p.splits, split_tiles = whole ? p.query_tiles : p.split_tiles;
  const int group_units = p.near_pairs * splits * p.key_tiles, first_pair = unit / group_units * p.near_pairs;
  unit %= group_units;
  const int abreast = min(p.near_pairs, pairs.count - first_pair) * splits;  // units of one tile of keys
  const int key_tile = unit / abreast, split = unit % abreast % splits, in_order = first_pair + unit % abreast / splits;
  const int sample = pairs.sample(in_order), head = pairs.head(in_order), key = key_tile * N;
  const int pair = sample * p.heads + head;
  const int begin = split * split_tiles, end = min(begin + split_tiles, p.query_tiles);
  const bool follows = p.dq.data && key_tile > 0, last = key_tile + 1 == p.key_tiles;
  float* const dq_sums = p.dq_sums + std::int64_t{pair} * p.query_tiles * Tile::dq_elements;
  unsigned* const progress = p.progress + (std::int64_t{pair} * p.splits + split) * p.key_tiles + key_tile;

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

  unsigned shown = 0;  // the columns of this lane's scores, a bit each
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
    const int column = warp.score_column();
    const std::uint64_t mine = (column < 64 ? bits[0] : bits[N / 64 - 1]) >> (column % 64);
#pragma unroll
    for (int n = 0; n < ST; ++n) shown |= static_cast<unsigned>(mine >> (n * 8 + lane % 4 * 2) & 3) << (2 * n);
  }
  const bool all_shown = __all_sync(0xFFFFFFFFu, shown == (1u << (2 * ST)) - 1);
  if (begin < end) load_queries(begin);
  commit_copies();

  const TileReader<D, left_order<false>> score_left(lane, warp.score_row(), 0);
  const TileReader<D, right_order<false>> score_right(lane, warp.score_column(), 0);
  const TileReader<N, left_order<true>> dk_left(lane, 0, warp.dk_row() / 8);
  const TileReader<D, right_order<true>> dk_right(lane, 0, warp.dk_column() / 8);
  const TileReader<N, left_order<false>> dq_left(lane, warp.dq_row(), 0);
  const TileReader<D, right_order<true>> dq_right(lane, 0, warp.dq_column() / 8);
  const auto once = [](int, int) { return 1.0f; };

  float dk[2][KT][4] = {}, dv[2][KT][4] = {};
  unsigned known = 0;  // of the predecessor's progress, in one thread
  for (int tile = begin; tile <= end; ++tile) {
    const int stage = tile % Tile::stages;
    const unsigned offset = static_cast<unsigned>(stage * Tile::query_bytes),
                   done = static_cast<unsigned>(tile - begin);
    wait_copies<0>();
    // dq of the tile before is added to what the predecessor left.
    if (thread == 32 && follows)
      while (known < done) known = load_acquire(progress - 1);
    __syncthreads();  // this tile has arrived, and everybody is through with the one before, but for dq
    if (tile + 1 < end) {
      load_queries(tile + 1);
      commit_copies();
    }

    float s[2][ST][4] = {}, ds[2][ST][4] = {}, dq[2][QT][4] = {};
    float* const dq_tile = dq_sums + std::int64_t{tile - 1} * Tile::dq_elements;
    if (follows && tile > begin) load_sums(dq, dq_tile, warp.warp, lane);
    const float* lse = lse_tile + stage * 2 * M + warp.score_row() + lane / 4;
    if (tile < end) {
      multiply_tiles<T, D / 16, false, false>(s, score_left, q_tile + offset, score_right, k_tile);
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
      narrow_to_tile<T, N>(p_tile, lane, warp.score_row(), warp.score_column() / 8, s, once);
    }
    if (tile > begin) {
      if (p.dq.data) {
        multiply_tiles<T, N / 16, false, true>(dq, dq_left, ds_tile, dq_right, k_tile);
        if (last)
          store_rows(dq, p.scale, p.dq.at(sample, 0, head), p.dq.token, p.dq.packed,
                     (tile - 1) * M + warp.dq_row() + lane / 4, p.queries, warp.dq_column() + lane % 4 * 2, p.head_dim);
        else
          store_sums(dq, dq_tile, warp.warp, lane);
      }
      barrier_arrive(dq_made);
    }
    if (tile == end) break;

    multiply_tiles<T, D / 16, false, false>(ds, score_left, dout_tile + offset, score_right, v_tile);
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
    if (tile > begin) {
      barrier_wait(dq_made, (done - 1) % 2);  // nobody reads the tile's predecessor any more
      if (thread == 0) store_release(progress, done);
    }
    narrow_to_tile<T, N>(ds_tile, lane, warp.score_row(), warp.score_column() / 8, ds, once);
    warp.meet_group();
    multiply_tiles<T, M / 16, true, true>(dv, dk_left, p_tile, dk_right, dout_tile + offset);
    multiply_tiles<T, M / 16, true, true>(dk, dk_left, ds_tile, dk_right, q_tile + offset);
  }

  wait_copies<0>();
  __syncthreads();
  if (thread == 0 && begin < end) store_release(progress, static_cast<unsigned>(end - begin));
  if (!whole) {
    const std::int64_t at =
        ((std::int64_t{split} * pairs.count + in_order) * p.key_tiles + key_tile) * Tile::dk_elements;
    if (p.dk.data) store_sums(dk, p.dk_parts + at, warp.warp, lane);
    if (p.dv.data) store_sums(dv, p.dv_parts + at, warp.warp, lane);
    return;
  }
  narrow_to_tile<T, D>(k_tile, lane, warp.dk_row(), warp.dk_column() / 8, dk, [&](int, int) { return p.scale; });
  narrow_to_tile<T, D>(v_tile, lane, warp.dk_row(), warp.dk_column() / 8, dv, once);
  __syncthreads();
  const int rows = p.keys - key;
  if (p.dk.data)
    copier.template store<N>(k_tile, p.dk.at(sample, key, head), p.dk.token, p.dk.packed, p.head_dim, rows);
  if (p.dv.data)
    copier.template store<N>(v_tile, p.dv.at(sample, key, head), p.dv.token, p.dv.packed, p.head_dim, rows);
}

/// One block a tile of dk, then of dv.
template <class T, int D>
__global__ void __launch_bounds__(AttentionBackwardTile<D>::threads)
    attention_finish(const AttentionBackwardArguments<T> p) {
  using Tile = AttentionBackwardTile<D>;
  constexpr int KT = Tile::dk_columns / 8;
  extern __shared__ __align__(1024) unsigned char shared_memory[];
  const unsigned tile = shared_address(shared_memory);
  const AttentionPairs pairs = AttentionPairs::cut(p);
  const int thread = static_cast<int>(threadIdx.x), units = pairs.count * p.key_tiles;
  const AttentionBackwardWarp<D> warp(thread);
  int unit = static_cast<int>(blockIdx.x);
  const bool values = !p.dk.data || unit >= units;
  if (unit >= units) unit -= units;

  const float* parts = (values ? p.dv_parts : p.dk_parts) + std::int64_t{unit} * Tile::dk_elements;
  float sum[2][KT][4] = {};
#pragma unroll 2
  for (int split = 0; split < p.splits; ++split) {
    float part[2][KT][4];
    load_sums(part, parts + std::int64_t{split} * units * Tile::dk_elements, warp.warp, warp.lane);
#pragma unroll
    for (int m = 0; m < 2; ++m)
#pragma unroll
      for (int n = 0; n < KT; ++n)
#pragma unroll
        for (int e = 0; e < 4; ++e) sum[m][n][e] += part[m][n][e];
  }
  narrow_to_tile<T, D>(tile, warp.lane, warp.dk_row(), warp.dk_column() / 8, sum,
                       [&](int, int) { return values ? 1.0f : p.scale; });
  __syncthreads();
  const AttentionRows<T>& rows = values ? p.dv : p.dk;
  const int key = unit % p.key_tiles * Tile::keys, in_order = unit / p.key_tiles;
  TileCopier<T, D, Tile::threads>(thread).template store<Tile::keys>(
      tile, rows.at(pairs.sample(in_order), key, pairs.head(in_order)), rows.token, rows.packed, p.head_dim,
      p.keys - key);
}

SEGUE_KERNELS_END
