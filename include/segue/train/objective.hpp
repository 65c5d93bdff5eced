// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "segue/functional/loss.hpp"
#include "segue/ops/flow.hpp"
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

/// One number of a result, on the host; waits for the device. Not to be called while planning.
template <class Device, class T>
double host_value(Exec<Device>& exec, const Tensor<T, 1, typename Device::Space>& x) {
  return static_cast<double>(to_host(exec, x.view())[0]);
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
  /// The first frames that the model sees clean, at timestep 0 (Wan2.2 TI2V); `first_frame` is then the same number.
  std::int64_t given_frames = 0;

  /// How the samples of a batch are noised: data of the host, a few words a sample.
  std::vector<ops::NoiseDraw> draws(std::int64_t batch, const SampleNumbers& numbers) const {
    std::vector<ops::NoiseDraw> out(static_cast<std::size_t>(batch));
    for (std::int64_t i = 0; i < batch; ++i) {
      const double sigma = times.quantile(
          schedulers::draw_time(time_draw, numbers.seed, numbers.step, numbers.offset + i, numbers.count));
      const std::uint64_t sample = numbers.global(i);
      const bool antithetic = noise_draw == NoiseDraw::antithetic;
      out[static_cast<std::size_t>(i)] = draw_at(
          sigma, {numbers.seed, schedulers::site::noise, static_cast<std::uint32_t>(antithetic ? sample / 2 : sample)},
          antithetic && sample % 2 == 1 ? -1.0 : 1.0);
    }
    return out;
  }

  /// The loss of a batch under draws that lie where the batch does, one element in double: a `Var` if the model can
  /// train. Nothing here visits the host, so that a device can capture it.
  template <PolicyLike P, class Model>
  auto loss(Context<P>& ctx, const Model& model, const Batch<P>& batch,
            const Tensor<ops::NoiseDraw, 1, typename P::Space>& noise) const {
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
    ops::noise_batch(exec, batch.clips.cview(), noise.cview(), hidden.view().slice(1, 0, shape[1]), target.view(),
                     timesteps.view(), weights.view());
    if (extra > 0) ops::copy(exec, batch.condition.cview(), hidden.view().slice(1, shape[1], shape[1] + extra));
    if (given_frames > 0)
      ops::copy(exec, batch.clips.cview().slice(2, 0, given_frames),
                hidden.view().slice(1, 0, shape[1]).slice(2, 0, given_frames));
    const auto time = [&]() -> typename Model::Time {
      if (given_frames == 0) return {timesteps};
      if constexpr (requires { model.given_frames(ctx, timesteps, shape, given_frames); })
        return model.given_frames(ctx, timesteps, shape, given_frames);
      else
        throw_input("FlowMatchingObjective", "given_frames", std::to_string(given_frames),
                    "0: the model has one timestep a sample");
    }();
    const auto say = [&](const auto&... image) {
      return functional::mse(ctx, model(ctx, hidden, time, batch.text, image...), target, weights, first_frame);
    };
    if constexpr (requires { model(ctx, hidden, time, batch.text, batch.image); }) {
      return say(batch.image);
    } else {
      if (batch.image) throw_input("FlowMatchingObjective", "image", "a tensor", "none: the model takes no image");
      return say();
    }
  }

  /// The same under the draws of these samples.
  template <PolicyLike P, class Model>
  auto loss(Context<P>& ctx, const Model& model, const Batch<P>& batch, const SampleNumbers& numbers) const {
    return loss(ctx, model, batch, on_device<P>(ctx.exec(), draws(batch.clips.extent(0), numbers)));
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
    plain.given_frames = given_frames;
    double sum = 0;
    for (const double sigma : at) {
      std::vector<ops::NoiseDraw> fixed(static_cast<std::size_t>(batch.clips.extent(0)));
      for (std::size_t i = 0; i < fixed.size(); ++i)
        fixed[i] = draw_at(sigma, {seed, schedulers::site::held_out, static_cast<std::uint32_t>(i)}, 1.0);
      const auto result = plain.loss(ctx, model, batch, on_device<P>(ctx.exec(), fixed));
      if (!ctx.exec().planning()) sum += host_value(ctx.exec(), value_of(result));
    }
    ctx.exec().random() = before;
    return at.empty() ? 0.0 : sum / static_cast<double>(at.size());
  }

  /// What must not change between a run and its continuation.
  std::string describe() const {
    return "times " + times.describe() + (time_draw == schedulers::TimeDraw::stratified ? " stratified" : "") +
           ", weight " + Weight::name + (noise_draw == NoiseDraw::antithetic ? ", antithetic noise" : "") +
           ", first frame " + std::to_string(first_frame) +
           (given_frames > 0 ? ", given frames " + std::to_string(given_frames) : std::string());
  }

 private:
  ops::NoiseDraw draw_at(double sigma, const RandomKey& key, double sign) const {
    const schedulers::PathPoint point = path.at(sigma);
    const schedulers::Mixture target = prediction.target(point);
    return {.key = key,
            .sign = sign,
            .state_data = point.state.data,
            .state_noise = point.state.noise,
            .target_data = target.data,
            .target_noise = target.noise,
            .timestep = static_cast<float>(schedulers::timestep_scale * sigma),
            .weight = static_cast<float>(weight.at(sigma))};
  }

  template <PolicyLike P>
  static Tensor<ops::NoiseDraw, 1, typename P::Space> on_device(Exec<typename P::Device>& exec,
                                                                const std::vector<ops::NoiseDraw>& host) {
    auto out = exec.template empty<ops::NoiseDraw, 1>({static_cast<std::int64_t>(host.size())});
    exec.upload(host.data(), out.view());
    return out;
  }
};

}  // namespace train
SEGUE_NAMESPACE_END
