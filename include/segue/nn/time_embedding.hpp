// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "segue/functional/elementwise.hpp"
#include "segue/functional/embedding.hpp"
#include "segue/nn/linear.hpp"
#include "segue/nn/roles.hpp"

SEGUE_NAMESPACE_BEGIN
namespace nn {

/// linear_1, SiLU, linear_2 over sinusoids of the timestep: diffusers' TimestepEmbedding.
template <PolicyLike P, class Adapters>
struct TimestepEmbedding {
  typename Adapters::template projection<role::TimeEmbedding, P> linear_1;
  typename Adapters::template projection<role::TimeEmbedding, P> linear_2;

  TimestepEmbedding() = default;
  TimestepEmbedding(Exec<typename P::Device>& exec, std::int64_t in, std::int64_t dim)
      : linear_1(exec, in, dim), linear_2(exec, dim, dim) {}

  template <class C, Value X>
  auto operator()(C& ctx, const X& sinusoids) const {
    return linear_2(ctx, linear_1(ctx, sinusoids, ops::Activation::silu));
  }

  void visit(auto&& v) {
    v("linear_1", linear_1);
    v("linear_2", linear_2);
  }
};

/// linear_1, GELU(tanh), linear_2 over text embeddings: diffusers' PixArtAlphaTextProjection.
template <PolicyLike P, class Adapters>
struct TextProjection {
  typename Adapters::template projection<role::TextEmbedding, P> linear_1;
  typename Adapters::template projection<role::TextEmbedding, P> linear_2;

  TextProjection() = default;
  TextProjection(Exec<typename P::Device>& exec, std::int64_t in, std::int64_t dim)
      : linear_1(exec, in, dim), linear_2(exec, dim, dim) {}

  template <class C, Value X>
  auto operator()(C& ctx, const X& text) const {
    return linear_2(ctx, linear_1(ctx, text, ops::Activation::gelu_tanh));
  }

  void visit(auto&& v) {
    v("linear_1", linear_1);
    v("linear_2", linear_2);
  }
};

}  // namespace nn
SEGUE_NAMESPACE_END
