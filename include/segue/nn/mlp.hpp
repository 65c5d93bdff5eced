// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "segue/nn/linear.hpp"
#include "segue/nn/roles.hpp"

SEGUE_NAMESPACE_BEGIN
namespace nn {

/// linear, activation, linear; names as diffusers' FeedForward: net.0.proj and net.2.
template <PolicyLike P, class Adapters>
struct FeedForward {
  typename Adapters::template projection<role::FfnUp, P> up;
  typename Adapters::template projection<role::FfnDown, P> down;
  ops::Activation activation = ops::Activation::gelu_tanh;

  FeedForward() = default;
  FeedForward(Exec<typename P::Device>& exec, std::int64_t dim, std::int64_t hidden)
      : up(exec, dim, hidden), down(exec, hidden, dim) {}

  template <class C, Value X>
  auto operator()(C& ctx, const X& x) const {
    return down(ctx, up(ctx, x, activation));
  }

  void visit(auto&& v) {
    v("net.0.proj", up);
    v("net.2", down);
  }
};

}  // namespace nn
SEGUE_NAMESPACE_END
