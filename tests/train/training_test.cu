// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include "segue/adapters/diffusers_file.hpp"
#include "segue/adapters/inject.hpp"
#include "segue/adapters/load_adapter.hpp"
#include "segue/adapters/maps.hpp"
#include "segue/cpu.hpp"
#include "segue/cuda.cuh"
#include "segue/models/wan.hpp"
#include "segue/models/wan_init.hpp"
#include "segue/schedulers/recorded_sampler.hpp"
#include "segue/train/dataset.hpp"
#include "segue/train/plan.hpp"
#include "segue/train/trainer.hpp"
#include "support/catch.hpp"
#include "support/distance.hpp"
#include "support/errors.hpp"
#include "support/paths.hpp"

namespace {

using namespace segue;

models::WanConfig config() {
  models::WanConfig c;
  c.patch_size = {1, 2, 2};
  c.num_attention_heads = 2;
  c.attention_head_dim = 24;
  c.in_channels = 3;
  c.out_channels = 2;
  c.text_dim = 8;
  c.freq_dim = 16;
  c.ffn_dim = 96;
  c.num_layers = 2;
  return c;
}

/// One LoRA run, as a process of its own would make it.
template <class Precision, class Device>
struct Run {
  using P = Policy<Precision, Device>;
  using T = typename P::compute;
  using Model = models::Wan<P, adapters::LoraOnBlocks>;
  using Objective = train::FlowMatchingObjective<schedulers::LogitNormalTime>;

  /// Data whose chosen batches hold a NaN.
  struct Source {
    train::InMemoryDataset<P> inner;
    std::vector<std::uint64_t> bad{};
    std::int64_t batch_size() const { return inner.batch_size(); }
    void fill(Exec<Device>& exec, std::uint64_t index, train::Batch<P>& batch) {
      inner.fill(exec, index, batch);
      for (const std::uint64_t b : bad)
        if (b == index) ops::fill(exec, std::numeric_limits<double>::quiet_NaN(), batch.clips.view());
    }
  };

  Exec<Device> exec;
  Context<P> ctx{exec};
  Model model;
  Source source;
  std::vector<double> losses;
  std::int64_t skipped = 0;
  std::size_t launches = 0;

  /// Without dropout, 16-bit types keep an adapter and its weight in one buffer.
  explicit Run(double dropout = std::is_same_v<Precision, Fp32> ? 0.2 : 0.0,
               const typename Exec<Device>::Options& where = {})
      : exec(where), model(exec, config()), source{data(exec)} {
    models::randomize_wan(model, exec, 1);
    adapters::LoraConfig lora;
    lora.spec.rank = 8;
    lora.spec.dropout = dropout;
    lora.seed = 4;
    adapters::add_lora(model, exec, lora);
  }

  static train::InMemoryDataset<P> data(Exec<Device>& exec, std::int64_t batch = 2, std::int64_t frames = 3,
                                        std::int64_t height = 6, std::int64_t width = 4) {
    auto text = exec.template empty<T, 2>({3, 8});
    ops::fill_normal(exec, text.view(), {8, 0, 0});
    train::InMemoryDataset<P> set(batch, 5, text);
    for (std::uint32_t i = 0; i < 3; ++i) {
      auto clip = exec.template empty<T, 4>({2, frames, height, width});
      auto condition = exec.template empty<T, 4>({1, frames, height, width});
      ops::fill_normal(exec, clip.view(), {77, i, 0});
      ops::fill_normal(exec, condition.view(), {78, i, 0});
      set.add(clip, condition);
    }
    return set;
  }

  /// Adapters that answer, as trained ones do.
  void draw_adapters() {
    RandomKey key{3, 0, 0};
    adapters::for_each_lora(model, [&](std::string_view, auto& linear) {
      ops::fill_normal(exec, linear.adapters()[0].b.value().view(), key, 0.0, 0.2);
      ++key.site;
    });
  }
  template <std::size_t Rank>
  Tensor<float, static_cast<int>(Rank), typename P::Space> draw(const std::array<std::int64_t, Rank>& shape,
                                                                std::uint32_t site) {
    auto x = exec.template empty<float, static_cast<int>(Rank)>(shape);
    ops::fill_normal(exec, x.view(), {9, site, 0});
    return x;
  }

  static train::TrainerOptions options(std::int64_t steps) {
    train::TrainerOptions o;
    o.steps = steps;
    o.lr = 5e-3;
    o.seed = 2;
    o.ema_decay = 0.9;
    o.schedule = {train::LrDecay::linear, 1};
    return o;
  }

