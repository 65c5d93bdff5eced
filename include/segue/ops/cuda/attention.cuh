// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "segue/core/launch.cuh"
#include "segue/ops/attention.hpp"
#include "segue/ops/cuda/access.cuh"
#include "segue/ops/cuda/attention_backward.cuh"
#include "segue/ops/cuda/attention_delta.cuh"
#include "segue/ops/cuda/attention_forward.cuh"
#include "segue/ops/cuda/attention_plain.cuh"

SEGUE_NAMESPACE_BEGIN
namespace detail {

/// Head dimensions for which there are tiles; others are padded to the next one.
using AttentionDims = std::integer_sequence<int, 64, 128, 256>;

inline int attention_tile_dim(std::int64_t d) { return d <= 64 ? 64 : d <= 128 ? 128 : 256; }

template <class F>
void with_attention_dim(const char* op, std::int64_t d, F&& f) {
  dispatch(op, "head dimension of a tile", attention_tile_dim(d), AttentionDims{}, std::forward<F>(f));
}

/// Whether the kernels on tensor cores take these operands: 16-bit elements, and the device has room for their tiles.
template <class T>
bool attention_has_tiles(const Exec<Cuda>& exec, std::int64_t head_dim, bool backward) {
  if constexpr (std::is_same_v<T, bfloat16> || std::is_same_v<T, float16>) {
    if (head_dim > 256) return false;
    int room = 0, need = 0;
    cuda_check(cudaDeviceGetAttribute(&room, cudaDevAttrMaxSharedMemoryPerBlockOptin, exec.device()), "attention");
    with_attention_dim("attention", head_dim, [&](auto d) {
      need = backward ? kernels::AttentionBackwardTile<d()>::shared_bytes
                      : kernels::AttentionForwardTile<d()>::shared_bytes;
    });
    return need <= room;
  } else {
    return false;
  }
}

inline void check_attention_size(const char* op, const ops::AttentionShape& s) {
  constexpr std::int64_t most = std::int64_t{1} << 30;
  check(s.queries < most && s.keys < most && s.batch * s.heads * ceil_div(std::max(s.queries, s.keys), 32) < most, op,
        "the tokens of all samples and heads together are more than the kernels count");
}

template <class T>
kernels::AttentionRows<T> attention_rows(const View<T, 4, CudaSpace>& x) {
  return {x.data_handle(), x.stride(0), x.stride(1), x.stride(2), packs(x, 16 / sizeof(T))};
}

/// What the arguments of all kernels have in common.
template <class Arguments, class T>
Arguments attention_arguments(const ops::AttentionShape& s, const View<const T, 4, CudaSpace>& q,
                              const View<const T, 4, CudaSpace>& k, const View<const T, 4, CudaSpace>& v,
                              const View<const std::uint8_t, 2, CudaSpace>& key_mask) {
  Arguments p{};
  p.q = attention_rows(q), p.k = attention_rows(k), p.v = attention_rows(v);
  p.mask = key_mask.data_handle(), p.mask_batch = key_mask.stride(0);
  p.queries = static_cast<int>(s.queries), p.keys = static_cast<int>(s.keys);
  p.heads = static_cast<int>(s.heads), p.head_dim = static_cast<int>(s.head_dim);
  return p;
}

/// Into how many tiles a head's queries are cut, and how many halves of a tile follow.
struct AttentionForwardCut {
  std::int64_t tiles, halves;

