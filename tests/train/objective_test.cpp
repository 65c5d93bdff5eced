// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include "segue/train/objective.hpp"

#include <cmath>

#include "support/catch.hpp"
#include "train/toy.hpp"

namespace {

using namespace toy;
using train::SampleNumbers;

/// Answers zero, and remembers what it was asked.
struct Listener {
  struct Time {
    Tensor<float, 1, HostSpace> timesteps;
  };
  std::int64_t channels = 2;
  mutable Tensor<float, 5, HostSpace> hidden;
  mutable Tensor<float, 1, HostSpace> timesteps;

  template <class C>
  Tensor<float, 5, HostSpace> operator()(C& ctx, const Tensor<float, 5, HostSpace>& h, const Time& time,
                                         const Tensor<float, 3, HostSpace>&) const {
    hidden = h;
    timesteps = time.timesteps;
    auto y = ctx.template empty<float, 5>({h.extent(0), channels, h.extent(2), h.extent(3), h.extent(4)});
    ops::fill(ctx.exec(), 0.0, y.view());
    return y;
  }
};

/// Zero clips, so that the hidden state is sigma times the noise.
train::Batch<P> blank(Exec<Cpu>& exec, std::int64_t b, double value = 0, std::int64_t frames = 3) {
  train::Batch<P> batch;
  batch.clips = exec.empty<float, 5>({b, 2, frames, 2, 4});
  batch.condition = exec.empty<float, 5>({b, 3, frames, 2, 4});
  batch.text = exec.empty<float, 3>({b, 1, 1});
  ops::fill(exec, value, batch.clips.view());
  ops::fill(exec, 9.0, batch.condition.view());
  ops::fill(exec, 0.0, batch.text.view());
  return batch;
}

struct Fixture {
  Exec<Cpu> exec{Exec<Cpu>::Options{.threads = 1}};
  Context<P> ctx{exec};
  Listener model;

  double noise(std::int64_t sample, std::int64_t element) const {
    const auto clip = model.hidden.view()[sample];
    return clip.data_handle()[element] / (model.timesteps(sample) / 1000.0);
  }
};

}  // namespace

TEST_CASE("the network sees a point of the path, the condition after it, and the timestep") {
  Fixture t;
  const auto batch = blank(t.exec, 4, 0.5);
  const train::FlowMatchingObjective<> objective;
  const auto loss = objective.loss(t.ctx, t.model, batch, SampleNumbers{3, 7, 0, 4});
  REQUIRE(t.model.hidden.shape() == Shape<5>{4, 5, 3, 2, 4});
  double target_squares = 0;
  for (std::int64_t b = 0; b < 4; ++b) {
    const double sigma = schedulers::draw_time(schedulers::TimeDraw::stratified, 3, 7, b, 4);
    CHECK(std::abs(t.model.timesteps(b) - 1000 * sigma) < 1e-3);
    CHECK(t.model.hidden(b, 2, 0, 0, 0) == 9);
    CHECK(t.model.hidden(b, 4, 2, 1, 3) == 9);
    double sum = 0;
    for (std::int64_t i = 0; i < 48; ++i) {
      // x = (1 − σ)·x0 + σ·n, target = n − x0.
      const double n = (t.model.hidden.view()[b].data_handle()[i] - (1 - sigma) * 0.5) / sigma;
      sum += (n - 0.5) * (n - 0.5);
    }
    target_squares += sum / 48;
  }
  CHECK(std::abs(train::host_value(t.exec, loss) - target_squares / 4) < 1e-3 * target_squares);
}

TEST_CASE("antithetic samples come in pairs of opposite noise, whatever the batch") {
  Fixture t;
  train::FlowMatchingObjective<> objective;
  const auto noise_of = [&](std::uint64_t step, std::int64_t offset, std::int64_t b, std::int64_t count) {
    objective.loss(t.ctx, t.model, blank(t.exec, b), SampleNumbers{3, step, offset, count});
    std::vector<double> n;
    for (std::int64_t i = 0; i < b; ++i) n.push_back(t.noise(i, 5));
    return n;
  };
  const auto close = [](double a, double b) { return std::abs(a - b) < 1e-4; };
  const auto plain = noise_of(2, 0, 4, 4);
  CHECK(!close(plain[0], -plain[1]));
  objective.noise_draw = train::NoiseDraw::antithetic;
  const auto four = noise_of(2, 0, 4, 4);
  CHECK(close(four[0], -four[1]));
  CHECK(close(four[2], -four[3]));
  CHECK(!close(four[0], four[2]));
  CHECK(!close(four[0], -four[2]));
  // The second half of the step as a batch of its own.
  const auto half = noise_of(2, 2, 2, 4);
  CHECK(close(half[0], four[2]));
  CHECK(close(half[1], four[3]));
  // One sample a step: the pair is two steps.
  CHECK(close(noise_of(6, 0, 1, 1)[0], -noise_of(7, 0, 1, 1)[0]));
  CHECK(!close(noise_of(7, 0, 1, 1)[0], -noise_of(8, 0, 1, 1)[0]));
}

