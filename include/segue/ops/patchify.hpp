// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "segue/core/dispatch.hpp"
#include "segue/core/dtype.hpp"
#include "segue/core/exec.hpp"
#include "segue/ops/checks.hpp"
#include "segue/ops/cost.hpp"
#include "segue/ops/types.hpp"

SEGUE_NAMESPACE_BEGIN
namespace op {
struct Patchify;
struct Unpatchify;
}  // namespace op

namespace ops {

/// A patch of frames x height x width elements, as a constant.
template <int Frames, int Height, int Width>
struct Patch {
  static_assert(Frames > 0 && Height > 0 && Width > 0, "Patch<Frames, Height, Width>: extents must be positive");
  static constexpr int frames = Frames;
  static constexpr int height = Height;
  static constexpr int width = Width;
  static constexpr int volume = Frames * Height * Width;
};

/// The same as run-time values.
struct PatchSize {
  int frames = 1;
  int height = 1;
  int width = 1;
  friend constexpr bool operator==(const PatchSize&, const PatchSize&) = default;
};

/// The order of a token's elements.
enum class PatchOrder : std::uint8_t {
  channel_first,  ///< (c, pt, ph, pw): that of a Conv3d weight, so that patch embedding is a linear
  channel_last    ///< (pt, ph, pw, c): what Wan's output projection writes
};

/// A closed set of patches that run-time values are matched with. Programs may name their own.
template <class... P>
struct PatchSet {};

using DefaultPatches = PatchSet<Patch<1, 1, 1>, Patch<1, 2, 2>, Patch<1, 4, 4>, Patch<1, 8, 8>, Patch<1, 16, 16>,
                                Patch<2, 2, 2>, Patch<2, 4, 4>, Patch<4, 4, 4>>;

/// Calls `f(Patch<…>{})` for the patch of the set that has these extents.
/// @throws InputError that names the extents and the set.
template <class... P, class F>
void dispatch_patch(std::string_view where, PatchSize size, PatchSet<P...>, F&& f) {
  const bool hit = ((size == PatchSize{P::frames, P::height, P::width} && (f(P{}), true)) || ...);
  if (hit) return;
  std::string set;
  ((set += (set.empty() ? "" : ", ") + shape_string(Shape<3>{P::frames, P::height, P::width})), ...);
  throw_input(where, "patch", shape_string(Shape<3>{size.frames, size.height, size.width}), "one of " + set);
}

}  // namespace ops

namespace detail {

template <class P, class TX, class TT, class Space>
void check_patches(std::string_view op, const View<TX, 5, Space>& x, const View<TT, 3, Space>& tokens) {
  check_shape(op, "x", x, {-1, -1, -1, -1, -1});
  if (x.extent(2) % P::frames || x.extent(3) % P::height || x.extent(4) % P::width)
    throw_input(op, "shape of x", shape_string(x.shape()),
                "frames, height and width that are multiples of the patch " +
                    shape_string(Shape<3>{P::frames, P::height, P::width}));
  check_shape(op, "tokens", tokens,
              {x.extent(0), x.extent(2) / P::frames * (x.extent(3) / P::height) * (x.extent(4) / P::width),
               x.extent(1) * P::volume});
}

}  // namespace detail

namespace ops {

/// Cuts a clip into tokens, in the order frame, height, width.
///   x      (B, C, F, H, W), last axis contiguous, other strides free
///   tokens (B, N, C·pt·ph·pw), last axis contiguous, other strides free; N = F/pt · H/ph · W/pw
/// A permutation: its adjoint is `unpatchify` of the same order, and exact. No aliasing.
/// @throws InputError if a shape does not fit.
template <class P, PatchOrder Order = PatchOrder::channel_first, class Device, class T>
void patchify(Exec<Device>& exec, View<const std::type_identity_t<T>, 5, typename Device::Space> x,
              View<T, 3, typename Device::Space> tokens, GradMode mode = GradMode::overwrite) {
  static_assert(is_floating<T>, "patchify: tokens must hold float, double, bfloat16 or float16");
  detail::check_patches<P>("patchify", x, tokens);
  if (exec.planning() || x.empty()) return;
  Kernel<op::Patchify, Device>::template run<P, Order>(exec, x, tokens, mode);
}

/// Puts tokens back into a clip; arguments as for `patchify`, whose inverse and adjoint it is.
template <class P, PatchOrder Order = PatchOrder::channel_last, class Device, class T>
void unpatchify(Exec<Device>& exec, View<const std::type_identity_t<T>, 3, typename Device::Space> tokens,
                View<T, 5, typename Device::Space> x, GradMode mode = GradMode::overwrite) {
  static_assert(is_floating<T>, "unpatchify: x must hold float, double, bfloat16 or float16");
  detail::check_patches<P>("unpatchify", x, tokens);
  if (exec.planning() || x.empty()) return;
  Kernel<op::Unpatchify, Device>::template run<P, Order>(exec, tokens, x, mode);
}

/// `unpatchify` in a convolution's order: the gradient of a patch embedding's input.
template <class P, class Device, class T>
void unpatchify_conv(Exec<Device>& exec, View<const std::type_identity_t<T>, 3, typename Device::Space> tokens,
                     View<T, 5, typename Device::Space> x, GradMode mode = GradMode::overwrite) {
  unpatchify<P, PatchOrder::channel_first>(exec, tokens, x, mode);
}

/// `patchify` with a patch known at run time, one of a closed set.
template <class Set = DefaultPatches, class Device, class T>
void patchify(Exec<Device>& exec, PatchSize patch, PatchOrder order,
              View<const std::type_identity_t<T>, 5, typename Device::Space> x,
              View<T, 3, typename Device::Space> tokens, GradMode mode = GradMode::overwrite) {
  dispatch_patch("patchify", patch, Set{}, [&]<class P>(P) {
    if (order == PatchOrder::channel_first)
      patchify<P, PatchOrder::channel_first>(exec, x, tokens, mode);
    else
      patchify<P, PatchOrder::channel_last>(exec, x, tokens, mode);
  });
}

/// `unpatchify` with a patch known at run time, one of a closed set.
template <class Set = DefaultPatches, class Device, class T>
void unpatchify(Exec<Device>& exec, PatchSize patch, PatchOrder order,
                View<const std::type_identity_t<T>, 3, typename Device::Space> tokens,
                View<T, 5, typename Device::Space> x, GradMode mode = GradMode::overwrite) {
  dispatch_patch("unpatchify", patch, Set{}, [&]<class P>(P) {
    if (order == PatchOrder::channel_first)
      unpatchify<P, PatchOrder::channel_first>(exec, tokens, x, mode);
    else
      unpatchify<P, PatchOrder::channel_last>(exec, tokens, x, mode);
  });
}

template <class T>
constexpr Cost patchify_cost(std::int64_t elements) {
  return {0, 2.0 * static_cast<double>(elements) * sizeof(T)};
}

}  // namespace ops
SEGUE_NAMESPACE_END
