// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "segue/ops/cuda/pointwise.cuh"
#include "segue/ops/cuda/rows.cuh"
#include "segue/ops/pixels.hpp"

SEGUE_KERNELS_BEGIN

template <class T>
struct PixelPlanes {
  T* data;
  std::int64_t sample, channel, frame, row;
  std::uint32_t channels;
};

/// A thread reads the channels of one place: neighbours read and write neighbours.
template <class T>
__global__ void __launch_bounds__(pointwise_threads)
    normalize_pixels(const std::uint8_t* pixels, std::uint32_t count, Divider width, Divider height, Divider frames,
                     PixelPlanes<T> out) {
  const std::uint32_t i = blockIdx.x * pointwise_threads + threadIdx.x;
  if (i >= count) return;
  const std::uint32_t line = i / width, x = i - line * width.divisor();
  const std::uint32_t picture = line / height, y = line - picture * height.divisor();
  const std::uint32_t b = picture / frames, f = picture - b * frames.divisor();
  T* to = out.data + b * out.sample + f * out.frame + y * out.row + x;
  const std::uint8_t* const from = pixels + std::int64_t{i} * out.channels;
  for (std::uint32_t c = 0; c < out.channels; ++c, to += out.channel) *to = cast<T>(ops::model_value(from[c]));
}

SEGUE_KERNELS_END

SEGUE_NAMESPACE_BEGIN

template <>
struct Kernel<op::NormalizePixels, Cuda> {
  template <class T>
  static void run(Exec<Cuda>& exec, View<const std::uint8_t, 5, CudaSpace> pixels, View<T, 5, CudaSpace> out) {
    const std::int64_t channels = out.extent(1), frames = out.extent(2), height = out.extent(3), width = out.extent(4);
    const std::int64_t places = detail::int_extent("normalize_pixels", "places of a sample", frames * height * width);
    const std::int64_t most = std::max<std::int64_t>(1, detail::most_items / places);
    for (std::int64_t b = 0; b < out.extent(0); b += most) {
      const std::int64_t count = std::min(most, out.extent(0) - b) * places;
      launch(exec, "normalize_pixels", kernels::normalize_pixels<T>,
             dim3(static_cast<unsigned>(ceil_div(count, kernels::pointwise_threads))), dim3(kernels::pointwise_threads),
             0, pixels.data_handle() + b * places * channels, static_cast<std::uint32_t>(count),
             kernels::Divider(width), kernels::Divider(height), kernels::Divider(frames),
             kernels::PixelPlanes<T>{out.data_handle() + b * out.stride(0), out.stride(0), out.stride(1), out.stride(2),
                                     out.stride(3), static_cast<std::uint32_t>(channels)});
    }
  }
};

SEGUE_NAMESPACE_END
