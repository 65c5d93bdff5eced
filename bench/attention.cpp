// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

// Attention on the CPU: batch, queries, keys, heads, head_dim.
// SEGUE_BENCH_THREADS sets the threads (all of them by default).
#include <benchmark/benchmark.h>

#include <cstdlib>

#include "segue/ops/cpu/attention.hpp"

namespace {

using namespace segue;

enum class Pass { forward, backward, both };

template <class T>
void attention(benchmark::State& state, Pass pass) {
  const ops::AttentionShape s{state.range(0), state.range(1), state.range(2), state.range(3), state.range(4)};
  const char* threads = std::getenv("SEGUE_BENCH_THREADS");
  Exec<Cpu> exec({.threads = threads ? std::atoi(threads) : 0, .seed = 0, .allocator = {}});
  const auto make = [&](std::int64_t tokens) {
    auto x = exec.empty<T, 4>({s.batch, tokens, s.heads, s.head_dim});
    for (std::int64_t i = 0; i < x.size(); ++i)
      x.data_handle()[i] = cast<T>(static_cast<float>(i * 37 % 101) * 0.02f - 1.0f);
    return x;
  };
  const auto q = make(s.queries), k = make(s.keys), v = make(s.keys), out = make(s.queries), dout = make(s.queries);
  const auto dq = make(s.queries), dk = make(s.keys), dv = make(s.keys);
  const auto lse = exec.empty<Accum<T>, 3>({s.batch, s.heads, s.queries});
  const auto room = [&](std::size_t bytes) { return exec.empty<std::byte, 1>({static_cast<std::int64_t>(bytes)}); };
  const auto forward_scratch = room(ops::attention_forward_workspace_bytes<T>(exec, s));
  const auto backward_scratch = room(ops::attention_backward_workspace_bytes<T>(exec, s));
  const auto forward = [&] { ops::attention_forward(exec, q, k, v, {}, 0.125f, out, lse, forward_scratch); };
  forward();
  for (auto _ : state) {
    if (pass != Pass::backward) forward();
    if (pass != Pass::forward)
      ops::attention_backward(exec, dout, q, k, v, {}, 0.125f, out, lse, dq, dk, dv, backward_scratch);
    benchmark::ClobberMemory();
  }
  double flops = 0;
  if (pass != Pass::backward) flops += ops::attention_forward_cost<T>(s).flops;
  if (pass != Pass::forward) flops += ops::attention_backward_cost<T>(s).flops;
  state.counters["GFLOP/s"] = benchmark::Counter(flops * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
}

void shapes(benchmark::internal::Benchmark* b) {
  b->Args({1, 2304, 2304, 6, 64})->Args({1, 320, 320, 6, 64})->Args({4, 320, 320, 5, 64})->Args({4, 320, 1, 6, 64});
  b->UseRealTime()->Unit(benchmark::kMicrosecond);
}

constexpr auto attention_f32 = attention<float>;
constexpr auto attention_bf16 = attention<bfloat16>;
BENCHMARK_CAPTURE(attention_f32, forward, Pass::forward)->Apply(shapes);
BENCHMARK_CAPTURE(attention_f32, backward, Pass::backward)->Apply(shapes);
BENCHMARK_CAPTURE(attention_f32, forward_backward, Pass::both)->Apply(shapes);
BENCHMARK_CAPTURE(attention_bf16, forward, Pass::forward)->Apply(shapes);
BENCHMARK_CAPTURE(attention_bf16, forward_backward, Pass::both)->Apply(shapes);

}  // namespace

BENCHMARK_MAIN();
