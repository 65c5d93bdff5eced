// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "segue/functional/frozen_weight.hpp"
#include "segue/ops/activation.hpp"
#include "segue/ops/linear.hpp"

SEGUE_NAMESPACE_BEGIN
namespace functional {
namespace detail {

/// The gradient before the activation: act'(pre) · dy, or dy itself.
template <class Device, class T, int Rank, class Space>
Tensor<T, Rank, Space> through_activation(Exec<Device>& exec, ops::Activation activation,
                                          const Tensor<T, Rank, Space>& pre, const Tensor<T, Rank, Space>& dy) {
  if (activation == ops::Activation::none) return dy;
  auto dpre = exec.template rows<T, Rank>(dy.shape());
  ops::activation_backward(exec, activation, rows(pre.cview()), rows(dy.cview()), rows(dpre.view()),
                           ops::GradMode::overwrite);
  return dpre;
}

/// Lets consumers of act(pre) keep `pre`, which the producer keeps anyway, instead of a second tensor.
template <class C, class T, int Rank, class Space>
void offer_activation_recipe(const C& ctx, Var<T, Rank, Space>& y, ops::Activation activation,
                             const Tensor<T, Rank, Space>& pre) {
  if (activation == ops::Activation::none || !ctx.keeps_recipes()) return;
  y.set_recipe(make_recipe<T, Rank, Space>([activation, pre](auto& exec) {
    auto again = exec.template empty<T, Rank>(pre.shape());
    ops::activation_forward(exec, activation, rows(pre.cview()), rows(again.view()));
    return again;
  }));
}

/// What multiplies: the value of a weight that trains, or the frozen weight itself.
template <class T, class Space, class Grad>
const Tensor<T, 2, Space>& weight_of(const Var<T, 2, Space, Grad>& w) {
  return w.value();
}
template <FrozenWeight W>
const W& weight_of(const W& w) {
  return w;
}

/// Where the gradient of a weight goes; of a frozen one, nowhere, and no code for it.
template <class C, class W>
auto weight_target([[maybe_unused]] const C& ctx, [[maybe_unused]] const W& w) {
  if constexpr (is_var<W>)
    return ctx.target(w);
  else
    return 0;
}

template <int Rank>
Shape<Rank> with_last(Shape<Rank> shape, std::int64_t last) {
  shape[Rank - 1] = last;
  return shape;
}

}  // namespace detail

/// y = activation(x·Wᵀ + bias).
/// x: (..., in), w: (out, in), bias: (out) or an empty tensor; y: (..., out) in x's dtype.
/// `w` is a frozen weight (see `FrozenOps`) or a `Var` that trains; with a frozen one there is no weight-gradient code.
/// Keeps x only if `w` trains, and the value before the activation only if there is one.
/// Cost: 2·rows·in·out flops forward, the same for each of dx and dW.
template <class C, Value X, class W, class B>
auto linear(C& ctx, const X& x, const W& w, const B& bias, ops::Activation activation = ops::Activation::none) {
  static_assert(is_var<W> || FrozenWeight<W>,
                "linear: w must be a Var that trains, or a frozen weight: a rank-2 Tensor, or a type that "
                "segue::FrozenOps is specialised for before the call");
  using T = detail::value_t<X>;
  using TB = detail::value_t<B>;
  constexpr int Rank = detail::rank_of<X>;
  using Space = typename C::Space;
  const auto& weight = detail::weight_of(w);
  using Weight = std::remove_cvref_t<decltype(weight)>;
  static_assert(detail::lives_in<Weight, Space>,
                "linear: the weight is in the memory of another device than the context; copy it there first");
  const std::int64_t in = FrozenOps<Weight>::in_features(weight), out = FrozenOps<Weight>::out_features(weight);
  const auto& xt = value_of(x);
  if (xt.extent(Rank - 1) != in)
    throw_input("linear", "last extent of x", std::to_string(xt.extent(Rank - 1)), std::to_string(in));
  const bool records = ctx.records(x, w, bias);
  auto y = ctx.template rows<T, Rank>(detail::with_last<Rank>(xt.shape(), out));
  Tensor<T, Rank, Space> pre;
  if (records && activation != ops::Activation::none) pre = ctx.template empty<T, Rank>(y.shape());
  FrozenOps<Weight>::forward(ctx.exec(), weight, rows_of(xt.cview(), "linear"), rows_of(y.view()),
                             ops::Epilogue<T, TB, Space>{value_of(bias).cview(), activation, detail::rows(pre.view())});
  if constexpr (!any_var<X, W, B>) {
    return y;
  } else {
    if (!records) return detail::constant<X, W, B>(std::move(y));
    Saved<T, Rank, Space> kept;
    if constexpr (is_var<W>)
      if (w.requires_grad()) kept = save(x);
    auto backward = [activation, pre, kept, weight, x_shape = xt.shape(), gx = ctx.target(x), gb = ctx.target(bias),
                     gw = detail::weight_target(ctx, w)](auto& exec, const Tensor<T, Rank, Space>& dy) {
      const auto dpre = detail::through_activation(exec, activation, pre, dy);
      const auto dpre_rows = rows_of(dpre.cview());
      if (gx) {
        const auto dx = gx.open(exec, x_shape);
        FrozenOps<Weight>::backward_input(exec, weight, dpre_rows, rows_of(dx.value.view()), dx.mode);
      }
      const std::int64_t m = dpre_rows.extent(0), n = dpre_rows.extent(1);
      if constexpr (is_var<W>) {
        if (gw) {
          using TG = detail::grad_t<W>;
          const auto saved_x = kept.get(exec);
          const auto x_rows = rows_of(saved_x.cview());
          const auto dw = gw.open(exec, weight.shape());
          if (gb) {
            const auto db = gb.open(exec, {n});
            const auto scratch = detail::scratch(
                exec, ops::linear_backward_weight_and_bias_workspace_bytes<T, T, TG>(exec, m, n, weight.extent(1)));
            ops::linear_backward_weight_and_bias(exec, dpre_rows, x_rows, dw.value.view(), dw.mode, db.value.view(),
                                                 db.mode, scratch.view());
            return;
          }
          const auto scratch = detail::scratch(
              exec, ops::linear_backward_weight_workspace_bytes<T, T, TG>(exec, m, n, weight.extent(1)));
          ops::linear_backward_weight(exec, dpre_rows, x_rows, dw.value.view(), dw.mode, scratch.view());
        }
      }
      if (gb) {
        const auto db = gb.open(exec, {n});
        const auto scratch = detail::scratch(exec, ops::linear_backward_bias_workspace_bytes<T>(exec, m, n));
        ops::linear_backward_bias(exec, dpre_rows, db.value.view(), db.mode, scratch.view());
      }
    };
    auto result = ctx.record(std::move(y), std::move(backward));
    detail::offer_activation_recipe(ctx, result, activation, pre);
    return result;
  }
}

}  // namespace functional
SEGUE_NAMESPACE_END
