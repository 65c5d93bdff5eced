// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include "models/wan_support.hpp"
#include "segue/train/dataset.hpp"
#include "segue/train/plan.hpp"
#include "segue/train/trainer.hpp"

namespace {

using namespace segue;
using P = Policy<Fp32, Cpu>;
using Model = models::Wan<P, adapters::LoraOnBlocks>;

models::WanConfig config() {
  models::WanConfig c;
  c.patch_size = {1, 2, 2};
  c.num_attention_heads = 2;
  c.attention_head_dim = 12;
  c.in_channels = 3;
  c.out_channels = 2;
  c.text_dim = 5;
  c.freq_dim = 16;
  c.ffn_dim = 40;
  c.num_layers = 2;
  return c;
}

Model build(Exec<Cpu>& exec) {
  Model model(exec, config());
  models::randomize_wan(model, exec, 1);
  adapters::LoraConfig lora;
  lora.spec.rank = 3;
  lora.spec.dropout = 0.2;
  lora.seed = 4;
  adapters::add_lora(model, exec, lora);
  return model;
}

train::InMemoryDataset<P> data(Exec<Cpu>& exec, std::int64_t batch = 2) {
  auto text = exec.empty<float, 2>({3, 5});
  ops::fill_normal(exec, text.view(), {8, 0, 0});
  train::InMemoryDataset<P> set(batch, 5, text);
  for (std::uint32_t i = 0; i < 3; ++i) {
    auto clip = exec.empty<float, 4>({2, 3, 6, 4}), condition = exec.empty<float, 4>({1, 3, 6, 4});
    ops::fill_normal(exec, clip.view(), {77, i, 0});
    ops::fill_normal(exec, condition.view(), {78, i, 0});
    set.add(clip, condition);
  }
  return set;
}

struct Outcome {
  std::vector<float> weights;
  std::vector<double> losses;
};

struct Losses : train::ProgressSink {
  std::vector<double> all;
  void on_step(const train::StepInfo& info) override { all.push_back(info.loss); }
};

Outcome run(const train::TrainerOptions& options, int threads, Recompute recompute = Recompute::cheap) {
  Exec<Cpu> exec({.threads = threads});
  Context<P> ctx(exec);
  ctx.set_recompute(recompute);
  Model model = build(exec);
  auto source = data(exec);
  train::Trainer trainer(ctx, model, source, train::FlowMatchingObjective<schedulers::LogitNormalTime>{}, options);
  trainer.resume();
  Losses sink;
  trainer.run(sink);
  Outcome outcome;
  support::for_each_parameter(model, [&](const std::string&, const auto& parameter) {
    const auto& x = parameter.value();
    outcome.weights.insert(outcome.weights.end(), x.data_handle(), x.data_handle() + x.size());
  });
  outcome.losses = sink.all;
  return outcome;
}

train::TrainerOptions six_steps() {
  train::TrainerOptions o;
  o.steps = 6;
  o.lr = 5e-3;
  o.seed = 2;
  o.schedule = {train::LrDecay::linear, 1};
  return o;
}

}  // namespace

TEST_CASE("a LoRA run on Wan, dropout and all, is the same at any thread count and through a resume") {
  const auto whole = run(six_steps(), 1);
  REQUIRE(whole.losses.size() == 6);
  CHECK(run(six_steps(), 2).weights == whole.weights);
  CHECK(run(six_steps(), 3).weights == whole.weights);

  support::TempDir dir;
  auto o = six_steps();
  o.checkpoint_path = (dir / "c.safetensors").string();
  o.stop_at = 3;
  const auto first = run(o, 2);
  o.stop_at = 0;
  const auto rest = run(o, 1);
  CHECK(rest.weights == whole.weights);
  CHECK(std::vector<double>(whole.losses.begin() + 3, whole.losses.end()) == rest.losses);
}

TEST_CASE("keeping activations, rebuilding them and re-running blocks train alike") {
  const auto cheap = run(six_steps(), 2, Recompute::cheap);
  CHECK(run(six_steps(), 2, Recompute::none).weights == cheap.weights);
  CHECK(run(six_steps(), 2, Recompute::block).weights == cheap.weights);
}

TEST_CASE("the frozen weights stay as they were, and every adapter moves") {
  Exec<Cpu> exec;
  Context<P> ctx(exec);
  Model model = build(exec);
  const auto values = [&](nn::LeafKind kind) {
    std::vector<std::vector<float>> all;
    nn::for_each_leaf(model, [&](const auto& leaf) {
      if (leaf.kind != kind) return;
      const auto& x = nn::tensor_of(leaf.tensor);
      all.emplace_back(x.data_handle(), x.data_handle() + x.size());
    });
    return all;
  };
  const auto base = values(nn::LeafKind::base), adapter = values(nn::LeafKind::adapter);
  auto source = data(exec);
  train::Trainer trainer(ctx, model, source, train::FlowMatchingObjective<>{}, six_steps());
  train::ProgressSink quiet;
  trainer.run(quiet);
  CHECK(values(nn::LeafKind::base) == base);
  const auto trained = values(nn::LeafKind::adapter);
  REQUIRE(trained.size() == adapter.size());
  for (std::size_t i = 0; i < trained.size(); ++i) CHECK(trained[i] != adapter[i]);
}