  /// Of `pairs` of samples and heads. If all blocks fit at once (there are `places` for them; 0: no halves), the
  /// multiprocessor with most of all heads' queries shall have few. Where blocks follow each other, whoever is free
  /// takes the next one, and halves gain nothing.
  static AttentionForwardCut make(std::int64_t queries, std::int64_t pairs, std::int64_t processors,
                                  std::int64_t places, std::int64_t tile) {
    const std::int64_t all = ceil_div(queries, tile);
    const auto rest = [&](std::int64_t tiles) { return ceil_div(2 * (queries - tiles * tile), tile); };
    const auto most = [&](std::int64_t tiles) {
      return std::max(2 * ceil_div(pairs * tiles, processors), ceil_div(pairs * (2 * tiles + rest(tiles)), processors));
    };
    AttentionForwardCut best{all, 0};
    std::int64_t least = 2 * ceil_div(pairs * all, processors);
    for (std::int64_t tiles = all - 1; tiles >= 0 && pairs * (tiles + rest(tiles)) <= places; --tiles)
      if (most(tiles) < least) {
        least = most(tiles);
        best = {tiles, rest(tiles)};
      }
    return best;
  }
};

/// How the backward's work is cut, and where in scratch its parts lie. What decides the order of sums depends on one
/// sample and the device alone, not on the batch.
struct AttentionBackwardPlan {
  std::int64_t query_tiles = 0, key_tiles = 0, near_pairs = 1, padded_queries = 0;
  std::int64_t whole_heads = 0, splits = 1, split_tiles = 0;  ///< the other heads' queries are cut into splits
  kernels::AttentionShares shares{};                          ///< if it has blocks, used in place of the splits
  std::int64_t counter_count = 0;
  std::size_t lse = 0, delta = 0, counters = 0, dq = 0, dk = 0, dv = 0, bytes = 0;

  template <class T>
  static AttentionBackwardPlan make(const Exec<Cuda>& exec, const ops::AttentionShape& s) {
    AttentionBackwardPlan plan;
    if (!attention_has_tiles<T>(exec, s.head_dim, true)) {
      plan.padded_queries = s.queries;
      plan.place<Accum<T>>(s, 0, 0);
      return plan;
    }
    with_attention_dim("attention_backward", s.head_dim, [&](auto d) {
      using Tile = kernels::AttentionBackwardTile<d()>;
      plan.query_tiles = ceil_div(s.queries, Tile::queries);
      plan.key_tiles = std::max<std::int64_t>(1, ceil_div(s.keys, Tile::keys));  // without keys dq is still written
      plan.padded_queries = plan.query_tiles * Tile::queries;
      // Of a head the queries, the gradient of the output and the sums of dq. Somewhat more than a cache holds: the
      // more heads are worked on, the fewer blocks wait for each other.
      constexpr std::int64_t cache_bytes = std::int64_t{64} << 20;
      const std::int64_t head_bytes = std::max<std::int64_t>(1, plan.padded_queries * d() * 8);
      const std::int64_t near_limit = std::max<std::int64_t>(1, cache_bytes / head_bytes);
      plan.near_pairs = std::max<std::int64_t>(1, std::min(s.batch * s.heads, near_limit));
      const double cost = plan.cut(exec, s.heads, near_limit, std::int64_t{4} * Tile::dk_elements);
      if (Tile::has_shares && s.heads <= near_limit) plan.share(exec, s.heads, head_bytes, cost);
      plan.place<float>(s, Tile::dq_elements, Tile::dk_elements);
    });
    return plan;
  }