TEST_CASE("noise of different samples and steps differs") {
  Fixture t;
  const train::FlowMatchingObjective<> objective;
  std::vector<double> seen;
  for (std::uint64_t step = 0; step < 5; ++step) {
    objective.loss(t.ctx, t.model, blank(t.exec, 3), SampleNumbers{3, step, 0, 3});
    for (std::int64_t i = 0; i < 3; ++i) seen.push_back(t.noise(i, 0));
  }
  for (std::size_t i = 0; i < seen.size(); ++i)
    for (std::size_t k = 0; k < i; ++k) CHECK(std::abs(seen[i] - seen[k]) > 1e-4);
}

TEST_CASE("a frame that is given takes no part in the loss") {
  Fixture t;
  auto batch = blank(t.exec, 2);
  const train::FlowMatchingObjective<> all;
  train::FlowMatchingObjective<> later;
  later.first_frame = 1;
  const SampleNumbers numbers{3, 0, 0, 2};
  // Only frame 0 is far from what the network says.
  const std::vector<double> sigmas = {0.5, 0.5};
  for (std::int64_t b = 0; b < 2; ++b) ops::fill(t.exec, 100.0, batch.clips.view()[b].slice(0, 0, 1).slice(1, 0, 1));
  CHECK(train::host_value(t.exec, all.loss(t.ctx, t.model, batch, numbers)) > 100);
  CHECK(train::host_value(t.exec, later.loss(t.ctx, t.model, batch, numbers)) < 3);
}

TEST_CASE("weights multiply each sample's loss") {
  Fixture t;
  const auto batch = blank(t.exec, 1);
  const SampleNumbers numbers{3, 4, 0, 1};
  const double sigma = schedulers::draw_time(schedulers::TimeDraw::stratified, 3, 4, 0, 1);
  const train::FlowMatchingObjective<> plain;
  const train::FlowMatchingObjective<schedulers::UniformTime, schedulers::CosMapWeight> weighted;
  const double a = train::host_value(t.exec, plain.loss(t.ctx, t.model, batch, numbers));
  const double b = train::host_value(t.exec, weighted.loss(t.ctx, t.model, batch, numbers));
  CHECK(std::abs(b / a - schedulers::CosMapWeight{}.at(sigma)) < 1e-6);
}

TEST_CASE("a held-out loss is the same every time and leaves the random state alone") {
  Fixture t;
  const auto batch = blank(t.exec, 2, 0.25);
  const train::FlowMatchingObjective<> objective;
  t.exec.random() = {.seed = 5, .site = 3, .step = 2};
  const RandomState before = t.exec.random();
  const std::vector<double> sigmas = {0.2, 0.8};
  const double a = objective.held_out_loss(t.ctx, t.model, batch, sigmas);
  t.exec.random().step = 9;
  const double b = objective.held_out_loss(t.ctx, t.model, batch, sigmas);
  CHECK(a == b);
  CHECK(a > 0);
  t.exec.random().step = 2;
  CHECK(t.exec.random() == before);
  CHECK(t.ctx.grad_enabled());
  CHECK(objective.held_out_loss(t.ctx, t.model, batch, sigmas, 1) != a);
}

TEST_CASE("stratified times lower the variance of the gradient's mean over steps") {
  // The mean of a smooth function of sigma over 32 steps of two samples, over seeds.
  const auto spread = [](schedulers::TimeDraw draw) {
    double sum = 0, squares = 0;
    for (std::uint64_t seed = 0; seed < 50; ++seed) {
      double mean = 0;
      for (std::uint64_t step = 0; step < 32; ++step)
        for (std::int64_t i = 0; i < 2; ++i) {
          const double u = schedulers::draw_time(draw, seed, step, i, 2);
          mean += (u * u) / 64;
        }
      sum += mean;
      squares += mean * mean;
    }
    return squares / 50 - (sum / 50) * (sum / 50);
  };
  CHECK(spread(schedulers::TimeDraw::stratified) < 0.05 * spread(schedulers::TimeDraw::independent));
}
