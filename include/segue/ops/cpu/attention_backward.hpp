// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "segue/ops/attention.hpp"
#include "segue/ops/cpu/activation_math.hpp"
#include "segue/ops/cpu/attention_amx.hpp"
#include "segue/ops/cpu/attention_blocks.hpp"
#include "segue/ops/cpu/parallel.hpp"

SEGUE_NAMESPACE_BEGIN
namespace detail {

/// Scratch of a thread in the backward of one sample and head. "Steps" names the axis along which a packed operand
/// is summed. Scores of a block of keys by a tile of queries lie transposed, one panel of queries after the other.
template <class A>
struct AttentionBackwardScratch {
  using Blocking = AttentionBlocking<A>;
  static constexpr std::int64_t key_limit = 96;
  static constexpr std::int64_t block_rows = key_limit + Blocking::rows;
  A *q, *dout;                    // panels of queries, channels are steps; q in base-2 scores
  A *q_channels, *dout_channels;  // panels of channels, queries are steps
  A *lse, *delta;                 // of each query: log2 Σ 2^score, and out · dout
  A *k, *v, *k_channels;          // one block of keys: steps are channels, channels, keys
  A *p, *ds;                      // probabilities and score gradients, one tile
  A* packed;                      // one of them, packed with queries as steps
  A *dk, *dv;                     // sums of the block: panels of channels
  A* gathered;

  AttentionBackwardScratch(ScratchCursor<A>& cursor, const ops::AttentionShape& s) {
    const std::int64_t d = s.head_dim, lanes = Blocking::lanes;
    const std::int64_t queries = Blocking::round_up(s.queries, Blocking::columns);
    const std::int64_t channels = Blocking::round_up(d, Blocking::columns);
    q = cursor.take(queries * d);
    dout = cursor.take(queries * d);
    q_channels = cursor.take(s.queries * channels);
    dout_channels = cursor.take(s.queries * channels);
    lse = cursor.take(queries);
    delta = cursor.take(queries);
    k = cursor.take(block_rows * d + lanes);
    v = cursor.take(block_rows * d + lanes);
    k_channels = cursor.take(Blocking::round_up(d, Blocking::rows) * block_rows + lanes);
    p = cursor.take(block_rows * Blocking::query_tile);
    ds = cursor.take(block_rows * Blocking::query_tile);
    packed = cursor.take(block_rows * Blocking::query_tile + lanes);
    dk = cursor.take(block_rows * channels);
    dv = cursor.take(block_rows * channels);
    gathered = cursor.take(2 * s.keys * d);
  }

  /// Elements of one share of dq: a tile of D by queries for each panel of queries.
  static std::int64_t share(const ops::AttentionShape& s) {
    return Blocking::round_up(s.queries, Blocking::columns) * Blocking::tile_rows(s.head_dim);
  }
};

/// The backward of one sample and head.
template <class A, class T>
struct AttentionBackwardHead {
  using Blocking = AttentionBlocking<A>;
  using Scratch = AttentionBackwardScratch<A>;
  using V = simd::Vec<A>;
  static constexpr std::int64_t rows = Blocking::rows, columns = Blocking::columns, lanes = Blocking::lanes;
  const Scratch& scratch;
  ops::AttentionShape shape;
  A scale;
  HeadRows<const T> q, k, v, out, dout;
  HeadRows<T> dk, dv;
  const A* lse;
  std::int64_t keys;  // those that the mask shows; k and v hold only these
  bool need_dq;

  void pack_queries() const {
    const std::int64_t n = shape.queries, d = shape.head_dim;
    constexpr A log2e = A(1.4426950408889634074);
    pack_rows<static_cast<int>(columns)>(scratch.q, q, n, d);
    for (std::int64_t i = 0; i < Blocking::round_up(n, columns) * d; i += lanes)
      simd::store<A>(scratch.q + i, simd::load<A>(scratch.q + i) * (scale * log2e));
    pack_rows<static_cast<int>(columns)>(scratch.dout, dout, n, d);
    if (dk.data) pack_channels<static_cast<int>(columns)>(scratch.q_channels, q, n, d);
    if (dv.data) pack_channels<static_cast<int>(columns)>(scratch.dout_channels, dout, n, d);
    for (std::int64_t i = 0; i < Blocking::round_up(n, columns); ++i) {
      scratch.delta[i] = i < n ? row_product<A>(out.data + i * out.stride, dout.data + i * dout.stride, d) : A{0};
      scratch.lse[i] = i < n ? lse[i] * log2e : A{0};
    }
  }

