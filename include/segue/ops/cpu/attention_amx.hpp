// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "segue/ops/cpu/activation_math.hpp"
#include "segue/ops/cpu/attention_blocks.hpp"
#include "segue/ops/cpu/gemm_amx.hpp"

#if SEGUE_COMPILED_FOR_AMX

// Attention of bfloat16 on the tiles of AMX. Probabilities and gradients of scores are rounded to bfloat16 before they
// are multiplied, as on a GPU; their sums are not. What the kernels call the rows of a block is the left operand's.

SEGUE_NAMESPACE_BEGIN
namespace detail {

/// Sizes and places that forward and backward share; functions of a sample's own extents.
struct AmxAttention {
  static constexpr std::int64_t rows = amx::block_rows;  // of a block of sums, as many as its columns
  static_assert(amx::block_rows == amx::block_columns);

  /// Few keys, as of a text of one token, or few channels leave most of a tile empty.
  static bool pays(const ops::AttentionShape& s) { return s.keys >= rows && s.head_dim >= rows && amx::available(); }

  static constexpr std::int64_t padded(std::int64_t n) { return ceil_div(n, rows) * rows; }
  static bfloat16* take(ScratchCursor<float>& cursor, std::int64_t elements) {
    return reinterpret_cast<bfloat16*>(cursor.take(ceil_div(elements, 2)));
  }

  /// Packs (count, D) rows as columns of a right operand whose steps are channels: a block for each 32 rows.
  static void pack_rows(bfloat16* dst, HeadRows<const bfloat16> x, std::int64_t count, std::int64_t d) {
    for (std::int64_t i = 0; i < count; i += rows, dst += rows * padded(d))
      amx::pack_block<amx::Side::columns_of_b, true>(dst, x.data + i * x.stride, x.stride, std::min(rows, count - i),
                                                     d);
  }
  /// Packs (count, D) rows as steps of a right operand whose columns are channels: a block for each 32 channels.
  static void pack_steps(bfloat16* dst, HeadRows<const bfloat16> x, std::int64_t count, std::int64_t d) {
    for (std::int64_t c = 0; c < d; c += rows, dst += rows * padded(count))
      amx::pack_block<amx::Side::columns_of_b, false>(dst, x.data + c, x.stride, std::min(rows, d - c), count);
  }
  /// 32 rows as a left operand: where they lie, if that can be read whole, else packed in `room`.
  static amx::LeftTiles left_rows(bfloat16* room, HeadRows<const bfloat16> x, std::int64_t count, std::int64_t d) {
    if (count >= rows && d % amx::tile_steps == 0) return amx::LeftTiles::rows(x.data, x.stride);
    amx::pack_block<amx::Side::rows_of_a, true>(room, x.data, x.stride, std::min(rows, count), d);
    return amx::LeftTiles::packed(room, 1);
  }
  /// sums (32 x 32, `sums_row` apart) = 32 rows of a · a block of packed b.
  static void multiply(std::int64_t steps, const amx::LeftTiles& a, const bfloat16* b, float* sums,
                       std::int64_t sums_row) {
    amx::multiply_steps<1>(steps / amx::tile_steps, a, b, sums, sums_row);
  }
};

/// What a thread holds while it works on a sample and head.
struct AmxAttentionForward : AmxAttention {
  static constexpr std::int64_t key_chunk = 256;
  bfloat16 *k, *v;  // k: blocks of keys; v: of each chunk of keys, blocks of channels
  bfloat16 *q, *p, *gathered;
  float *scores, *o;

  AmxAttentionForward(ScratchCursor<float>& cursor, const ops::AttentionShape& s) {
    k = take(cursor, padded(s.keys) * padded(s.head_dim));
    v = take(cursor, padded(s.keys) * padded(s.head_dim));
    q = take(cursor, rows * padded(s.head_dim));
    p = take(cursor, rows * key_chunk);
    gathered = take(cursor, 2 * s.keys * s.head_dim);
    scores = cursor.take(rows * key_chunk);
    o = cursor.take(rows * padded(s.head_dim));
  }

  void pack_keys(HeadRows<const bfloat16> kr, HeadRows<const bfloat16> vr, std::int64_t keys, std::int64_t d) const {
    pack_rows(k, kr, keys, d);
    for (std::int64_t key = 0; key < keys; key += key_chunk)
      pack_steps(v + key * padded(d), {vr.data + key * vr.stride, vr.stride}, std::min(key_chunk, keys - key), d);
  }

