// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

// Operators that move memory: bytes and operations a second, from the cost that each front door states.
// SEGUE_BENCH_THREADS sets the threads (all of them by default).
// Shapes: rows x columns of the small Wan (2304 x 384) and of Wan2.1-1.3B at 4,680 tokens.
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <span>
#include <vector>

#include "segue/ops/cpu/activation.hpp"
#include "segue/ops/cpu/elementwise.hpp"
#include "segue/ops/cpu/norm.hpp"
#include "segue/ops/cpu/optimizer.hpp"
#include "segue/ops/cpu/random_fill.hpp"
#include "segue/ops/cpu/residual.hpp"
#include "segue/ops/cpu/rope.hpp"

namespace {

using namespace segue;
using ops::GradMode;
using Space = HostSpace;

Exec<Cpu>::Options options() {
  const char* threads = std::getenv("SEGUE_BENCH_THREADS");
  return {.threads = threads ? std::atoi(threads) : 0, .seed = 0, .allocator = {}};
}

template <class T, int Rank>
Tensor<T, Rank, Space> random(Exec<Cpu>& exec, const Shape<Rank>& shape) {
  const auto x = exec.empty<T, Rank>(shape);
  ops::fill_normal(exec, x.view(), exec.random().next());
  return x;
}

void report(benchmark::State& state, ops::Cost cost) {
  const auto n = static_cast<double>(state.iterations());
  state.counters["B/s"] = benchmark::Counter(cost.bytes * n, benchmark::Counter::kIsRate, benchmark::Counter::kIs1000);
  state.counters["FLOP/s"] =
      benchmark::Counter(cost.flops * n, benchmark::Counter::kIsRate, benchmark::Counter::kIs1000);
}

template <class T>
struct Rows {
  std::int64_t rows, columns, batch;
  Exec<Cpu> exec{options()};
  Tensor<T, 2, Space> x, h, y;
  Tensor<float, 2, Space> scale, shift;
  Tensor<Accum<T>, 1, Space> mean, rstd;
  Tensor<float, 1, Space> weight, dweight;
  Tensor<std::byte, 1, Space> scratch;

  explicit Rows(const benchmark::State& state)
      : rows(state.range(0)),
        columns(state.range(1)),
        batch(2),
        x(random<T, 2>(exec, {rows, columns})),
        h(random<T, 2>(exec, {rows, columns})),
        y(random<T, 2>(exec, {rows, columns})),
        scale(random<float, 2>(exec, {batch, columns})),
        shift(random<float, 2>(exec, {batch, columns})),
        mean(exec.empty<Accum<T>, 1>({rows})),
        rstd(exec.empty<Accum<T>, 1>({rows})),
        weight(random<float, 1>(exec, {columns})),
        dweight(random<float, 1>(exec, {columns})),
        scratch(exec.empty<std::byte, 1>({ops::layer_norm_backward_workspace_bytes<T>(exec, rows, columns, batch)})) {}

