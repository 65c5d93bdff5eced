// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "segue/ops/elementwise.hpp"
#include "segue/ops/pixels.hpp"
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
    const tasks::ClipShape s = pixels.shape();
    tasks::detail::check_clip_extents("IdentityCodec", "pixels", pixels.pixels.size(), s.size());
    const Shape<4> shape = latent_shape(s);
    auto bytes = exec.template empty<std::uint8_t, 5>({1, s.frames, s.height, s.width, s.channels});
    exec.upload(pixels.pixels.data(), bytes.view());
    auto out = exec.template empty<typename P::compute, 5>({1, shape[0], shape[1], shape[2], shape[3]});
    ops::normalize_pixels(exec, bytes.cview(), out.view());
    return {out.buffer(), out.view()[0]};
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
