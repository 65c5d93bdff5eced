// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

// The products of a transformer on the CPU: M tokens, N outputs, K inputs; "n" and "t" say how a and b are read.
// SEGUE_BENCH_THREADS sets the threads (all of them by default).
#include <benchmark/benchmark.h>

#include <cstdlib>

#include "segue/ops/cpu/linear.hpp"

namespace {

using namespace segue;
using ops::Transpose;

int threads() {
  const char* value = std::getenv("SEGUE_BENCH_THREADS");
  return value ? std::atoi(value) : 0;
}

template <class T>
Tensor<T, 2, HostSpace> filled(Exec<Cpu>& exec, std::int64_t rows, std::int64_t columns) {
  Tensor<T, 2, HostSpace> x = exec.empty<T, 2>({rows, columns});
  for (std::int64_t i = 0; i < x.size(); ++i)
    x.data_handle()[i] = cast<T>(static_cast<float>(i * 37 % 101) * 0.02f - 1.0f);
  return x;
}

template <class T, class TB = T>
void product(benchmark::State& state, Transpose ta, Transpose tb, ops::Activation activation) {
  const std::int64_t m = state.range(0), n = state.range(1), k = state.range(2);
  Exec<Cpu> exec({.threads = threads(), .seed = 0, .allocator = {}});
  const auto a = ta == Transpose::no ? filled<T>(exec, m, k) : filled<T>(exec, k, m);
  const auto b = tb == Transpose::no ? filled<TB>(exec, k, n) : filled<TB>(exec, n, k);
  const auto c = exec.empty<T, 2>({m, n});
  const auto scratch =
      exec.empty<std::byte, 1>({static_cast<std::int64_t>(ops::gemm_workspace_bytes<T, TB, T>(exec, m, n, k, ta, tb))});
  const ops::Epilogue<T, T, HostSpace> epilogue{.bias = {}, .activation = activation, .pre_activation = {}};
  for (auto _ : state) {
    ops::gemm(exec, a, ta, b, tb, c, {}, epilogue, scratch);
    benchmark::DoNotOptimize(c.data_handle());
    benchmark::ClobberMemory();
  }
  const ops::Cost cost = ops::gemm_cost<T, TB, T>(m, n, k);
  state.counters["GFLOP/s"] = benchmark::Counter(cost.flops * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
}

constexpr auto product_f32 = product<float>;
constexpr auto product_f32_bf16 = product<float, bfloat16>;
constexpr auto product_bf16 = product<bfloat16>;
constexpr Transpose no = Transpose::no, yes = Transpose::yes;

void forward_shapes(benchmark::internal::Benchmark* b) {
  for (const auto& s : {std::array<std::int64_t, 3>{2048, 384, 384},
                        {2048, 1024, 1024},
                        {320, 384, 384},
                        {1600, 1536, 384},
                        {1600, 384, 1536},
                        {1600, 16, 384},
                        {1600, 384, 16},
                        {4, 2304, 384}})
    b->Args({s[0], s[1], s[2]});
  b->UseRealTime()->Unit(benchmark::kMicrosecond);
}
void backward_shapes(benchmark::internal::Benchmark* b) {
  b->Args({1600, 384, 1536})->Args({1600, 1536, 384})->UseRealTime()->Unit(benchmark::kMicrosecond);
}
void weight_shapes(benchmark::internal::Benchmark* b) {
  b->Args({384, 1536, 1600})->Args({16, 384, 1600})->Args({384, 16, 1600});
  b->UseRealTime()->Unit(benchmark::kMicrosecond);
}

BENCHMARK_CAPTURE(product_f32, linear, no, yes, ops::Activation::none)->Apply(forward_shapes);
BENCHMARK_CAPTURE(product_f32, linear_gelu_tanh, no, yes, ops::Activation::gelu_tanh)
    ->Args({1600, 1536, 384})
    ->UseRealTime();
BENCHMARK_CAPTURE(product_f32_bf16, linear, no, yes, ops::Activation::none)->Args({1600, 1536, 384})->UseRealTime();
BENCHMARK_CAPTURE(product_bf16, linear, no, yes, ops::Activation::none)->Apply(forward_shapes);
BENCHMARK_CAPTURE(product_bf16, linear_gelu_tanh, no, yes, ops::Activation::gelu_tanh)
    ->Args({1600, 1536, 384})
    ->UseRealTime();
BENCHMARK_CAPTURE(product_bf16, backward_input, no, no, ops::Activation::none)->Apply(backward_shapes);
BENCHMARK_CAPTURE(product_f32, backward_input, no, no, ops::Activation::none)->Apply(backward_shapes);
BENCHMARK_CAPTURE(product_f32, backward_weight, yes, no, ops::Activation::none)->Apply(weight_shapes);

}  // namespace

BENCHMARK_MAIN();
