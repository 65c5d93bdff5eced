// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>

#include "segue/ops/cpu/rows.hpp"
#include "segue/ops/random_fill.hpp"

SEGUE_NAMESPACE_BEGIN
namespace detail {

/// Calls `f(i, four values)` for the blocks that hold elements [0, count).
template <class Draw, class F>
void for_each_random_block(const Exec<Cpu>& exec, std::int64_t count, Draw&& draw, F&& f) {
  parallel_for(
      exec, ceil_div(count, std::int64_t{4}),
      [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t block = begin; block < end; ++block) f(block * 4, draw(static_cast<std::uint64_t>(block)));
      },
      512);
}

/// Calls `f(r, c, k)` for elements i + k, k < 4, of rows, with their places.
template <class F>
void for_each_of_block(std::int64_t i, std::int64_t count, std::int64_t columns, F&& f) {
  std::int64_t r = i / columns, c = i - r * columns;
  const auto n = static_cast<std::size_t>(std::min<std::int64_t>(4, count - i));
  for (std::size_t k = 0; k < n; ++k) {
    f(r, c, k);
    if (++c == columns) {
      c = 0;
      ++r;
    }
  }
}

/// x(i) = offset + factor·value(i), rounded once: an explicit fma leaves compilers no choice.
template <class T, class Draw>
void fill_random(const Exec<Cpu>& exec, View<T, 2, HostSpace> x, float offset, float factor, Draw&& draw) {
  for_each_random_block(exec, x.size(), draw, [&](std::int64_t i, const Words<float, 4>& values) {
    for_each_of_block(i, x.size(), x.extent(1), [&](std::int64_t r, std::int64_t c, std::size_t k) {
      x.data_handle()[r * x.stride(0) + c] = cast<T>(std::fma(factor, values[k], offset));
    });
  });
}

}  // namespace detail

template <>
struct Kernel<op::FillUniform, Cpu> {
  template <class T>
  static void run(Exec<Cpu>& exec, View<T, 2, HostSpace> x, const RandomKey& key, double low, double high) {
    detail::fill_random(exec, x, static_cast<float>(low), static_cast<float>(high - low), [&key](std::uint64_t block) {
      const Words<std::uint32_t, 4> words = key.block(block);
      return Words<float, 4>{uniform_from_bits(words[0]), uniform_from_bits(words[1]), uniform_from_bits(words[2]),
                             uniform_from_bits(words[3])};
    });
  }
};

template <>
struct Kernel<op::FillNormal, Cpu> {
  template <class T>
  static void run(Exec<Cpu>& exec, View<T, 2, HostSpace> x, const RandomKey& key, double mean, double deviation) {
    detail::fill_random(exec, x, static_cast<float>(mean), static_cast<float>(deviation),
                        [&key](std::uint64_t block) { return normals_from_block(key.block(block)); });
  }
};

template <>
struct Kernel<op::Dropout, Cpu> {
  template <class T>
  static void run(Exec<Cpu>& exec, View<const T, 2, HostSpace> x, double p, const RandomKey& key,
                  View<T, 2, HostSpace> y, ops::GradMode mode) {
    using A = Accum<T>;
    const auto threshold = static_cast<float>(p);
    const auto factor = static_cast<A>(1 / (1 - p));
    detail::for_each_random_block(
        exec, x.size(), [&key](std::uint64_t block) { return key.block(block); },
        [&](std::int64_t i, const Words<std::uint32_t, 4>& words) {
          detail::for_each_of_block(i, x.size(), x.extent(1), [&](std::int64_t r, std::int64_t c, std::size_t k) {
            const bool keep = uniform_from_bits(words[k]) >= threshold;
            const A in = cast<A>(x.data_handle()[r * x.stride(0) + c]);
            T& out = y.data_handle()[r * y.stride(0) + c];
            const A value = keep ? in * factor : A(0);
            out = cast<T>(mode == ops::GradMode::accumulate ? cast<A>(out) + value : value);
          });
        });
  }
};

SEGUE_NAMESPACE_END
