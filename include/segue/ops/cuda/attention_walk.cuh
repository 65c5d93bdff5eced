// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "segue/ops/cuda/attention_tiles.cuh"

// Attention backward on tensor cores: a block of threads holds a tile of keys with the sums of dk and dv, walks over
// tiles of queries, and computes each probability once for all three gradients (five products).
//
// dq needs a sum over the tiles of keys. Blocks add to a float buffer one after the other, in an order that is known
// beforehand, and the last writes the result.
//
// Warps wait for each other as little as they can, so that some multiply while others take exponentials: probabilities
// pass only between the warps of a group, which own the same 32 keys; dq, which needs everybody's, is made one tile
// late.

SEGUE_KERNELS_BEGIN

/// A head's tiles of keys by queries, in this order, cut evenly among blocks. Between two tiles of keys are `switching`
/// places without work, for the time in which a block goes from one to the next.
struct AttentionShares {
  int query_tiles, key_tiles, switching;
  int blocks;  ///< a head; 0: work is not cut so

  /// The tiles of queries [begin, end) of a tile of keys, none if begin >= end, and the place after them.
  struct Unit {
    int key_tile, begin, end, next;
  };

  SEGUE_HOST_DEVICE constexpr int step() const { return query_tiles + switching; }
  SEGUE_HOST_DEVICE constexpr int places() const { return key_tiles * step() - switching; }
  SEGUE_HOST_DEVICE constexpr int first_place(int block) const { return (block * places() + blocks - 1) / blocks; }
  SEGUE_HOST_DEVICE constexpr int block_at(int place) const { return place * blocks / places(); }
  /// What lies from `place` on, at most up to `last`, within a tile of keys.
  SEGUE_HOST_DEVICE constexpr Unit unit_at(int place, int last) const {
    const int key_tile = place / step(), left = last - key_tile * step();
    return {key_tile, place % step(), left < query_tiles ? left : query_tiles, (key_tile + 1) * step()};
  }
};

template <class T>
struct AttentionBackwardArguments {
  AttentionRows<const T> q, k, v, dout;
  AttentionRows<T> dq, dk, dv;  ///< each may be null
  const std::uint8_t* mask;     ///< null: every key is shown
  std::int64_t mask_batch;
  const float *lse, *delta;    ///< (pairs, query tiles · 64); lse in base 2, +inf where nothing is seen
  float* dq_sums;              ///< (pairs, query tiles, a tile in the order of its threads)
  float *dk_parts, *dv_parts;  ///< (splits, pairs that are cut, key tiles) or (pairs, blocks of a head), likewise
  int queries, keys, heads, head_dim, batch, query_tiles, key_tiles;
  float scale, scale_2;  ///< of scores, and of scores in base 2

  // Work in units, a ticket each.
  unsigned *ticket, *progress;  ///< next unit of work; of each unit: tiles of queries done
  int whole_heads;              ///< of each sample, whose queries are not cut; the others' are, into
  int splits, split_tiles;      ///< so many parts of so many tiles
  int near_pairs;               ///< heads of samples that are worked on side by side

