// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// How benchmarks on a GPU measure: device time between events, inputs that are not in the L2 cache, and shares of the
// two ceilings of this very card, which are measured once at the start.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "segue/cuda.cuh"

namespace bench {

using namespace segue;

/// Device milliseconds of what a callable issues.
class Timer {
 public:
  explicit Timer(Exec<Cuda>& exec) : exec_(exec) {
    for (cudaEvent_t* event : {&begin_, &end_}) detail::cuda_check(cudaEventCreate(event), "Timer");
  }
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;
  ~Timer() {
    (void)cudaEventDestroy(begin_);
    (void)cudaEventDestroy(end_);
  }

  template <class F>
  double milliseconds(F&& f) {
    detail::cuda_check(cudaEventRecord(begin_, exec_.stream()), "Timer");
    std::forward<F>(f)();
    detail::cuda_check(cudaEventRecord(end_, exec_.stream()), "Timer");
    detail::cuda_check(cudaEventSynchronize(end_), "Timer");
    float ms = 0;
    detail::cuda_check(cudaEventElapsedTime(&ms, begin_, end_), "Timer");
    return static_cast<double>(ms);
  }
  template <class F>
  double median(int repeats, F&& f) {
    std::vector<double> all;
    for (int i = 0; i < repeats; ++i) all.push_back(milliseconds(f));
    std::nth_element(all.begin(), all.begin() + repeats / 2, all.end());
    return all[static_cast<std::size_t>(repeats / 2)];
  }

 private:
  Exec<Cuda>& exec_;
  cudaEvent_t begin_ = nullptr, end_ = nullptr;
};

/// What this card reaches: bytes moved by a copy, operations of a large bf16 product.
struct Ceilings {
  double bytes_per_second = 0;
  double flops_per_second = 0;
};

inline const Ceilings& ceilings() {
  static const Ceilings measured = [] {
    Exec<Cuda> exec;
    Timer timer(exec);
    Ceilings out;
    {
      constexpr std::int64_t n = std::int64_t{1} << 29;
      auto a = exec.empty<bfloat16, 1>({n}), b = exec.empty<bfloat16, 1>({n});
      ops::fill_normal(exec, a.view(), {1, 1, 1});
      const auto run = [&] {
        detail::cuda_check(cudaMemcpyAsync(b.data_handle(), a.data_handle(), n * sizeof(bfloat16),
                                           cudaMemcpyDeviceToDevice, exec.stream()),
                           "ceilings");
      };
      timer.median(5, run);
      out.bytes_per_second = 2.0 * n * sizeof(bfloat16) / (timer.median(20, run) * 1e-3);
    }
    {
      constexpr std::int64_t n = 8192;
      auto a = exec.empty<bfloat16, 2>({n, n}), b = exec.empty<bfloat16, 2>({n, n}),
           c = exec.empty<bfloat16, 2>({n, n});
      ops::fill_normal(exec, a.view(), {1, 1, 1});
      ops::fill_normal(exec, b.view(), {1, 2, 1});
      const auto run = [&] {
        ops::gemm(exec, a, ops::Transpose::no, b, ops::Transpose::yes, c, {},
                  ops::Epilogue<bfloat16, bfloat16, CudaSpace>{}, {});
      };
      timer.median(5, run);
      out.flops_per_second = 2.0 * n * n * n / (timer.median(20, run) * 1e-3);
    }
    return out;
  }();
  return measured;
}

/// Runs `work` once an iteration on cold caches, and reports its device time, its rate and the share of the ceiling
/// that binds it.
template <class F>
void measure(benchmark::State& state, Exec<Cuda>& exec, const ops::Cost& cost, F&& work) {
  Timer timer(exec);
  const auto cold = exec.empty<float, 1>({std::int64_t{32} << 20});  // 128 MiB: more than any L2
  work();
  for (auto _ : state) {
    ops::fill(exec, 0.0, cold.view());
    state.SetIterationTime(timer.milliseconds(work) * 1e-3);
  }
  const double floor_seconds =
      std::max(cost.bytes / ceilings().bytes_per_second, cost.flops / ceilings().flops_per_second);
  const auto each = benchmark::Counter::kIsIterationInvariantRate;
  state.counters["GB/s"] = benchmark::Counter(cost.bytes * 1e-9, each);
  state.counters["TFLOP/s"] = benchmark::Counter(cost.flops * 1e-12, each);
  state.counters["of_roofline"] = benchmark::Counter(floor_seconds, each);
}

}  // namespace bench