  std::vector<float> train(const train::TrainerOptions& o) {
    train::Trainer trainer(ctx, model, source, Objective{}, o);
    trainer.resume();
    while (trainer.state().step < (o.stop_at > 0 ? o.stop_at : o.steps)) {
      const std::uint64_t before = launched();
      losses.push_back(trainer.step().loss);
      launches = launched() - before;
    }
    trainer.save();
    skipped = trainer.state().skipped;
    std::vector<float> all;
    for (const auto& p : trainer.optimizer().parameters()) {
      const auto values = to_host(exec, p->master());
      all.insert(all.end(), values.begin(), values.end());
    }
    for (const auto& average : trainer.ema()->averages()) {
      const auto values = to_host(exec, average.view());
      all.insert(all.end(), values.begin(), values.end());
    }
    return all;
  }

  std::uint64_t launched() const {
    if constexpr (requires { exec.launches(); })
      return exec.launches();
    else
      return 0;
  }
};

}  // namespace

TEST_CASE("ten steps on the GPU and on the CPU agree") {
  Run<Fp32, Cpu> host;
  const auto expected = host.train(Run<Fp32, Cpu>::options(10));
  Run<Fp32, Cuda> device;
  const auto got = device.train(Run<Fp32, Cuda>::options(10));
  for (std::size_t i = 0; i < 10; ++i)
    CHECK(std::abs(device.losses[i] - host.losses[i]) < 1e-5 * std::abs(host.losses[i]));
  CHECK(support::distance(got, expected) < 1e-4);
}

TEST_CASE("the output and the gradients of one clip agree on the GPU and on the CPU to a hundred-thousandth") {
  const auto measured = []<class R>(R run) {
    run.draw_adapters();
    auto t = run.exec.template empty<float, 1>({2});
    ops::fill(run.exec, 400.0, t.view());
    const auto y = run.model(run.ctx, run.draw(Shape<5>{2, 3, 5, 14, 10}, 1), {t}, run.draw(Shape<3>{2, 7, 8}, 2));
    const auto target = run.draw(Shape<5>{2, 2, 5, 14, 10}, 3);
    const std::vector<float> output = to_host(run.exec, y.value().view());
    run.ctx.backward(functional::mse(run.ctx, y, target));
    std::vector<float> gradients;
    adapters::for_each_lora(run.model, [&](std::string_view, auto& linear) {
      for (const auto* leaf : {&linear.adapters()[0].a, &linear.adapters()[0].b}) {
        const auto one = to_host(run.exec, leaf->slot().grad().view());
        gradients.insert(gradients.end(), one.begin(), one.end());
      }
    });
    return std::pair(output, gradients);
  };
  const auto host = measured(Run<Fp32, Cpu>(0.0)), device = measured(Run<Fp32, Cuda>(0.0));
  CHECK(support::distance(device.first, host.first) < 1e-5);
  CHECK(support::distance(device.second, host.second) < 1e-5);
}

TEST_CASE("steps on the default stream must not be recorded, and the trainer says so at once") {
  using R = Run<Fp32, Cuda>;
  R run(0.0, {.stream = cudaStream_t{}});
  auto o = R::options(3);
  CHECK(support::message_of<InputError>([&] { train::Trainer(run.ctx, run.model, run.source, R::Objective{}, o); }) ==
        "Trainer: the stream of the Exec is CUDA's default one, which cannot be recorded, expected another, or "
        "TrainerOptions::graph to be false");
  o.graph = false;
  run.train(o);
  CHECK(run.losses.size() == 3);
}

TEMPLATE_TEST_CASE("narrow types train like fp32", "", Bf16, Fp16, Tf32) {
  Run<Fp32, Cuda> wide(0.0);
  wide.train(Run<Fp32, Cuda>::options(20));
  Run<TestType, Cuda> narrow;
  narrow.train(Run<TestType, Cuda>::options(20));
  CHECK(narrow.skipped == 0);
  for (std::size_t i = 0; i < 20; ++i)
    CHECK(std::abs(narrow.losses[i] - wide.losses[i]) < 0.03 * std::abs(wide.losses[i]));
}

namespace {

template <class Precision>
void replays_have_the_bits_of_issued_steps(int steps) {
  using R = Run<Precision, Cuda>;
  auto o = R::options(steps);
  o.graph = false;
  R issued;
  const auto expected = issued.train(o);
  CHECK(issued.launches > 100);
  o.graph = true;
  R replayed;
  CHECK((replayed.train(o) == expected));
  CHECK((replayed.losses == issued.losses));
  CHECK(replayed.launches < 30);  // the batch and its draws
}

}  // namespace

