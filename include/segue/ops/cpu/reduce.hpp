// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "segue/ops/cpu/column_sums.hpp"
#include "segue/ops/reduce.hpp"

SEGUE_NAMESPACE_BEGIN
namespace detail {

inline constexpr std::int64_t most_partials = 256;

/// Σ of `piece_sum(begin, end)` over fixed pieces of [0, count), at most `most_partials` of them, in their order.
/// @param least the smallest piece, @param worth how many are worth waking a thread for.
template <class F>
double sum_pieces(const Exec<Cpu>& exec, std::int64_t count, std::int64_t least, std::int64_t worth, F&& piece_sum) {
  const std::int64_t piece = ceil_div(std::max<std::int64_t>(ceil_div(count, most_partials), 1), least) * least;
  const std::int64_t pieces = ceil_div(count, piece);
  std::array<double, static_cast<std::size_t>(most_partials)> partial{};
  parallel_for(
      exec, pieces,
      [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i)
          partial[static_cast<std::size_t>(i)] = piece_sum(i * piece, std::min(count, (i + 1) * piece));
      },
      ceil_div(worth, piece));
  double total = 0;
  for (std::int64_t i = 0; i < pieces; ++i) total += partial[static_cast<std::size_t>(i)];
  return total;
}

/// As many doubles as there are lanes of A. Wider than a register: never passed or returned by value.
template <class A>
using WideVec = typename simd::Of<double, static_cast<int>(sizeof(double)) * simd::lanes<A>>::type;

/// Σ in double over a line; `f(c, n, total)` adds vectors whose lanes from n on are zero.
template <class A, class F>
SEGUE_FORCE_INLINE double sum_line(std::int64_t length, F&& f) {
  WideVec<A> total{};
  row_vectors<A>(1, length, [&](std::int64_t c, std::int64_t, auto n) { f(c, n, total); });
  double sum = 0;
  for (int i = 0; i < simd::lanes<A>; ++i) sum += total[i];
  return sum;
}

inline constexpr std::int64_t sum_piece = 4096;

}  // namespace detail

template <>
struct Kernel<op::Sum, Cpu> {
  template <class T>
  static void run(Exec<Cpu>& exec, View<const T, 1, HostSpace> x, View<double, 1, HostSpace> out) {
    using A = Accum<T>;
    out(0) = detail::sum_pieces(
        exec, x.extent(0), detail::sum_piece, detail::elementwise_grain, [&](std::int64_t begin, std::int64_t end) {
          const T* const p = x.data_handle() + begin;
          return detail::sum_line<A>(end - begin, [&](std::int64_t c, auto n, detail::WideVec<A>& total) {
            total += __builtin_convertvector(detail::simd::load<A>(p + c, n), detail::WideVec<A>);
          });
        });
  }
};

template <>
struct Kernel<op::Dot, Cpu> {
  template <class TA, class TB>
  static void run(Exec<Cpu>& exec, View<const TA, 1, HostSpace> a, View<const TB, 1, HostSpace> b,
                  View<double, 1, HostSpace> out) {
    out(0) = dot(exec, a, b);
  }

  template <class TA, class TB>
  static double dot(Exec<Cpu>& exec, View<const TA, 1, HostSpace> a, View<const TB, 1, HostSpace> b) {
    // One lane count for both operands.
    using A = std::conditional_t<std::is_same_v<TA, double> || std::is_same_v<TB, double>, double, float>;
    return detail::sum_pieces(
        exec, a.extent(0), detail::sum_piece, detail::elementwise_grain, [&](std::int64_t begin, std::int64_t end) {
          const TA* const pa = a.data_handle() + begin;
          const TB* const pb = b.data_handle() + begin;
          return detail::sum_line<A>(end - begin, [&](std::int64_t c, auto n, detail::WideVec<A>& total) {
            total += __builtin_convertvector(detail::simd::load<A>(pa + c, n), detail::WideVec<A>) *
                     __builtin_convertvector(detail::simd::load<A>(pb + c, n), detail::WideVec<A>);
          });
        });
  }
};

template <>
struct Kernel<op::SumRows, Cpu> {
  template <class T>
  static std::int64_t workspace_bytes(const Exec<Cpu>&, std::int64_t, std::int64_t columns) {
    return detail::column_sums_bytes<Accum<T>>(1, 1, columns);
  }

  template <class T, class TOut>
  static void run(Exec<Cpu>& exec, View<const T, 2, HostSpace> x, View<TOut, 1, HostSpace> out, ops::GradMode mode,
                  View<std::byte, 1, HostSpace> scratch) {
    using A = Accum<T>;
    using V = detail::simd::Vec<A>;
    detail::column_sums<1, A>(
        exec, x.extent(0), x.extent(1), 1, scratch.data_handle(), [](std::int64_t) { return std::int64_t{0}; },
        [&](std::int64_t r) {
          return [p = x.data_handle() + r * x.stride(0)](std::int64_t c, auto n) {
            return std::array<V, 1>{detail::simd::load<A>(p + c, n)};
          };
        },
        [&](std::size_t, std::int64_t, std::int64_t c, V v, auto n) {
          detail::store_gradient<A>(out.data_handle() + c, v, n, mode);
        });
  }
};

template <>
struct Kernel<op::HasNonfinite, Cpu> {
  template <class T>
  static void run(Exec<Cpu>& exec, View<const T, 1, HostSpace> x, View<std::int32_t, 1, HostSpace> flag,
                  ops::GradMode mode) {
    using A = Accum<T>;
    // 0·x is NaN for infinity and NaN, and 0 for all else: the sum of it is a flag that vectorises.
    const double sum = detail::sum_pieces(
        exec, x.extent(0), detail::sum_piece, detail::elementwise_grain, [&](std::int64_t begin, std::int64_t end) {
          const T* const p = x.data_handle() + begin;
          return static_cast<double>(detail::row_sums<1, A>(1, end - begin, [&](std::int64_t c, std::int64_t, auto n) {
            return std::array<detail::simd::Vec<A>, 1>{detail::simd::load<A>(p + c, n) * A(0)};
          })[0]);
        });
    const bool found = !(sum == 0);
    flag(0) = found || (mode == ops::GradMode::accumulate && flag(0) != 0) ? 1 : 0;
  }
};

SEGUE_NAMESPACE_END