  /// One tile of queries against all packed keys.
  void tile(HeadRows<const bfloat16> queries_at, std::int64_t queries, std::int64_t keys, std::int64_t d, float scale,
            HeadRows<bfloat16> out, float* lse) const {
    const amx::Tiles tiles;
    for (std::int64_t i = 0; i < queries; i += rows)
      block({queries_at.data + i * queries_at.stride, queries_at.stride}, std::min(rows, queries - i), keys, d, scale,
            {out.data + i * out.stride, out.stride}, lse ? lse + i : nullptr);
  }

 private:
  using V = simd::Vec<float>;
  static constexpr std::int64_t lanes = simd::lanes<float>;

  void block(HeadRows<const bfloat16> queries_at, std::int64_t queries, std::int64_t keys, std::int64_t d, float scale,
             HeadRows<bfloat16> out, float* lse) const {
    constexpr float log2e = 1.44269504088896341f, ln2 = 0.69314718055994531f;
    constexpr float infinity = std::numeric_limits<float>::infinity();
    const std::int64_t channels = padded(d);
    const auto left = left_rows(q, queries_at, queries, d);
    float maximum[static_cast<std::size_t>(rows)], sum[static_cast<std::size_t>(rows)],
        correction[static_cast<std::size_t>(rows)];
    std::fill_n(maximum, rows, -infinity);
    std::fill_n(sum, rows, 0.0f);
    alignas(64) float product[static_cast<std::size_t>(rows * rows)];
    // Added to a register of scores from the right place on it takes out keys that are not there.
    alignas(64) float absent[static_cast<std::size_t>(2 * lanes)] = {};
    std::fill_n(absent + lanes, lanes, -infinity);

    // Rows of queries that are not there are multiplied, whatever they hold, and never read.
    for (std::int64_t key = 0; key < keys; key += key_chunk) {
      const std::int64_t count = std::min(key_chunk, keys - key), wide = padded(count);
      for (std::int64_t j = 0; j < wide; j += rows)
        multiply(channels, left, k + (key + j) * channels, scores + j, key_chunk);
      for (std::int64_t i = 0; i < queries; ++i) {
        float* s = scores + i * key_chunk;
        V top = simd::broadcast(maximum[i]);
        for (std::int64_t j = 0; j < wide; j += lanes) {
          const V x = simd::load<float>(s + j) * (scale * log2e) +
                      simd::load<float>(absent + std::clamp<std::int64_t>(j + lanes - count, 0, lanes));
          simd::store<float>(s + j, x);
          top = x > top ? x : top;
        }
        float m = static_cast<float>(top[0]);
        for (int lane = 1; lane < lanes; ++lane) m = std::max(m, static_cast<float>(top[lane]));
        V total{};
        for (std::int64_t j = 0; j < wide; j += lanes) {
          const V x = simd::exp2_of_negative<float>(simd::load<float>(s + j) - m);
          simd::store<float>(p + i * key_chunk + j, x);
          total += x;
        }
        correction[i] = static_cast<float>(simd::exp2_of_negative<float>(simd::broadcast(maximum[i] - m))[0]);
        sum[i] = sum[i] * correction[i] + simd::horizontal_sum<float>(total);
        maximum[i] = m;
      }
      for (std::int64_t c = 0; c < channels; c += rows) {
        multiply(wide, amx::LeftTiles::rows(p, key_chunk), v + key * channels + c * wide, product, rows);
        for (std::int64_t i = 0; i < queries; ++i)
          for (std::int64_t j = 0; j < rows; j += lanes) {
            float* at = o + i * channels + c + j;
            const V x = simd::load<float>(product + i * rows + j);
            simd::store<float>(at, key > 0 ? simd::load<float>(at) * correction[i] + x : x);
          }
      }
    }
    for (std::int64_t i = 0; i < queries; ++i) {
      const float inverse = keys > 0 ? 1 / sum[i] : 0.0f;
      for (std::int64_t c = 0; c < d; c += lanes)
        simd::store<float>(out.data + i * out.stride + c,
                           keys > 0 ? simd::load<float>(o + i * channels + c) * inverse : V{}, d - c);
      if (lse) lse[i] = keys > 0 ? maximum[i] * ln2 + std::log(sum[i]) : -infinity;
    }
  }
};

/// What a thread holds in the backward of one sample and head. Scores lie transposed: rows are keys.
struct AmxAttentionBackwardScratch : AmxAttention {
  static constexpr std::int64_t query_chunk = 256, key_block = 128;
  bfloat16 *q, *dout;              // blocks of queries, steps are channels
  bfloat16 *q_steps, *dout_steps;  // of each chunk of queries blocks of channels, steps are queries
  bfloat16 *k, *v;                 // 32 rows
  bfloat16* k_steps;               // of a block of keys: blocks of channels, steps are keys
  bfloat16 *p, *ds;                // of 32 keys, and of a block of keys, by a chunk of queries
  bfloat16* ds_rows;               // 32 queries by a block of keys
  bfloat16* gathered;
  float *lse, *delta;  // of each query: log2 Σ 2^score, and out · dout
  float *scores, *weights;
  float *dk, *dv;  // sums of a block of keys

