// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "segue/ops/cuda/attention_walk.cuh"

// Who walks over what: the two ways to cut the work of attention's backward, each with its order of the sums of dq.

SEGUE_KERNELS_BEGIN

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

/// The dq of a head's tiles of queries is added to in the order of keys: whoever has a tile of keys follows the block
/// of the one before, from tile to tile. The last tells too, though nobody asks: where keys are many, to tell it apart
/// costs the others more than its silence saves.
struct AttentionLine {
  static constexpr bool in_time = false;  // a predecessor is one tile ahead
  int thread;
  unsigned* progress;  ///< of this unit; the predecessor's is before it
  bool follows, last;
  unsigned known = 0;  ///< of the predecessor's progress, in one thread

  __device__ __forceinline__ void await(int, unsigned done) {
    if (thread == 32 && follows) known = wait_for(progress - 1, done, known);
  }
  __device__ __forceinline__ void settle(int) {}
  __device__ __forceinline__ bool adds() const { return follows; }
  __device__ __forceinline__ bool ends() const { return last; }
  __device__ __forceinline__ void publish(int, unsigned done) {
    if (thread == 0) store_release(progress, done);
  }
};

/// Work in units. Blocks take theirs from a counter, so whoever is waited for has begun earlier and is running; all
/// walk in the same direction, so they wait at the start and then follow each other. Where units are few, or in the end
/// too few to keep all multiprocessors busy, the queries of all heads or of each sample's last ones are cut into splits
/// with sums of dk and dv each, which `attention_finish` adds in order. Whole heads come first, so that short units
/// fill the end.
template <class T, int D>
__global__ void __launch_bounds__(AttentionBackwardTile<D>::threads, 1)
    attention_backward_tiles(const AttentionBackwardArguments<T> p) {
  using Tile = AttentionBackwardTile<D>;
  extern __shared__ __align__(1024) unsigned char shared_memory[];
  const AttentionBackwardShared<D> shared(shared_memory);
  unsigned* slot = reinterpret_cast<unsigned*>(shared_memory);  // before anything else is there
  const int thread = static_cast<int>(threadIdx.x);
  const AttentionBackwardWarp<D> warp(thread);

  if (thread == 0) {
    *slot = atomicAdd(p.ticket, 1u);
    barrier_init(shared.dq_made, Tile::threads);
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
  const int sample = pairs.sample(in_order), head = pairs.head(in_order);
  const int begin = split * split_tiles;
  const AttentionBackwardUnit mine{sample,   head,  sample * p.heads + head,
                                   key_tile, begin, min(begin + split_tiles, p.query_tiles)};
  AttentionLine order{thread, p.progress + (std::int64_t{mine.pair} * p.splits + split) * p.key_tiles + key_tile,
                      p.dq.data && key_tile > 0, key_tile + 1 == p.key_tiles};
  const TileCopier<T, D, Tile::threads> copier(thread);
  AttentionSums<D> dk = {}, dv = {};
  walk_queries<T, D>(p, shared, warp, copier, mine, order, dk, dv);
  if (!whole) {
    const std::int64_t at =
        ((std::int64_t{split} * pairs.count + in_order) * p.key_tiles + key_tile) * Tile::dk_elements;
    if (p.dk.data) store_sums(dk, p.dk_parts + at, warp.warp, warp.lane);
    if (p.dv.data) store_sums(dv, p.dv_parts + at, warp.warp, warp.lane);
    return;
  }
  store_key_gradients<T, D>(p, shared, warp, copier, mine, dk, dv);
}

/// One block a tile of dk, then of dv.
template <class T, int D>
__global__ void __launch_bounds__(AttentionBackwardTile<D>::threads)
    attention_finish(const AttentionBackwardArguments<T> p) {
  using Tile = AttentionBackwardTile<D>;
  extern __shared__ __align__(1024) unsigned char shared_memory[];
  const unsigned tile = shared_address(shared_memory);
  const AttentionPairs pairs = AttentionPairs::cut(p);
  const int thread = static_cast<int>(threadIdx.x), units = pairs.count * p.key_tiles;
  const AttentionBackwardWarp<D> warp(thread);
  int unit = static_cast<int>(blockIdx.x);
  const bool values = !p.dk.data || unit >= units;
  if (unit >= units) unit -= units;

  const float* parts = (values ? p.dv_parts : p.dk_parts) + std::int64_t{unit} * Tile::dk_elements;
  AttentionSums<D> sum = {};
#pragma unroll 2
  for (int split = 0; split < p.splits; ++split)
    add_sums(sum, parts + std::int64_t{split} * units * Tile::dk_elements, warp.warp, warp.lane);
  narrow_to_tile<T, D>(tile, warp.lane, warp.dk_row(), warp.dk_column() / 8, sum,
                       [&](int, int) { return values ? 1.0f : p.scale; });
  __syncthreads();
  const AttentionRows<T>& rows = values ? p.dv : p.dk;
  const int key = unit % p.key_tiles * Tile::keys, in_order = unit / p.key_tiles;
  TileCopier<T, D, Tile::threads>(thread).template store<Tile::keys>(
      tile, rows.at(pairs.sample(in_order), key, pairs.head(in_order)), rows.token, rows.packed, p.head_dim,
      p.keys - key);
}

/// The dq of a tile of queries is added to in the order in which blocks come to it, as far as that is known beforehand:
/// by places in their shares, then by keys.
struct AttentionTurns {
  static constexpr bool in_time = true;  // two tiles or more
  const AttentionShares& shares;
  int thread, block, key_tile;
  unsigned* made;  ///< (query tiles), of the head
  volatile int* told;
  bool waits;
  int turn = 0;
  unsigned known = 0;  ///< of the next tile's `made`, in one thread; where nothing is waited for, its turn

  __device__ __forceinline__ void prepare(int tile) {
    if (thread / 32 != 1) return;
    const int lane = thread % 32;
    const int mine = key_tile * shares.step() + tile - shares.first_place(block);
    int before = 0;
    for (int other = lane; other < shares.key_tiles; other += 32) {
      const int place = other * shares.step() + tile;
      const int theirs = place - shares.first_place(shares.block_at(place));
      before += theirs < mine || (theirs == mine && other < key_tile);
    }
    before = __reduce_add_sync(0xFFFFFFFFu, before);
    if (lane != 0) return;
    told[tile % 2] = before;
    known = waits && before > 0 ? load_acquire(made + tile) : static_cast<unsigned>(before);
  }
  __device__ __forceinline__ void await(int tile, unsigned) {
    if (thread == 32) wait_for(made + tile, static_cast<unsigned>(told[tile % 2]), known);
  }
  __device__ __forceinline__ void settle(int tile) { turn = told[tile % 2]; }
  __device__ __forceinline__ bool adds() const { return waits && turn > 0; }
  __device__ __forceinline__ bool ends() const { return turn + 1 == shares.key_tiles; }
  __device__ __forceinline__ void publish(int tile, unsigned) {
    if (thread == 0 && !ends()) store_release(made + tile, static_cast<unsigned>(turn) + 1);
  }
};

/// Work in shares, for few units of few samples: blocks end together. They come to a tile of queries at different
/// times, so they seldom wait for dq; but they can, and whoever is waited for may not have begun earlier, so all must
/// run at the same time. The block that begins a tile of keys adds the parts of those that go on with it.
template <class T, int D>
__global__ void __launch_bounds__(AttentionBackwardTile<D>::threads, 1)
    attention_backward_shares(const AttentionBackwardArguments<T> p) {
  using Tile = AttentionBackwardTile<D>;
  extern __shared__ __align__(1024) unsigned char shared_memory[];
  const AttentionBackwardShared<D> shared(shared_memory);
  const int thread = static_cast<int>(threadIdx.x);
  const AttentionBackwardWarp<D> warp(thread);
  const TileCopier<T, D, Tile::threads> copier(thread);
  const int blocks = p.shares.blocks;
  const int head = static_cast<int>(blockIdx.x) / blocks, block = static_cast<int>(blockIdx.x) % blocks;
  const int last = p.shares.first_place(block + 1);
  for (int sample = 0; sample < p.batch; ++sample) {
    const int pair = sample * p.heads + head;
    unsigned* const parts_made = p.parts_made + std::int64_t{pair} * blocks;
    const auto part = [&](int of) { return (std::int64_t{pair} * blocks + of) * Tile::dk_elements; };
    for (int place = p.shares.first_place(block); place < last;) {
      const auto [key_tile, begin, end, next] = p.shares.unit_at(place, last);
      place = next;
      if (begin >= end) continue;
      const AttentionBackwardUnit unit{sample, head, pair, key_tile, begin, end};
      AttentionTurns order{p.shares,
                           thread,
                           block,
                           key_tile,
                           p.turns + std::int64_t{pair} * p.query_tiles,
                           shared.turns,
                           p.dq.data != nullptr};
      if (thread == 0) barrier_init(shared.dq_made, Tile::threads);
      AttentionSums<D> dk = {}, dv = {};
      walk_queries<T, D>(p, shared, warp, copier, unit, order, dk, dv);
      if (thread == 0) barrier_end(shared.dq_made);
      if (begin > 0) {
        if (p.dk.data) store_sums(dk, p.dk_parts + part(block), warp.warp, warp.lane);
        if (p.dv.data) store_sums(dv, p.dv_parts + part(block), warp.warp, warp.lane);
        __syncthreads();
        if (thread == 0) store_release(parts_made + block, 1);
        continue;
      }
      // The last of the others has made its part first, at the beginning of its share.
      const int others = p.shares.block_at(key_tile * p.shares.step() + p.query_tiles - 1) - block;
      for (int i = 0; i < others; ++i) {
        const int other = block + (i == 0 ? others : i);
        if (thread == 0) wait_for(parts_made + other, 1);
        __syncthreads();
        if (p.dk.data) add_sums(dk, p.dk_parts + part(other), warp.warp, warp.lane);
        if (p.dv.data) add_sums(dv, p.dv_parts + part(other), warp.warp, warp.lane);
      }
      store_key_gradients<T, D>(p, shared, warp, copier, unit, dk, dv);
      __syncthreads();
    }
  }
}

SEGUE_KERNELS_END
