// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "segue/functional/attention.hpp"
#include "segue/functional/residual.hpp"
#include "segue/functional/rope.hpp"
#include "segue/nn/linear.hpp"
#include "segue/nn/roles.hpp"

SEGUE_NAMESPACE_BEGIN
namespace nn {

/// Multi-head attention with RMS-normalised queries and keys, over the whole inner width before the heads are split.
/// Self-attention with `kv` = x and a rotary table; cross-attention with `kv` = the context and an empty table.
/// With `enable_image` it attends to the tokens of an image too, by keys and values of their own and a softmax of their
/// own, and adds what both say before the output projection (Wan2.1 I2V).
template <PolicyLike P, class Adapters>
struct Attention {
  using Device = typename P::Device;
  using Space = typename P::Space;

  typename Adapters::template projection<role::ToQ, P> to_q;
  typename Adapters::template projection<role::ToK, P> to_k;
  typename Adapters::template projection<role::ToV, P> to_v;
  typename Adapters::template projection<role::ToOut, P> to_out;
  typename Adapters::template leaf<role::NormQ, P, 1> norm_q;
  typename Adapters::template leaf<role::NormK, P, 1> norm_k;
  typename Adapters::template projection<role::AddKProj, P> add_k_proj;
  typename Adapters::template projection<role::AddVProj, P> add_v_proj;
  typename Adapters::template leaf<role::NormAddedK, P, 1> norm_added_k;
  int heads = 0;
  double eps = 1e-6;

  Attention() = default;
  Attention(Exec<Device>& exec, std::int64_t dim, int head_count, double epsilon)
      : to_q(exec, dim, dim),
        to_k(exec, dim, dim),
        to_v(exec, dim, dim),
        to_out(exec, dim, dim),
        norm_q(make_leaf<decltype(norm_q)>(exec, {dim})),
        norm_k(make_leaf<decltype(norm_k)>(exec, {dim})),
        heads(head_count),
        eps(epsilon) {}

  /// Makes the projections of image tokens, which are `dim` wide as x is.
  void enable_image(Exec<Device>& exec) {
    const std::int64_t dim = to_q.in_features();
    add_k_proj = {exec, dim, dim};
    add_v_proj = {exec, dim, dim};
    norm_added_k = make_leaf<decltype(norm_added_k)>(exec, {dim});
  }
  bool attends_to_image() const { return static_cast<bool>(norm_added_k); }

  /// x: (B, Tq, dim), kv: (B, Tk, dim) -> (B, Tq, dim). `image` (B, Ti, dim) where that is enabled, else empty.
  template <class C, Value X, Value K>
  auto operator()(C& ctx, const X& x, const K& kv, const RotaryTable<Space>& rope,
                  const Tensor<std::uint8_t, 2, Space>& key_mask = {}, const K& image = {}) const {
    const auto q = functional::rms_norm_rope(ctx, to_q(ctx, x), use(norm_q), rope, heads, eps);
    const auto k = functional::rms_norm_rope(ctx, to_k(ctx, kv), use(norm_k), rope, heads, eps);
    auto y = functional::attention(ctx, q, k, to_v(ctx, kv), heads, key_mask);
    if (attends_to_image()) {
      const auto k_image =
          functional::rms_norm_rope(ctx, add_k_proj(ctx, image), use(norm_added_k), RotaryTable<Space>{}, heads, eps);
      y = functional::residual(ctx, y, functional::attention(ctx, q, k_image, add_v_proj(ctx, image), heads));
    }
    return to_out(ctx, y);
  }

  /// Whether every query gets the same answer: attention to a single key is its value.
  template <class K>
  bool is_same_for_all(const K& kv) const {
    return value_of(kv).extent(1) == 1 && !attends_to_image();
  }
  /// That answer: kv (B, 1, dim) -> (B, 1, dim). Queries and keys have no part in it and learn nothing from it.
  template <class C, Value K>
  auto answer_for_all(C& ctx, const K& kv) const {
    return to_out(ctx, to_v(ctx, kv));
  }

  void visit(auto&& v) {
    v("to_q", to_q);
    v("to_k", to_k);
    v("to_v", to_v);
    v("to_out.0", to_out);
    v("norm_q.weight", norm_q);
    v("norm_k.weight", norm_k);
    if (!attends_to_image()) return;
    v("add_k_proj", add_k_proj);
    v("add_v_proj", add_v_proj);
    v("norm_added_k.weight", norm_added_k);
  }
};

}  // namespace nn
SEGUE_NAMESPACE_END