  ops::Modulation<float, Space> modulation() const { return {scale, shift, {}, rows / batch}; }
  ops::Gate<float, Space> gate() const { return {scale, {}, rows / batch}; }
};

template <class T>
void layer_norm_modulate_forward(benchmark::State& state) {
  Rows<T> r(state);
  const View<const float, 1, Space> none{};
  for (auto _ : state)
    ops::layer_norm_forward(r.exec, r.x, none, none, r.modulation(), 1e-6, r.y.view(), r.mean, r.rstd);
  report(state, ops::layer_norm_forward_cost<T>(r.rows, r.columns));
}

template <class T>
void layer_norm_modulate_backward(benchmark::State& state) {
  Rows<T> r(state);
  const View<const float, 1, Space> none{};
  const View<float, 1, Space> unwanted{};
  ops::layer_norm_forward(r.exec, r.x, none, none, r.modulation(), 1e-6, r.y.view(), r.mean, r.rstd);
  for (auto _ : state)
    ops::layer_norm_backward(r.exec, r.h, r.x, r.mean, r.rstd, none, none, r.modulation(), r.y.view(),
                             GradMode::overwrite, unwanted, unwanted, GradMode::overwrite, {}, {}, GradMode::overwrite,
                             r.scratch.view());
  report(state, ops::layer_norm_backward_cost<T>(r.rows, r.columns));
}

/// With the gradients of scale and shift, as pretraining asks for them.
template <class T>
void layer_norm_modulate_backward_all(benchmark::State& state) {
  Rows<T> r(state);
  const View<const float, 1, Space> none{};
  const View<float, 1, Space> unwanted{};
  const auto dscale = random<float, 2>(r.exec, {r.batch, r.columns}),
             dshift = random<float, 2>(r.exec, {r.batch, r.columns});
  ops::layer_norm_forward(r.exec, r.x, none, none, r.modulation(), 1e-6, r.y.view(), r.mean, r.rstd);
  for (auto _ : state)
    ops::layer_norm_backward(r.exec, r.h, r.x, r.mean, r.rstd, none, none, r.modulation(), r.y.view(),
                             GradMode::overwrite, unwanted, unwanted, GradMode::overwrite, dscale, dshift,
                             GradMode::overwrite, r.scratch.view());
  report(state, ops::layer_norm_backward_cost<T>(r.rows, r.columns));
}

template <class T>
struct Rotated : Rows<T> {
  int heads;
  Tensor<float, 2, Space> cos, sin;
  explicit Rotated(const benchmark::State& state)
      : Rows<T>(state),
        heads(static_cast<int>(this->columns / 64)),
        cos(this->exec.template empty<float, 2>({this->rows / 2, 32})),
        sin(this->exec.template empty<float, 2>({this->rows / 2, 32})) {
    ops::rope_table(this->exec, {1, 1, this->rows / 2}, ops::rope_axes(64), 1e4, cos.view(), sin.view());
  }
};

template <class T>
void rms_norm_rope_forward(benchmark::State& state) {
  Rotated<T> r(state);
  for (auto _ : state)
    ops::rms_norm_rope_forward(r.exec, r.x, r.weight.view(), 1e-6, r.cos, r.sin, r.heads, r.y.view(), r.rstd);
  report(state, ops::rms_norm_rope_forward_cost<T>(r.rows, r.columns));
}

template <class T>
void rms_norm_rope_backward(benchmark::State& state) {
  Rotated<T> r(state);
  ops::rms_norm_rope_forward(r.exec, r.x, r.weight.view(), 1e-6, r.cos, r.sin, r.heads, r.y.view(), r.rstd);
  for (auto _ : state)
    ops::rms_norm_rope_backward(r.exec, r.h, r.x, r.rstd, r.weight.view(), r.cos, r.sin, r.heads, r.y.view(),
                                GradMode::overwrite, View<float, 1, Space>{}, GradMode::overwrite, r.scratch.view());
  report(state, ops::rms_norm_rope_backward_cost<T>(r.rows, r.columns));
}

template <class T>
void rms_norm_rope_backward_all(benchmark::State& state) {
  Rotated<T> r(state);
  ops::rms_norm_rope_forward(r.exec, r.x, r.weight.view(), 1e-6, r.cos, r.sin, r.heads, r.y.view(), r.rstd);
  for (auto _ : state)
    ops::rms_norm_rope_backward(r.exec, r.h, r.x, r.rstd, r.weight.view(), r.cos, r.sin, r.heads, r.y.view(),
                                GradMode::overwrite, r.dweight.view(), GradMode::overwrite, r.scratch.view());
  report(state, ops::rms_norm_rope_backward_cost<T>(r.rows, r.columns));
}

template <class T>
void gated_residual_forward(benchmark::State& state) {
  Rows<T> r(state);
  for (auto _ : state) ops::gated_residual_forward(r.exec, r.x, r.h, r.gate(), r.y.view());
  report(state, ops::gated_residual_forward_cost<T>(r.rows, r.columns));
}

template <class T, ops::Activation Act>
void activation_forward(benchmark::State& state) {
  Rows<T> r(state);
  for (auto _ : state) ops::activation_forward(r.exec, Act, r.x, r.y.view());
  report(state, ops::activation_forward_cost<T>(r.rows * r.columns));
}

template <class T, ops::Activation Act>
void activation_backward(benchmark::State& state) {
  Rows<T> r(state);
  for (auto _ : state) ops::activation_backward(r.exec, Act, r.x, r.h, r.y.view(), GradMode::overwrite);
  report(state, ops::activation_backward_cost<T>(r.rows * r.columns));
}

template <class T>
void add(benchmark::State& state) {
  Rows<T> r(state);
  for (auto _ : state) ops::add(r.exec, r.x, r.h, r.y.view());
  report(state, ops::elementwise_cost<T>(r.rows * r.columns, 3));
}

template <class T>
void fill_normal(benchmark::State& state) {
  Rows<T> r(state);
  for (auto _ : state) ops::fill_normal(r.exec, r.y.view(), r.exec.random().next());
  report(state, ops::fill_random_cost<T>(r.rows * r.columns));
}

/// Many small tensors (a LoRA) or one large: range(0) tensors of range(1) elements.
template <class TP, class TG>
void adamw(benchmark::State& state) {
  Exec<Cpu> exec(options());
  const std::int64_t tensors = state.range(0), count = state.range(1);
  std::vector<Tensor<TP, 1, Space>> params;
  std::vector<Tensor<TG, 1, Space>> grads;
  std::vector<Tensor<Accum<TP>, 1, Space>> moments;
  std::vector<ops::AdamWTensor<TP, TG>> list;
  for (std::int64_t i = 0; i < tensors; ++i) {
    params.push_back(random<TP, 1>(exec, {count}));
    grads.push_back(random<TG, 1>(exec, {count}));
    for (int k = 0; k < 2; ++k) {
      moments.push_back(exec.empty<Accum<TP>, 1>({count}));
      ops::fill(exec, 0, moments.back().view());
    }
    list.push_back({params.back().data_handle(), grads.back().data_handle(), moments[moments.size() - 2].data_handle(),
                    moments.back().data_handle(), count, true});
  }
  std::int64_t step = 0;
  for (auto _ : state)
    ops::adamw_step(exec, std::span<const ops::AdamWTensor<TP, TG>>(list), ops::AdamWOptions{}, ++step);
  report(state, ops::adamw_step_cost<TP, TG>(tensors * count));
}

void shapes(benchmark::internal::Benchmark* b) { b->Args({2304, 384})->Args({4680, 1536})->UseRealTime(); }
void tensors(benchmark::internal::Benchmark* b) { b->Args({400, 3072})->Args({1, 10 << 20})->UseRealTime(); }

BENCHMARK_TEMPLATE(layer_norm_modulate_forward, float)->Apply(shapes);
BENCHMARK_TEMPLATE(layer_norm_modulate_forward, bfloat16)->Apply(shapes);
BENCHMARK_TEMPLATE(layer_norm_modulate_backward, float)->Apply(shapes);
BENCHMARK_TEMPLATE(layer_norm_modulate_backward_all, float)->Apply(shapes);
BENCHMARK_TEMPLATE(rms_norm_rope_forward, float)->Apply(shapes);
BENCHMARK_TEMPLATE(rms_norm_rope_forward, bfloat16)->Apply(shapes);
BENCHMARK_TEMPLATE(rms_norm_rope_backward, float)->Apply(shapes);
BENCHMARK_TEMPLATE(rms_norm_rope_backward_all, float)->Apply(shapes);
BENCHMARK_TEMPLATE(gated_residual_forward, float)->Apply(shapes);
BENCHMARK_TEMPLATE(gated_residual_forward, bfloat16)->Apply(shapes);
BENCHMARK_TEMPLATE(activation_forward, float, ops::Activation::gelu_tanh)->Apply(shapes);
BENCHMARK_TEMPLATE(activation_backward, float, ops::Activation::gelu_tanh)->Apply(shapes);
BENCHMARK_TEMPLATE(activation_forward, float, ops::Activation::silu)->Apply(shapes);
BENCHMARK_TEMPLATE(add, float)->Apply(shapes);
BENCHMARK_TEMPLATE(fill_normal, float)->Apply(shapes);
BENCHMARK_TEMPLATE(adamw, float, float)->Apply(tensors);
BENCHMARK_TEMPLATE(adamw, bfloat16, bfloat16)->Apply(tensors);

}  // namespace

BENCHMARK_MAIN();
