// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

// The small Wan of the main job on the CPU: a forward, and a LoRA training step (noise excluded, AdamW included).
// SEGUE_BENCH_THREADS sets the threads (all of them by default).
#include <benchmark/benchmark.h>

#include <cstdlib>

#include "segue/adapters/inject.hpp"
#include "segue/adapters/maps.hpp"
#include "segue/cpu.hpp"
#include "segue/functional/loss.hpp"
#include "segue/io/impl.hpp"
#include "segue/models/wan.hpp"
#include "segue/models/wan_init.hpp"
#include "segue/train/optimizer.hpp"

namespace {

using namespace segue;

models::WanConfig small_wan() {
  models::WanConfig c;
  c.patch_size = {1, 8, 8};
  c.num_attention_heads = 5;
  c.attention_head_dim = 64;
  c.num_layers = 6;
  c.ffn_dim = 960;
  c.in_channels = 7;
  c.out_channels = 3;
  c.text_dim = 64;
  return c;
}

template <class Precision, class Map>
struct Setup {
  using P = Policy<Precision, Cpu>;
  using Model = models::Wan<P, Map>;
  Exec<Cpu> exec;
  Context<P> ctx;
  Model model;
  Tensor<float, 5, HostSpace> hidden, target;
  Tensor<float, 3, HostSpace> text;
  Tensor<float, 1, HostSpace> timesteps;

  explicit Setup(std::int64_t batch)
      : exec({.threads = std::getenv("SEGUE_BENCH_THREADS") ? std::atoi(std::getenv("SEGUE_BENCH_THREADS")) : 0,
              .seed = 0,
              .allocator = {}}),
        ctx(exec),
        model(exec, small_wan()),
        hidden(exec.empty<float, 5>({batch, 7, 5, 64, 64})),
        target(exec.empty<float, 5>({batch, 3, 5, 64, 64})),
        text(exec.empty<float, 3>({batch, 1, 64})),
        timesteps(exec.empty<float, 1>({batch})) {
    models::randomize_wan(model, exec, 1);
    ops::fill_normal(exec, hidden.view(), RandomKey{1, 1, 0});
    ops::fill_normal(exec, target.view(), RandomKey{1, 2, 0});
    ops::fill(exec, 0.0, text.view());
    ops::fill(exec, 500.0, timesteps.view());
  }
  auto forward() { return model(ctx, hidden, typename Model::Time{timesteps}, text); }
};

void count(benchmark::State& state) {
  state.counters["clips/s"] =
      benchmark::Counter(static_cast<double>(state.range(0)), benchmark::Counter::kIsIterationInvariantRate);
}

void small_wan_forward(benchmark::State& state) {
  Setup<Fp32, adapters::Frozen> s(state.range(0));
  for (auto _ : state) benchmark::DoNotOptimize(s.forward().data_handle());
  count(state);
}

template <class Precision>
void lora_step(benchmark::State& state) {
  using S = Setup<Precision, adapters::LoraOnBlocks>;
  S s(state.range(0));
  adapters::LoraConfig config;
  config.spec.rank = 16;
  adapters::add_lora(s.model, s.exec, config);
  train::AdamW<typename S::P> optimizer(s.exec, s.model, {});
  for (auto _ : state) {
    s.ctx.backward(functional::mse(s.ctx, s.forward(), s.target));
    optimizer.step(s.exec, 1e-4, 1.0);
    optimizer.drop_grads();
  }
  count(state);
}

void small_wan_lora_step(benchmark::State& state) { lora_step<Fp32>(state); }
void small_wan_lora_step_bf16_weights(benchmark::State& state) { lora_step<Bf16Weights>(state); }

BENCHMARK(small_wan_forward)->Arg(8)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK(small_wan_lora_step)->Arg(8)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK(small_wan_lora_step_bf16_weights)->Arg(8)->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace

BENCHMARK_MAIN();
