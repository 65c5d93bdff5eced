// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "segue/ops/cpu/elementwise.hpp"
#include "segue/ops/cpu/random_fill.hpp"
#include "segue/ops/flow.hpp"

SEGUE_NAMESPACE_BEGIN

template <>
struct Kernel<op::NoiseBatch, Cpu> {
  template <class T>
  static void run(Exec<Cpu>& exec, View<const T, 5, HostSpace> clips, View<const ops::NoiseDraw, 1, HostSpace> draws,
                  View<T, 5, HostSpace> state, View<T, 5, HostSpace> target, View<float, 1, HostSpace> timesteps,
                  View<float, 1, HostSpace> weights) {
    for (std::int64_t b = 0; b < clips.extent(0); ++b) {
      timesteps(b) = draws(b).timestep;
      if (weights.data_handle()) weights(b) = draws(b).weight;
    }
    // Trailing axes that are contiguous in all three form one line.
    int axis = 4;
    std::int64_t length = clips.extent(4);
    const auto joins = [&](const auto& x) { return x.stride(axis - 1) == length || x.extent(axis - 1) == 1; };
    while (axis > 1 && joins(clips) && joins(state) && joins(target)) length *= clips.extent(--axis);

    constexpr std::int64_t piece = 4096;
    const std::int64_t count = clips[0].size();
    const std::int64_t pieces = ceil_div(count, piece);
    detail::parallel_for(
        exec, clips.extent(0) * pieces,
        [&](std::int64_t begin, std::int64_t end) {
          T noise[static_cast<std::size_t>(piece)];
          for (std::int64_t task = begin; task < end; ++task) {
            const std::int64_t b = task / pieces, start = task % pieces * piece;
            const std::int64_t n = std::min(piece, count - start);
            draw(draws(b), start, n, noise);
            for (std::int64_t done = 0; done < n;) {
              std::int64_t line = (start + done) / length;
              const std::int64_t at = (start + done) % length;
              const std::int64_t span = std::min(n - done, length - at);
              std::int64_t from = b * clips.stride(0) + at, to = b * state.stride(0) + at,
                           goal = b * target.stride(0) + at;
              for (int i = axis - 1; i >= 1; --i) {
                const std::int64_t index = line % clips.extent(i);
                line /= clips.extent(i);
                from += index * clips.stride(i);
                to += index * state.stride(i);
                goal += index * target.stride(i);
              }
              const T* const clip = clips.data_handle() + from;
              mix(draws(b).state_data, clip, draws(b).state_noise, noise + done, state.data_handle() + to, span);
              mix(draws(b).target_data, clip, draws(b).target_noise, noise + done, target.data_handle() + goal, span);
              done += span;
            }
          }
        },
        1);
  }

 private:
  /// Elements [start, start + n) of the noise; start is a multiple of 4.
  template <class T>
  static void draw(const ops::NoiseDraw& draw, std::int64_t start, std::int64_t n, T* noise) {
    const auto sign = static_cast<float>(draw.sign);
    for (std::int64_t i = 0; i < n; i += 4) {
      const Words<float, 4> z = normals_from_block(draw.key.block(static_cast<std::uint64_t>((start + i) / 4)));
      for (std::int64_t k = 0; k < std::min<std::int64_t>(4, n - i); ++k)
        noise[i + k] = cast<T>(std::fma(sign, z[static_cast<std::size_t>(k)], 0.0f));
    }
  }

  template <class T>
  static void mix(double data, const T* clip, double factor, const T* noise, T* out, std::int64_t n) {
    using A = Accum<T>;
    const auto va = detail::simd::broadcast(static_cast<A>(data)), vn = detail::simd::broadcast(static_cast<A>(factor)),
               one = detail::simd::broadcast(A(1));
    detail::row_vectors<A>(1, n, [&](std::int64_t c, std::int64_t, auto lanes) {
      detail::scale_vector<A>(lanes, vn, noise + c, out + c);
      if (data != 0) detail::axpby_vector<A>(lanes, va, clip + c, one, out + c);
    });
  }
};

SEGUE_NAMESPACE_END
