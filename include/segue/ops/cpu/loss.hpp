// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "segue/ops/cpu/reduce.hpp"
#include "segue/ops/loss.hpp"

SEGUE_NAMESPACE_BEGIN

template <>
struct Kernel<op::MseForward, Cpu> {
  template <class T>
  static void run(Exec<Cpu>& exec, View<const T, 4, HostSpace> pred, View<const T, 4, HostSpace> target,
                  View<const float, 1, HostSpace> weight, std::int64_t first_frame, View<double, 1, HostSpace> loss) {
    using A = Accum<T>;
    const std::int64_t frames = pred.extent(2) - first_frame, length = pred.extent(3);
    const std::int64_t lines = pred.extent(1) * frames;
    double total = 0;
    for (std::int64_t b = 0; b < pred.extent(0) && lines * length > 0; ++b) {
      const double sum =
          detail::sum_pieces(exec, lines, 1, detail::row_grain(length), [&](std::int64_t begin, std::int64_t end) {
            double part = 0;
            for (std::int64_t line = begin; line < end; ++line) {
              const std::int64_t c = line / frames, f = first_frame + line % frames;
              const T* const p = pred.data_handle() + b * pred.stride(0) + c * pred.stride(1) + f * pred.stride(2);
              const T* const t =
                  target.data_handle() + b * target.stride(0) + c * target.stride(1) + f * target.stride(2);
              part += detail::sum_line<A>(length, [&](std::int64_t at, auto n, detail::WideVec<A>& squares) {
                const auto d = __builtin_convertvector(
                    detail::simd::load<A>(p + at, n) - detail::simd::load<A>(t + at, n), detail::WideVec<A>);
                squares += d * d;
              });
            }
            return part;
          });
      total += (weight.data_handle() ? static_cast<double>(weight(b)) : 1.0) * sum;
    }
    const double elements = static_cast<double>(pred.extent(0)) * static_cast<double>(lines * length);
    loss(0) = elements > 0 ? total / elements : 0;
  }
};

template <>
struct Kernel<op::MseBackward, Cpu> {
  template <class T>
  static void run(Exec<Cpu>& exec, View<const T, 4, HostSpace> pred, View<const T, 4, HostSpace> target,
                  View<const float, 1, HostSpace> weight, std::int64_t first_frame,
                  View<const double, 1, HostSpace> dloss, View<T, 4, HostSpace> dpred, ops::GradMode mode) {
    using A = Accum<T>;
    using V = detail::simd::Vec<A>;
    const std::int64_t channels = pred.extent(1), frames = pred.extent(2), length = pred.extent(3);
    const double elements =
        static_cast<double>(pred.extent(0)) * static_cast<double>(channels * (frames - first_frame) * length);
    const double factor = 2 * dloss(0) / elements;
    detail::parallel_for(
        exec, pred.extent(0) * channels * frames,
        [&](std::int64_t begin, std::int64_t end) {
          for (std::int64_t line = begin; line < end; ++line) {
            const std::int64_t f = line % frames, c = line / frames % channels, b = line / (frames * channels);
            const auto offset = [&](const auto& view) {
              return view.data_handle() + b * view.stride(0) + c * view.stride(1) + f * view.stride(2);
            };
            const T* const p = offset(pred);
            const T* const t = offset(target);
            T* const out = offset(dpred);
            const double sample = factor * (weight.data_handle() ? static_cast<double>(weight(b)) : 1.0);
            const V scale = detail::simd::broadcast(static_cast<A>(sample));
            const bool counts = f >= first_frame;
            detail::row_vectors<A>(1, length, [&](std::int64_t at, std::int64_t, auto n) {
              const V d = counts ? (detail::simd::load<A>(p + at, n) - detail::simd::load<A>(t + at, n)) * scale : V{};
              detail::store_gradient<A>(out + at, d, n, mode);
            });
          }
        },
        detail::row_grain(length));
  }
};

SEGUE_NAMESPACE_END
