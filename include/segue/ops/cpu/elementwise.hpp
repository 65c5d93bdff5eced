// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstring>

#include "segue/ops/cpu/rows.hpp"
#include "segue/ops/elementwise.hpp"

SEGUE_NAMESPACE_BEGIN
namespace detail {

// Vectors that fused operators share with the plain ones, so that they give the same bits.

/// y = a·x.
template <class A, class N, class TX, class T>
SEGUE_FORCE_INLINE void scale_vector(N n, const simd::Vec<A>& a, const TX* x, T* y) {
  simd::store<A>(y, a * simd::load<A>(x, n), n);
}
/// y = a·x + b·y.
template <class A, class N, class TX, class T>
SEGUE_FORCE_INLINE void axpby_vector(N n, const simd::Vec<A>& a, const TX* x, const simd::Vec<A>& b, T* y) {
  simd::store<A>(y, a * simd::load<A>(x, n) + b * simd::load<A>(static_cast<const T*>(y), n), n);
}
/// y += w·(x − y).
template <class A, class N, class TX, class T>
SEGUE_FORCE_INLINE void lerp_vector(N n, const simd::Vec<A>& w, const TX* x, T* y) {
  const auto old = simd::load<A>(static_cast<const T*>(y), n);
  simd::store<A>(y, old + w * (simd::load<A>(x, n) - old), n);
}

}  // namespace detail

template <>
struct Kernel<op::Add, Cpu> {
  template <class T>
  static void run(Exec<Cpu>& exec, View<const T, 2, HostSpace> a, View<const T, 2, HostSpace> b,
                  View<T, 2, HostSpace> y) {
    using A = Accum<T>;
    detail::for_each_vector<A>(
        exec,
        [](auto n, const T* pa, const T* pb, T* py) {
          detail::simd::store<A>(py, detail::simd::load<A>(pa, n) + detail::simd::load<A>(pb, n), n);
        },
        a, b, y);
  }
};

template <>
struct Kernel<op::Multiply, Cpu> {
  template <class T>
  static void run(Exec<Cpu>& exec, View<const T, 2, HostSpace> a, View<const T, 2, HostSpace> b,
                  View<T, 2, HostSpace> y) {
    using A = Accum<T>;
    detail::for_each_vector<A>(
        exec,
        [](auto n, const T* pa, const T* pb, T* py) {
          detail::simd::store<A>(py, detail::simd::load<A>(pa, n) * detail::simd::load<A>(pb, n), n);
        },
        a, b, y);
  }
};

template <>
struct Kernel<op::Axpby, Cpu> {
  template <class TX, class T>
  static void run(Exec<Cpu>& exec, double alpha, View<const TX, 2, HostSpace> x, double beta, View<T, 2, HostSpace> y) {
    using A = Accum<T>;
    const auto va = detail::simd::broadcast(static_cast<A>(alpha)), vb = detail::simd::broadcast(static_cast<A>(beta));
    if (beta == 0) {
      detail::for_each_vector<A>(
          exec, [va](auto n, const TX* px, T* py) { detail::scale_vector<A>(n, va, px, py); }, x, y);
    } else {
      detail::for_each_vector<A>(
          exec, [va, vb](auto n, const TX* px, T* py) { detail::axpby_vector<A>(n, va, px, vb, py); }, x, y);
    }
  }
};

template <>
struct Kernel<op::Scale, Cpu> {
  template <class T>
  static void run(Exec<Cpu>& exec, double alpha, View<const T, 2, HostSpace> x, View<T, 2, HostSpace> y) {
    Kernel<op::Axpby, Cpu>::run(exec, alpha, x, 0, y);
  }
};

template <>
struct Kernel<op::Fill, Cpu> {
  template <class T>
  static void run(Exec<Cpu>& exec, double value, View<T, 2, HostSpace> y) {
    const T v = cast<T>(value);
    detail::for_each_piece(
        exec, [v](std::int64_t n, T* p) { std::fill_n(p, n, v); }, y);
  }
};

template <>
struct Kernel<op::Lerp, Cpu> {
  template <class TX, class T>
  static void run(Exec<Cpu>& exec, View<const TX, 2, HostSpace> x, double weight, View<T, 2, HostSpace> y) {
    using A = Accum<T>;
    const auto w = detail::simd::broadcast(static_cast<A>(weight));
    detail::for_each_vector<A>(
        exec, [w](auto n, const TX* px, T* py) { detail::lerp_vector<A>(n, w, px, py); }, x, y);
  }
};

template <>
struct Kernel<op::Copy, Cpu> {
  template <class TS, class TD, int Rank>
  static void run(Exec<Cpu>& exec, View<const TS, Rank, HostSpace> source, View<TD, Rank, HostSpace> target) {
    // Trailing axes that are contiguous on both sides form one line.
    int axis = Rank - 1;
    std::int64_t length = target.extent(axis);
    const std::int64_t from_step = source.stride(axis), to_step = target.stride(axis);
    const bool dense = length <= 1 || (from_step == 1 && to_step == 1);
    while (dense && axis > 0 && source.stride(axis - 1) == length && target.stride(axis - 1) == length)
      length *= target.extent(--axis);
    std::int64_t lines = 1;
    for (int i = 0; i < axis; ++i) lines *= target.extent(i);

    constexpr std::int64_t piece = 16384;
    const std::int64_t pieces = ceil_div(length, piece);
    detail::parallel_for(
        exec, lines * pieces,
        [&](std::int64_t begin, std::int64_t end) {
          for (std::int64_t task = begin; task < end; ++task) {
            const std::int64_t start = task % pieces * piece;
            const std::int64_t n = std::min(piece, length - start);
            const TS* from = source.data_handle() + start * (dense ? 1 : from_step);
            TD* to = target.data_handle() + start * (dense ? 1 : to_step);
            std::int64_t line = task / pieces;
            for (int i = axis - 1; i >= 0; --i) {
              const std::int64_t at = line % target.extent(i);
              line /= target.extent(i);
              from += at * source.stride(i);
              to += at * target.stride(i);
            }
            if (dense)
              copy_line(from, to, n);
            else
              for (std::int64_t i = 0; i < n; ++i) to[i * to_step] = cast<TD>(from[i * from_step]);
          }
        },
        detail::row_grain(std::min(length, piece)));
  }

 private:
  template <class TS, class TD>
  static void copy_line(const TS* from, TD* to, std::int64_t n) {
    constexpr bool through_float =
        is_floating<TS> && is_floating<TD> && !std::is_same_v<TS, double> && !std::is_same_v<TD, double>;
    if constexpr (std::is_same_v<TS, TD>)
      std::memcpy(static_cast<void*>(to), from, static_cast<std::size_t>(n) * sizeof(TS));
    else if constexpr (through_float)
      detail::row_vectors<float>(1, n, [&](std::int64_t c, std::int64_t, auto lanes) {
        detail::simd::store<float>(to + c, detail::simd::load<float>(from + c, lanes), lanes);
      });
    else
      for (std::int64_t i = 0; i < n; ++i) to[i] = cast<TD>(from[i]);
  }
};

SEGUE_NAMESPACE_END
