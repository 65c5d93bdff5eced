// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "segue/functional/detail.hpp"
#include "segue/ops/loss.hpp"

SEGUE_NAMESPACE_BEGIN
namespace functional {

/// Mean squared error of clips: 1/B · Σ_b weight(b) · mean over the elements of sample b of (pred − target)².
/// pred, target: (B, C, F, H, W); weight: (B) float or empty; frames below `first_frame` take no part.
/// The result has one element, in double. Keeps pred and target.
template <class C, Value X>
auto mse(C& ctx, const X& pred, const Tensor<detail::value_t<X>, 5, typename C::Space>& target,
         const Tensor<float, 1, typename C::Space>& weight = {}, std::int64_t first_frame = 0) {
  using T = detail::value_t<X>;
  using Space = typename C::Space;
  const auto planes = [](const auto& clip) {
    return clip.template reshape<4>({clip.extent(0), clip.extent(1), clip.extent(2), clip.extent(3) * clip.extent(4)});
  };
  const auto& pt = value_of(pred);
  const auto p4 = planes(pt);
  const auto t4 = planes(target);
  auto loss = ctx.template empty<double, 1>({1});
  ops::mse_forward(ctx.exec(), p4.cview(), t4.cview(), weight.cview(), first_frame, loss.view());
  if constexpr (!any_var<X>) {
    return loss;
  } else {
    if (!ctx.records(pred)) return detail::constant<X>(std::move(loss));
    return ctx.record(std::move(loss), [p4, t4, weight, first_frame, shape = pt.shape(), gx = ctx.target(pred)](
                                           auto& ex, const Tensor<double, 1, Space>& dloss) {
      const auto dx = gx.open(ex, shape);
      const View<T, 4, Space> dx4(dx.value.data_handle(), p4.shape());
      ops::mse_backward(ex, p4.cview(), t4.cview(), weight.cview(), first_frame, dloss.cview(), dx4, dx.mode);
    });
  }
}

}  // namespace functional
SEGUE_NAMESPACE_END
