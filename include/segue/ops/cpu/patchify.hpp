// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "segue/ops/cpu/rows.hpp"
#include "segue/ops/patchify.hpp"

SEGUE_NAMESPACE_BEGIN
namespace detail {

/// Calls `f(element of the clip, element of the token)` for all pairs; tokens of one (sample, frame, row) to a task.
template <class P, ops::PatchOrder Order, class TX, class TT, class F>
void for_each_patch_element(const Exec<Cpu>& exec, View<TX, 5, HostSpace> x, View<TT, 3, HostSpace> tokens, F&& f) {
  const std::int64_t channels = x.extent(1), frames = x.extent(2) / P::frames, height = x.extent(3) / P::height,
                     width = x.extent(4) / P::width;
  constexpr bool first = Order == ops::PatchOrder::channel_first;
  parallel_for(
      exec, x.extent(0) * frames * height,
      [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t task = begin; task < end; ++task) {
          const std::int64_t h = task % height, t = task / height % frames, b = task / (height * frames);
          TX* const corner =
              x.data_handle() + b * x.stride(0) + t * P::frames * x.stride(2) + h * P::height * x.stride(3);
          TT* const token = tokens.data_handle() + b * tokens.stride(0) + (t * height + h) * width * tokens.stride(1);
          for (std::int64_t c = 0; c < channels; ++c)
            for (int pt = 0; pt < P::frames; ++pt)
              for (int ph = 0; ph < P::height; ++ph) {
                TX* const line = corner + c * x.stride(1) + pt * x.stride(2) + ph * x.stride(3);
                const std::int64_t patch_row = (pt * P::height + ph) * P::width;
                TT* const out = token + (first ? c * P::volume + patch_row : patch_row * channels + c);
                const std::int64_t step = first ? 1 : channels;
                for (std::int64_t w = 0; w < width; ++w)
                  for (int pw = 0; pw < P::width; ++pw)
                    f(line[w * P::width + pw], out[w * tokens.stride(1) + pw * step]);
              }
        }
      },
      row_grain(channels * P::volume * width));
}

}  // namespace detail

template <>
struct Kernel<op::Patchify, Cpu> {
  template <class P, ops::PatchOrder Order, class T>
  static void run(Exec<Cpu>& exec, View<const T, 5, HostSpace> x, View<T, 3, HostSpace> tokens, ops::GradMode mode) {
    using A = Accum<T>;
    if (mode == ops::GradMode::overwrite)
      detail::for_each_patch_element<P, Order>(exec, x, tokens, [](const T& from, T& to) { to = from; });
    else
      detail::for_each_patch_element<P, Order>(exec, x, tokens,
                                               [](const T& from, T& to) { to = cast<T>(cast<A>(to) + cast<A>(from)); });
  }
};

template <>
struct Kernel<op::Unpatchify, Cpu> {
  template <class P, ops::PatchOrder Order, class T>
  static void run(Exec<Cpu>& exec, View<const T, 3, HostSpace> tokens, View<T, 5, HostSpace> x, ops::GradMode mode) {
    using A = Accum<T>;
    if (mode == ops::GradMode::overwrite)
      detail::for_each_patch_element<P, Order>(exec, x, tokens, [](T& to, const T& from) { to = from; });
    else
      detail::for_each_patch_element<P, Order>(exec, x, tokens,
                                               [](T& to, const T& from) { to = cast<T>(cast<A>(to) + cast<A>(from)); });
  }
};

SEGUE_NAMESPACE_END
