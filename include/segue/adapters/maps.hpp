// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "segue/adapters/lora.hpp"
#include "segue/nn/linear.hpp"
#include "segue/nn/roles.hpp"

SEGUE_NAMESPACE_BEGIN
namespace adapters {

// An adapter map decides, role by role and at compile time, what a leaf of a model is:
//   projection<Role, P>  a linear: `operator()(ctx, x, epilogue)`
//   leaf<Role, P, Rank>  a norm weight, a table: a Tensor or a Parameter
//   trains               whether anything can receive a gradient; if not, models are compiled without autograd
// It is an upper bound: which targets, layers and ranks really train is decided at run time.

/// Nothing trains.
struct Frozen {
  static constexpr bool trains = false;
  template <class Role, PolicyLike P>
  using projection = nn::Linear<P>;
  template <class Role, PolicyLike P, int Rank>
  using leaf = Tensor<typename P::accum, Rank, typename P::Space>;
};

/// Everything trains: pretraining, full fine-tuning.
struct Trainable {
  static constexpr bool trains = true;
  template <class Role, PolicyLike P>
  using projection = nn::TrainableLinear<P>;
  template <class Role, PolicyLike P, int Rank>
  using leaf = nn::Parameter<typename P::accum, Rank, typename P::Space, typename P::grad, typename P::master>;
};

/// LoRA can be put on the linears of these roles; the rest is frozen.
template <class... Roles>
struct LoraOn {
  static constexpr bool trains = true;
  template <class Role, PolicyLike P>
  using projection = std::conditional_t<is_one_of<Role, Roles...>, LoraLinear<P>, nn::Linear<P>>;
  template <class Role, PolicyLike P, int Rank>
  using leaf = Tensor<typename P::accum, Rank, typename P::Space>;
};

/// The four projections of every attention: what most trainers adapt.
using LoraOnAttention = LoraOn<role::ToQ, role::ToK, role::ToV, role::ToOut>;
/// Every linear of the blocks.
using LoraOnBlocks =
    LoraOn<role::ToQ, role::ToK, role::ToV, role::ToOut, role::AddKProj, role::AddVProj, role::FfnUp, role::FfnDown>;
/// Every linear of the model.
using LoraOnAll = LoraOn<role::ToQ, role::ToK, role::ToV, role::ToOut, role::AddKProj, role::AddVProj, role::FfnUp,
                         role::FfnDown, role::PatchEmbedding, role::TimeEmbedding, role::TimeProjection,
                         role::TextEmbedding, role::ImageEmbedding, role::OutputProjection>;

}  // namespace adapters
SEGUE_NAMESPACE_END
