// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "segue/functional/elementwise.hpp"
#include "segue/functional/embedding.hpp"
#include "segue/nn/linear.hpp"
#include "segue/nn/roles.hpp"

SEGUE_NAMESPACE_BEGIN
namespace nn {

/// linear_1, an activation, linear_2: how a condition is embedded. Both linears have one role.
template <class Role, ops::Activation Activation, PolicyLike P, class Adapters>
struct ConditionEmbedding {
  typename Adapters::template projection<Role, P> linear_1;
  typename Adapters::template projection<Role, P> linear_2;

  ConditionEmbedding() = default;
  ConditionEmbedding(Exec<typename P::Device>& exec, std::int64_t in, std::int64_t dim)
      : linear_1(exec, in, dim), linear_2(exec, dim, dim) {}

  template <class C, Value X>
  auto operator()(C& ctx, const X& x) const {
    return linear_2(ctx, linear_1(ctx, x, Activation));
  }

  void visit(auto&& v) {
    v("linear_1", linear_1);
    v("linear_2", linear_2);
  }
};

/// Over sinusoids of the timestep: diffusers' TimestepEmbedding.
template <PolicyLike P, class Adapters>
using TimestepEmbedding = ConditionEmbedding<role::TimeEmbedding, ops::Activation::silu, P, Adapters>;

/// Over text embeddings: diffusers' PixArtAlphaTextProjection.
template <PolicyLike P, class Adapters>
using TextProjection = ConditionEmbedding<role::TextEmbedding, ops::Activation::gelu_tanh, P, Adapters>;

}  // namespace nn
SEGUE_NAMESPACE_END
