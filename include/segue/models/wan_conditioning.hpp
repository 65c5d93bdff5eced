// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <utility>

#include "segue/models/wan.hpp"

SEGUE_NAMESPACE_BEGIN
namespace models {

/// A model that always sees the same encoded image: what samplers, which pass a text alone, call for I2V and FLF2V.
/// The model must outlive it.
template <class M>
class WithImage {
 public:
  using Time = typename M::Time;
  using T = typename M::T;
  using Space = typename M::Space;

  /// image: (B, L, image_dim), see `Wan::forward`.
  WithImage(const M& model, Tensor<T, 3, Space> image) : model_(model), image_(std::move(image)) {}

  template <class C, Value X>
  auto operator()(C& ctx, const X& hidden, const Time& time, const Tensor<T, 3, Space>& text) const {
    return model_(ctx, hidden, time, text, image_);
  }

 private:
  const M& model_;
  Tensor<T, 3, Space> image_;
};

/// A model that is given the first frames of its clips (Wan2.2 TI2V): it sees them clean, with their tokens at timestep
/// 0, whatever a sampler made of them. What is sampled gets them by `put` at the end. The model must outlive it.
template <class M>
class WithGivenFrames {
 public:
  using Time = typename M::Time;
  using T = typename M::T;
  using Space = typename M::Space;

  /// frames: (B, C, f, H, W), latents.
  WithGivenFrames(const M& model, Tensor<T, 5, Space> frames) : model_(model), frames_(std::move(frames)) {}

  /// @throws InputError if the clip has other extents than the frames, or a timestep for every token already.
  template <class C>
  auto operator()(C& ctx, const Tensor<T, 5, Space>& hidden, const Time& time, const Tensor<T, 3, Space>& text) const {
    if (time.group) throw_input("WithGivenFrames", "time", "groups of tokens", "one timestep a sample");
    segue::detail::check_shape("WithGivenFrames", "hidden_states", hidden.view(),
                               {frames_.extent(0), frames_.extent(1), -1, frames_.extent(3), frames_.extent(4)});
    auto seen = ctx.template empty<T, 5>(hidden.shape());
    ops::copy(ctx.exec(), hidden.cview(), seen.view());
    const Time times = model_.given_frames(ctx, time.timesteps, hidden.shape(), frames_.extent(2));
    put(ctx.exec(), seen);
    return model_(ctx, seen, times, text);
  }

  /// Writes the frames over the first ones of a clip.
  template <class Device, class X>
  void put(Exec<Device>& exec, const Tensor<X, 5, Space>& clip) const {
    ops::copy(exec, frames_.cview(), clip.view().slice(2, 0, frames_.extent(2)));
  }

 private:
  const M& model_;
  Tensor<T, 5, Space> frames_;
};

}  // namespace models
SEGUE_NAMESPACE_END
