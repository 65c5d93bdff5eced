// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <utility>

#include "segue/functional/detail.hpp"
#include "segue/ops/activation.hpp"
#include "segue/ops/random_fill.hpp"

SEGUE_NAMESPACE_BEGIN
namespace functional {

/// y = activation(x), pointwise. Keeps x; y leaves a recipe.
template <class C, Value X>
auto activation(C& ctx, ops::Activation kind, const X& x) {
  using T = detail::value_t<X>;
  constexpr int Rank = detail::rank_of<X>;
  using Space = typename C::Space;
  const auto& xt = value_of(x);
  auto y = ctx.template empty<T, Rank>(xt.shape());
  ops::activation_forward(ctx.exec(), kind, rows_of(xt.cview(), "activation"), rows_of(y.view()));
  if constexpr (!any_var<X>) {
    return y;
  } else {
    if (!ctx.records(x)) return detail::constant<X>(std::move(y));
    auto result = ctx.record(std::move(y), [kind, kept = save(x), shape = xt.shape(), gx = ctx.target(x)](
                                               auto& ex, const Tensor<T, Rank, Space>& dy) {
      const auto x_again = kept.get(ex);
      const auto dx = gx.open(ex, shape);
      ops::activation_backward(ex, kind, rows_of(x_again.cview()), rows_of(dy.cview()), rows_of(dx.value.view()),
                               dx.mode);
    });
    if (ctx.keeps_recipes())
      result.set_recipe(make_recipe<T, Rank, Space>([kind, kept = save(x)](auto& ex) {
        const auto x_again = kept.get(ex);
        auto again = ex.template empty<T, Rank>(x_again.shape());
        ops::activation_forward(ex, kind, rows_of(x_again.cview()), rows_of(again.view()));
        return again;
      }));
    return result;
  }
}

template <class C, Value X>
auto silu(C& ctx, const X& x) {
  return activation(ctx, ops::Activation::silu, x);
}

/// y = a + b of equal shapes.
template <class C, Value X, Value Y>
auto add(C& ctx, const X& a, const Y& b) {
  using T = detail::value_t<X>;
  static_assert(std::is_same_v<T, detail::value_t<Y>>, "add: a and b must have one dtype; cast one of them");
  constexpr int Rank = detail::rank_of<X>;
  using Space = typename C::Space;
  const auto& at = value_of(a);
  auto y = ctx.template empty<T, Rank>(at.shape());
  ops::add(ctx.exec(), at.cview(), value_of(b).cview(), y.view());
  if constexpr (!any_var<X, Y>) {
    return y;
  } else {
    if (!ctx.records(a, b)) return detail::constant<X, Y>(std::move(y));
    return ctx.record(std::move(y),
                      [ga = ctx.target(a), gb = ctx.target(b)](auto& ex, const Tensor<T, Rank, Space>& dy) {
                        if (ga) ga.add(ex, dy);
                        if (gb) gb.add(ex, dy);
                      });
  }
}

/// y = factor·x.
template <class C, Value X>
auto scale(C& ctx, const X& x, double factor) {
  using T = detail::value_t<X>;
  constexpr int Rank = detail::rank_of<X>;
  using Space = typename C::Space;
  const auto& xt = value_of(x);
  auto y = ctx.template empty<T, Rank>(xt.shape());
  ops::scale(ctx.exec(), factor, xt.cview(), y.view());
  if constexpr (!any_var<X>) {
    return y;
  } else {
    if (!ctx.records(x)) return detail::constant<X>(std::move(y));
    return ctx.record(std::move(y), [factor, gx = ctx.target(x)](auto& ex, const Tensor<T, Rank, Space>& dy) {
      auto dx = ex.template empty<T, Rank>(dy.shape());
      ops::scale(ex, factor, dy.cview(), dx.view());
      gx.add(ex, std::move(dx));
    });
  }
}

/// y = a·b, pointwise, of equal shapes.
template <class C, Value X, Value Y>
auto multiply(C& ctx, const X& a, const Y& b) {
  using T = detail::value_t<X>;
  static_assert(std::is_same_v<T, detail::value_t<Y>>, "multiply: a and b must have one dtype; cast one of them");
  constexpr int Rank = detail::rank_of<X>;
  using Space = typename C::Space;
  const auto& at = value_of(a);
  auto y = ctx.template empty<T, Rank>(at.shape());
  ops::multiply(ctx.exec(), at.cview(), value_of(b).cview(), y.view());
  if constexpr (!any_var<X, Y>) {
    return y;
  } else {
    if (!ctx.records(a, b)) return detail::constant<X, Y>(std::move(y));
    return ctx.record(std::move(y), [sa = save(a), sb = save(b), ga = ctx.target(a), gb = ctx.target(b)](
                                        auto& ex, const Tensor<T, Rank, Space>& dy) {
      const auto hand_over = [&](const auto& target, const auto& other) {
        if (!target) return;
        auto d = ex.template empty<T, Rank>(dy.shape());
        ops::multiply(ex, dy.cview(), other.get(ex).cview(), d.view());
        target.add(ex, std::move(d));
      };
      hand_over(ga, sb);
      hand_over(gb, sa);
    });
  }
}

/// Another dtype; the gradient is cast back. y leaves a recipe.
template <class To, class C, Value X>
auto cast(C& ctx, const X& x) {
  using T = detail::value_t<X>;
  constexpr int Rank = detail::rank_of<X>;
  using Space = typename C::Space;
  if constexpr (std::is_same_v<To, T>) {
    return x;
  } else {
    const auto& xt = value_of(x);
    auto y = ctx.template empty<To, Rank>(xt.shape());
    ops::copy(ctx.exec(), xt.cview(), y.view());
    if constexpr (!any_var<X>) {
      return y;
    } else {
      if (!ctx.records(x)) return detail::constant<X>(std::move(y));
      auto result = ctx.record(std::move(y), [gx = ctx.target(x)](auto& ex, const Tensor<To, Rank, Space>& dy) {
        auto dx = ex.template empty<T, Rank>(dy.shape());
        ops::copy(ex, dy.cview(), dx.view());
        gx.add(ex, std::move(dx));
      });
      if (ctx.keeps_recipes())
        result.set_recipe(make_recipe<To, Rank, Space>([kept = save(x)](auto& ex) {
          const auto x_again = kept.get(ex);
          auto again = ex.template empty<To, Rank>(x_again.shape());
          ops::copy(ex, x_again.cview(), again.view());
          return again;
        }));
      return result;
    }
  }
}

/// Zeroes elements with probability p and scales the rest by 1/(1−p); p = 0 returns x.
template <class C, Value X>
X dropout(C& ctx, const X& x, double p) {
  using T = detail::value_t<X>;
  constexpr int Rank = detail::rank_of<X>;
  using Space = typename C::Space;
  if (p == 0.0) return x;
  const auto& xt = value_of(x);
  const RandomKey key = ctx.exec().random().next();
  auto y = ctx.template empty<T, Rank>(xt.shape());
  ops::dropout_forward(ctx.exec(), rows_of(xt.cview(), "dropout"), p, key, rows_of(y.view()));
  if constexpr (!any_var<X>) {
    return y;
  } else {
    if (!ctx.records(x)) return X(std::move(y));
    return ctx.record(std::move(y), [p, key, gx = ctx.target(x)](auto& ex, const Tensor<T, Rank, Space>& dy) {
      auto dx = ex.template empty<T, Rank>(dy.shape());
      ops::dropout_forward(ex, rows_of(dy.cview()), p, key, rows_of(dx.view()));
      gx.add(ex, std::move(dx));
    });
  }
}

}  // namespace functional
SEGUE_NAMESPACE_END
