// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "segue/functional/detail.hpp"
#include "segue/ops/patchify.hpp"

SEGUE_NAMESPACE_BEGIN
namespace functional {

/// (B, C, F, H, W) -> (B, tokens, C·pt·ph·pw). Set is the closed set of patches the program is compiled for.
template <class Set = ops::DefaultPatches, class C, Value X>
auto patchify(C& ctx, const X& x, ops::PatchSize patch, ops::PatchOrder order = ops::PatchOrder::channel_first) {
  using T = detail::value_t<X>;
  using Space = typename C::Space;
  const auto& xt = value_of(x);
  // Refuses extents of zero before they divide.
  ops::dispatch_patch("patchify", patch, Set{}, [](auto) {});
  const std::int64_t tokens =
      xt.extent(2) / patch.frames * (xt.extent(3) / patch.height) * (xt.extent(4) / patch.width);
  auto y = ctx.template empty<T, 3>({xt.extent(0), tokens, xt.extent(1) * patch.frames * patch.height * patch.width});
  ops::patchify<Set>(ctx.exec(), patch, order, xt.cview(), y.view());
  if constexpr (!any_var<X>) {
    return y;
  } else {
    if (!ctx.records(x)) return detail::constant<X>(std::move(y));
    return ctx.record(std::move(y),
                      [patch, order, shape = xt.shape(), gx = ctx.target(x)](auto& ex, const Tensor<T, 3, Space>& dy) {
                        const auto dx = gx.open(ex, shape);
                        ops::unpatchify<Set>(ex, patch, order, dy.cview(), dx.value.view(), dx.mode);
                      });
  }
}

/// (B, tokens, pt·ph·pw·C) -> (B, C, F, H, W), the inverse of `patchify` of the same order.
template <class Set = ops::DefaultPatches, class C, Value X>
auto unpatchify(C& ctx, const X& x, ops::PatchSize patch, const Shape<5>& shape,
                ops::PatchOrder order = ops::PatchOrder::channel_last) {
  using T = detail::value_t<X>;
  using Space = typename C::Space;
  const auto& xt = value_of(x);
  auto y = ctx.template empty<T, 5>(shape);
  ops::unpatchify<Set>(ctx.exec(), patch, order, xt.cview(), y.view());
  if constexpr (!any_var<X>) {
    return y;
  } else {
    if (!ctx.records(x)) return detail::constant<X>(std::move(y));
    return ctx.record(std::move(y), [patch, order, token_shape = xt.shape(), gx = ctx.target(x)](
                                        auto& ex, const Tensor<T, 5, Space>& dy) {
      const auto dx = gx.open(ex, token_shape);
      ops::patchify<Set>(ex, patch, order, dy.cview(), dx.value.view(), dx.mode);
    });
  }
}

}  // namespace functional
SEGUE_NAMESPACE_END
