// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "segue/functional/detail.hpp"
#include "segue/ops/residual.hpp"

SEGUE_NAMESPACE_BEGIN
namespace functional {

/// A factor for every token, see `ops::Gate`. `V` is a rank-2 value (table rows, C).
template <Value V>
struct Gate {
  using Space = typename std::remove_cvref_t<V>::space;
  V gate;
  Tensor<std::int32_t, 1, Space> group{};
  std::int64_t rows_per_group = 0;

  ops::Gate<typename V::value_type, Space> view() const {
    return {value_of(gate).cview(), group.cview(), rows_per_group};
  }
};

/// y = x + gate·h. x, h: (..., C) of one dtype. Keeps h only if the gate trains.
template <class C, Value X, Value H, Value V>
auto gated_residual(C& ctx, const X& x, const H& h, const Gate<V>& gate) {
  using T = detail::value_t<X>;
  constexpr int Rank = detail::rank_of<X>;
  using Space = typename C::Space;
  using TM = detail::value_t<V>;
  static_assert(std::is_same_v<T, detail::value_t<H>>, "gated_residual: x and h must have one dtype; cast one of them");
  const auto& xt = value_of(x);
  auto y = ctx.template rows<T, Rank>(xt.shape());
  ops::gated_residual_forward(ctx.exec(), rows_of(xt.cview(), "gated_residual"), rows_of(value_of(h).cview()),
                              gate.view(), rows_of(y.view()));
  if constexpr (!any_var<X, H, V>) {
    return y;
  } else {
    if (!ctx.records(x, h, gate.gate)) return detail::constant<X, H, V>(std::move(y));
    const Gate<Tensor<TM, 2, Space>> kept_gate{value_of(gate.gate), gate.group, gate.rows_per_group};
    const auto ggate = ctx.target(gate.gate);
    return ctx.record(
        std::move(y), [kept_gate, ggate, kept = ggate ? save(h) : Saved<T, Rank, Space>(), shape = xt.shape(),
                       gx = ctx.target(x), gh = ctx.target(h)](auto& ex, const Tensor<T, Rank, Space>& dy) {
          const auto g = kept_gate.view();
          const auto dgate = detail::open(ex, ggate, g.gate.shape());
          if (gh && !g) {
            gh.add(ex, dy);
          } else if (gh || ggate) {
            const auto dh = detail::open(ex, gh, shape);
            const auto h_again = kept.get(ex);
            const auto columns = shape[Rank - 1];
            const auto scratch =
                detail::scratch(ex, static_cast<std::size_t>(ops::gated_residual_backward_workspace_bytes<T>(
                                        ex, columns ? element_count(shape) / columns : 0, columns, g.gate.extent(0))));
            ops::gated_residual_backward(ex, rows_of(dy.cview()), detail::rows(h_again.cview()), g,
                                         detail::rows(dh.view), dh.mode, dgate.view, dgate.mode, scratch.view());
          }
          if (gx) gx.add(ex, dy);
        });
  }
}

/// y = x + h.
template <class C, Value X, Value H>
auto residual(C& ctx, const X& x, const H& h) {
  return gated_residual(ctx, x, h, Gate<Tensor<float, 2, typename C::Space>>{});
}

/// y = x + row of its sample, the same for all its tokens. x: (S, T, C), row: (S, C), of one dtype.
template <class C, Value X, Value R>
auto add_to_tokens(C& ctx, const X& x, const R& row) {
  using T = detail::value_t<X>;
  using Space = typename C::Space;
  static_assert(std::is_same_v<T, detail::value_t<R>>,
                "add_to_tokens: x and row must have one dtype; cast one of them");
  const auto& xt = value_of(x);
  const auto& rt = value_of(row);
  const ops::Gate<T, Space> gate{rt.cview(), {}, xt.extent(1)};
  if (rt.extent(0) != xt.extent(0))
    throw_input("add_to_tokens", "shape of row", shape_string(rt.shape()),
                shape_string(Shape<2>{xt.extent(0), xt.extent(2)}));
  auto y = ctx.template rows<T, 3>(xt.shape());
  ops::gated_residual_forward(ctx.exec(), rows_of(xt.cview(), "add_to_tokens"), {}, gate, rows_of(y.view()));
  if constexpr (!any_var<X, R>) {
    return y;
  } else {
    if (!ctx.records(x, row)) return detail::constant<X, R>(std::move(y));
    return ctx.record(
        std::move(y), [rt, gx = ctx.target(x), gr = ctx.target(row)](auto& ex, const Tensor<T, 3, Space>& dy) {
          if (gr) {
            const auto dr = gr.open(ex, rt.shape());
            const auto rows = rows_of(dy.cview());
            const auto scratch =
                detail::scratch(ex, static_cast<std::size_t>(ops::gated_residual_backward_workspace_bytes<T>(
                                        ex, rows.extent(0), rows.extent(1), rt.extent(0))));
            ops::gated_residual_backward(ex, rows, {}, ops::Gate<T, Space>{rt.cview(), {}, dy.extent(1)},
                                         View<T, 2, Space>{}, ops::GradMode::overwrite, dr.value.view(), dr.mode,
                                         scratch.view());
          }
          if (gx) gx.add(ex, dy);
        });
  }
}

}  // namespace functional
SEGUE_NAMESPACE_END