 private:
  /// Chooses the splits of the queries, and of how many heads, by a model of the time, which is returned.
  double cut(const Exec<Cuda>& exec, std::int64_t heads, std::int64_t near_limit, std::int64_t dk_tile_bytes) {
    constexpr std::int64_t part_bytes = std::int64_t{128} << 20;  // what parts of one sample may take
    const std::int64_t processors = exec.multiprocessors();
    // In tiles of queries, as measured on an H100. A unit loads and stores for as long as a tile takes, with parts for
    // half a tile more. Of the units that begin together each waits for the one before, and falls back a little more
    // with every tile. A second kernel adds the parts, those of 65 units in the time of a tile.
    const auto cost = [&](std::int64_t samples, std::int64_t whole, std::int64_t n, std::int64_t tiles) {
      const std::int64_t longs = samples * whole * key_tiles, shorts = samples * (heads - whole) * key_tiles * n;
      const std::int64_t at_once = std::min(whole > 0 ? longs : shorts, processors);
      const std::int64_t abreast = std::max<std::int64_t>(
          1, whole > 0 ? std::min(near_limit, samples * whole) : std::min(near_limit, samples * heads) * n);
      const std::int64_t in_line = std::max<std::int64_t>(1, std::min(ceil_div(at_once, abreast), key_tiles)) - 1;
      const auto walk = static_cast<double>(std::min<std::int64_t>(whole > 0 ? query_tiles : tiles, 30));
      const double parts = n > 1 ? 1.0 + static_cast<double>(shorts) / 65 : 0.0;
      constexpr std::int64_t tile = 2;  // in halves
      return static_cast<double>(in_line) * (0.93 + 0.07 * walk) + parts +
             static_cast<double>(end_of(processors, longs, tile * query_tiles + 2, shorts, tile * tiles + 3)) / tile;
    };
    double best = 0;
    const auto consider = [&](std::int64_t whole, std::int64_t n) {
      const std::int64_t tiles = ceil_div(query_tiles, n);
      if (n > 1 && ceil_div(query_tiles, tiles) != n) return;
      const double both = both_of(cost(1, whole, n, tiles), cost(8, whole, n, tiles));
      if (best > 0 && both >= best) return;
      best = both;
      whole_heads = whole, splits = n, split_tiles = tiles;
    };
    consider(heads, 1);
    for (std::int64_t n = 2; n <= std::min<std::int64_t>(query_tiles, 32); ++n) {
      const std::int64_t most = part_bytes / (2 * n * key_tiles * dk_tile_bytes);  // as many heads may have parts
      for (std::int64_t whole = std::max<std::int64_t>(0, heads - most); whole < heads; ++whole) consider(whole, n);
    }
    return best;
  }

  /// Takes shares in place of what `cut` chose if they cost less than that, which is `best`.
  void share(const Exec<Cuda>& exec, std::int64_t heads, std::int64_t head_bytes, double best) {
    int together = 0;
    cuda_check(cudaDeviceGetAttribute(&together, cudaDevAttrCooperativeLaunch, exec.device()), "attention_backward");
    constexpr std::int64_t most_tiles = std::int64_t{1} << 20;
    const std::int64_t blocks = exec.multiprocessors() / std::max<std::int64_t>(heads, 1);
    if (!together || blocks < 2 || query_tiles * key_tiles > most_tiles) return;
    // Blocks of a head are everywhere in its queries: if those of all heads do not fit the cache, tiles take longer.
    constexpr std::int64_t cache_bytes = std::int64_t{40} << 20;
    const double slower = heads * head_bytes <= cache_bytes ? 1.0 : 1.2;
    for (int switching = 0; switching <= 2; ++switching) {
      const kernels::AttentionShares tried{static_cast<int>(query_tiles), static_cast<int>(key_tiles), switching,
                                           static_cast<int>(blocks)};
      if (!apart(tried)) continue;
      // A unit costs three halves of a tile, as parts do in `cut`, and in the end parts are added.
      const double one = (static_cast<double>(longest(tried, 3)) / 2 + 1) * slower, both = both_of(one, 8 * one);
      if (both >= best) continue;
      best = both;
      shares = tried;
    }
  }

  /// Eight samples are cut as one is, so what they would take counts too, if less.
  static double both_of(double one, double eight) { return one * std::pow(eight, 0.375); }

  /// The largest share, in halves of a tile, if each of its units costs `unit` of them.
  static std::int64_t longest(const kernels::AttentionShares& shares, std::int64_t unit) {
    std::int64_t most = 0;
    for (int block = 0; block < shares.blocks; ++block) {
      const int last = shares.first_place(block + 1);
      std::int64_t length = 0;
      for (int place = shares.first_place(block); place < last;) {
        const auto [key_tile, begin, end, next] = shares.unit_at(place, last);
        if (begin < end) length += 2 * (end - begin) + unit;
        place = next;
      }
      most = std::max(most, length);
    }
    return most;
  }

  /// Whether the blocks of a head come to a tile of queries at least two tiles' time after each other: a tile's dq is
  /// there for the next somewhat more than a tile's time after its beginning.
  static bool apart(const kernels::AttentionShares& shares) {
    const std::int64_t cycle = shares.places(), blocks = shares.blocks;
    if (2 * blocks * shares.key_tiles > cycle) return false;
    std::vector<std::int64_t> times;  // in parts of a tile's time, `blocks` each
    for (std::int64_t key = 0; key < shares.key_tiles; ++key) times.push_back(key * shares.step() * blocks % cycle);
    std::sort(times.begin(), times.end());
    times.push_back(times.front() + cycle);
    for (std::size_t i = 1; i < times.size(); ++i)
      if (times[i] - times[i - 1] < 2 * blocks) return false;
    return true;
  }

