// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <tuple>
#include <type_traits>

#include "segue/core/view.hpp"
#include "segue/ops/cpu/parallel.hpp"
#include "segue/ops/cpu/simd.hpp"

SEGUE_NAMESPACE_BEGIN
namespace detail {

/// Calls `f(c, s, n)` for the vectors of a row that is made of `segments` pieces of `length` columns: c is the first
/// column, s its place in the segment, n how many lanes count (a constant where it is all of them).
template <class A, class F>
SEGUE_FORCE_INLINE void row_vectors(std::int64_t segments, std::int64_t length, F&& f) {
  constexpr std::int64_t lanes = simd::lanes<A>;
  for (std::int64_t segment = 0; segment < segments; ++segment) {
    const std::int64_t base = segment * length;
    std::int64_t s = 0;
    for (; s + lanes <= length; s += lanes) f(base + s, s, std::integral_constant<std::int64_t, lanes>{});
    if (s < length) f(base + s, s, length - s);
  }
}

/// Clears the lanes from n on.
template <class A>
inline simd::Vec<A> first_lanes(simd::Vec<A> x, std::int64_t n) {
  for (std::int64_t i = n; i < simd::lanes<A>; ++i) x[static_cast<int>(i)] = 0;
  return x;
}

/// K sums over a row; `f(c, s, n)` gives the K vectors to add. The order depends on the row's length alone.
template <std::size_t K, class A, class F>
SEGUE_FORCE_INLINE std::array<A, K> row_sums(std::int64_t segments, std::int64_t length, F&& f) {
  constexpr std::int64_t lanes = simd::lanes<A>;
  constexpr std::integral_constant<std::int64_t, lanes> all{};
  constexpr std::size_t ways = 4;  // so that additions do not wait for one another
  simd::Vec<A> sums[K][ways] = {};
  for (std::int64_t segment = 0; segment < segments; ++segment) {
    const std::int64_t base = segment * length;
    std::int64_t s = 0;
    for (; s + static_cast<std::int64_t>(ways) * lanes <= length; s += static_cast<std::int64_t>(ways) * lanes) {
#if !defined(__CUDACC__)
#pragma GCC unroll 4
#endif
      for (std::size_t way = 0; way < ways; ++way) {
        const std::int64_t at = s + static_cast<std::int64_t>(way) * lanes;
        const std::array<simd::Vec<A>, K> terms = f(base + at, at, all);
        for (std::size_t k = 0; k < K; ++k) sums[k][way] += terms[k];
      }
    }
    for (; s < length; s += lanes) {
      const std::int64_t n = std::min(lanes, length - s);
      const std::array<simd::Vec<A>, K> terms = f(base + s, s, n);
      for (std::size_t k = 0; k < K; ++k) sums[k][0] += first_lanes<A>(terms[k], n);
    }
  }
  std::array<A, K> out{};
  for (std::size_t k = 0; k < K; ++k)
    out[k] = simd::horizontal_sum<A>((sums[k][0] + sums[k][1]) + (sums[k][2] + sums[k][3]));
  return out;
}

/// Turns run-time flags into types: calls `f(std::true_type or std::false_type…)`, so that loops hold no branches.
template <class F>
SEGUE_FORCE_INLINE void with_flags(F&& f) {
  f();
}
template <class F, class... Rest>
SEGUE_FORCE_INLINE void with_flags(F&& f, bool first, Rest... rest) {
  if (first)
    with_flags([&](auto... flags) { f(std::true_type{}, flags...); }, rest...);
  else
    with_flags([&](auto... flags) { f(std::false_type{}, flags...); }, rest...);
}

/// The row of a table that row r uses: see `ops::Modulation`.
struct RowGroups {
  const std::int32_t* group = nullptr;
  std::int64_t rows_per_group = 1;

  std::int64_t operator()(std::int64_t r) const { return group ? group[r] : r / rows_per_group; }
};

/// A range of elements worth waking a thread for.
inline constexpr std::int64_t elementwise_grain = 16384;

/// How many rows of `columns` elements are worth waking a thread for.
constexpr std::int64_t row_grain(std::int64_t columns) {
  return ceil_div(elementwise_grain, std::max<std::int64_t>(columns, 1));
}

/// Calls `f(n, pointers…)` for pieces of at most 4096 elements of views of one (R, C) shape.
template <class F, class... T>
void for_each_piece(const Exec<Cpu>& exec, F&& f, const View<T, 2, HostSpace>&... views) {
  const auto& first = std::get<0>(std::tie(views...));
  std::int64_t rows = first.extent(0), columns = first.extent(1);
  if ((views.is_contiguous() && ...)) {
    columns *= rows;
    rows = 1;
  }
  constexpr std::int64_t piece = 4096;
  const std::int64_t pieces = ceil_div(columns, piece);
  parallel_for(
      exec, rows * pieces,
      [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t task = begin; task < end; ++task) {
          const std::int64_t r = task / pieces;
          const std::int64_t start = (task - r * pieces) * piece;
          f(std::min(piece, columns - start), (views.data_handle() + r * views.stride(0) + start)...);
        }
      },
      row_grain(std::min(columns, piece)));
}

/// Calls `f(n, pointers…)` for every vector of views of one (R, C) shape; n as in `row_vectors`.
template <class A, class F, class... T>
void for_each_vector(const Exec<Cpu>& exec, F&& f, const View<T, 2, HostSpace>&... views) {
  for_each_piece(
      exec,
      [&](std::int64_t length, T*... p) {
        row_vectors<A>(1, length, [&](std::int64_t c, std::int64_t, auto n) { f(n, (p + c)...); });
      },
      views...);
}

}  // namespace detail
SEGUE_NAMESPACE_END