  /// Part `part` of the keys: writes their dk and dv, and this part's share of dq.
  void run(std::int64_t part, A* dq) const {
    const std::int64_t parts = attention_parts(shape);
    const std::int64_t block = Blocking::key_block(keys, Scratch::key_limit), blocks = ceil_div(keys, block);
    const std::int64_t first = blocks * part / parts, last = blocks * (part + 1) / parts;
    if (need_dq && first == last) std::fill_n(dq, Scratch::share(shape), A{0});
    for (std::int64_t b = first; b < last; ++b) run_block(b * block, std::min(block, keys - b * block), dq, b > first);
  }

  void run_block(std::int64_t key, std::int64_t count, A* dq, bool add_dq) const {
    const std::int64_t d = shape.head_dim, padded = Blocking::round_up(count, rows);
    const std::int64_t tile = Blocking::tile_rows(d) * columns;
    const HeadRows<const T> kb{k.data + key * k.stride, k.stride}, vb{v.data + key * v.stride, v.stride};
    pack_rows<static_cast<int>(rows)>(scratch.k, kb, count, d);
    pack_rows<static_cast<int>(rows)>(scratch.v, vb, count, d);
    if (need_dq) pack_channels<static_cast<int>(rows)>(scratch.k_channels, kb, count, d);
    for (std::int64_t query = 0; query < shape.queries; query += Blocking::query_tile) {
      const std::int64_t queries = std::min(Blocking::query_tile, shape.queries - query);
      for (std::int64_t at = 0; at < queries; at += columns) {
        const std::int64_t valid = std::min(columns, queries - at);
        A* p = scratch.p + at * padded;
        A* ds = scratch.ds + at * padded;
        multiply_panel(count, d, scratch.k, d, scratch.q + (query + at) * d, p, valid, false);
        multiply_panel(count, d, scratch.v, d, scratch.dout + (query + at) * d, ds, valid, false);
        for (std::int64_t piece = 0; piece < valid; piece += lanes) {
          const V shift = simd::load<A>(scratch.lse + query + at + piece);
          const V delta = simd::load<A>(scratch.delta + query + at + piece);
          for (std::int64_t i = 0; i < count; ++i) {
            A* pi = p + i * columns + piece;
            A* di = ds + i * columns + piece;
            const V probability = simd::exp2_of_negative<A>(simd::load<A>(pi) - shift);
            simd::store<A>(pi, probability);
            simd::store<A>(di, probability * (simd::load<A>(di) - delta));
          }
        }
        if (need_dq)
          multiply_panel(d, count, scratch.k_channels, count, ds, dq + (query + at) / columns * tile, valid, add_dq);
      }
      if (dv.data) sum_over_queries(scratch.p, count, query, queries, scratch.dout_channels, scratch.dv);
      if (dk.data) sum_over_queries(scratch.ds, count, query, queries, scratch.q_channels, scratch.dk);
    }
    if (shape.queries == 0) {
      std::fill_n(scratch.dk, padded * Blocking::round_up(d, columns), A{0});
      std::fill_n(scratch.dv, padded * Blocking::round_up(d, columns), A{0});
    }
    if (dv.data) store_keys(scratch.dv, key, count, dv, A{1});
    if (dk.data) store_keys(scratch.dk, key, count, dk, scale);
  }

  /// sums (keys by channels) = or += scores (keys by queries) · right (queries by channels).
  void sum_over_queries(const A* scores, std::int64_t count, std::int64_t query, std::int64_t queries, const A* right,
                        A* sums) const {
    const std::int64_t padded = Blocking::round_up(count, rows);
    A* dst = scratch.packed;
    for (std::int64_t i = 0; i < count; i += rows)
      for (std::int64_t at = 0; at < queries; at += columns) {
        const std::int64_t steps = std::min(columns, queries - at);
        pack_panels<static_cast<int>(rows), true>(dst, scores + at * padded + i * columns, columns,
                                                  std::min(rows, count - i), rows, steps);
        dst += rows * steps;
      }
    for (std::int64_t c = 0; c < shape.head_dim; c += columns)
      multiply_panel(count, queries, scratch.packed, queries, right + c * shape.queries + query * columns,
                     sums + c * padded, std::min(columns, shape.head_dim - c), query > 0);
  }

