// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "segue/ops/attention.hpp"
#include "segue/ops/cpu/activation_math.hpp"
#include "segue/ops/cpu/attention_amx.hpp"
#include "segue/ops/cpu/attention_blocks.hpp"
#include "segue/ops/cpu/parallel.hpp"

SEGUE_NAMESPACE_BEGIN
namespace detail {

/// Everything one thread holds while it works on a sample and head.
template <class A>
struct AttentionForwardScratch {
  using Blocking = AttentionBlocking<A>;
  /// In float the scores of a block of keys take half of the first-level cache, and what is read beside them the other.
  static constexpr std::int64_t key_limit = std::min<std::int64_t>(192, 6144 / Blocking::columns);
  A *k, *v, *q, *p, *o;
  A* gathered;  // room for two copies of the keys' rows in the operands' type

  AttentionForwardScratch(ScratchCursor<A>& cursor, const ops::AttentionShape& s) {
    k = cursor.take(Blocking::round_up(s.keys, Blocking::rows) * s.head_dim + Blocking::lanes);
    v = cursor.take(Blocking::round_up(s.head_dim, Blocking::rows) * s.keys + Blocking::lanes);
    q = cursor.take(Blocking::query_tile * s.head_dim);
    p = cursor.take((key_limit + Blocking::rows) * Blocking::columns);
    o = cursor.take(Blocking::panels * Blocking::tile_rows(s.head_dim) * Blocking::columns);
    gathered = cursor.take(2 * s.keys * s.head_dim);
  }

  template <class T>
  void pack_keys(HeadRows<const T> kr, HeadRows<const T> vr, std::int64_t keys, std::int64_t d) const {
    pack_rows<static_cast<int>(Blocking::rows)>(k, kr, keys, d);
    pack_channels<static_cast<int>(Blocking::rows)>(v, vr, keys, d);
  }

