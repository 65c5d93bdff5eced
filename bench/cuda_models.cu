// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

// The Wan-1.3B shape on a GPU, random weights, bf16: the LoRA-64 training step (noise, forward, backward, clipping,
// AdamW) as the trainer runs it, the denoising forward with the adapters merged, and one block, forward and with its
// backward. The argument names the clip: 50 is 1,875 tokens (9 frames of 400x400), 240 is 4,680 (9 frames at 480p), 480
// is 32,760 (81 frames at 480p).
//   SEGUE_BENCH_FIRST_STEP=50   runs one step of that size and exits: what starting up costs
//   SEGUE_BENCH_PROFILE=50      runs a recorded step of that size and says which kernels took the time
//   SEGUE_BENCH_LAYERS=2        so many blocks instead of 30, for profilers
#include <cstdio>
#include <cstdlib>

#if defined(SEGUE_BENCH_HAS_CUPTI)
#include "cuda_profile.cuh"
#endif
#include "cuda_support.cuh"
#include "cuda_wan.cuh"
#include "segue/io/impl.hpp"
#include "segue/train/trainer.hpp"

namespace {

using namespace segue;
using P = Policy<Bf16, Cuda>;
using Model = models::Wan<P, adapters::LoraOnBlocks>;

int layers() {
  const char* wanted = std::getenv("SEGUE_BENCH_LAYERS");
  return wanted ? std::atoi(wanted) : 30;
}

struct Extent {
  std::int64_t frames, height, width;
  std::int64_t tokens() const { return frames * height * width / 4; }
};

/// One clip on the device, the same in every step.
struct OneClip {
  Extent extent;
  std::int64_t batch_size() const { return 1; }
  void fill(Exec<Cuda>& exec, std::uint64_t, train::Batch<P>& batch) const {
    if (batch.clips) return;
    batch.clips = exec.empty<bfloat16, 5>({1, 16, extent.frames, extent.height, extent.width});
    batch.text = exec.empty<bfloat16, 3>({1, 512, 4096});
    ops::fill_normal(exec, batch.clips.view(), {1, 1, 0});
    ops::fill_normal(exec, batch.text.view(), {1, 2, 0});
  }
};

struct Setup {
  Exec<Cuda> exec;
  Context<P> ctx{exec};
  Model model;
  OneClip source;

