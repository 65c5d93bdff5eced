// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>
#include <vector>

#include "segue/functional/loss.hpp"
#include "segue/ops/random_fill.hpp"
#include "segue/schedulers/loss_weight.hpp"
#include "segue/schedulers/prediction.hpp"
#include "segue/schedulers/time_distribution.hpp"
#include "segue/train/batch.hpp"

SEGUE_NAMESPACE_BEGIN
namespace train {

/// Which samples of the run a batch holds: `offset` … `offset + B − 1` of the `count` samples of step `step`. Noise and
/// sigma of a sample depend on these numbers and the seed alone, so a step is the same however it is cut into batches.
struct SampleNumbers {
  std::uint64_t seed = 0;
  std::uint64_t step = 0;
  std::int64_t offset = 0;
  std::int64_t count = 1;

  std::uint64_t global(std::int64_t i) const {
    return step * static_cast<std::uint64_t>(count) + static_cast<std::uint64_t>(offset + i);
  }
};

/// `antithetic`: samples 2k and 2k + 1 of the run see n and −n, so that what is odd in the noise cancels.
enum class NoiseDraw : std::uint8_t { independent, antithetic };

/// One number of a result, on the host. Not to be called while planning.
template <class T, class Space>
double host_value(const Tensor<T, 1, Space>& x) {
  static_assert(Space::host_accessible, "host_value: this policy needs a copy from its device");
  return static_cast<double>(x(0));
}

/// Flow matching: the network sees a point of the path between a clip and noise, and is asked for `Prediction`'s target
/// there; the loss is the mean squared error, weighted by sigma. Composed of parts, as schedulers are.
template <schedulers::TimeDistribution Times = schedulers::UniformTime,
          schedulers::LossWeight Weight = schedulers::NoWeight, schedulers::Path PathT = schedulers::LinearPath,
          schedulers::Prediction PredictionT = schedulers::Velocity>
struct FlowMatchingObjective {
  Times times{};
  Weight weight{};
  PathT path{};
  PredictionT prediction{};
  schedulers::TimeDraw time_draw = schedulers::TimeDraw::stratified;
  NoiseDraw noise_draw = NoiseDraw::independent;
  /// Frames below it take no part in the loss: 1 leaves out a first frame that the model is given.
  std::int64_t first_frame = 0;

  /// The loss of a batch, one element in double: a `Var` if the model can train.
  template <PolicyLike P, class Model>
  auto loss(Context<P>& ctx, const Model& model, const Batch<P>& batch, const SampleNumbers& numbers) const {
    const std::int64_t b = batch.clips.extent(0);
    std::vector<double> sigmas(static_cast<std::size_t>(b));
    for (std::int64_t i = 0; i < b; ++i)
      sigmas[static_cast<std::size_t>(i)] = times.quantile(
          schedulers::draw_time(time_draw, numbers.seed, numbers.step, numbers.offset + i, numbers.count));
    return loss_at(ctx, model, batch, sigmas, [&](std::int64_t i) {
      const std::uint64_t sample = numbers.global(i);
      const bool antithetic = noise_draw == NoiseDraw::antithetic;
      return Noise{{numbers.seed, schedulers::site::noise, static_cast<std::uint32_t>(antithetic ? sample / 2 : sample)},
                   antithetic && sample % 2 == 1 ? -1.0 : 1.0};
    });
  }

  /// The unweighted loss at fixed sigmas under fixed noise, averaged: comparable from step to step and from run to run.
  /// Records nothing and leaves the random state as it was. Returns 0 while planning.
  template <PolicyLike P, class Model>
  double held_out_loss(Context<P>& ctx, const Model& model, const Batch<P>& batch, std::span<const double> at,
                       std::uint64_t seed = 0) const {
    const NoGrad<P> off(ctx);
    const RandomState before = ctx.exec().random();
    FlowMatchingObjective<Times, schedulers::NoWeight, PathT, PredictionT> plain;
    plain.path = path;
    plain.prediction = prediction;
    plain.first_frame = first_frame;
    double sum = 0;
    for (const double sigma : at) {
      const std::vector<double> sigmas(static_cast<std::size_t>(batch.clips.extent(0)), sigma);
      const auto result = plain.loss_at(ctx, model, batch, sigmas, [&](std::int64_t i) {
        return Noise{{seed, schedulers::site::held_out, static_cast<std::uint32_t>(i)}, 1.0};
      });
      if (!ctx.exec().planning()) sum += host_value(value_of(result));
    }
    ctx.exec().random() = before;
    return at.empty() ? 0.0 : sum / static_cast<double>(at.size());
  }

  /// What must not change between a run and its continuation.
  std::string describe() const {
    return "times " + times.describe() + (time_draw == schedulers::TimeDraw::stratified ? " stratified" : "") +
           ", weight " + Weight::name + (noise_draw == NoiseDraw::antithetic ? ", antithetic noise" : "") +
           ", first frame " + std::to_string(first_frame);
  }

  struct Noise {
    RandomKey key;
    double sign = 1.0;
  };

  /// The loss at given sigmas; `noise_of(i)` names the draw of sample i.
  template <PolicyLike P, class Model, class NoiseOf>
  auto loss_at(Context<P>& ctx, const Model& model, const Batch<P>& batch, std::span<const double> sigmas,
               NoiseOf&& noise_of) const {
    using T = typename P::compute;
    using Space = typename P::Space;
    auto& exec = ctx.exec();
    const Shape<5>& shape = batch.clips.shape();
    const std::int64_t extra = batch.condition ? batch.condition.extent(1) : 0;
    auto hidden = ctx.template empty<T, 5>({shape[0], shape[1] + extra, shape[2], shape[3], shape[4]});
    auto target = ctx.template empty<T, 5>(shape);
    auto timesteps = ctx.template empty<float, 1>({shape[0]});
    Tensor<float, 1, Space> weights;
    if constexpr (!std::is_same_v<Weight, schedulers::NoWeight>) weights = ctx.template empty<float, 1>({shape[0]});
    {
      auto noise = ctx.template empty<T, 4>({shape[1], shape[2], shape[3], shape[4]});
      for (std::int64_t i = 0; i < shape[0]; ++i) {
        const double sigma = sigmas[static_cast<std::size_t>(i)];
        const schedulers::PathPoint point = path.at(sigma);
        const Noise draw = noise_of(i);
        ops::fill_normal(exec, noise.view(), draw.key, 0.0, draw.sign);
        const auto clip = batch.clips.cview()[i];
        schedulers::mix(exec, point.state, clip, noise.cview(), hidden.view()[i].slice(0, 0, shape[1]));
        schedulers::mix(exec, prediction.target(point), clip, noise.cview(), target.view()[i]);
        ops::fill(exec, schedulers::timestep_scale * sigma, timesteps.view().slice(0, i, i + 1));
        if (weights) ops::fill(exec, weight.at(sigma), weights.view().slice(0, i, i + 1));
      }
    }
    if (extra > 0) ops::copy(exec, batch.condition.cview(), hidden.view().slice(1, shape[1], shape[1] + extra));
    const auto said = model(ctx, hidden, typename Model::Time{timesteps}, batch.text);
    return functional::mse(ctx, said, target, weights, first_frame);
  }
};

}  // namespace train
SEGUE_NAMESPACE_END