  /// When the last of `longs` units of `length` and then `shorts` units of `piece` is done, if whoever is free takes
  /// the next one.
  static std::int64_t end_of(std::int64_t processors, std::int64_t longs, std::int64_t length, std::int64_t shorts,
                             std::int64_t piece) {
    const std::int64_t begin = longs / processors * length, late = longs % processors;
    const std::int64_t late_begin = begin + (late > 0 ? length : 0);
    const auto done_by = [&](std::int64_t t) {
      return (processors - late) * ((t - begin) / piece) + late * ((t - late_begin) / piece);
    };
    // Nobody ends sooner than if all ended together; from there on, from one end of a unit to the next.
    std::int64_t t = std::max(late_begin, begin + (shorts * piece + late * length) / processors);
    while (done_by(t) < shorts)
      t = std::min(begin + ((t - begin) / piece + 1) * piece, late_begin + ((t - late_begin) / piece + 1) * piece);
    return t;
  }

  template <class A>
  void place(const ops::AttentionShape& s, std::int64_t dq_tile, std::int64_t dk_tile) {
    const std::int64_t pairs = s.batch * s.heads;
    const auto take = [&](std::int64_t n) {
      const std::size_t at = bytes;
      bytes += static_cast<std::size_t>(ceil_div(n, 256) * 256);
      return at;
    };
    constexpr std::int64_t size = sizeof(A);
    lse = take(pairs * padded_queries * size);
    delta = take(pairs * padded_queries * size);
    counter_count = shares.blocks > 0 ? pairs * (query_tiles + shares.blocks) : 1 + pairs * key_tiles * splits;
    counters = take(counter_count * 4);
    dq = take(key_tiles > 1 ? pairs * query_tiles * dq_tile * size : 0);
    // Those of shares are some 17 MB a sample: 64 KiB a block each of dk and dv.
    const std::int64_t parts = shares.blocks > 0 ? pairs * shares.blocks
                               : splits > 1      ? splits * s.batch * (s.heads - whole_heads) * key_tiles
                                                 : 0;
    dk = take(parts * dk_tile * size);
    dv = take(parts * dk_tile * size);
    bytes += 256;  // the start is aligned
  }
};

/// Tiles of rows of all heads, by slices of columns.
template <class T>
dim3 plain_grid(const ops::AttentionShape& s, std::int64_t rows) {
  constexpr int side = kernels::AttentionPlainTile<T>::side;
  return dim3(static_cast<unsigned>(s.batch * s.heads * ceil_div(rows, side)),
              static_cast<unsigned>(ceil_div(s.head_dim, side)));
}

inline std::byte* aligned_scratch(std::byte* p) {
  return reinterpret_cast<std::byte*>((reinterpret_cast<std::uintptr_t>(p) + 255) / 256 * 256);
}

}  // namespace detail

template <>
struct Kernel<op::AttentionForward, Cuda> {
  template <class T>
  static std::size_t workspace_bytes(const Exec<Cuda>&, const ops::AttentionShape&) {
    return 0;
  }