  /// dq = scale · the shares, added in order.
  void store_dq(A* shares, HeadRows<T> dq) const {
    const std::int64_t share = Scratch::share(shape), tile = Blocking::tile_rows(shape.head_dim) * columns;
    for (std::int64_t i = 0; i < share; i += lanes) {
      V sum = simd::load<A>(shares + i);
      for (std::int64_t part = 1; part < attention_parts(shape); ++part)
        sum += simd::load<A>(shares + part * share + i);
      simd::store<A>(shares + i, sum * scale);
    }
    for (std::int64_t query = 0; query < shape.queries; query += columns)
      store_transposed(shares + query / columns * tile, HeadRows<T>{dq.data + query * dq.stride, dq.stride},
                       std::min(columns, shape.queries - query), shape.head_dim);
  }

  void store_keys(const A* sums, std::int64_t key, std::int64_t count, HeadRows<T> rows_out, A factor) const {
    const std::int64_t padded = Blocking::round_up(count, rows);
    for (std::int64_t c = 0; c < shape.head_dim; c += lanes)
      for (std::int64_t i = 0; i < count; ++i)
        simd::store<A>(rows_out.data + (key + i) * rows_out.stride + c,
                       simd::load<A>(sums + c / columns * columns * padded + i * columns + c % columns) * factor,
                       shape.head_dim - c);
  }
};

/// Moves the gradients of the keys that the mask shows from the front to their places and clears the others.
template <class T>
void scatter_keys(const View<const std::uint8_t, 2, HostSpace>& mask, std::int64_t sample, std::int64_t keys,
                  std::int64_t d, HeadRows<T> rows) {
  if (!rows.data) return;
  std::int64_t source = 0;
  for (std::int64_t i = 0; i < keys; ++i) source += mask(sample, i) != 0;
  for (std::int64_t i = keys; i-- > 0;) {
    T* row = rows.data + i * rows.stride;
    if (mask(sample, i) == 0)
      std::fill_n(row, d, cast<T>(0.0f));
    else if (--source != i)
      std::copy_n(rows.data + source * rows.stride, d, row);
  }
}

/// Calls `f(std::type_identity<Head>())` with the way that the gradients of attention to elements of T go.
template <class T, class F>
decltype(auto) with_attention_backward([[maybe_unused]] const ops::AttentionShape& s, F&& f) {
#if SEGUE_COMPILED_FOR_AMX
  if constexpr (std::is_same_v<T, bfloat16>) {
    if (AmxAttention::pays(s)) return f(std::type_identity<AmxAttentionBackwardHead>());
  }
#endif
  return f(std::type_identity<AttentionBackwardHead<Accum<T>, T>>());
}

}  // namespace detail

template <>
struct Kernel<op::AttentionBackward, Cpu> {
  template <class T>
  static std::size_t workspace_bytes(const Exec<Cpu>& exec, const ops::AttentionShape& s) {
    using A = Accum<T>;
    return detail::with_attention_backward<T>(s, [&]<class Head>(std::type_identity<Head>) {
      using Scratch = typename Head::Scratch;
      detail::ScratchCursor<A> cursor;
      Scratch(cursor, s);
      const std::int64_t owners = split_keys(exec, s) ? s.batch * s.heads : std::int64_t{exec.threads()};
      return static_cast<std::size_t>(exec.threads() * cursor.used() +
                                      owners * detail::attention_parts(s) * Scratch::share(s)) *
                 sizeof(A) +
             64;
    });
  }

  template <class T>
  static void run(Exec<Cpu>& exec, const ops::AttentionShape& s, View<const T, 4, HostSpace> dout,
                  View<const T, 4, HostSpace> q, View<const T, 4, HostSpace> k, View<const T, 4, HostSpace> v,
                  View<const std::uint8_t, 2, HostSpace> key_mask, float scale, View<const T, 4, HostSpace> out,
                  View<const Accum<T>, 3, HostSpace> lse, View<T, 4, HostSpace> dq, View<T, 4, HostSpace> dk,
                  View<T, 4, HostSpace> dv, View<std::byte, 1, HostSpace> bytes) {
    detail::with_attention_backward<T>(s, [&]<class Head>(std::type_identity<Head>) {
      run_by<Head, T>(exec, s, dout, q, k, v, key_mask, scale, out, lse, dq, dk, dv, bytes);
    });
  }

