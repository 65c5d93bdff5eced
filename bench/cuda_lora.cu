// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

// What an adapter costs on a GPU: a linear of Wan 1.3B, bf16, forward and the backward to its input, frozen; and the
// same with a LoRA of rank 64 that trains. Issued one by one, as in code without a recorded step. Caches are cold.
#include "cuda_support.cuh"
#include "segue/adapters/lora.hpp"
#include "segue/nn/parameter.hpp"

namespace {

using namespace segue;
using P = Policy<Bf16, Cuda>;
using T = bfloat16;

constexpr std::int64_t dim = 1536, ffn = 8960, rank = 64;

void linear_step(benchmark::State& state, std::int64_t in, std::int64_t out, bool adapted) {
  Exec<Cuda> exec;
  Context<P> ctx(exec);
  const std::int64_t m = state.range(0);
  adapters::LoraLinear<P> linear(exec, in, out);
  nn::for_each_leaf(linear, [&](const auto& leaf) {
    ops::fill_normal(exec, nn::tensor_of(leaf.tensor).view(), exec.random().next(), 0.0, 0.02);
  });
  if (adapted) {
    linear.add(exec, {.rank = static_cast<int>(rank), .alpha = static_cast<double>(rank)}, exec.random().next());
    linear.find("default")->b.set(exec,
                                  [&](const auto& b) { ops::fill_normal(exec, b, exec.random().next(), 0.0, 0.02); });
  }
  // Activations as a model hands them on: with the spare columns that adapters use.
  const nn::Parameter<T, 2, CudaSpace, T, T> x(exec.rows<T, 2>({m, in}));
  const auto dy = exec.rows<T, 2>({m, out});
  ops::fill_normal(exec, x.value().view(), exec.random().next());
  ops::fill_normal(exec, dy.view(), exec.random().next());
  const double products = adapted ? 1 + 1.5 * rank * static_cast<double>(in + out) / static_cast<double>(in * out) : 1;
  const ops::Cost once = ops::linear_cost<T, T, T>(m, out, in);
  bench::measure(state, exec, {2 * products * once.flops, 2 * once.bytes}, [&] {
    ctx.backward(linear(ctx, x.var()), dy);
    x.slot().reset();
    for (auto& adapter : linear.adapters()) {
      adapter.a.slot().reset();
      adapter.b.slot().reset();
    }
  });
}
void frozen_up(benchmark::State& state) { linear_step(state, dim, ffn, false); }
void lora64_up(benchmark::State& state) { linear_step(state, dim, ffn, true); }
void frozen_down(benchmark::State& state) { linear_step(state, ffn, dim, false); }
void lora64_down(benchmark::State& state) { linear_step(state, ffn, dim, true); }

#define SEGUE_BENCH_TOKENS(name) \
  BENCHMARK(name)->ArgName("tokens")->Arg(1875)->Arg(32760)->UseManualTime()->Unit(benchmark::kMicrosecond)

SEGUE_BENCH_TOKENS(frozen_up);
SEGUE_BENCH_TOKENS(lora64_up);
SEGUE_BENCH_TOKENS(frozen_down);
SEGUE_BENCH_TOKENS(lora64_down);

}  // namespace

BENCHMARK_MAIN();
