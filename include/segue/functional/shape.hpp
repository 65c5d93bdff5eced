// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <utility>

#include "segue/functional/detail.hpp"

SEGUE_NAMESPACE_BEGIN
namespace functional {

/// The same elements under other extents. Copies only rows with gaps between them.
template <int NewRank, class C, Value X>
auto reshape(C& ctx, const X& x, const Shape<NewRank>& shape) {
  using T = detail::value_t<X>;
  using Space = typename C::Space;
  auto y = detail::packed(ctx.exec(), value_of(x)).template reshape_to<NewRank>(shape);
  if constexpr (!any_var<X>) {
    return y;
  } else {
    if (!ctx.records(x)) return detail::constant<X>(std::move(y));
    return ctx.record(std::move(y), [before = value_of(x).shape(), gx = ctx.target(x)](
                                        auto& ex, const Tensor<T, NewRank, Space>& dy) {
      gx.add(ex, detail::packed(ex, dy).template reshape_to<detail::rank_of<X>>(before));
    });
  }
}

/// Slices along the second axis: x (S, N, C) -> N values of (S, C), as strided views of x.
/// One node with N outputs: the gradient of x is gathered once, slices that nobody used count as zero.
template <int N, class C, Value X>
auto unbind(C& ctx, const X& x) {
  using T = detail::value_t<X>;
  using Space = typename C::Space;
  const auto& xt = value_of(x);
  if (xt.extent(1) != N) throw_input("unbind", "second extent of x", std::to_string(xt.extent(1)), std::to_string(N));
  const auto part = [](const View<T, 3, Space>& v, std::int64_t i) {
    return View<T, 2, Space>(v.data_handle() + i * v.stride(1), {v.extent(0), v.extent(2)}, {v.stride(0), v.stride(2)});
  };
  return [&]<std::size_t... I>(std::index_sequence<I...>) {
    using Slice = Tensor<T, 2, Space>;
    std::array<Slice, N> slices{Slice(xt.buffer(), part(xt.view(), static_cast<std::int64_t>(I)))...};
    if constexpr (!any_var<X>) {
      return slices;
    } else {
      using Out = Var<T, 2, Space>;
      if (!ctx.records(x)) return std::array<Out, N>{Out(slices[I])...};
      auto outs = ctx.record_many(
          [part, shape = xt.shape(), gx = ctx.target(x)](auto& ex, auto&... slot) {
            auto dx = ex.template empty<T, 3>(shape);
            std::int64_t i = 0;
            const auto gather = [&](auto& s) {
              const auto to = part(dx.view(), i++);
              if (s.filled())
                ops::copy(ex, s.grad().cview(), to);
              else
                ops::fill(ex, 0.0, to);
            };
            (gather(slot), ...);
            gx.add(ex, std::move(dx));
          },
          slices[I]...);
      return std::array<Out, N>{std::move(std::get<I>(outs))...};
    }
  }
  (std::make_index_sequence<N>{});
}

}  // namespace functional
SEGUE_NAMESPACE_END
