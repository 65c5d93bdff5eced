// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "segue/nn/linear.hpp"
#include "segue/nn/roles.hpp"

SEGUE_NAMESPACE_BEGIN
namespace nn {

/// linear, activation, linear; names as diffusers' FeedForward: net.0.proj and net.2.
template <PolicyLike P, class Adapters, class Up = role::FfnUp, class Down = role::FfnDown>
struct FeedForward {
  typename Adapters::template projection<Up, P> up;
  typename Adapters::template projection<Down, P> down;
  ops::Activation activation = ops::Activation::gelu_tanh;

  FeedForward() = default;
  FeedForward(Exec<typename P::Device>& exec, std::int64_t dim, std::int64_t hidden)
      : FeedForward(exec, dim, hidden, dim, ops::Activation::gelu_tanh) {}
  FeedForward(Exec<typename P::Device>& exec, std::int64_t in, std::int64_t hidden, std::int64_t out,
              ops::Activation between)
      : up(exec, in, hidden), down(exec, hidden, out), activation(between) {}

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
