// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "segue/functional/elementwise.hpp"
#include "segue/functional/modulation_table.hpp"
#include "segue/functional/norm.hpp"
#include "segue/nn/mlp.hpp"

SEGUE_NAMESPACE_BEGIN
namespace nn {

/// Features of an image encoder as tokens of a transformer: LayerNorm, linear, GELU, linear, LayerNorm; before them a
/// learned position where the tokens of several images follow each other. diffusers' WanImageEmbedding, name for name.
template <PolicyLike P, class Adapters>
struct ImageEmbedding {
  using Device = typename P::Device;
  using A = typename P::accum;
  template <class Role, int Rank>
  using Leaf = typename Adapters::template leaf<Role, P, Rank>;

  Leaf<role::Norm, 1> norm1_weight, norm1_bias;
  FeedForward<P, Adapters, role::ImageEmbedding, role::ImageEmbedding> ff;
  Leaf<role::Norm, 1> norm2_weight, norm2_bias;
  Leaf<role::PositionEmbedding, 3> pos_embed;  ///< (1, L, in), or absent
  double eps = 1e-5;                           ///< PyTorch's default, which both norms have whatever the model's is

  ImageEmbedding() = default;
  /// @param positions tokens of all images together; 0: there is no position embedding.
  ImageEmbedding(Exec<Device>& exec, std::int64_t in, std::int64_t dim, std::int64_t positions)
      : norm1_weight(make_leaf<Leaf<role::Norm, 1>>(exec, {in})),
        norm1_bias(make_leaf<Leaf<role::Norm, 1>>(exec, {in})),
        ff(exec, in, in, dim, ops::Activation::gelu),
        norm2_weight(make_leaf<Leaf<role::Norm, 1>>(exec, {dim})),
        norm2_bias(make_leaf<Leaf<role::Norm, 1>>(exec, {dim})) {
    if (positions > 0) pos_embed = make_leaf<Leaf<role::PositionEmbedding, 3>>(exec, {1, positions, in});
  }

  /// image: (B, L, in) -> (B, L, dim).
  template <class C, Value X>
  auto operator()(C& ctx, const X& image) const {
    using T = typename X::value_type;
    const auto normed = [&](const auto& x, const auto& weight, const auto& bias) {
      return functional::layer_norm(ctx, x, use(weight), use(bias), functional::Unmodulated<typename P::Space>{}, eps);
    };
    const auto rest = [&](const auto& x) {
      return normed(ff(ctx, normed(x, norm1_weight, norm1_bias)), norm2_weight, norm2_bias);
    };
    using Y = decltype(rest(image));
    if (!pos_embed) return rest(image);
    return Y(
        rest(functional::cast<T>(ctx, functional::add_table(ctx, use(pos_embed), functional::cast<A>(ctx, image)))));
  }

  void visit(auto&& v) {
    v("norm1.weight", norm1_weight);
    v("norm1.bias", norm1_bias);
    v("ff", ff);
    v("norm2.weight", norm2_weight);
    v("norm2.bias", norm2_bias);
    v("pos_embed", pos_embed);
  }
};

}  // namespace nn
SEGUE_NAMESPACE_END