  /// One tile of queries against all packed keys.
  template <class T>
  void tile(HeadRows<const T> q, std::int64_t queries, std::int64_t keys, std::int64_t d, A scale, HeadRows<T> out,
            A* lse) const;
};

template <class A, class T>
void attention_tile(const AttentionForwardScratch<A>& scratch, HeadRows<const T> q, std::int64_t queries,
                    std::int64_t keys, std::int64_t d, A scale, HeadRows<T> out, A* lse) {
  using Blocking = AttentionBlocking<A>;
  using V = simd::Vec<A>;
  constexpr std::int64_t rows = Blocking::rows, columns = Blocking::columns, lanes = Blocking::lanes;
  constexpr A log2e = A(1.4426950408889634074), ln2 = A(0.69314718055994530942);
  const std::int64_t block = Blocking::key_block(keys, AttentionForwardScratch<A>::key_limit);
  const std::int64_t tile = Blocking::tile_rows(d) * columns, panels = ceil_div(queries, columns);
  V maximum[Blocking::pieces * Blocking::panels], sum[Blocking::pieces * Blocking::panels];
  for (V& m : maximum) m = simd::broadcast(-std::numeric_limits<A>::infinity());
  for (V& l : sum) l = V{};

  pack_rows<static_cast<int>(columns)>(scratch.q, q, queries, d);
  // Scores in base 2: the factor of the exponential is folded into q.
  for (std::int64_t i = 0; i < panels * columns * d; i += lanes)
    simd::store<A>(scratch.q + i, simd::load<A>(scratch.q + i) * (scale * log2e));

  for (std::int64_t key = 0; key < keys; key += block) {
    const std::int64_t count = std::min(block, keys - key);
    for (std::int64_t panel = 0; panel < panels; ++panel) {
      const std::int64_t valid = std::min(columns, queries - panel * columns);
      A* o = scratch.o + panel * tile;
      multiply_panel(count, d, scratch.k + key * d, d, scratch.q + panel * columns * d, scratch.p, valid, false);
      for (std::int64_t piece = 0; piece * lanes < valid; ++piece) {
        A* p = scratch.p + piece * lanes;
        V& m = maximum[Blocking::pieces * panel + piece];
        V& l = sum[Blocking::pieces * panel + piece];
        V top = m, top2 = m;
        std::int64_t i = 0;
        for (; i + 2 <= count; i += 2) {
          const V s0 = simd::load<A>(p + i * columns), s1 = simd::load<A>(p + (i + 1) * columns);
          top = s0 > top ? s0 : top;
          top2 = s1 > top2 ? s1 : top2;
        }
        if (i < count) {
          const V s0 = simd::load<A>(p + i * columns);
          top = s0 > top ? s0 : top;
        }
        top = top2 > top ? top2 : top;
        const V correction = simd::exp2_of_negative<A>(m - top);
        V l0 = V{}, l1 = V{};
        for (i = 0; i + 2 <= count; i += 2) {
          const V p0 = simd::exp2_of_negative<A>(simd::load<A>(p + i * columns) - top);
          const V p1 = simd::exp2_of_negative<A>(simd::load<A>(p + (i + 1) * columns) - top);
          simd::store<A>(p + i * columns, p0);
          simd::store<A>(p + (i + 1) * columns, p1);
          l0 += p0;
          l1 += p1;
        }
        if (i < count) {
          const V p0 = simd::exp2_of_negative<A>(simd::load<A>(p + i * columns) - top);
          simd::store<A>(p + i * columns, p0);
          l0 += p0;
        }
        m = top;
        l = l * correction + (l0 + l1);
        if (key > 0)
          for (std::int64_t c = 0; c < d; ++c)
            simd::store<A>(o + c * columns + piece * lanes,
                           simd::load<A>(o + c * columns + piece * lanes) * correction);
      }
      multiply_panel(d, count, scratch.v + key * rows, keys, scratch.p, o, valid, key > 0);
    }
  }

  for (std::int64_t panel = 0; panel < panels; ++panel) {
    const std::int64_t valid = std::min(columns, queries - panel * columns);
    A* o = scratch.o + panel * tile;
    for (std::int64_t piece = 0; piece * lanes < valid; ++piece) {
      const V inverse = A{1} / sum[Blocking::pieces * panel + piece];
      for (std::int64_t c = 0; c < d; ++c) {
        A* at = o + c * columns + piece * lanes;
        simd::store<A>(at, keys > 0 ? simd::load<A>(at) * inverse : V{});
      }
      if (lse)
        for (std::int64_t i = 0; i < lanes && piece * lanes + i < valid; ++i)
          lse[panel * columns + piece * lanes + i] =
              keys > 0 ? static_cast<A>(maximum[Blocking::pieces * panel + piece][i]) * ln2 +
                             std::log(static_cast<A>(sum[Blocking::pieces * panel + piece][i]))
                       : -std::numeric_limits<A>::infinity();
    }
    store_transposed(o, HeadRows<T>{out.data + panel * columns * out.stride, out.stride}, valid, d);
  }
}

template <class A>
template <class T>
void AttentionForwardScratch<A>::tile(HeadRows<const T> q_rows, std::int64_t queries, std::int64_t keys, std::int64_t d,
                                      A scale, HeadRows<T> out, A* lse) const {
  attention_tile<A, T>(*this, q_rows, queries, keys, d, scale, out, lse);
}

/// Calls `f(std::type_identity<Scratch>())` with the way that attention to elements of T goes.
template <class T, class F>
decltype(auto) with_attention_forward([[maybe_unused]] const ops::AttentionShape& s, F&& f) {
#if SEGUE_COMPILED_FOR_AMX
  if constexpr (std::is_same_v<T, bfloat16>) {
    if (AmxAttention::pays(s)) return f(std::type_identity<AmxAttentionForward>());
  }
#endif
  return f(std::type_identity<AttentionForwardScratch<Accum<T>>>());
}

}  // namespace detail

