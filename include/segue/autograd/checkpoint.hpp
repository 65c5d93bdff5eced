// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tuple>
#include <utility>

#include "segue/autograd/context.hpp"

SEGUE_NAMESPACE_BEGIN

namespace detail {

/// The inputs of a checkpointed block while it is re-run: same values, gradients into slots of their own.
template <class T, int Rank, class Space, class Grad>
Var<T, Rank, Space, Grad> detach(const Var<T, Rank, Space, Grad>& x, GradSlot<Grad, Rank, Space>& slot) {
  return x.requires_grad() ? Var<T, Rank, Space, Grad>(x.value(), &slot, 0) : Var<T, Rank, Space, Grad>(x.value());
}
template <class T, int Rank, class Space>
const Tensor<T, Rank, Space>& detach(const Tensor<T, Rank, Space>& x, int&) {
  return x;
}

template <class X>
struct SlotFor {
  using type = int;
};
template <class T, int Rank, class Space, class Grad>
struct SlotFor<Var<T, Rank, Space, Grad>> {
  using type = GradSlot<Grad, Rank, Space>;
};

}  // namespace detail

/// Calls `block(ctx, x...)` and keeps only its inputs; the backward runs it again, with the same random draws, and
/// then backward through it. A block in which nothing requires a gradient records nothing.
/// `block` must be callable twice; what it refers to must live until the backward.
/// Memory: the inputs, plus one block's activations during its backward. Cost: one more forward.
template <PolicyLike P, class F, Value... X>
auto checkpoint(Context<P>& ctx, F block, const X&... x) {
  const RandomState random_before = ctx.exec().random();
  if constexpr (!any_var<X...>) {
    return block(ctx, x...);
  } else {
    if (!ctx.grad_enabled() || !ctx.recording()) return block(ctx, x...);
    bool needed = false;
    auto y = [&] {
      const Unrecorded<P> off(ctx);
      auto out = block(ctx, x...);
      needed = off.skipped();
      return out;
    }();
    if (!needed) return y;
    auto rerun = [&ctx, block, random_before, inputs = std::tuple(x...), targets = std::tuple(ctx.target(x)...)](
                     auto& exec, auto dy) {
      const RandomState random_now = std::exchange(exec.random(), random_before);
      {
        std::tuple<typename detail::SlotFor<X>::type...> slots{};
        const TapeScope<P> scope(ctx);
        [&]<std::size_t... I>(std::index_sequence<I...>) {
          auto out = block(ctx, detail::detach(std::get<I>(inputs), std::get<I>(slots))...);
          if (out.requires_grad()) ctx.backward(out, std::move(dy));
          const auto hand_over = [&exec](const auto& target, auto& slot) {
            if constexpr (!std::is_same_v<std::remove_cvref_t<decltype(slot)>, int>)
              if (target && slot.filled()) target.add(exec, slot.take());
          };
          (hand_over(std::get<I>(targets), std::get<I>(slots)), ...);
        }
        (std::index_sequence_for<X...>{});
      }
      exec.random() = random_now;
    };
    return ctx.record(y.value(), std::move(rerun));
  }
}

SEGUE_NAMESPACE_END