  explicit Setup(const Extent& extent) : model(exec, bench::wan_1_3b(layers())), source{extent} {
    bench::randomize_with_lora64(model, exec);
  }
};

train::TrainerOptions options() {
  train::TrainerOptions o;
  o.steps = 1000000;
  o.ema_decay = 0.999;
  return o;
}

Extent extent_of(std::int64_t argument) {
  if (argument == 480) return {21, 60, 104};
  if (argument == 240) return {3, 60, 104};
  return {3, argument, argument};
}

void wan_lora64_step(benchmark::State& state) {
  Setup s(extent_of(state.range(0)));
  s.ctx.set_recompute(static_cast<Recompute>(state.range(1)), static_cast<int>(state.range(2)));
  train::Trainer trainer(s.ctx, s.model, s.source, train::FlowMatchingObjective<>{}, options());
  bench::Timer timer(s.exec);
  for (int i = 0; i < 3; ++i) trainer.step();
  for (auto _ : state) state.SetIterationTime(timer.milliseconds([&] { trainer.step(); }) * 1e-3);
  const double step_bytes = static_cast<double>(trainer.recorded_memory().reserved_bytes);
  state.counters["tokens"] = static_cast<double>(s.source.extent.tokens());
  state.counters["GiB"] = (step_bytes + static_cast<double>(s.exec.pool().statistics().reserved_bytes)) / (1 << 30);
  state.counters["step_GiB"] = step_bytes / (1 << 30);
#if defined(SEGUE_BENCH_HAS_CUPTI)
  const bench::Profile profile = bench::profile(s.exec, [&] { trainer.step(); });
  state.counters["launches"] = static_cast<double>(profile.launches);
  state.counters["idle_ms"] = profile.idle_ms;
#endif
}

void wan_forward_merged(benchmark::State& state) {
  Setup s(extent_of(state.range(0)));
  adapters::for_each_lora(s.model, [&](std::string_view, auto& linear) { linear.merge(s.exec); });
  train::Batch<P> batch;
  s.source.fill(s.exec, 0, batch);
  auto timesteps = s.exec.empty<float, 1>({1});
  ops::fill(s.exec, 500.0, timesteps.view());
  const auto forward = [&] {
    const NoGrad<P> off(s.ctx);
    s.model(s.ctx, batch.clips, {timesteps}, batch.text);
  };
  forward();
  s.exec.pool().trim();
  const Graph graph = Graph::capture(s.exec, forward);
  bench::Timer timer(s.exec);
  for (int i = 0; i < 3; ++i) graph.replay(s.exec);
  for (auto _ : state) state.SetIterationTime(timer.milliseconds([&] { graph.replay(s.exec); }) * 1e-3);
  state.counters["tokens"] = static_cast<double>(s.source.extent.tokens());
  state.counters["nodes"] = static_cast<double>(graph.nodes());
}

/// One block with its adapters as a graph, on cold caches. Operations are counted without the adapters'; a backward
/// has one product for each frozen one but those of the text, and five for the two of attention.
void wan_block(benchmark::State& state, bool backward) {
  const std::int64_t tokens = extent_of(state.range(0)).tokens(), dim = 1536, ffn = 8960, text_tokens = 512;
  Exec<Cuda> exec;
  Context<P> ctx(exec);
  Model model(exec, bench::wan_1_3b(1));
  bench::randomize_with_lora64(model, exec);
  const auto draw = [&]<class T>(T, std::int64_t rows, std::uint32_t site) {
    auto x = exec.empty<T, 3>({1, rows, dim});
    ops::fill_normal(exec, x.view(), {3, site, 0}, 0.0, 0.5);
    return x;
  };
  const nn::Parameter<bfloat16, 3, CudaSpace, bfloat16, bfloat16> x(draw(bfloat16{}, tokens, 1));
  const auto text = draw(bfloat16{}, text_tokens, 2), dy = draw(bfloat16{}, tokens, 3);
  const auto time = draw(float{}, 6, 4);
  const auto rope = make_rotary_table(exec, {1, 1, tokens}, 128);
  const auto run = [&] {
    const auto y = model.blocks()[0](ctx, x.var(), lift<adapters::LoraOnBlocks>(text),
                                     lift<adapters::LoraOnBlocks>(time), models::TokenGroups<CudaSpace>{{}, tokens},
                                     rope, decltype(lift<adapters::LoraOnBlocks>(text))());
    if (backward) ctx.backward(y, dy);
    ctx.tape().clear();
    x.slot().reset();
    adapters::for_each_lora(model, [](std::string_view, auto& linear) {
      for (auto& adapter : linear.adapters()) adapter.a.slot().reset(), adapter.b.slot().reset();
    });
  };
  run();
  exec.pool().trim();
  const Graph graph = Graph::capture(exec, run);
  const auto m = static_cast<double>(tokens), t = static_cast<double>(text_tokens);
  const double of_x = 2.0 * m * (6.0 * dim * dim + 2.0 * dim * ffn), linears = of_x + 4.0 * t * dim * dim;
  const double attention = 4.0 * m * (m + t) * dim;
  bench::measure(state, exec, ops::Cost{backward ? linears + of_x + 3.5 * attention : linears + attention, 0},
                 [&] { graph.replay(exec); });
  state.counters["nodes"] = static_cast<double>(graph.nodes());
}
void wan_block_forward(benchmark::State& state) { wan_block(state, false); }
void wan_block_forward_backward(benchmark::State& state) { wan_block(state, true); }

BENCHMARK(wan_lora64_step)
    ->ArgNames({"clip", "recompute", "every"})
    ->ArgsProduct({{50, 240}, {0, 1, 2}, {1}})
    ->Args({480, 1, 1})
    ->Args({480, 1, 3})
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond);
BENCHMARK(wan_block_forward)->ArgName("clip")->Arg(50)->Arg(480)->UseManualTime()->Unit(benchmark::kMillisecond);
BENCHMARK(wan_block_forward_backward)
    ->ArgName("clip")
    ->Arg(50)
    ->Arg(480)
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond);
BENCHMARK(wan_forward_merged)
    ->ArgName("clip")
    ->Arg(50)
    ->Arg(240)
    ->Arg(480)
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace

int main(int argc, char** argv) {
  if (const char* side = std::getenv("SEGUE_BENCH_FIRST_STEP")) {
    Setup s(extent_of(std::atoi(side)));
    train::Trainer trainer(s.ctx, s.model, s.source, train::FlowMatchingObjective<>{}, options());
    std::printf("loss %.6f\n", trainer.step().loss);
    return 0;
  }
#if defined(SEGUE_BENCH_HAS_CUPTI)
  if (const char* side = std::getenv("SEGUE_BENCH_PROFILE")) {
    Setup s(extent_of(std::atoi(side)));
    train::Trainer trainer(s.ctx, s.model, s.source, train::FlowMatchingObjective<>{}, options());
    for (int i = 0; i < 3; ++i) trainer.step();
    bench::profile(s.exec, [&] { trainer.step(); }).print();
    return 0;
  }
#else
  if (std::getenv("SEGUE_BENCH_PROFILE")) {
    std::fputs("SEGUE_BENCH_PROFILE: this program was built without CUPTI, of CUDA 13 or later\n", stderr);
    return 2;
  }
#endif
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