  AmxAttentionBackwardScratch(ScratchCursor<float>& cursor, const ops::AttentionShape& s) {
    const std::int64_t d = padded(s.head_dim), queries = padded(s.queries);
    for (bfloat16** packed : {&q, &dout, &q_steps, &dout_steps}) *packed = take(cursor, queries * d);
    for (bfloat16** copied : {&k, &v}) *copied = take(cursor, rows * d);
    k_steps = take(cursor, key_block * d);
    p = take(cursor, rows * query_chunk);
    ds = take(cursor, key_block * query_chunk);
    ds_rows = take(cursor, rows * key_block);
    gathered = take(cursor, 2 * s.keys * s.head_dim);
    for (float** statistic : {&lse, &delta}) *statistic = cursor.take(queries);
    for (float** block : {&scores, &weights}) *block = cursor.take(rows * query_chunk);
    for (float** sums : {&dk, &dv}) *sums = cursor.take(key_block * d);
  }

  /// Elements of one share of dq: rows of queries.
  static std::int64_t share(const ops::AttentionShape& s) { return padded(s.queries) * padded(s.head_dim); }
};

/// The backward of one sample and head.
struct AmxAttentionBackwardHead {
  using Scratch = AmxAttentionBackwardScratch;
  using V = simd::Vec<float>;
  static constexpr std::int64_t rows = Scratch::rows, lanes = simd::lanes<float>, chunk = Scratch::query_chunk;
  const Scratch& scratch;
  ops::AttentionShape shape;
  float scale;
  HeadRows<const bfloat16> q, k, v, out, dout;
  HeadRows<bfloat16> dk, dv;
  const float* lse;
  std::int64_t keys;  // those that the mask shows; k and v hold only these
  bool need_dq;

  void pack_queries() const {
    const std::int64_t n = shape.queries, d = shape.head_dim, channels = Scratch::padded(d);
    Scratch::pack_rows(scratch.q, q, n, d);
    Scratch::pack_rows(scratch.dout, dout, n, d);
    for (std::int64_t query = 0; query < n; query += chunk) {
      const std::int64_t count = std::min(chunk, n - query);
      if (dk.data)
        Scratch::pack_steps(scratch.q_steps + query * channels, {q.data + query * q.stride, q.stride}, count, d);
      if (dv.data)
        Scratch::pack_steps(scratch.dout_steps + query * channels, {dout.data + query * dout.stride, dout.stride},
                            count, d);
    }
    for (std::int64_t i = 0; i < Scratch::padded(n); ++i) {
      scratch.delta[i] =
          i < n ? row_product<float>(out.data + i * out.stride, dout.data + i * dout.stride, d) : float{0};
      scratch.lse[i] = i < n ? lse[i] * 1.44269504088896341f : 0.0f;
    }
  }

  /// Part `part` of the keys: writes their dk and dv, and this part's share of dq.
  void run(std::int64_t part, float* dq) const {
    const amx::Tiles tiles;
    const std::int64_t parts = attention_parts(shape), blocks = ceil_div(keys, Scratch::key_block);
    const std::int64_t first = blocks * part / parts, last = blocks * (part + 1) / parts;
    if (need_dq && first == last) std::fill_n(dq, Scratch::share(shape), 0.0f);
    for (std::int64_t b = first; b < last; ++b) {
      const std::int64_t key = b * Scratch::key_block;
      run_block(key, std::min(Scratch::key_block, keys - key), dq, b > first);
    }
  }

  /// dq = scale · the shares, added in order.
  void store_dq(const float* shares, HeadRows<bfloat16> dq) const {
    const std::int64_t d = shape.head_dim, channels = Scratch::padded(d), share = Scratch::share(shape);
    for (std::int64_t i = 0; i < shape.queries; ++i)
      for (std::int64_t c = 0; c < d; c += lanes) {
        const float* at = shares + i * channels + c;
        V sum = simd::load<float>(at);
        for (std::int64_t part = 1; part < attention_parts(shape); ++part) sum += simd::load<float>(at + part * share);
        simd::store<float>(dq.data + i * dq.stride + c, sum * scale, d - c);
      }
  }

