// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "segue/functional/detail.hpp"
#include "segue/ops/rope.hpp"

SEGUE_NAMESPACE_BEGIN

/// cos and sin of the rotary angles of every token: (tokens, head_dim/2) each. Empty tensors: no rotation.
template <class Space>
struct RotaryTable {
  Tensor<float, 2, Space> cos{};
  Tensor<float, 2, Space> sin{};
};

/// Wan's table for a grid of tokens.
template <class Device>
RotaryTable<typename Device::Space> make_rotary_table(Exec<Device>& exec, const ops::RopeGrid& grid, int head_dim,
                                                      double theta = 10000.0) {
  RotaryTable<typename Device::Space> table{exec.template empty<float, 2>({grid.tokens(), head_dim / 2}),
                                            exec.template empty<float, 2>({grid.tokens(), head_dim / 2})};
  ops::rope_table(exec, grid, ops::rope_axes(head_dim), theta, table.cos.view(), table.sin.view());
  return table;
}

namespace functional {

/// RMSNorm over the whole last axis, then the rotation of interleaved pairs of every head, in one kernel.
/// x: (B, T, heads·head_dim); weight: (heads·head_dim). Keeps x and one number a row; y leaves a recipe.
template <class C, Value X, class W>
auto rms_norm_rope(C& ctx, const X& x, const W& weight, const RotaryTable<typename C::Space>& rope, int heads,
                   double eps) {
  using T = detail::value_t<X>;
  constexpr int Rank = detail::rank_of<X>;
  using Space = typename C::Space;
  using A = Accum<T>;
  const auto& xt = value_of(x);
  const bool records = ctx.records(x, weight);
  const std::int64_t columns = xt.extent(Rank - 1);
  const std::int64_t rows = columns ? xt.size() / columns : 0;
  auto y = ctx.template empty<T, Rank>(xt.shape());
  Tensor<A, 1, Space> rstd;
  if (records) rstd = ctx.template empty<A, 1>({rows});
  ops::rms_norm_rope_forward(ctx.exec(), rows_of(xt.cview(), "rms_norm_rope"), value_of(weight).cview(), eps,
                             rope.cos.cview(), rope.sin.cview(), heads, rows_of(y.view()), rstd.view());
  if constexpr (!any_var<X, W>) {
    return y;
  } else {
    if (!records) return detail::constant<X, W>(std::move(y));
    const auto w = value_of(weight);
    auto result = ctx.record(
        std::move(y), [kept = save(x), rstd, w, rope, heads, columns, rows, shape = xt.shape(), gx = ctx.target(x),
                       gw = ctx.target(weight)](auto& ex, const Tensor<T, Rank, Space>& dy) {
          const auto x_again = kept.get(ex);
          const auto dx = detail::open(ex, gx, shape);
          const auto dw = detail::open(ex, gw, {columns});
          const auto scratch = detail::scratch(
              ex, static_cast<std::size_t>(ops::rms_norm_rope_backward_workspace_bytes<T>(ex, rows, columns)));
          ops::rms_norm_rope_backward(ex, rows_of(dy.cview()), rows_of(x_again.cview()), rstd.cview(), w.cview(),
                                      rope.cos.cview(), rope.sin.cview(), heads, detail::rows(dx.view), dx.mode,
                                      dw.view, dw.mode, scratch.view());
        });
    if (ctx.keeps_recipes())
      result.set_recipe(make_recipe<T, Rank, Space>([kept = save(x), w, rope, heads, eps](auto& ex) {
        const auto x_again = kept.get(ex);
        auto again = ex.template empty<T, Rank>(x_again.shape());
        ops::rms_norm_rope_forward(ex, rows_of(x_again.cview()), w.cview(), eps, rope.cos.cview(), rope.sin.cview(),
                                   heads, rows_of(again.view()), {});
        return again;
      }));
    return result;
  }
}

}  // namespace functional
SEGUE_NAMESPACE_END