  // Work in shares.
  AttentionShares shares;
  unsigned* turns;       ///< (pairs, query tiles): how many have added to dq
  unsigned* parts_made;  ///< (pairs, blocks): whether the block's part is made
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
  static constexpr bool has_shares = D <= 128;  // for 256 not worth a kernel more to compile in every program

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

/// Sums of dk or dv in a warp's registers.
template <int D>
using AttentionSums = float[2][AttentionBackwardTile<D>::dk_columns / 8][4];

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
__device__ __forceinline__ void add_sums(float (&acc)[MT][NT][4], const float* tile, int warp, int lane) {
  float part[MT][NT][4];
  load_sums(part, tile, warp, lane);
#pragma unroll
  for (int m = 0; m < MT; ++m)
#pragma unroll
    for (int n = 0; n < NT; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e) acc[m][n][e] += part[m][n][e];
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
/// Waits until `*p`, which only grows and was `known`, is `least` or more; returns what it is then.
__device__ __forceinline__ unsigned wait_for(const unsigned* p, unsigned least, unsigned known = 0) {
  while (known < least) known = load_acquire(p);
  return known;
}

/// Word r of lane l of each four neighbours becomes word l of lane r.
__device__ __forceinline__ void transpose_quad(unsigned (&x)[4], int lane) {
#pragma unroll
  for (int apart = 1; apart <= 2; apart *= 2)
#pragma unroll
    for (int pair = 0; pair < 2; ++pair) {
      const int low = apart == 1 ? 2 * pair : pair, high = low + apart;
      const bool upper = (lane & apart) != 0;
      const unsigned other = __shfl_xor_sync(0xFFFFFFFFu, upper ? x[low] : x[high], apart);
      (upper ? x[low] : x[high]) = other;
    }
}

/// Writes a warp's part of a tile of dq as rows of `target` from `row` on. With `Quads` four lanes exchange
/// what they have of four chunks, so that each writes one.
template <class T, bool Quads, int MT, int NT>
__device__ __forceinline__ void store_rows(const float (&acc)[MT][NT][4], float factor, T* target, std::int64_t stride,
                                           bool packed, int row, int rows, int column, int width, int lane) {
  const auto word = [&](int m, int n, int half) {
    return narrow<T>(acc[m][n][2 * half] * factor, acc[m][n][2 * half + 1] * factor);
  };
#pragma unroll
  for (int m = 0; m < MT; ++m) {
    if constexpr (Quads) {
#pragma unroll
      for (int first = 0; first < 2 * NT; first += 4) {
        unsigned x[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) x[i] = word(m, (first + i) % NT, (first + i) / NT);
        transpose_quad(x, lane);
        const int mine = first + lane % 4, r = row + lane / 4 + m * 16 + mine / NT * 8, c = column + mine % NT * 8;
        if (r >= rows || c >= width) continue;
        T* p = target + r * stride + c;
        if (packed) {
          *reinterpret_cast<uint4*>(p) = make_uint4(x[0], x[1], x[2], x[3]);
        } else {
#pragma unroll
          for (int e = 0; e < 8; ++e)
            if (c + e < width) p[e].bits = static_cast<std::uint16_t>(x[e / 2] >> (e % 2 * 16));
        }
      }
    } else {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int r = row + lane / 4 + m * 16 + half * 8, first = column + lane % 4 * 2;
        if (r >= rows) continue;
        T* p = target + r * stride + first;
#pragma unroll
        for (int n = 0; n < NT; ++n) {
          const unsigned x = word(m, n, half);
          if (packed) {
            if (first + n * 8 < width) *reinterpret_cast<unsigned*>(p + n * 8) = x;
          } else {
            if (first + n * 8 < width) p[n * 8].bits = static_cast<std::uint16_t>(x);
            if (first + n * 8 + 1 < width) p[n * 8 + 1].bits = static_cast<std::uint16_t>(x >> 16);
          }
        }
      }
    }
  }
}

/// Where a block's tiles lie in shared memory.
template <int D>
struct AttentionBackwardShared {
  using Tile = AttentionBackwardTile<D>;
  static constexpr int statistics_at =
      2 * Tile::key_bytes + 2 * Tile::stages * Tile::query_bytes + 2 * Tile::weight_bytes;
  static constexpr int barrier_at = statistics_at + 2 * Tile::stages * Tile::statistic_bytes;
  unsigned k, v, q, dout, p, ds, statistics, dq_made;
  const float* lse;  ///< and delta behind it, of each stage
  volatile int* turns;

