// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>

#include "segue/functional/detail.hpp"
#include "segue/ops/attention.hpp"

SEGUE_NAMESPACE_BEGIN
namespace functional {
namespace detail {

/// (B, T, H·D) seen as (B, T, H, D).
template <class T, class Space>
View<T, 4, Space> split_heads(const View<T, 3, Space>& x, int heads) {
  if (!x.data_handle()) return {};
  const std::int64_t d = x.extent(2) / heads;
  return {x.data_handle(), {x.extent(0), x.extent(1), heads, d}, {x.stride(0), x.stride(1), d, 1}};
}

}  // namespace detail

/// Scaled dot-product attention, softmax(q·kᵀ/√D)·v, never holding the scores.
/// q: (B, Tq, heads·D), k, v: (B, Tk, heads·D); key_mask: (B, Tk) of 1 (attend) or 0, or an empty tensor.
/// Keeps q, k, v, the output and one number a query and head. Cost: 4·B·heads·Tq·Tk·D flops forward, 10 backward.
template <class C, Value Q, Value K, Value V>
auto attention(C& ctx, const Q& q, const K& k, const V& v, int heads,
               const Tensor<std::uint8_t, 2, typename C::Space>& key_mask = {}) {
  using T = detail::value_t<Q>;
  static_assert(std::is_same_v<T, detail::value_t<K>> && std::is_same_v<T, detail::value_t<V>>,
                "attention: q, k and v must have one dtype; cast the others");
  using Space = typename C::Space;
  using A = Accum<T>;
  const auto& qt = value_of(q);
  const auto& kt = value_of(k);
  const auto& vt = value_of(v);
  if (heads <= 0 || qt.extent(2) % heads != 0)
    throw_input("attention", "heads", std::to_string(heads), "a divisor of " + std::to_string(qt.extent(2)));
  const ops::AttentionShape shape{qt.extent(0), qt.extent(1), kt.extent(1), heads, qt.extent(2) / heads};
  const float scale = 1.0f / std::sqrt(static_cast<float>(qt.extent(2) / heads));
  const bool records = ctx.records(q, k, v);
  auto& exec = ctx.exec();
  auto out = ctx.template rows<T, 3>(qt.shape());
  auto lse = ctx.template empty<A, 3>({qt.extent(0), heads, qt.extent(1)});
  {
    const auto scratch = detail::scratch(exec, ops::attention_forward_workspace_bytes<T>(exec, shape));
    ops::attention_forward(exec, detail::split_heads(qt.cview(), heads), detail::split_heads(kt.cview(), heads),
                           detail::split_heads(vt.cview(), heads), key_mask.cview(), scale,
                           detail::split_heads(out.view(), heads), lse.view(), scratch.view());
  }
  if constexpr (!any_var<Q, K, V>) {
    return out;
  } else {
    if (!records) return detail::constant<Q, K, V>(std::move(out));
    return ctx.record(out, [sq = save(q), sk = save(k), sv = save(v), out, lse, key_mask, scale, heads, shape,
                            q_shape = qt.shape(), k_shape = kt.shape(), gq = ctx.target(q), gk = ctx.target(k),
                            gv = ctx.target(v)](auto& ex, const Tensor<T, 3, Space>& dout) {
      const auto q_again = sq.get(ex), k_again = sk.get(ex), v_again = sv.get(ex);
      // The kernel writes all three at once; contributions are handed over afterwards.
      const auto dq = gq ? ex.template rows<T, 3>(q_shape) : Tensor<T, 3, Space>();
      const auto dk = gk ? ex.template rows<T, 3>(k_shape) : Tensor<T, 3, Space>();
      const auto dv = gv ? ex.template rows<T, 3>(k_shape) : Tensor<T, 3, Space>();
      const auto scratch = detail::scratch(ex, ops::attention_backward_workspace_bytes<T>(ex, shape));
      ops::attention_backward(ex, detail::split_heads(dout.cview(), heads), detail::split_heads(q_again.cview(), heads),
                              detail::split_heads(k_again.cview(), heads), detail::split_heads(v_again.cview(), heads),
                              key_mask.cview(), scale, detail::split_heads(out.cview(), heads), lse.cview(),
                              detail::split_heads(dq.view(), heads), detail::split_heads(dk.view(), heads),
                              detail::split_heads(dv.view(), heads), scratch.view());
      if (gq) gq.add(ex, dq);
      if (gk) gk.add(ex, dk);
      if (gv) gv.add(ex, dv);
    });
  }
}

}  // namespace functional
SEGUE_NAMESPACE_END
