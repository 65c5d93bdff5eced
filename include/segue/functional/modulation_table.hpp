// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "segue/functional/detail.hpp"
#include "segue/ops/reduce.hpp"

SEGUE_NAMESPACE_BEGIN
namespace functional {

/// y = table + x, with a learned table for every row: table (1, N, C), x (S, N, C) or (S, 1, C), y (S, N, C).
/// The table sees the sum of dy over S; x that was broadcast sees the sum over N.
template <class C, class W, Value X>
auto add_table(C& ctx, const W& table, const X& x) {
  using T = detail::value_t<X>;
  using TG = detail::grad_t<W>;
  using Space = typename C::Space;
  static_assert(std::is_same_v<T, detail::value_t<W>>, "add_table: table and x must have one dtype");
  const auto& tt = value_of(table);
  const auto& xt = value_of(x);
  const std::int64_t s = xt.extent(0), n = tt.extent(1), c = tt.extent(2);
  if (tt.extent(0) != 1) throw_input("add_table", "shape of table", shape_string(tt.shape()), "(1, N, C)");
  if (xt.extent(2) != c || (xt.extent(1) != n && xt.extent(1) != 1))
    throw_input("add_table", "shape of x", shape_string(xt.shape()),
                shape_string(Shape<3>{s, n, c}) + " or " + shape_string(Shape<3>{s, 1, c}));
  auto y = ctx.template empty<T, 3>({s, n, c});
  // What is broadcast has a stride of zero. Rows of x that lie together are added at once, others one by one.
  const bool together = xt.extent(1) == n && (xt.stride(1) == c || n == 1);
  const std::int64_t parts = together ? 1 : n, width = together ? n * c : c;
  const std::int64_t x_step = xt.extent(1) == n ? xt.stride(1) : 0;
  for (std::int64_t i = 0; i < parts; ++i)
    ops::add(ctx.exec(), View<const T, 2, Space>(tt.data_handle() + i * tt.stride(1), {s, width}, {0, 1}),
             View<const T, 2, Space>(xt.data_handle() + i * x_step, {s, width}, {xt.stride(0), 1}),
             View<T, 2, Space>(y.data_handle() + i * c, {s, width}, {n * c, 1}));
  if constexpr (!any_var<W, X>) {
    return y;
  } else {
    if (!ctx.records(table, x)) return detail::constant<W, X>(std::move(y));
    return ctx.record(std::move(y), [s, n, c, x_shape = xt.shape(), gt = ctx.target(table), gx = ctx.target(x)](
                                        auto& ex, const Tensor<T, 3, Space>& dy) {
      if (gt) {
        const auto dt = gt.open(ex, {1, n, c});
        const auto whole = detail::packed(ex, dy);
        const View<const T, 2, Space> rows(whole.data_handle(), {s, n * c});
        const auto scratch =
            detail::scratch(ex, static_cast<std::size_t>(ops::sum_rows_workspace_bytes<T>(ex, s, n * c)));
        ops::sum_rows(ex, rows, View<TG, 1, Space>(dt.value.data_handle(), {n * c}), dt.mode, scratch.view());
      }
      if (gx && x_shape[1] == n) {
        gx.add(ex, dy);
      } else if (gx) {
        const auto dx = gx.open(ex, x_shape);
        const auto whole = detail::packed(ex, dy);
        for (std::int64_t i = 0; i < n; ++i)
          ops::axpby(ex, 1.0, View<const T, 2, Space>(whole.data_handle() + i * c, {s, c}, {n * c, 1}),
                     i > 0 || dx.mode == ops::GradMode::accumulate ? 1.0 : 0.0,
                     View<T, 2, Space>(dx.value.data_handle(), {s, c}, {dx.value.stride(0), 1}));
      }
    });
  }
}

}  // namespace functional
SEGUE_NAMESPACE_END
