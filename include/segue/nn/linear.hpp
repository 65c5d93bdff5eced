// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "segue/functional/linear.hpp"
#include "segue/nn/visit.hpp"
#include "segue/policy/policy.hpp"

SEGUE_NAMESPACE_BEGIN
namespace nn {

enum class Bias { absent, present };

/// A frozen linear: weight (out, in) and bias (out) in the policy's storage type. (A GPU's products add a bias of their
/// own type for nothing, and one of another type in a pass of its own.)
/// `W` may be any frozen weight with `FrozenOps`.
template <PolicyLike P, class W = Tensor<typename P::storage, 2, typename P::Space>>
class Linear {
 public:
  using Weight = W;
  using BiasTensor = Tensor<typename P::storage, 1, typename P::Space>;

  Linear() = default;
  Linear(Exec<typename P::Device>& exec, std::int64_t in, std::int64_t out, Bias bias = Bias::present)
      : weight_(make_leaf<Weight>(exec, {out, in})) {
    if (bias == Bias::present) bias_ = make_leaf<BiasTensor>(exec, {out});
  }
  Linear(Weight weight, BiasTensor bias) : weight_(std::move(weight)), bias_(std::move(bias)) {}

  template <class C, Value X>
  auto operator()(C& ctx, const X& x, ops::Activation epilogue = ops::Activation::none) const {
    return functional::linear(ctx, x, weight_, bias_, epilogue);
  }

  std::int64_t in_features() const { return FrozenOps<Weight>::in_features(weight_); }
  std::int64_t out_features() const { return FrozenOps<Weight>::out_features(weight_); }
  const Weight& weight() const { return weight_; }
  Weight& weight() { return weight_; }
  const BiasTensor& bias() const { return bias_; }

  void visit(auto&& v) {
    v("weight", weight_);
    v("bias", bias_);
  }

 private:
  Weight weight_;
  BiasTensor bias_;
};

/// A linear whose weight and bias train.
template <PolicyLike P>
class TrainableLinear {
 public:
  using Weight = Parameter<typename P::storage, 2, typename P::Space, typename P::grad, typename P::master>;
  using BiasParameter = Parameter<typename P::storage, 1, typename P::Space, typename P::grad, typename P::master>;

  TrainableLinear() = default;
  TrainableLinear(Exec<typename P::Device>& exec, std::int64_t in, std::int64_t out, Bias bias = Bias::present)
      : weight_(make_leaf<Weight>(exec, {out, in})) {
    if (bias == Bias::present) bias_ = make_leaf<BiasParameter>(exec, {out});
  }

  template <class C, Value X>
  auto operator()(C& ctx, const X& x, ops::Activation epilogue = ops::Activation::none) const {
    return functional::linear(ctx, x, weight_.var(), bias_.var(), epilogue);
  }

  std::int64_t in_features() const { return weight_.shape()[1]; }
  std::int64_t out_features() const { return weight_.shape()[0]; }

  void visit(auto&& v) {
    v("weight", weight_);
    v("bias", bias_);
  }

 private:
  Weight weight_;
  BiasParameter bias_;
};

}  // namespace nn
SEGUE_NAMESPACE_END
