// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "segue/ops/cpu/rows.hpp"
#include "segue/ops/types.hpp"

SEGUE_NAMESPACE_BEGIN
namespace detail {

inline constexpr std::int64_t column_block = 256;  // columns summed at a time: their partial sums stay in L1
inline constexpr std::int64_t column_padding = 64;
inline constexpr std::int64_t column_chunk = 64;  // rows summed before the partial sum joins the total

/// Scratch of `column_sums`.
template <class A>
constexpr std::int64_t column_sums_bytes(std::int64_t sums, std::int64_t groups, std::int64_t columns) {
  return sums * groups * ceil_div(columns, column_padding) * column_padding * static_cast<std::int64_t>(sizeof(A));
}

/// Sums over rows, K of them at once and apart for each group of rows: threads share out the columns, so the order of
/// the sum depends on the rows alone.
///   group_of(r)            the group of a row, in [0, groups)
///   row_terms(r)           a callable: (c, n) to the K vectors that row r adds at columns c…
///   store(k, g, c, v, n)   receives every total once
template <std::size_t K, class A, class GroupOf, class RowTerms, class Store>
void column_sums(const Exec<Cpu>& exec, std::int64_t rows, std::int64_t columns, std::int64_t groups,
                 std::byte* scratch, GroupOf&& group_of, RowTerms&& row_terms, Store&& store) {
  using V = simd::Vec<A>;
  constexpr std::int64_t lanes = simd::lanes<A>;
  const std::int64_t padded = ceil_div(columns, column_padding) * column_padding;
  A* const totals = reinterpret_cast<A*>(scratch);
  const auto total = [&](std::size_t k, std::int64_t g, std::int64_t c) {
    return totals + (static_cast<std::int64_t>(k) * groups + g) * padded + c;
  };
  const auto block = [&](std::int64_t begin, std::int64_t end) {
    V partial[K][column_block / lanes] = {};
    const std::int64_t vectors = ceil_div(end - begin, lanes);
    for (std::size_t k = 0; k < K; ++k)
      for (std::int64_t g = 0; g < groups; ++g) std::fill_n(total(k, g, begin), vectors * lanes, A(0));
    const auto flush = [&](std::int64_t g) {
      for (std::size_t k = 0; k < K; ++k)
        for (std::int64_t j = 0; j < vectors; ++j) {
          A* const at = total(k, g, begin + j * lanes);
          simd::store<A>(at, simd::load<A>(at) + partial[k][j]);
          partial[k][j] = V{};
        }
    };
    std::int64_t current = 0, pending = 0;
    for (std::int64_t r = 0; r < rows; ++r) {
      const std::int64_t g = group_of(r);
      if (pending > 0 && (g != current || pending == column_chunk)) {
        flush(current);
        pending = 0;
      }
      current = g;
      ++pending;
      const auto terms = row_terms(r);
      row_vectors<A>(1, end - begin, [&](std::int64_t c, std::int64_t, auto n) {
        const std::array<V, K> v = terms(begin + c, n);
        for (std::size_t k = 0; k < K; ++k) partial[k][c / lanes] += v[k];
      });
    }
    if (pending > 0) flush(current);
    for (std::size_t k = 0; k < K; ++k)
      for (std::int64_t g = 0; g < groups; ++g)
        row_vectors<A>(1, end - begin, [&](std::int64_t c, std::int64_t, auto n) {
          store(k, g, begin + c, simd::load<A>(static_cast<const A*>(total(k, g, begin + c))), n);
        });
  };
  const std::int64_t worth = ceil_div(row_grain(rows), column_padding) * column_padding;
  parallel_for(
      exec, columns,
      [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t c = begin; c < end; c += column_block) block(c, std::min(end, c + column_block));
      },
      worth);
}

/// Writes or adds n lanes of a gradient.
template <class A, class T, class N>
SEGUE_FORCE_INLINE void store_gradient(T* p, simd::Vec<A> v, N n, ops::GradMode mode) {
  if (mode == ops::GradMode::accumulate) v += simd::load<A>(static_cast<const T*>(p), n);
  simd::store<A>(p, v, n);
}

}  // namespace detail
SEGUE_NAMESPACE_END