  __device__ __forceinline__ explicit AttentionBackwardShared(unsigned char* memory)
      : k(shared_address(memory)),
        v(k + Tile::key_bytes),
        q(v + Tile::key_bytes),
        dout(q + Tile::stages * Tile::query_bytes),
        p(dout + Tile::stages * Tile::query_bytes),
        ds(p + Tile::weight_bytes),
        statistics(k + statistics_at),
        dq_made(k + barrier_at),
        lse(reinterpret_cast<const float*>(memory + statistics_at)),
        turns(reinterpret_cast<int*>(memory + barrier_at + 8)) {}
};

/// A tile of keys of a head, and the tiles of queries [begin, end).
struct AttentionBackwardUnit {
  int sample, head, pair, key_tile, begin, end;
};

/// Sums dk and dv of a unit, and adds to dq. `Order` says who adds to the dq of a tile of queries, and when:
///   prepare(tile)        if `in_time`: turns come long before they are needed, so one warp looks while others multiply
///   await(tile, done)    until everybody else meets, one thread waits for its turn; with it `done` tiles are done
///   settle(tile)         then every thread learns what the next two say
///   adds(), ends()       whether others have added to the tile's dq before, and whether nobody will after
///   publish(tile, done)  one thread says that this block is through with it: at once, or if `in_time` when the fence
///                        that this takes has least to wait for.
/// If `in_time`, dq is also written by quads: fewer stores, more code. In line, where blocks wait for each other, that
/// costs 2 % with many tiles of keys, and a second kernel for few is not worth compiling.
template <class T, int D, class Order>
__device__ __forceinline__ void walk_queries(const AttentionBackwardArguments<T>& p,
                                             const AttentionBackwardShared<D>& shared,
                                             const AttentionBackwardWarp<D>& warp,
                                             const TileCopier<T, D, AttentionBackwardTile<D>::threads>& copier,
                                             const AttentionBackwardUnit& unit, Order& order, AttentionSums<D>& dk,
                                             AttentionSums<D>& dv) {
  using Tile = AttentionBackwardTile<D>;
  constexpr int N = Tile::keys, M = Tile::queries;
  constexpr int ST = Tile::score_columns / 8, QT = Tile::dq_columns / 8;
  const int thread = static_cast<int>(threadIdx.x), lane = warp.lane, key = unit.key_tile * N;
  const T* q = p.q.at(unit.sample, 0, unit.head);
  const T* dout = p.dout.at(unit.sample, 0, unit.head);
  float* const dq_sums = p.dq_sums + std::int64_t{unit.pair} * p.query_tiles * Tile::dq_elements;
  const auto load_queries = [&](int tile) {
    const int stage = tile % Tile::stages, left = p.queries - tile * M - copier.row;
    const unsigned offset = static_cast<unsigned>(stage * Tile::query_bytes);
    const auto there = [&](int i) { return i * copier.step < left; };
    copier.template load<M>(shared.q + offset, q + std::int64_t{tile} * M * p.q.token, p.q.token, p.q.packed,
                            p.head_dim, there);
    copier.template load<M>(shared.dout + offset, dout + std::int64_t{tile} * M * p.dout.token, p.dout.token,
                            p.dout.packed, p.head_dim, there);
    if (thread < M / 2) {
      const float* source = (thread < M / 4 ? p.lse : p.delta) + (std::int64_t{unit.pair} * p.query_tiles + tile) * M;
      copy_async(shared.statistics + static_cast<unsigned>((2 * stage) * Tile::statistic_bytes + thread * 16),
                 source + thread % (M / 4) * 4, true);
    }
  };

  unsigned shown = 0;  // the columns of this lane's scores, a bit each
  {
    ShownKeys keys{p.mask ? p.mask + unit.sample * p.mask_batch : nullptr, p.keys};
    std::uint64_t bits[N / 64];
#pragma unroll
    for (int i = 0; i < N / 64; ++i) {
      keys.fetch(lane, key + i * 64);
      bits[i] = keys.bits();
    }
    const auto load_rows = [&](unsigned tile, const AttentionRows<const T>& rows) {
      copier.template load<N>(
          tile, rows.at(unit.sample, key, unit.head), rows.token, rows.packed, p.head_dim,
          [&](int i) { return (bits[i * copier.step / 64] >> (copier.row + i * copier.step % 64) & 1) != 0; });
    };
    load_rows(shared.k, p.k);
    load_rows(shared.v, p.v);
    const int column = warp.score_column();
    const std::uint64_t mine = (column < 64 ? bits[0] : bits[N / 64 - 1]) >> (column % 64);
#pragma unroll
    for (int n = 0; n < ST; ++n) shown |= static_cast<unsigned>(mine >> (n * 8 + lane % 4 * 2) & 3) << (2 * n);
  }
  const bool all_shown = __all_sync(0xFFFFFFFFu, shown == (1u << (2 * ST)) - 1);
  if (unit.begin < unit.end) load_queries(unit.begin);
  commit_copies();

  const TileReader<D, left_order<false>> score_left(lane, warp.score_row(), 0);
  const TileReader<D, right_order<false>> score_right(lane, warp.score_column(), 0);
  const TileReader<N, left_order<true>> dk_left(lane, 0, warp.dk_row() / 8);
  const TileReader<D, right_order<true>> dk_right(lane, 0, warp.dk_column() / 8);
  const TileReader<N, left_order<false>> dq_left(lane, warp.dq_row(), 0);
  const TileReader<D, right_order<true>> dq_right(lane, 0, warp.dq_column() / 8);
  const auto once = [](int, int) { return 1.0f; };

  for (int tile = unit.begin; tile <= unit.end; ++tile) {
    const int stage = tile % Tile::stages;
    const unsigned offset = static_cast<unsigned>(stage * Tile::query_bytes),
                   done = static_cast<unsigned>(tile - unit.begin);
    wait_copies<0>();
    // dq of the tile before is added to what others left.
    if (tile > unit.begin) order.await(tile - 1, done);
    __syncthreads();  // this tile has arrived, and everybody is through with the one before, but for dq
    if (tile > unit.begin) order.settle(tile - 1);
    if (tile + 1 < unit.end) {
      load_queries(tile + 1);
      commit_copies();
    }

    float s[2][ST][4] = {}, ds[2][ST][4] = {}, dq[2][QT][4] = {};
    float* const dq_tile = dq_sums + std::int64_t{tile - 1} * Tile::dq_elements;
    if (tile > unit.begin && order.adds()) load_sums(dq, dq_tile, warp.warp, lane);
    const float* lse = shared.lse + stage * 2 * M + warp.score_row() + lane / 4;
    if (tile < unit.end) {
      multiply_tiles<T, D / 16, false, false>(s, score_left, shared.q + offset, score_right, shared.k);
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
      narrow_to_tile<T, N>(shared.p, lane, warp.score_row(), warp.score_column() / 8, s, once);
    }
    if (tile > unit.begin) {
      if (p.dq.data) {
        multiply_tiles<T, N / 16, false, true>(dq, dq_left, shared.ds, dq_right, shared.k);
        if (order.ends())
          store_rows<T, Order::in_time>(dq, p.scale, p.dq.at(unit.sample, 0, unit.head), p.dq.token, p.dq.packed,
                                        (tile - 1) * M + warp.dq_row(), p.queries, warp.dq_column(), p.head_dim, lane);
        else
          store_sums(dq, dq_tile, warp.warp, lane);
      }
      barrier_arrive(shared.dq_made);
    }
    if (tile == unit.end) break;

    multiply_tiles<T, D / 16, false, false>(ds, score_left, shared.dout + offset, score_right, shared.v);
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
    if (tile > unit.begin) {
      barrier_wait(shared.dq_made, (done - 1) % 2);  // nobody reads the tile's predecessor any more
      if constexpr (!Order::in_time) order.publish(tile - 1, done);
    }
    narrow_to_tile<T, N>(shared.ds, lane, warp.score_row(), warp.score_column() / 8, ds, once);
    warp.meet_group();
    multiply_tiles<T, M / 16, true, true>(dv, dk_left, shared.p, dk_right, shared.dout + offset);
    if constexpr (Order::in_time) order.prepare(tile);
    multiply_tiles<T, M / 16, true, true>(dk, dk_left, shared.ds, dk_right, shared.q + offset);
    if constexpr (Order::in_time)
      if (tile > unit.begin) order.publish(tile - 1, done);
  }

  wait_copies<0>();
  __syncthreads();
  if (unit.begin < unit.end) {
    order.publish(unit.end - 1, static_cast<unsigned>(unit.end - unit.begin));
  }
}

/// Writes finished sums of dk and dv as rows; their way is over the tiles of keys and values, which nobody reads any
/// more.
template <class T, int D>
__device__ __forceinline__ void store_key_gradients(const AttentionBackwardArguments<T>& p,
                                                    const AttentionBackwardShared<D>& shared,
                                                    const AttentionBackwardWarp<D>& warp,
                                                    const TileCopier<T, D, AttentionBackwardTile<D>::threads>& copier,
                                                    const AttentionBackwardUnit& unit, const AttentionSums<D>& dk,
                                                    const AttentionSums<D>& dv) {
  constexpr int N = AttentionBackwardTile<D>::keys;
  narrow_to_tile<T, D>(shared.k, warp.lane, warp.dk_row(), warp.dk_column() / 8, dk, [&](int, int) { return p.scale; });
  narrow_to_tile<T, D>(shared.v, warp.lane, warp.dk_row(), warp.dk_column() / 8, dv, [](int, int) { return 1.0f; });
  __syncthreads();
  const int key = unit.key_tile * N, rows = p.keys - key;
  if (p.dk.data)
    copier.template store<N>(shared.k, p.dk.at(unit.sample, key, unit.head), p.dk.token, p.dk.packed, p.head_dim, rows);
  if (p.dv.data)
    copier.template store<N>(shared.v, p.dv.at(unit.sample, key, unit.head), p.dv.token, p.dv.packed, p.head_dim, rows);
}

SEGUE_KERNELS_END
