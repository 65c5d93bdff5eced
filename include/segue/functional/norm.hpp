// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "segue/functional/detail.hpp"
#include "segue/ops/norm.hpp"

SEGUE_NAMESPACE_BEGIN
namespace functional {

/// A scale and a shift for every token, see `ops::Modulation`. `V` is a rank-2 value (table rows, C).
template <Value V>
struct Modulation {
  using Space = typename std::remove_cvref_t<V>::space;
  V scale;
  V shift;
  Tensor<std::int32_t, 1, Space> group{};
  std::int64_t rows_per_group = 0;

  ops::Modulation<typename V::value_type, Space> view() const {
    return {value_of(scale).cview(), value_of(shift).cview(), group.cview(), rows_per_group};
  }
};

/// No modulation.
template <class Space>
using Unmodulated = Modulation<Tensor<float, 2, Space>>;

/// y = norm(x)·weight + bias, then ·(1 + scale) + shift. LayerNorm over the last axis, statistics in Accum<T>.
/// x: (..., C); weight, bias: (C) or empty tensors. Keeps x and two numbers a row; y leaves a recipe.
template <class C, Value X, class W, class B, Value V>
auto layer_norm(C& ctx, const X& x, const W& weight, const B& bias, const Modulation<V>& modulation, double eps) {
  using T = detail::value_t<X>;
  constexpr int Rank = detail::rank_of<X>;
  using Space = typename C::Space;
  using TM = detail::value_t<V>;
  using TG = detail::grad_t<W>;
  using A = Accum<T>;
  static_assert(std::is_same_v<TG, detail::grad_t<B>>, "layer_norm: weight and bias must have one gradient dtype");
  auto& exec = ctx.exec();
  const auto& xt = value_of(x);
  const bool records = ctx.records(x, weight, bias, modulation.scale, modulation.shift);
  const std::int64_t columns = xt.extent(Rank - 1);
  const std::int64_t rows = columns ? xt.size() / columns : 0;
  auto y = ctx.template rows<T, Rank>(xt.shape());
  Tensor<A, 1, Space> mean, rstd;
  if (records) {
    mean = ctx.template empty<A, 1>({rows});
    rstd = ctx.template empty<A, 1>({rows});
  }
  const auto mod = modulation.view();
  ops::layer_norm_forward(exec, rows_of(xt.cview(), "layer_norm"), value_of(weight).cview(), value_of(bias).cview(),
                          mod, eps, rows_of(y.view()), mean.view(), rstd.view());
  if constexpr (!any_var<X, W, B, V>) {
    return y;
  } else {
    if (!records) return detail::constant<X, W, B, V>(std::move(y));
    const auto w = value_of(weight);
    const auto b = value_of(bias);
    const Modulation<Tensor<TM, 2, Space>> kept_mod{value_of(modulation.scale), value_of(modulation.shift),
                                                    modulation.group, modulation.rows_per_group};
    auto backward = [kept = save(x), mean, rstd, w, b, kept_mod, columns, rows, shape = xt.shape(), gx = ctx.target(x),
                     gw = ctx.target(weight), gb = ctx.target(bias), gscale = ctx.target(modulation.scale),
                     gshift = ctx.target(modulation.shift)](auto& ex, const Tensor<T, Rank, Space>& dy) {
      const auto x_again = kept.get(ex);
      const auto m = kept_mod.view();
      const auto dx = detail::open(ex, gx, shape);
      auto dw = detail::open(ex, gw, {columns});
      auto db = detail::open(ex, gb, {columns});
      auto dscale = detail::open(ex, gscale, m.scale.shape());
      auto dshift = detail::open(ex, gshift, m.shift.shape());
      detail::same_mode(ex, dw, db);
      detail::same_mode(ex, dscale, dshift);
      const auto scratch = detail::scratch(ex, static_cast<std::size_t>(ops::layer_norm_backward_workspace_bytes<T>(
                                                   ex, rows, columns, m.scale.data_handle() ? m.scale.extent(0) : 0)));
      ops::layer_norm_backward(ex, rows_of(dy.cview()), rows_of(x_again.cview()), mean.cview(), rstd.cview(), w.cview(),
                               b.cview(), m, detail::rows(dx.view), dx.mode, dw.view, db.view, dw.either(db),
                               dscale.view, dshift.view, dscale.either(dshift), scratch.view());
    };
    auto result = ctx.record(std::move(y), std::move(backward));
    if (ctx.keeps_recipes())
      result.set_recipe(make_recipe<T, Rank, Space>([kept = save(x), w, b, kept_mod, eps](auto& ex) {
        const auto x_again = kept.get(ex);
        auto again = ex.template empty<T, Rank>(x_again.shape());
        ops::layer_norm_forward(ex, rows_of(x_again.cview()), w.cview(), b.cview(), kept_mod.view(), eps,
                                rows_of(again.view()), {}, {});
        return again;
      }));
    return result;
  }
}

/// RMSNorm: y = x / √(mean(x²) + eps) · weight. x: (..., C), weight: (C) or empty.
template <class C, Value X, class W>
auto rms_norm(C& ctx, const X& x, const W& weight, double eps) {
  using T = detail::value_t<X>;
  constexpr int Rank = detail::rank_of<X>;
  using Space = typename C::Space;
  using A = Accum<T>;
  auto& exec = ctx.exec();
  const auto& xt = value_of(x);
  const bool records = ctx.records(x, weight);
  const std::int64_t columns = xt.extent(Rank - 1);
  const std::int64_t rows = columns ? xt.size() / columns : 0;
  auto y = ctx.template rows<T, Rank>(xt.shape());
  Tensor<A, 1, Space> rstd;
  if (records) rstd = ctx.template empty<A, 1>({rows});
  const ops::Modulation<float, Space> none{};
  ops::rms_norm_forward(exec, rows_of(xt.cview(), "rms_norm"), value_of(weight).cview(), none, eps, rows_of(y.view()),
                        rstd.view());
  if constexpr (!any_var<X, W>) {
    return y;
  } else {
    if (!records) return detail::constant<X, W>(std::move(y));
    const auto w = value_of(weight);
    auto result =
        ctx.record(std::move(y), [kept = save(x), rstd, w, columns, rows, shape = xt.shape(), gx = ctx.target(x),
                                  gw = ctx.target(weight)](auto& ex, const Tensor<T, Rank, Space>& dy) {
          const auto x_again = kept.get(ex);
          const auto dx = detail::open(ex, gx, shape);
          const auto dw = detail::open(ex, gw, {columns});
          const auto scratch = detail::scratch(
              ex, static_cast<std::size_t>(ops::rms_norm_backward_workspace_bytes<T>(ex, rows, columns, 0)));
          const ops::Modulation<float, Space> unmodulated{};
          ops::rms_norm_backward(ex, rows_of(dy.cview()), rows_of(x_again.cview()), rstd.cview(), w.cview(),
                                 unmodulated, detail::rows(dx.view), dx.mode, dw.view, dw.mode, View<float, 2, Space>{},
                                 View<float, 2, Space>{}, ops::GradMode::overwrite, scratch.view());
        });
    if (ctx.keeps_recipes())
      result.set_recipe(make_recipe<T, Rank, Space>([kept = save(x), w, eps](auto& ex) {
        const auto x_again = kept.get(ex);
        auto again = ex.template empty<T, Rank>(x_again.shape());
        const ops::Modulation<float, Space> unmodulated{};
        ops::rms_norm_forward(ex, rows_of(x_again.cview()), w.cview(), unmodulated, eps, rows_of(again.view()), {});
        return again;
      }));
    return result;
  }
}

}  // namespace functional
SEGUE_NAMESPACE_END