  template <class T>
  static void run(Exec<Cuda>& exec, const ops::AttentionShape& s, View<const T, 4, CudaSpace> q,
                  View<const T, 4, CudaSpace> k, View<const T, 4, CudaSpace> v,
                  View<const std::uint8_t, 2, CudaSpace> key_mask, float scale, View<T, 4, CudaSpace> out,
                  View<Accum<T>, 3, CudaSpace> lse, View<std::byte, 1, CudaSpace>) {
    constexpr const char* op = "attention_forward";
    detail::check_attention_size(op, s);
    if constexpr (sizeof(T) == 2) {
      if (detail::attention_has_tiles<T>(exec, s.head_dim, false)) {
        detail::with_attention_dim(op, s.head_dim, [&](auto d) {
          using Tile = kernels::AttentionForwardTile<d()>;
          auto p = detail::attention_arguments<kernels::AttentionForwardArguments<T>>(s, q, k, v, key_mask);
          p.out = detail::attention_rows(out);
          p.lse = lse.data_handle(), p.lse_batch = lse.stride(0), p.lse_head = lse.stride(1);
          const std::int64_t pairs = s.batch * s.heads;
          const std::int64_t processors = exec.multiprocessors();
          const auto cut = detail::AttentionForwardCut::make(
              s.queries, pairs, processors, Tile::has_halves ? processors * Tile::blocks : 0, Tile::queries);
          p.pairs = static_cast<int>(pairs);
          p.tiles = static_cast<int>(cut.tiles), p.halves = static_cast<int>(cut.halves);
          // Not 0: a hidden key's score is -inf, and must stay so.
          p.scale = std::max(std::abs(scale) * 1.44269504f, 1e-30f), p.negative = scale < 0;
          const auto run = [&](auto* kernel) {
            launch(exec, op, kernel, dim3(static_cast<unsigned>(pairs * (cut.tiles + cut.halves))), dim3(Tile::threads),
                   Tile::shared_bytes, p);
          };
          if constexpr (Tile::has_halves)
            if (cut.halves > 0) return run(kernels::attention_forward_tiles<T, d(), true>);
          run(kernels::attention_forward_tiles<T, d(), false>);
        });
        return;
      }
    }
    auto p = detail::attention_arguments<kernels::AttentionPlainArguments<T>>(s, q, k, v, key_mask);
    p.out = detail::attention_rows(out);
    p.lse = lse.data_handle(), p.lse_batch = lse.stride(0), p.lse_head = lse.stride(1);
    p.scale = scale;
    using Tile = kernels::AttentionPlainTile<T>;
    launch(exec, op, kernels::attention_forward_plain<T>, detail::plain_grid<T>(s, s.queries), dim3(Tile::threads), 0,
           p);
  }
};

template <>
struct Kernel<op::AttentionBackward, Cuda> {
  template <class T>
  static std::size_t workspace_bytes(const Exec<Cuda>& exec, const ops::AttentionShape& s) {
    return detail::AttentionBackwardPlan::make<T>(exec, s).bytes;
  }

