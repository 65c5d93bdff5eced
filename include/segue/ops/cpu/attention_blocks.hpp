// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>

#include "segue/ops/attention.hpp"
#include "segue/ops/cpu/gemm.hpp"

SEGUE_NAMESPACE_BEGIN
namespace detail {

// Scores are computed transposed: a block of keys by one register block of queries. So the softmax of a query runs
// down a lane with no shuffles, and the block of probabilities is already packed as the right operand of the next
// product (keys are its steps). The same micro-kernel as in GEMM does all products.

/// Sizes of the blocks; functions of a sample's own extents, never of the batch or of threads.
template <class A>
struct AttentionBlocking {
  static constexpr std::int64_t rows = GemmBlocking<A>::rows, lanes = GemmBlocking<A>::lanes;
  static constexpr std::int64_t pieces = GemmBlocking<A>::pieces, columns = GemmBlocking<A>::columns;
  static constexpr std::int64_t query_tile = 64, panels = query_tile / columns;
  static_assert(query_tile % columns == 0);

  static constexpr std::int64_t round_up(std::int64_t n, std::int64_t unit) { return ceil_div(n, unit) * unit; }
  /// Equal blocks of at most `limit` keys, whole register blocks each.
  static constexpr std::int64_t key_block(std::int64_t keys, std::int64_t limit) {
    return keys == 0 ? rows : round_up(ceil_div(keys, ceil_div(keys, limit)), rows);
  }
  /// Rows of a tile that is D by queries; a square of registers may be read at its end.
  static constexpr std::int64_t tile_rows(std::int64_t d) { return round_up(round_up(d, rows), lanes); }
};

/// Hands out aligned pieces of scratch; with a null base it only counts.
template <class A>
class ScratchCursor {
 public:
  explicit ScratchCursor(A* base = nullptr) : base_(base) {}
  A* take(std::int64_t elements) {
    A* piece = base_ ? base_ + used_ : nullptr;
    used_ += ceil_div(elements, 64) * 64;
    return piece;
  }
  std::int64_t used() const { return used_; }

 private:
  A* base_;
  std::int64_t used_ = 0;
};

template <class A>
A* align_scratch(std::byte* p) {
  return reinterpret_cast<A*>((reinterpret_cast<std::uintptr_t>(p) + 63) / 64 * 64);
}

/// A (tokens, D) slice of one sample and head.
template <class T>
struct HeadRows {
  T* data = nullptr;
  std::int64_t stride = 0;
};
template <class T>
HeadRows<T> head_rows(const View<T, 4, HostSpace>& x, std::int64_t sample, std::int64_t head) {
  if (!x.data_handle()) return {};
  return {x.data_handle() + sample * x.stride(0) + head * x.stride(2), x.stride(1)};
}

/// Packs (count, D) rows so that the rows are the operand's index and channels its steps.
template <int Width, class A, class T>
void pack_rows(A* dst, HeadRows<const T> x, std::int64_t count, std::int64_t d) {
  pack_panels<Width, true>(dst, x.data, x.stride, count, count, d);
}
/// Packs (count, D) rows so that the channels are the operand's index and rows its steps.
template <int Width, class A, class T>
void pack_channels(A* dst, HeadRows<const T> x, std::int64_t count, std::int64_t d) {
  pack_panels<Width, false>(dst, x.data, x.stride, d, d, count);
}

/// blocks = or += packed a (count rows) · one packed panel of b.
template <class A>
void multiply_panel(std::int64_t count, std::int64_t steps, const A* a, std::int64_t a_steps, const A* b, A* blocks,
                    std::int64_t valid_columns, bool add) {
  constexpr int rows = GemmBlocking<A>::rows, columns = GemmBlocking<A>::columns;
  for (std::int64_t i = 0; i < count; i += rows, blocks += rows * columns, a += rows * a_steps)
    gemm_block<A>(std::min<std::int64_t>(rows, count - i), valid_columns, steps, a, rows, b, columns, blocks, columns,
                  add);
}

/// Writes a tile (D rows of one panel of queries) as rows of queries.
template <class A, class T>
void store_transposed(const A* tile, HeadRows<T> out, std::int64_t queries, std::int64_t d) {
  constexpr int lanes = GemmBlocking<A>::lanes, columns = GemmBlocking<A>::columns;
  for (std::int64_t piece = 0; piece < columns && piece < queries; piece += lanes)
    for (std::int64_t c = 0; c < d; c += lanes) {
      simd::Vec<A> square[static_cast<std::size_t>(lanes)];
      for (int i = 0; i < lanes; ++i) square[i] = simd::load<A>(tile + (c + i) * columns + piece);
      simd::transpose<A>(square);
      for (int i = 0; i < lanes && piece + i < queries; ++i)
        simd::store<A>(out.data + (piece + i) * out.stride + c, square[i], d - c);
    }
}

/// Σ a · b over the channels of one row each, as the gradients of a softmax need it of out and dout.
template <class A, class T>
A row_product(const T* a, const T* b, std::int64_t d) {
  simd::Vec<A> sum{};
  for (std::int64_t c = 0; c < d; c += simd::lanes<A>) sum += simd::load<A>(a + c, d - c) * simd::load<A>(b + c, d - c);
  return simd::horizontal_sum<A>(sum);
}

/// Into how many parts the backward cuts the keys, each with its own share of dq.
inline std::int64_t attention_parts(const ops::AttentionShape& s) {
  return std::clamp<std::int64_t>(ceil_div(s.keys, 256), 1, 4);
}

/// Copies the rows of the keys that the mask shows, in order; the others take no part in any product.
/// Returns how many there are.
template <class T>
std::int64_t gather_keys(const View<const std::uint8_t, 2, HostSpace>& mask, std::int64_t sample, std::int64_t keys,
                         std::int64_t d, HeadRows<const T>& k, HeadRows<const T>& v, T* room) {
  if (!mask.data_handle()) return keys;
  std::int64_t count = 0;
  for (std::int64_t i = 0; i < keys; ++i) {
    if (mask(sample, i) == 0) continue;
    std::copy_n(k.data + i * k.stride, d, room + count * d);
    std::copy_n(v.data + i * v.stride, d, room + (keys + count) * d);
    ++count;
  }
  k = {room, d};
  v = {room + keys * d, d};
  return count;
}

}  // namespace detail
SEGUE_NAMESPACE_END
