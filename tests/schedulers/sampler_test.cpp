// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include "segue/schedulers/recorded_sampler.hpp"

#include "models/wan_support.hpp"
#include "segue/schedulers/any_scheduler.hpp"
#include "segue/train/codec.hpp"

namespace {

using namespace segue;
using support::contains;
using support::message_of;

/// The recorded trajectory of `name`, whose adapter is trained: guidance 3, shift 3, four steps of Euler.
void check_sample(const std::string& name) {
  INFO(name);
  using Golden = support::GoldenWan<Fp32, adapters::LoraOnBlocks>;
  using P = Golden::P;
  Golden g(name);
  support::add_golden_lora(g.model, g.exec, g.recorded, "train_final");
  Context<P> ctx(g.exec);
  const auto cond = g.recorded.tensor<float, 3>(g.exec, "sample.cond");
  const auto uncond = g.recorded.tensor<float, 3>(g.exec, "sample.uncond");
  const auto x0 = g.recorded.tensor<float, 5>(g.exec, "sample.x0");
  const auto trajectory = g.recorded.tensor<float, 6>(g.exec, "sample.trajectory");
  Tensor<float, 5, HostSpace> condition;
  if (g.folder.config.in_channels > g.folder.config.out_channels) {
    condition = g.exec.empty<float, 5>({2, 1 + x0.extent(1), x0.extent(2), x0.extent(3), x0.extent(4)});
    for (std::int64_t b = 0; b < 2; ++b) {
      const auto clip = Tensor<float, 4, HostSpace>::borrow(x0.view()[b]);
      ops::copy(g.exec, train::first_frame_condition(g.exec, clip).cview(), condition.view()[b]);
    }
  }
  auto noise = g.exec.empty<float, 5>(x0.shape());
  ops::copy(g.exec, trajectory.cview()[0], noise.view());
  schedulers::AnyScheduler<P> scheduler(schedulers::FlowMatching<>{.grid = {.shift = 3.0}});
  int watched = 0;
  const auto clip = schedulers::sample(ctx, g.model, scheduler, noise, condition, cond, {.steps = 4, .guidance = 3.0},
                                       uncond, [&](int step, const auto& x) {
                                         CHECK(testing::relative_error(x.cview(), trajectory.cview()[step + 1]) < 2e-5);
                                         ++watched;
                                       });
  CHECK(watched == 4);
  CHECK(testing::relative_error(clip.cview(), trajectory.cview()[4]) < 2e-5);
  CHECK(ctx.tape().size() == 0);
  CHECK(testing::relative_error(noise.cview(), trajectory.cview()[0]) == 0);
}

/// Says 2 with a text of ones and 1 with a text of zeros; counts.
struct Counter {
  struct Time {
    Tensor<float, 1, HostSpace> timesteps;
  };
  mutable int calls = 0;
  template <class C>
  Tensor<float, 5, HostSpace> operator()(C& ctx, const Tensor<float, 5, HostSpace>& hidden, const Time&,
                                         const Tensor<float, 3, HostSpace>& text) const {
    ++calls;
    auto y = ctx.template empty<float, 5>(hidden.shape());
    ops::fill(ctx.exec(), 1.0 + text.data_handle()[0], y.view());
    return y;
  }
};

}  // namespace

TEST_CASE("sampling follows diffusers' trajectory with guidance and a trained adapter") {
  check_sample("wan_t2v");
  check_sample("wan_i2v");
}

TEST_CASE("a recorded sampler draws what sampling draws, whatever shapes come") {
  using P = Policy<Fp32, Cpu>;
  Exec<Cpu> exec;
  Context<P> ctx(exec);
  const Counter model;
  schedulers::FlowMatching<> scheduler;
  const schedulers::SampleOptions options{.steps = 3, .guidance = 2.0};
  schedulers::RecordedSampler<P, Counter, schedulers::FlowMatching<>> recorded(ctx, model, scheduler, options);
  for (const std::int64_t width : {4, 4, 6, 4}) {
    const auto noise = exec.empty<float, 5>({1, 2, 3, 4, width});
    ops::fill_normal(exec, noise.view(), {static_cast<std::uint64_t>(width), 0, 0});
    const auto text = exec.empty<float, 3>({1, 1, 1}), negative = exec.empty<float, 3>({1, 1, 1});
    ops::fill(exec, 1.0, text.view());
    ops::fill(exec, 0.0, negative.view());
    const auto expected = schedulers::sample(ctx, model, scheduler, noise, {}, text, options, negative);
    const auto& drawn = recorded(noise, {}, text, negative);
    CHECK(drawn.shape() == noise.shape());
    CHECK(to_host(exec, drawn.view()) == to_host(exec, expected.view()));
  }
  const auto noise = exec.empty<float, 5>({1, 2, 3, 4, 4});
  const auto text = exec.empty<float, 3>({1, 1, 1});
  CHECK(contains(message_of<InputError>([&] { recorded(noise, {}, text); }), "sample: negative_text is empty"));
}

TEST_CASE("guidance 1 asks once a step, other guidance twice, and needs a negative text") {
  using P = Policy<Fp32, Cpu>;
  Exec<Cpu> exec;
  Context<P> ctx(exec);
  const Counter model;
  schedulers::FlowMatching<> scheduler;
  auto noise = exec.empty<float, 5>({1, 1, 1, 2, 2});
  auto text = exec.empty<float, 3>({1, 1, 1}), negative = exec.empty<float, 3>({1, 1, 1});
  ops::fill(exec, 5.0, noise.view());
  ops::fill(exec, 1.0, text.view());
  ops::fill(exec, 0.0, negative.view());
  // The velocity is constant, so the clip is the noise less the velocity.
  const auto once = schedulers::sample(ctx, model, scheduler, noise, {}, text, {.steps = 6});
  CHECK(model.calls == 6);
  CHECK(std::abs(once.data_handle()[0] - 3) < 1e-5);
  const auto twice =
      schedulers::sample(ctx, model, scheduler, noise, {}, text, {.steps = 6, .guidance = 2.0}, negative);
  CHECK(model.calls == 18);
  CHECK(std::abs(twice.data_handle()[0] - (5 - (1 + 2 * (2 - 1)))) < 1e-5);

  CHECK(contains(message_of<InputError>([&] {
                   schedulers::sample(ctx, model, scheduler, noise, {}, text, {.steps = 6, .guidance = 2.0});
                 }),
                 "negative_text is empty"));
  const auto other = exec.empty<float, 5>({1, 2, 1, 2, 3});
  CHECK(contains(message_of<InputError>([&] { schedulers::sample(ctx, model, scheduler, noise, other, text); }),
                 "sample: shape of condition"));
}