  template <class T>
  static void run(Exec<Cuda>& exec, const ops::AttentionShape& s, View<const T, 4, CudaSpace> dout,
                  View<const T, 4, CudaSpace> q, View<const T, 4, CudaSpace> k, View<const T, 4, CudaSpace> v,
                  View<const std::uint8_t, 2, CudaSpace> key_mask, float scale, View<const T, 4, CudaSpace> out,
                  View<const Accum<T>, 3, CudaSpace> lse, View<T, 4, CudaSpace> dq, View<T, 4, CudaSpace> dk,
                  View<T, 4, CudaSpace> dv, View<std::byte, 1, CudaSpace> scratch) {
    using A = Accum<T>;
    constexpr const char* op = "attention_backward";
    detail::check_attention_size(op, s);
    if (s.batch * s.heads * s.head_dim == 0) return;
    const auto plan = detail::AttentionBackwardPlan::make<T>(exec, s);
    std::byte* base = detail::aligned_scratch(scratch.data_handle());
    const auto at = [&](std::size_t offset) { return reinterpret_cast<A*>(base + offset); };
    const bool tiles = detail::attention_has_tiles<T>(exec, s.head_dim, true);
    const std::int64_t pairs = s.batch * s.heads;

    kernels::AttentionDeltaArguments<T> r{};
    r.out = detail::attention_rows(out), r.dout = detail::attention_rows(dout);
    r.lse = lse.data_handle(), r.lse_batch = lse.stride(0), r.lse_head = lse.stride(1);
    r.rows_lse = at(plan.lse), r.delta = at(plan.delta), r.lse_factor = tiles ? A(1.4426950408889634) : A(1);
    r.count = pairs * plan.padded_queries, r.rows = static_cast<int>(plan.padded_queries);
    r.queries = static_cast<int>(s.queries), r.heads = static_cast<int>(s.heads);
    r.head_dim = static_cast<int>(s.head_dim);
    r.counters = reinterpret_cast<unsigned*>(base + plan.counters);
    r.counter_count = plan.counter_count;
    launch(exec, op, kernels::attention_delta<T>,
           dim3(static_cast<unsigned>(std::max<std::int64_t>(1, ceil_div(r.count, 16)))), dim3(256), 0, r);

    if constexpr (sizeof(T) == 2) {
      if (tiles) {
        auto p = detail::attention_arguments<kernels::AttentionBackwardArguments<T>>(s, q, k, v, key_mask);
        p.dout = detail::attention_rows(dout);
        p.dq = detail::attention_rows(dq), p.dk = detail::attention_rows(dk), p.dv = detail::attention_rows(dv);
        p.lse = r.rows_lse, p.delta = r.delta;
        p.dq_sums = at(plan.dq), p.dk_parts = at(plan.dk), p.dv_parts = at(plan.dv);
        p.ticket = r.counters, p.progress = r.counters + 1;
        p.batch = static_cast<int>(s.batch), p.whole_heads = static_cast<int>(plan.whole_heads);
        p.query_tiles = static_cast<int>(plan.query_tiles), p.key_tiles = static_cast<int>(plan.key_tiles);
        p.splits = static_cast<int>(plan.splits), p.split_tiles = static_cast<int>(plan.split_tiles);
        p.near_pairs = static_cast<int>(plan.near_pairs);
        p.shares = plan.shares;
        p.turns = r.counters, p.parts_made = r.counters + pairs * plan.query_tiles;
        p.scale = scale, p.scale_2 = scale * 1.44269504f;
        detail::with_attention_dim(op, s.head_dim, [&](auto d) { run_tiles<T, d()>(exec, op, p); });
        return;
      }
    }
    auto p = detail::attention_arguments<kernels::AttentionPlainArguments<T>>(s, q, k, v, key_mask);
    p.dout = detail::attention_rows(dout);
    p.dq = detail::attention_rows(dq), p.dk = detail::attention_rows(dk), p.dv = detail::attention_rows(dv);
    p.rows_lse = r.rows_lse, p.delta = r.delta, p.scale = scale;
    using Tile = kernels::AttentionPlainTile<T>;
    if (dq.data_handle() && s.queries > 0)
      launch(exec, op, kernels::attention_backward_queries_plain<T>, detail::plain_grid<T>(s, s.queries),
             dim3(Tile::threads), 0, p);
    if ((dk.data_handle() || dv.data_handle()) && s.keys > 0)
      launch(exec, op, kernels::attention_backward_keys_plain<T>, detail::plain_grid<T>(s, s.keys), dim3(Tile::threads),
             0, p);
  }

 private:
  template <class T, int D>
  static void run_tiles(Exec<Cuda>& exec, const char* op, const kernels::AttentionBackwardArguments<T>& p) {
    using Tile = kernels::AttentionBackwardTile<D>;
    if constexpr (Tile::has_shares) {
      if (p.shares.blocks > 0) {
        launch<Grid::together>(exec, op, kernels::attention_backward_shares<T, D>,
                               dim3(static_cast<unsigned>(p.heads * p.shares.blocks)), dim3(Tile::threads),
                               Tile::shared_bytes, p);
        return;
      }
    }
    const std::int64_t whole = std::int64_t{p.batch} * p.whole_heads * p.key_tiles;
    const std::int64_t cut = std::int64_t{p.batch} * (p.heads - p.whole_heads) * p.key_tiles;
    launch(exec, op, kernels::attention_backward_tiles<T, D>, dim3(static_cast<unsigned>(whole + cut * p.splits)),
           dim3(Tile::threads), Tile::shared_bytes, p);
    if (cut > 0 && (p.dk.data || p.dv.data))
      launch(exec, op, kernels::attention_finish<T, D>,
             dim3(static_cast<unsigned>(cut * (p.dk.data && p.dv.data ? 2 : 1))), dim3(Tile::threads), Tile::key_bytes,
             p);
  }
};

SEGUE_NAMESPACE_END
