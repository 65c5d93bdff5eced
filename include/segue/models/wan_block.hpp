// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "segue/functional/modulation_table.hpp"
#include "segue/functional/norm.hpp"
#include "segue/functional/residual.hpp"
#include "segue/functional/shape.hpp"
#include "segue/models/wan_config.hpp"
#include "segue/nn/attention.hpp"
#include "segue/nn/mlp.hpp"

SEGUE_NAMESPACE_BEGIN
namespace models {

/// Which row of the modulation each token uses: `group` (B·tokens) if timesteps differ inside a sample, else every
/// `rows_per_group` tokens share one.
template <class Space>
struct TokenGroups {
  Tensor<std::int32_t, 1, Space> group{};
  std::int64_t rows_per_group = 0;
};

/// One block of Wan: self-attention and feed-forward, both modulated and gated by the timestep, with cross-attention
/// to the text, and to an image where the configuration has that, between them. diffusers' WanTransformerBlock, name
/// for name.
template <PolicyLike P, class Adapters>
struct WanBlock {
  using Device = typename P::Device;
  using Space = typename P::Space;
  template <class Role, int Rank>
  using Leaf = typename Adapters::template leaf<Role, P, Rank>;

  nn::Attention<P, Adapters> attn1;
  nn::Attention<P, Adapters> attn2;
  Leaf<role::Norm, 1> norm2_weight;
  Leaf<role::Norm, 1> norm2_bias;
  nn::FeedForward<P, Adapters> ffn;
  Leaf<role::ModulationTable, 3> scale_shift_table;
  double eps = 1e-6;
  bool cross_attn_norm = true;

  WanBlock(Exec<Device>& exec, const WanConfig& c)
      : attn1(exec, c.dim(), c.num_attention_heads, c.eps),
        attn2(exec, c.dim(), c.num_attention_heads, c.eps),
        ffn(exec, c.dim(), c.ffn_dim),
        scale_shift_table(nn::make_leaf<Leaf<role::ModulationTable, 3>>(exec, {1, 6, c.dim()})),
        eps(c.eps),
        cross_attn_norm(c.cross_attn_norm) {
    if (c.has_image_branch()) attn2.enable_image(exec);
    if (cross_attn_norm) {
      norm2_weight = nn::make_leaf<Leaf<role::Norm, 1>>(exec, {c.dim()});
      norm2_bias = nn::make_leaf<Leaf<role::Norm, 1>>(exec, {c.dim()});
    }
  }

  /// x: (B, T, dim), text: (B, L, dim), time: (S, 6, dim) -> (B, T, dim). image: (B, Li, dim), or empty in a model
  /// without that branch. Cross-attention to one token of text is that token's value for every token of x, and costs
  /// next to nothing.
  template <class C, Value X, Value E, Value M>
  auto operator()(C& ctx, const X& x, const E& text, const M& time, const TokenGroups<Space>& tokens,
                  const RotaryTable<Space>& rope, const E& image = {}) const {
    const auto modulation = functional::unbind<6>(ctx, functional::add_table(ctx, nn::use(scale_shift_table), time));
    const auto& [shift_msa, scale_msa, gate_msa, c_shift, c_scale, c_gate] = modulation;
    using V = std::remove_cvref_t<decltype(shift_msa)>;
    const auto modulated = [&](const auto& h, const V& scale, const V& shift) {
      return functional::layer_norm(ctx, h, none(), none(),
                                    functional::Modulation<V>{scale, shift, tokens.group, tokens.rows_per_group}, eps);
    };
    const auto gated = [&](const auto& h, const auto& update, const V& gate) {
      return functional::gated_residual(ctx, h, update, functional::Gate<V>{gate, tokens.group, tokens.rows_per_group});
    };
    // Arguments, since clang before 16 captures no structured binding.
    auto y = [&](const V& scale, const V& shift, const V& gate) {
      const auto h = modulated(x, scale, shift);
      return gated(x, attn1(ctx, h, h, rope), gate);
    }(scale_msa, shift_msa, gate_msa);
    if (attn2.is_same_for_all(text)) {
      y = functional::add_to_tokens(
          ctx, y,
          functional::reshape<2>(ctx, attn2.answer_for_all(ctx, text), {value_of(y).extent(0), value_of(y).extent(2)}));
    } else if (cross_attn_norm) {
      const auto h = functional::layer_norm(ctx, y, nn::use(norm2_weight), nn::use(norm2_bias),
                                            functional::Unmodulated<Space>{}, eps);
      y = functional::residual(ctx, y, attn2(ctx, h, text, RotaryTable<Space>{}, {}, image));
    } else {
      y = functional::residual(ctx, y, attn2(ctx, y, text, RotaryTable<Space>{}, {}, image));
    }
    const auto update = ffn(ctx, modulated(y, c_scale, c_shift));
    return gated(y, update, c_gate);
  }

  /// Weights of I2V hold a norm of an image's queries, of which there are none.
  static bool unused_in_files(std::string_view name) {
    return name.find("attn2.norm_added_q.") != std::string_view::npos;
  }

  void visit(auto&& v) {
    v("attn1", attn1);
    v("attn2", attn2);
    v("norm2.weight", norm2_weight);
    v("norm2.bias", norm2_bias);
    v("ffn", ffn);
    v("scale_shift_table", scale_shift_table);
  }

 private:
  static Tensor<typename P::accum, 1, Space> none() { return {}; }
};

}  // namespace models
SEGUE_NAMESPACE_END