template <>
struct Kernel<op::AttentionForward, Cpu> {
  template <class T>
  static std::size_t workspace_bytes(const Exec<Cpu>& exec, const ops::AttentionShape& s) {
    using A = Accum<T>;
    const std::int64_t used = detail::with_attention_forward<T>(s, [&]<class Scratch>(std::type_identity<Scratch>) {
      detail::ScratchCursor<A> cursor;
      Scratch(cursor, s);
      return cursor.used();
    });
    return static_cast<std::size_t>(exec.threads() * used) * sizeof(A) + 64;
  }

  template <class T>
  static void run(Exec<Cpu>& exec, const ops::AttentionShape& s, View<const T, 4, HostSpace> q,
                  View<const T, 4, HostSpace> k, View<const T, 4, HostSpace> v,
                  View<const std::uint8_t, 2, HostSpace> key_mask, float scale, View<T, 4, HostSpace> out,
                  View<Accum<T>, 3, HostSpace> lse, View<std::byte, 1, HostSpace> bytes) {
    detail::with_attention_forward<T>(s, [&]<class Scratch>(std::type_identity<Scratch>) {
      run_by<Scratch, T>(exec, s, q, k, v, key_mask, scale, out, lse, bytes);
    });
  }

 private:
  template <class Scratch, class T>
  static void run_by(Exec<Cpu>& exec, const ops::AttentionShape& s, View<const T, 4, HostSpace> q,
                     View<const T, 4, HostSpace> k, View<const T, 4, HostSpace> v,
                     View<const std::uint8_t, 2, HostSpace> key_mask, float scale, View<T, 4, HostSpace> out,
                     View<Accum<T>, 3, HostSpace> lse, View<std::byte, 1, HostSpace> bytes) {
    using A = Accum<T>;
    using Blocking = detail::AttentionBlocking<A>;
    A* base = detail::align_scratch<A>(bytes.data_handle());
    detail::ScratchCursor<A> counter;
    Scratch(counter, s);
    const std::int64_t tiles = ceil_div(s.queries, Blocking::query_tile), units = s.batch * s.heads * tiles;
    const std::int64_t unit_work = Blocking::query_tile * s.keys * s.head_dim;
    // A thread takes a run of tiles and packs the keys of each head that it meets.
    detail::parallel_ranges_for(
        exec, units,
        [&](std::int64_t begin, std::int64_t end, std::int64_t range) {
          detail::ScratchCursor<A> cursor(base + range * counter.used());
          const Scratch scratch(cursor, s);
          std::int64_t packed = -1, keys = 0;
          for (std::int64_t unit = begin; unit < end; ++unit) {
            const std::int64_t pair = unit / tiles, sample = pair / s.heads, head = pair % s.heads;
            if (pair != packed) {
              auto kr = detail::head_rows(k, sample, head), vr = detail::head_rows(v, sample, head);
              keys = detail::gather_keys(key_mask, sample, s.keys, s.head_dim, kr, vr,
                                         reinterpret_cast<T*>(scratch.gathered));
              scratch.pack_keys(kr, vr, keys, s.head_dim);
              packed = pair;
            }
            const std::int64_t first = unit % tiles * Blocking::query_tile;
            const auto qr = detail::head_rows(q, sample, head);
            const auto outr = detail::head_rows(out, sample, head);
            A* lse_row =
                lse.data_handle() ? lse.data_handle() + sample * lse.stride(0) + head * lse.stride(1) + first : nullptr;
            scratch.tile(detail::HeadRows<const T>{qr.data + first * qr.stride, qr.stride},
                         std::min(Blocking::query_tile, s.queries - first), keys, s.head_dim, static_cast<A>(scale),
                         detail::HeadRows<T>{outr.data + first * outr.stride, outr.stride}, lse_row);
          }
        },
        ceil_div(1 << 18, std::max<std::int64_t>(1, unit_work)));
  }
};

SEGUE_NAMESPACE_END
