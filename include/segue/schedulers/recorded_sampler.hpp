// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "segue/core/replay.hpp"
#include "segue/schedulers/sampler.hpp"

SEGUE_NAMESPACE_BEGIN
namespace schedulers {

/// `sample`, call after call on inputs of the same shapes. A device that can record work issues all solver steps as one
/// graph from the second call on; the first call runs them one by one, and so does every call on the CPU.
/// Model, context and scheduler must outlive it. What is recorded is the model as it is then: after adapters were
/// added, merged or switched, call `forget`. Draws of a model or scheduler of one's own repeat with what is recorded.
/// To plan, make one inside the plan.
template <PolicyLike P, class Model, class S>
class RecordedSampler {
 public:
  using Noise = Tensor<typename P::accum, 5, typename P::Space>;
  using Condition = Tensor<typename P::compute, 5, typename P::Space>;
  using Text = Tensor<typename P::compute, 3, typename P::Space>;

  RecordedSampler(Context<P>& ctx, const Model& model, S& scheduler, const SampleOptions& options)
      : ctx_(ctx), model_(model), scheduler_(scheduler), options_(options) {}
  RecordedSampler(const RecordedSampler&) = delete;
  RecordedSampler& operator=(const RecordedSampler&) = delete;

  /// Arguments and result as those of `sample`. The result is this object's own memory: the next call writes there.
  /// Other shapes than those of the call before are recorded anew.
  /// @throws InputError as `sample`.
  const Noise& operator()(const Noise& noise, const Condition& condition, const Text& text,
                          const Text& negative_text = {}) {
    // All of them, whatever the first says.
    const bool moved =
        keep(noise_, noise) | keep(condition_, condition) | keep(text_, text) | keep(negative_text_, negative_text);
    if (moved) {
      forget();
      drawn_ = ctx_.template empty<typename P::accum, 5>(noise.shape());
    }
    replay_.run(ctx_.exec(), warm_, [&] {
      const auto x =
          sample<P>(ctx_, model_, scheduler_, noise_, condition_, text_, options_, negative_text_, NoWatch{});
      ops::copy(ctx_.exec(), x.cview(), drawn_.view());
    });
    warm_ = true;
    return drawn_;
  }

  /// Records anew, from the call after the next on.
  void forget() {
    replay_.reset();
    warm_ = false;
  }
  bool recorded() const { return replay_.recorded(); }

 private:
  /// Copies an input to where recorded work finds it. True if that is another place than before.
  template <class T, int Rank>
  bool keep(Tensor<T, Rank, typename P::Space>& kept, const Tensor<T, Rank, typename P::Space>& given) {
    const bool moved = kept.shape() != given.shape() || static_cast<bool>(kept) != static_cast<bool>(given);
    if (moved) kept = given ? ctx_.template empty<T, Rank>(given.shape()) : Tensor<T, Rank, typename P::Space>();
    if (given) ops::copy(ctx_.exec(), given.cview(), kept.view());
    return moved;
  }

  Context<P>& ctx_;
  const Model& model_;
  S& scheduler_;
  SampleOptions options_;
  Noise noise_, drawn_;
  Condition condition_;
  Text text_, negative_text_;
  Replay<typename P::Device> replay_;
  bool warm_ = false;
};

}  // namespace schedulers
SEGUE_NAMESPACE_END
