// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "segue/autograd/context.hpp"
#include "segue/schedulers/flow_matching.hpp"

SEGUE_NAMESPACE_BEGIN
namespace schedulers {

struct SampleOptions {
  int steps = 20;
  /// v_uncond + guidance·(v_cond − v_uncond); 1 asks the network once a step.
  double guidance = 1.0;
};

/// Does nothing after a step; any callable `(int step, const Tensor& x)` may stand in its place.
struct NoWatch {
  template <class X>
  void operator()(int, const X&) const {}
};

/// Draws clips: starts from `noise` and follows the scheduler down to sigma 0. Records nothing.
///   noise      (B, C, F, H, W) standard normal, in the policy's accum type; not changed
///   condition  (B, Cc, F, H, W) or empty: stands after the noisy channels in the network's input
///   text       (B, L, D); `negative_text` of the same shape is needed where guidance is not 1
///   model      callable (ctx, hidden, Model::Time{timesteps}, text) -> (B, C, F, H, W)
/// Returns (B, C, F, H, W). Cost: `steps` forwards, twice that with guidance.
/// @throws InputError if shapes do not fit or guidance lacks its negative text.
template <PolicyLike P, class Model, class S, class Watch = NoWatch>
Tensor<typename P::accum, 5, typename P::Space> sample(
    Context<P>& ctx, const Model& model, S& scheduler, const Tensor<typename P::accum, 5, typename P::Space>& noise,
    const Tensor<typename P::compute, 5, typename P::Space>& condition,
    const Tensor<typename P::compute, 3, typename P::Space>& text, const SampleOptions& options = {},
    const Tensor<typename P::compute, 3, typename P::Space>& negative_text = {}, Watch&& watch = {}) {
  using X = typename P::accum;
  using T = typename P::compute;
  using Space = typename P::Space;
  static_assert(Scheduler<S, typename P::Device, X, T>,
                "sample: the scheduler needs sigmas(steps), begin() and step(exec, x, said, said_uncond, guidance, "
                "sigma, sigma_next); compose one with schedulers::FlowMatching");
  const bool guided = options.guidance != 1.0;
  if (guided && !negative_text)
    throw_input("sample", "negative_text", "empty", "a text of the shape of `text`, because guidance is not 1");
  if (guided && negative_text.shape() != text.shape())
    throw_input("sample", "shape of negative_text", shape_string(negative_text.shape()), shape_string(text.shape()));
  const Shape<5>& shape = noise.shape();
  const std::int64_t extra = condition ? condition.extent(1) : 0;
  if (condition)
    segue::detail::check_shape("sample", "condition", condition.view(), {shape[0], -1, shape[2], shape[3], shape[4]});

  const NoGrad<P> off(ctx);
  auto& exec = ctx.exec();
  auto x = ctx.template empty<X, 5>(shape);
  ops::copy(exec, noise.cview(), x.view());
  auto hidden = ctx.template empty<T, 5>({shape[0], shape[1] + extra, shape[2], shape[3], shape[4]});
  if (extra > 0) ops::copy(exec, condition.cview(), hidden.view().slice(1, shape[1], shape[1] + extra));
  auto timesteps = ctx.template empty<float, 1>({shape[0]});

  const std::vector<double> sigmas = scheduler.sigmas(options.steps);
  scheduler.begin();
  for (std::size_t i = 0; i + 1 < sigmas.size(); ++i) {
    ops::copy(exec, x.cview(), hidden.view().slice(1, 0, shape[1]));
    ops::fill(exec, timestep_scale * sigmas[i], timesteps.view());
    const auto ask = [&](const Tensor<T, 3, Space>& words) -> Tensor<T, 5, Space> {
      return value_of(model(ctx, hidden, typename Model::Time{timesteps}, words));
    };
    const Tensor<T, 5, Space> said = ask(text);
    const Tensor<T, 5, Space> said_uncond = guided ? ask(negative_text) : Tensor<T, 5, Space>{};
    scheduler.step(exec, x, said, said_uncond, options.guidance, sigmas[i], sigmas[i + 1]);
    watch(static_cast<int>(i), x);
  }
  return x;
}

}  // namespace schedulers
SEGUE_NAMESPACE_END
