// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "segue/ops/cpu/parallel.hpp"
#include "segue/ops/pixels.hpp"

SEGUE_NAMESPACE_BEGIN

template <>
struct Kernel<op::NormalizePixels, Cpu> {
  template <class T>
  static void run(Exec<Cpu>& exec, View<const std::uint8_t, 5, HostSpace> pixels, View<T, 5, HostSpace> out) {
    const std::int64_t channels = out.extent(1), frames = out.extent(2), height = out.extent(3), width = out.extent(4);
    detail::parallel_for(
        exec, out.extent(0) * frames * height,
        [&](std::int64_t begin, std::int64_t end) {
          for (std::int64_t row = begin; row < end; ++row) {
            const std::int64_t y = row % height, f = row / height % frames, b = row / height / frames;
            const std::uint8_t* const from = pixels.data_handle() + row * width * channels;
            for (std::int64_t c = 0; c < channels; ++c) {
              T* const to =
                  out.data_handle() + b * out.stride(0) + c * out.stride(1) + f * out.stride(2) + y * out.stride(3);
              for (std::int64_t x = 0; x < width; ++x) to[x] = cast<T>(ops::model_value(from[x * channels + c]));
            }
          }
        },
        std::max<std::int64_t>(1, 16384 / std::max<std::int64_t>(1, width * channels)));
  }
};

SEGUE_NAMESPACE_END