TEMPLATE_TEST_CASE("a step that is recorded and replayed has the bits of one that is issued", "", Fp32, Bf16) {
  replays_have_the_bits_of_issued_steps<TestType>(12);
}

TEMPLATE_TEST_CASE("a thousand replays have the bits of a thousand steps that are issued", "[large]", Fp32, Bf16) {
  replays_have_the_bits_of_issued_steps<TestType>(1000);
}

TEST_CASE("micro-batches are recorded too") {
  using R = Run<Fp32, Cuda>;
  auto o = R::options(10);
  o.accumulation = 3;
  o.graph = false;
  const auto expected = R().train(o);
  o.graph = true;
  CHECK((R().train(o) == expected));
  CHECK(support::distance(expected, Run<Fp32, Cpu>().train(o)) < 1e-4);
}

TEMPLATE_TEST_CASE("a step that is not finite is skipped inside the graph, and counted", "", Fp32, Fp16) {
  using R = Run<TestType, Cuda>;
  R run;
  run.source.bad = {2, 3, 9};
  run.train(R::options(12));
  CHECK(run.skipped == 3);
  CHECK(std::isnan(run.losses[2]));
  CHECK(std::isfinite(run.losses[4]));
  auto o = R::options(12);
  o.graph = false;
  R issued;
  issued.source.bad = {2, 3, 9};
  issued.train(o);
  CHECK(issued.losses[11] == run.losses[11]);
}

TEST_CASE("a step is recorded anew on demand, with the same bits") {
  using R = Run<Bf16, Cuda>;
  const auto o = R::options(8);
  for (const int accumulation : {1, 2}) {
    auto with = o;
    with.accumulation = accumulation;
    R straight, twice;
    const auto expected = straight.train(with);
    train::Trainer trainer(twice.ctx, twice.model, twice.source, R::Objective{}, with);
    std::size_t nodes = 0;
    while (trainer.state().step < 8) {
      if (trainer.state().step == 4) {
        nodes = trainer.recorded_nodes();
        CHECK(nodes > 100);
        trainer.forget_recording();
        CHECK(trainer.recorded_nodes() == 0);
      }
      trainer.step();
    }
    CHECK(trainer.recorded_nodes() == nodes);
    std::vector<float> all;
    for (const auto& p : trainer.optimizer().parameters()) {
      const auto values = to_host(twice.exec, p->master());
      all.insert(all.end(), values.begin(), values.end());
    }
    CHECK(std::equal(all.begin(), all.end(), expected.begin()));
  }
}

TEST_CASE("a GPU run goes on from its checkpoint bit for bit") {
  using R = Run<Bf16, Cuda>;
  support::TempDir dir;
  auto o = R::options(12);
  const auto whole = R().train(o);
  o.checkpoint_path = (dir / "c.safetensors").string();
  o.stop_at = 7;
  R().train(o);
  o.stop_at = 0;
  CHECK((R().train(o) == whole));
}

TEST_CASE("a checkpoint brings measured products along, so that a tuned run goes on bit for bit") {
  using R = Run<Bf16, Cuda>;
  support::TempDir dir;
  auto o = R::options(12);
  R whole(0.0, {.deterministic = false});
  ops::tune_gemms(whole.exec, true);
  o.checkpoint_path = (dir / "c.safetensors").string();
  o.stop_at = 7;
  whole.train(o);
  const std::string choices = ops::gemm_choices(whole.exec);
  CHECK_FALSE(choices.empty());
  o.stop_at = 0;
  const auto end = whole.train(o);

  o.checkpoint_path = (dir / "other.safetensors").string();
  o.stop_at = 7;
  R told;
  CHECK(ops::restore_gemm_choices(told.exec, choices));
  told.train(o);
  o.stop_at = 0;
  R resumed;
  CHECK((resumed.train(o) == end));
  CHECK(ops::gemm_choices(resumed.exec) == choices);
}