 private:
  void run_block(std::int64_t key, std::int64_t count, float* dq, bool add_dq) const {
    const std::int64_t d = shape.head_dim, channels = Scratch::padded(d), wide = Scratch::padded(count);
    if (need_dq) Scratch::pack_steps(scratch.k_steps, {k.data + key * k.stride, k.stride}, count, d);
    if (shape.queries == 0)
      for (float* sums : {scratch.dk, scratch.dv}) std::fill_n(sums, wide * channels, 0.0f);
    for (std::int64_t query = 0; query < shape.queries; query += chunk) {
      const std::int64_t queries = Scratch::padded(std::min(chunk, shape.queries - query));
      for (std::int64_t i = 0; i < count; i += rows) run_rows(key + i, i, std::min(rows, count - i), query, queries);
      if (!need_dq) continue;
      for (std::int64_t at = 0; at < queries; at += rows) {
        amx::pack_block<amx::Side::rows_of_a, false>(scratch.ds_rows, scratch.ds + at, chunk, rows, wide);
        for (std::int64_t c = 0; c < channels; c += rows)
          add_product(wide, amx::LeftTiles::packed(scratch.ds_rows, 1), scratch.k_steps + c * wide,
                      dq + (query + at) * channels + c, channels, add_dq);
      }
    }
    store_keys(scratch.dv, key, count, dv, 1.0f);
    store_keys(scratch.dk, key, count, dk, scale);
  }

  /// 32 keys, those from `row` on of their block, by a chunk of queries.
  void run_rows(std::int64_t key, std::int64_t row, std::int64_t count, std::int64_t query,
                std::int64_t queries) const {
    const std::int64_t d = shape.head_dim, channels = Scratch::padded(d);
    const auto kr = Scratch::left_rows(scratch.k, {k.data + key * k.stride, k.stride}, count, d);
    const auto vr = Scratch::left_rows(scratch.v, {v.data + key * v.stride, v.stride}, count, d);
    bfloat16* const ds = scratch.ds + row * chunk;
    for (std::int64_t at = 0; at < queries; at += rows) {
      const std::int64_t packed = (query + at) * channels;
      Scratch::multiply(channels, kr, scratch.q + packed, scratch.scores + at, chunk);
      Scratch::multiply(channels, vr, scratch.dout + packed, scratch.weights + at, chunk);
    }
    const float scale_2 = scale * 1.44269504088896341f;
    for (std::int64_t i = 0; i < count; ++i)
      for (std::int64_t at = 0; at < queries; at += lanes) {
        const V score = simd::load<float>(scratch.scores + i * chunk + at) * scale_2;
        const V probability = simd::exp2_of_negative<float>(score - simd::load<float>(scratch.lse + query + at));
        const V weight =
            simd::load<float>(scratch.weights + i * chunk + at) - simd::load<float>(scratch.delta + query + at);
        simd::store<float>(scratch.p + i * chunk + at, probability);
        simd::store<float>(ds + i * chunk + at, probability * weight);
      }
    // Keys that are not there: their rows of dk and dv are not stored, but they are steps of dq.
    std::memset(static_cast<void*>(ds + count * chunk), 0,
                static_cast<std::size_t>((rows - count) * chunk) * sizeof(bfloat16));
    for (std::int64_t c = 0; c < channels; c += rows) {
      const std::int64_t packed = query * channels + c * queries, sums = row * channels + c;
      if (dv.data)
        add_product(queries, amx::LeftTiles::rows(scratch.p, chunk), scratch.dout_steps + packed, scratch.dv + sums,
                    channels, query > 0);
      if (dk.data)
        add_product(queries, amx::LeftTiles::rows(ds, chunk), scratch.q_steps + packed, scratch.dk + sums, channels,
                    query > 0);
    }
  }

  /// sums (32 x 32, `sums_row` apart) = or += a · b
  static void add_product(std::int64_t steps, const amx::LeftTiles& a, const bfloat16* b, float* sums,
                          std::int64_t sums_row, bool add) {
    if (!add) return Scratch::multiply(steps, a, b, sums, sums_row);
    alignas(64) float product[static_cast<std::size_t>(rows * rows)];
    Scratch::multiply(steps, a, b, product, rows);
    for (std::int64_t i = 0; i < rows; ++i)
      for (std::int64_t j = 0; j < rows; j += lanes) {
        float* at = sums + i * sums_row + j;
        simd::store<float>(at, simd::load<float>(at) + simd::load<float>(product + i * rows + j));
      }
  }

  void store_keys(const float* sums, std::int64_t key, std::int64_t count, HeadRows<bfloat16> target,
                  float factor) const {
    if (!target.data) return;
    const std::int64_t d = shape.head_dim, channels = Scratch::padded(d);
    for (std::int64_t i = 0; i < count; ++i)
      for (std::int64_t c = 0; c < d; c += lanes)
        simd::store<float>(target.data + (key + i) * target.stride + c,
                           simd::load<float>(sums + i * channels + c) * factor, d - c);
  }
};

}  // namespace detail
SEGUE_NAMESPACE_END

#endif