TEST_CASE("a step's peak is known before it is taken") {
  for (const Recompute recompute : {Recompute::none, Recompute::cheap, Recompute::block}) {
    for (const std::int64_t batch : {1, 3}) {
      INFO("recompute " << static_cast<int>(recompute) << ", batch " << batch);
      Exec<Cpu> exec({.threads = 2});
      Context<P> ctx(exec);
      ctx.set_recompute(recompute);
      Model model = build(exec);
      auto source = data(exec, batch);
      const auto take = [&](int steps) {
        auto options = six_steps();
        options.ema_decay = 0.9;
        train::Trainer trainer(ctx, model, source, train::FlowMatchingObjective<>{}, options);
        for (int i = 0; i < steps; ++i) trainer.step();
      };
      const RandomState random = exec.random();
      const train::Plan plan = train::plan(exec, [&] { take(2); });
      CHECK(exec.random() == random);
      CHECK(!exec.planning());
      CHECK(plan.held_after == plan.held_before);
      exec.pool().reset_peak();
      exec.pool().trim();
      take(3);
      const auto measured = static_cast<double>(exec.pool().statistics().peak_bytes);
      const auto planned = static_cast<double>(plan.peak_bytes);
      INFO("planned " << plan.peak_bytes << ", measured " << measured);
      CHECK(planned > static_cast<double>(plan.held_before));
      CHECK(std::abs(planned / measured - 1) < 0.01);

      const double taken = static_cast<double>(exec.pool().statistics().reserved_bytes);
      INFO("taken " << taken << ", planned " << plan.reserved_bytes);
      CHECK(std::abs(taken / static_cast<double>(plan.reserved_bytes) - 1) < 0.01);

      train::require_fits(plan, plan.reserved_bytes, "--memory");
      const std::string refusal =
          support::message_of<InputError>([&] { train::require_fits(plan, plan.reserved_bytes - 1, "--memory"); });
      CHECK(support::contains(refusal, "--memory: the memory that a step needs is"));
    }
  }
  CHECK(train::bytes_text(1536) == "1.50 KiB");
  CHECK(train::bytes_text(100) == "100 bytes");
  CHECK(train::bytes_text(std::size_t{5} << 30) == "5.00 GiB");
}

TEST_CASE("a whole run is planned from shapes, before anything is allocated") {
  Exec<Cpu> exec({.threads = 2});
  Context<P> ctx(exec);
  const auto run = [&] {
    Model model = build(exec);
    auto source = data(exec);
    train::Trainer trainer(ctx, model, source, train::FlowMatchingObjective<>{}, six_steps());
    for (int i = 0; i < 2; ++i) trainer.step();
  };
  const train::Plan plan = train::plan(exec, run);
  CHECK(exec.pool().statistics().system_allocations == 0);
  CHECK(plan.held_before == 0);
  CHECK(plan.held_after == 0);
  run();
  const PoolStatistics taken = exec.pool().statistics();
  CHECK(std::abs(static_cast<double>(taken.peak_bytes) / static_cast<double>(plan.peak_bytes) - 1) < 0.01);
  CHECK(std::abs(static_cast<double>(taken.reserved_bytes) / static_cast<double>(plan.reserved_bytes) - 1) < 0.01);
}

TEST_CASE("a budget decides how much is run again; recipes are what a CPU begins with") {
  Exec<Cpu> exec({.threads = 2});
  Context<P> ctx(exec);
  Model model = build(exec);
  auto source = data(exec, 3);
  const auto step = [&] {
    train::Trainer trainer(ctx, model, source, train::FlowMatchingObjective<>{}, six_steps());
    trainer.step();
  };
  const auto rich = train::choose_recompute(ctx, std::size_t{1} << 40, step);
  CHECK(rich.level == Recompute::cheap);
  CHECK(rich.every == 1);
  const auto some = train::choose_recompute(ctx, rich.plan.reserved_bytes - 1, step);
  CHECK(some.level == Recompute::block);
  CHECK(some.every == 8);  // the first of two blocks
  const auto least = train::choose_recompute(ctx, some.plan.reserved_bytes - 1, step);
  CHECK(least.level == Recompute::block);
  CHECK(least.every == 1);
  CHECK(ctx.recompute() == Recompute::block);
  CHECK(ctx.recompute_every() == 1);
  const std::string refusal =
      support::message_of<InputError>([&] { train::choose_recompute(ctx, least.plan.reserved_bytes - 1, step); });
  CHECK(support::contains(refusal, "even with every block run again"));
}

TEST_CASE("after the first steps no tensor memory is asked from the system") {
  Exec<Cpu> exec({.threads = 2});
  Context<P> ctx(exec);
  Model model = build(exec);
  auto source = data(exec);
  train::Trainer trainer(ctx, model, source, train::FlowMatchingObjective<>{}, six_steps());
  trainer.step();
  trainer.step();
  const auto before = exec.pool().statistics().system_allocations;
  for (int i = 0; i < 4; ++i) trainer.step();
  CHECK(exec.pool().statistics().system_allocations == before);
}