TEST_CASE("an adapter beside its weight multiplies like one apart from it") {
  using R = Run<Bf16, Cuda>;
  // A dropout of almost nothing keeps them apart.
  R beside(0.0), apart(1e-7);
  const auto in_one_buffer = [](R& run) {
    bool all = true;
    adapters::for_each_lora(run.model, [&](std::string_view, auto& linear) {
      all = all && linear.find("default")->b.value().data_handle() ==
                       linear.base().weight().data_handle() + linear.in_features();
    });
    return all;
  };
  CHECK(in_one_buffer(beside));
  CHECK_FALSE(in_one_buffer(apart));
  beside.train(R::options(20));
  apart.train(R::options(20));
  for (std::size_t i = 0; i < 20; ++i)
    CHECK(std::abs(beside.losses[i] - apart.losses[i]) < 0.01 * std::abs(apart.losses[i]));
}

TEST_CASE("adapters travel between devices through their file") {
  support::TempDir dir;
  const std::string path = (dir / "adapter.safetensors").string();
  Run<Fp32, Cuda> device;
  device.train(Run<Fp32, Cuda>::options(5));
  adapters::write_diffusers_adapter(device.model, device.exec, path);

  using P = Policy<Fp32, Cpu>;
  Exec<Cpu> exec;
  Context<P> ctx(exec);
  models::Wan<P, adapters::LoraOnBlocks> model(exec, config());
  models::randomize_wan(model, exec, 1);
  adapters::load_adapter(model, exec, path);
  const auto answer = [](auto& c, auto& m) {
    using Q = typename std::remove_cvref_t<decltype(c)>::Policy;
    auto& e = c.exec();
    const NoGrad<Q> off(c);
    auto x = e.template empty<float, 5>({1, 3, 3, 6, 4});
    auto text = e.template empty<float, 3>({1, 3, 8});
    auto t = e.template empty<float, 1>({1});
    ops::fill_normal(e, x.view(), {1, 1, 1});
    ops::fill_normal(e, text.view(), {1, 2, 1});
    ops::fill(e, 400.0, t.view());
    return to_host(e, value_of(m(c, x, {t}, text)).view());
  };
  CHECK(support::distance(answer(device.ctx, device.model), answer(ctx, model)) < 1e-5);
}

TEST_CASE("a whole sampling is one graph") {
  using R = Run<Bf16, Cuda>;
  using P = R::P;
  R run;
  auto& exec = run.exec;
  auto noise = exec.empty<float, 5>({1, 2, 3, 6, 4});
  auto condition = exec.empty<bfloat16, 5>({1, 1, 3, 6, 4});
  auto text = exec.empty<bfloat16, 3>({1, 3, 8});
  auto out = exec.empty<float, 5>({1, 2, 3, 6, 4});
  ops::fill_normal(exec, condition.view(), {1, 1, 1});
  ops::fill_normal(exec, text.view(), {1, 2, 1});
  schedulers::FlowMatching<> scheduler;
  const auto draw = [&] {
    const auto x = schedulers::sample<P>(run.ctx, run.model, scheduler, noise, condition, text, {.steps = 6});
    ops::copy(exec, x.cview(), out.view());
  };
  std::vector<std::vector<float>> issued;
  for (std::uint32_t i = 0; i < 3; ++i) {
    ops::fill_normal(exec, noise.view(), {3, i, 0});
    draw();
    issued.push_back(to_host(exec, out.view()));
  }
  const Graph graph = Graph::capture(exec, draw);
  schedulers::RecordedSampler<P, R::Model, schedulers::FlowMatching<>> recorded(run.ctx, run.model, scheduler,
                                                                                {.steps = 6});
  for (std::uint32_t i = 0; i < 3; ++i) {
    ops::fill_normal(exec, noise.view(), {3, i, 0});
    graph.replay(exec);
    CHECK((to_host(exec, out.view()) == issued[i]));
    const std::uint64_t before = exec.launches();
    CHECK((to_host(exec, recorded(noise, condition, text).view()) == issued[i]));
    // The first draw is issued, the second is recorded, and from then on only inputs are copied in.
    if (i == 2) CHECK(exec.launches() - before <= 3);
  }
  CHECK(recorded.recorded());
}