 private:
  template <class Head, class T>
  static void run_by(Exec<Cpu>& exec, const ops::AttentionShape& s, View<const T, 4, HostSpace> dout,
                     View<const T, 4, HostSpace> q, View<const T, 4, HostSpace> k, View<const T, 4, HostSpace> v,
                     View<const std::uint8_t, 2, HostSpace> key_mask, float scale, View<const T, 4, HostSpace> out,
                     View<const Accum<T>, 3, HostSpace> lse, View<T, 4, HostSpace> dq, View<T, 4, HostSpace> dk,
                     View<T, 4, HostSpace> dv, View<std::byte, 1, HostSpace> bytes) {
    using A = Accum<T>;
    using Scratch = typename Head::Scratch;
    detail::ScratchCursor<A> counter;
    Scratch(counter, s);
    A* base = detail::align_scratch<A>(bytes.data_handle());
    A* shares = base + exec.threads() * counter.used();
    const std::int64_t share = Scratch::share(s), parts = detail::attention_parts(s), pairs = s.batch * s.heads;

    const auto open = [&](const Scratch& scratch, std::int64_t pair, bool gather) {
      const std::int64_t sample = pair / s.heads, head = pair % s.heads;
      Head h{scratch,
             s,
             static_cast<A>(scale),
             detail::head_rows(q, sample, head),
             detail::head_rows(k, sample, head),
             detail::head_rows(v, sample, head),
             detail::head_rows(out, sample, head),
             detail::head_rows(dout, sample, head),
             detail::head_rows(dk, sample, head),
             detail::head_rows(dv, sample, head),
             lse.data_handle() + sample * lse.stride(0) + head * lse.stride(1),
             s.keys,
             dq.data_handle() != nullptr};
      if (gather)
        h.keys =
            detail::gather_keys(key_mask, sample, s.keys, s.head_dim, h.k, h.v, reinterpret_cast<T*>(scratch.gathered));
      return h;
    };
    const auto close = [&](const Head& h, std::int64_t pair, A* pair_shares) {
      const std::int64_t sample = pair / s.heads, head = pair % s.heads;
      if (dq.data_handle()) h.store_dq(pair_shares, detail::head_rows(dq, sample, head));
      if (key_mask.data_handle()) {
        detail::scatter_keys(key_mask, sample, s.keys, s.head_dim, h.dk);
        detail::scatter_keys(key_mask, sample, s.keys, s.head_dim, h.dv);
      }
    };
    const auto scratch_of = [&](std::int64_t range) {
      detail::ScratchCursor<A> cursor(base + range * counter.used());
      return Scratch(cursor, s);
    };

    const std::int64_t pair_work = std::max<std::int64_t>(1, s.queries * s.keys * s.head_dim);
    if (split_keys(exec, s)) {
      detail::parallel_ranges_for(exec, pairs * parts, [&](std::int64_t begin, std::int64_t end, std::int64_t range) {
        const Scratch scratch = scratch_of(range);
        for (std::int64_t unit = begin; unit < end;) {
          const std::int64_t pair = unit / parts;
          const Head h = open(scratch, pair, true);
          h.pack_queries();
          for (; unit < end && unit / parts == pair; ++unit) h.run(unit % parts, shares + unit * share);
        }
      });
      detail::parallel_for(exec, pairs, [&](std::int64_t begin, std::int64_t end) {
        const Scratch scratch = scratch_of(0);
        for (std::int64_t pair = begin; pair < end; ++pair)
          close(open(scratch, pair, false), pair, shares + pair * parts * share);
      });
    } else {
      const auto work = [&](std::int64_t begin, std::int64_t end, std::int64_t range) {
        const Scratch scratch = scratch_of(range);
        A* own = shares + range * parts * share;
        for (std::int64_t pair = begin; pair < end; ++pair) {
          const Head h = open(scratch, pair, true);
          h.pack_queries();
          for (std::int64_t part = 0; part < parts; ++part) h.run(part, own + part * share);
          close(h, pair, own);
        }
      };
      detail::parallel_ranges_for(exec, pairs, work, ceil_div(1 << 18, pair_work));
    }
  }

  /// With few heads a thread the parts of the keys are shared out too; the shares of dq must then wait for each other.
  static bool split_keys(const Exec<Cpu>& exec, const ops::AttentionShape& s) {
    return exec.threads() > 1 && s.batch * s.heads < 4 * exec.threads() && detail::attention_parts(s) > 1;
  }
};

SEGUE_NAMESPACE_END
