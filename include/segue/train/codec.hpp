// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "segue/ops/elementwise.hpp"
#include "segue/policy/policy.hpp"
#include "segue/tasks/clip.hpp"

SEGUE_NAMESPACE_BEGIN
namespace train {

/// Stands between pictures and the model's space: pixels are (F, H, W, C) bytes, the model's clips are (C, F, H, W).
/// `latent_shape` says what a clip becomes; `name` is what segue.json calls the codec.
template <class T, class P>
concept Codec = requires(const T& codec, Exec<typename P::Device>& exec, const tasks::Clip& pixels,
                         const Tensor<typename P::compute, 4, typename P::Space>& latents, tasks::ClipShape shape) {
  { codec.latent_shape(shape) } -> std::same_as<Shape<4>>;
  { codec.template encode<P>(exec, pixels) } -> std::same_as<Tensor<typename P::compute, 4, typename P::Space>>;
  { codec.template decode<P>(exec, latents) } -> std::same_as<tasks::Clip>;
  { T::name } -> std::convertible_to<const char*>;
};

/// Pixel space itself: byte v is v/127.5 − 1.
struct IdentityCodec {
  static constexpr const char* name = "identity";

  Shape<4> latent_shape(const tasks::ClipShape& s) const { return {s.channels, s.frames, s.height, s.width}; }

  template <PolicyLike P>
  Tensor<typename P::compute, 4, typename P::Space> encode(Exec<typename P::Device>& exec,
                                                           const tasks::Clip& pixels) const {
    const Shape<4> shape = latent_shape(pixels.shape());
    auto floats = exec.template empty<float, 4>(shape);
    if (!exec.planning()) {
      std::vector<float> host(static_cast<std::size_t>(floats.size()));
      tasks::to_model_space(pixels.pixels, pixels.shape(), std::span<float>(host));
      exec.upload(host.data(), floats.view());
    }
    if constexpr (std::is_same_v<typename P::compute, float>) {
      return floats;
    } else {
      auto out = exec.template empty<typename P::compute, 4>(shape);
      ops::copy(exec, floats.cview(), out.view());
      return out;
    }
  }

  /// Values are rounded to the nearest byte and clamped.
  template <PolicyLike P, class T>
  tasks::Clip decode(Exec<typename P::Device>& exec, const Tensor<T, 4, typename P::Space>& latents) const {
    auto floats = exec.template empty<float, 4>(latents.shape());
    ops::copy(exec, latents.cview(), floats.view());
    tasks::Clip clip =
        tasks::make_blank_clip({static_cast<int>(latents.extent(1)), static_cast<int>(latents.extent(2)),
                                static_cast<int>(latents.extent(3)), static_cast<int>(latents.extent(0))});
    if (!exec.planning()) tasks::to_pixel_space(to_host(exec, floats.view()), clip.shape(), clip.pixels);
    return clip;
  }
};

/// The condition of image-to-video by channel concatenation: one mask channel (1 in frame 0, else 0), then the first
/// frame's channels (in frame 0, else 0).
///   clip (C, F, H, W), of which frame 0 is read; returns (1 + C, `frames`, H, W), `frames` = F unless given
template <class Device, class T>
Tensor<T, 4, typename Device::Space> first_frame_condition(Exec<Device>& exec,
                                                           const Tensor<T, 4, typename Device::Space>& clip,
                                                           std::int64_t frames = 0) {
  const std::int64_t c = clip.extent(0);
  auto out = exec.template empty<T, 4>({c + 1, frames > 0 ? frames : clip.extent(1), clip.extent(2), clip.extent(3)});
  ops::fill(exec, 0.0, out.view());
  ops::fill(exec, 1.0, out.view().slice(0, 0, 1).slice(1, 0, 1));
  ops::copy(exec, clip.cview().slice(1, 0, 1), out.view().slice(0, 1, c + 1).slice(1, 0, 1));
  return out;
}

}  // namespace train
SEGUE_NAMESPACE_END