TEST_CASE("guided sampling on the GPU and on the CPU agrees, issued or recorded") {
  const auto drawn = []<class R>(R run) {
    using P = typename R::P;
    run.draw_adapters();
    const auto noise = run.draw(Shape<5>{2, 2, 5, 6, 4}, 1), condition = run.draw(Shape<5>{2, 1, 5, 6, 4}, 2);
    const auto text = run.draw(Shape<3>{2, 3, 8}, 3), negative = run.draw(Shape<3>{2, 3, 8}, 4);
    schedulers::FlowMatching<> scheduler{.grid = {.shift = 3.0}};
    const schedulers::SampleOptions options{.steps = 4, .guidance = 3.0};
    const auto once = schedulers::sample<P>(run.ctx, run.model, scheduler, noise, condition, text, options, negative);
    const std::vector<float> expected = to_host(run.exec, once.view());
    schedulers::RecordedSampler<P, typename R::Model, schedulers::FlowMatching<>> recorded(run.ctx, run.model,
                                                                                           scheduler, options);
    for (int i = 0; i < 3; ++i)
      CHECK((to_host(run.exec, recorded(noise, condition, text, negative).view()) == expected));
    CHECK(recorded.recorded() == (std::is_same_v<typename P::Device, Cuda>));
    return expected;
  };
  CHECK(support::distance(drawn(Run<Fp32, Cuda>(0.0)), drawn(Run<Fp32, Cpu>(0.0))) < 2e-5);
}

TEST_CASE("a plan says what a step will take, and memory is asked for no more once it ran") {
  using R = Run<Bf16, Cuda>;
  struct Shape {
    std::int64_t batch, frames, height, width;
  };
  for (const Shape& s : {Shape{1, 3, 8, 8}, Shape{2, 3, 16, 16}, Shape{1, 5, 32, 32}, Shape{3, 1, 32, 16},
                         Shape{2, 9, 16, 32}, Shape{1, 2, 64, 64}})
    for (const auto& [level, every] :
         {std::pair(Recompute::none, 1), {Recompute::cheap, 1}, {Recompute::cheap, 2}, {Recompute::block, 1}}) {
      R run(0.0);
      run.source.inner = R::data(run.exec, s.batch, s.frames, s.height, s.width);
      run.ctx.set_recompute(level, every);
      const auto step = [&] {
        train::Trainer trainer(run.ctx, run.model, run.source, R::Objective{}, R::options(4));
        trainer.step();
      };
      const train::Plan plan = train::plan(run.exec, step);
      CHECK(run.exec.pool().statistics().current_bytes == plan.held_before);

      run.exec.pool().reset_peak();
      train::Trainer trainer(run.ctx, run.model, run.source, R::Objective{}, R::options(4));
      trainer.step();
      const double issued = static_cast<double>(run.exec.pool().statistics().peak_bytes);
      CHECK(std::abs(issued / static_cast<double>(plan.peak_bytes) - 1) < 0.05);
      trainer.step();
      const auto held = run.exec.pool().statistics();
      const auto recorded = trainer.recorded_memory();
      CHECK(std::abs(static_cast<double>(held.current_bytes + recorded.peak_bytes) /
                         static_cast<double>(plan.peak_bytes) -
                     1) < 0.05);
      const double taken = static_cast<double>(held.reserved_bytes + recorded.reserved_bytes);
      INFO("taken " << taken << ", planned " << plan.reserved_bytes << ", live " << plan.peak_bytes);
      CHECK(std::abs(taken / static_cast<double>(plan.reserved_bytes) - 1) < 0.05);
      trainer.step();
      CHECK(run.exec.pool().statistics().system_allocations == held.system_allocations);
      CHECK(trainer.recorded_memory().system_allocations == recorded.system_allocations);
    }
}

TEST_CASE("a budget decides how much is run again") {
  using R = Run<Bf16, Cuda>;
  R run(0.0);
  run.source.inner = R::data(run.exec, 1, 5, 32, 32);
  const auto step = [&] {
    train::Trainer trainer(run.ctx, run.model, run.source, R::Objective{}, R::options(4));
    trainer.step();
  };
  const auto rich = train::choose_recompute(run.ctx, std::size_t{1} << 40, step);
  CHECK(rich.level == Recompute::none);
  const auto less = train::choose_recompute(run.ctx, rich.plan.reserved_bytes - 1, step);
  CHECK(less.level == Recompute::cheap);
  CHECK(less.every == 8);
  run.ctx.set_recompute(Recompute::cheap);
  const auto tight = train::choose_recompute(run.ctx, train::plan(run.exec, step).reserved_bytes - 1, step);
  CHECK(tight.level == Recompute::block);
  CHECK(run.ctx.recompute() == Recompute::block);
  CHECK(tight.plan.reserved_bytes < rich.plan.reserved_bytes);
  const std::string message =
      support::message_of<InputError>([&] { train::choose_recompute(run.ctx, std::size_t{1} << 10, step); });
  CHECK(message.find("at most 1.00 KiB: even with every block run again") != std::string::npos);
}
