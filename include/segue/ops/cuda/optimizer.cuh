// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

#include "segue/ops/cuda/elementwise.cuh"
#include "segue/ops/optimizer.hpp"

// Kernels over hundreds of tensors: their list is a parameter of the kernel, and every block works on one chunk of one
// tensor, which it finds by bisection.

SEGUE_KERNELS_BEGIN

inline constexpr int tensor_threads = 256;

/// Where the chunks of each tensor begin in the list of all chunks. `capacity` tensors to a launch: what fits into the
/// 32,764 bytes that a kernel's parameters may have.
template <int Capacity>
struct ChunkTable {
  static constexpr int capacity = Capacity;
  std::int32_t tensors;
  std::uint32_t first[Capacity];

  __device__ int tensor_of(std::uint32_t chunk) const {
    int low = 0, high = tensors;
    while (high - low > 1) {
      const int middle = (low + high) / 2;
      (first[middle] <= chunk ? low : high) = middle;
    }
    return low;
  }
};

template <class... T>
__device__ __forceinline__ bool all_aligned(const T*... p) {
  return ((reinterpret_cast<std::uintptr_t>(p) % 16 == 0) && ...);
}

// --- AdamW
// --------------------------------------------------------------------------------------------------------------

inline constexpr int adamw_chunk = 4096;

template <class TP, class TG, class TV>
struct AdamWTable : ChunkTable<500> {
  using A = Accum<TP>;
  TP* param[500];
  const TG* grad[500];
  A *m[500], *v[500];
  TV* value[500];
  std::int64_t count[500];
  int value_columns[500], value_stride[500];
  bool decay[500];

  void put(int i, const ops::AdamWTensor<TP, TG, TV>& x) {
    param[i] = x.param;
    grad[i] = x.grad;
    m[i] = x.m;
    v[i] = x.v;
    value[i] = x.value;
    value_columns[i] = static_cast<int>(x.value_columns);
    value_stride[i] = static_cast<int>(x.value_stride);
    count[i] = x.count;
    decay[i] = x.decay;
  }
};

template <class A>
__device__ __forceinline__ A adamw_element(const detail::AdamWFactors<A>& f, A kept, A grad, A param, A& m, A& v) {
  const A g = grad * f.grad_scale;
  m = std::fma(f.rest1, g - m, m);
  v = std::fma(v, f.beta2, g * g * f.rest2);
  const A denominator = std::sqrt(v) / f.root_correction + f.eps;
  return std::fma(param, kept, -(f.step_size * (m / denominator)));
}

/// Without a state, `factors` hold.
template <class TP, class TG, class TV>
__global__ void __launch_bounds__(tensor_threads)
    adamw_step(const __grid_constant__ AdamWTable<TP, TG, TV> table, detail::AdamWFactors<Accum<TP>> factors,
               ops::AdamWOptions options, const ops::UpdateState* state) {
  using A = Accum<TP>;
  constexpr int n = pack_of<A>, together = 2;
  __shared__ detail::AdamWFactors<A> of_state;
  if (state) {
    if (state->skip) return;
    if (threadIdx.x == 0) of_state = detail::adamw_factors<A>(options, *state);
    __syncthreads();
    factors = of_state;
  }
  const int k = table.tensor_of(blockIdx.x);
  const std::int64_t start = std::int64_t{blockIdx.x - table.first[k]} * adamw_chunk;
  const auto length = static_cast<int>(min(std::int64_t{adamw_chunk}, table.count[k] - start));
  const A kept = table.decay[k] ? factors.kept : A(1);
  TP* const param = table.param[k] + start;
  const TG* const grad = table.grad[k] + start;
  A* const m = table.m[k] + start;
  A* const v = table.v[k] + start;
  TV* const value = table.value[k];
  const std::int64_t columns = table.value_columns[k], stride = table.value_stride[k];
  const auto value_at = [&](int i) {
    return value + ops::AdamWTensor<TP, TG, TV>::value_index(start + i, columns, stride);
  };

  // A pack must not reach into another row.
  const bool whole = columns % n == 0 && stride % n == 0;
  const int packs = whole && all_aligned(param, grad, m, v, value) ? length / n : 0;
  for (int base = static_cast<int>(threadIdx.x); base < packs; base += together * tensor_threads) {
    Pack<TP, n> p[together];
    Pack<TG, n> g[together];
    Pack<A, n> first[together], second[together];
#pragma unroll
    for (int u = 0; u < together; ++u) {
      const int i = (base + u * tensor_threads) * n;
      if (i >= packs * n) continue;
      g[u] = load_as<n, TG>(grad + i);
      p[u] = load_as<n, TP>(static_cast<const TP*>(param + i));
      first[u] = load_as<n, A>(static_cast<const A*>(m + i));
      second[u] = load_as<n, A>(static_cast<const A*>(v + i));
    }
#pragma unroll
    for (int u = 0; u < together; ++u) {
      const int i = (base + u * tensor_threads) * n;
      if (i >= packs * n) continue;
#pragma unroll
      for (int e = 0; e < n; ++e)
        p[u].v[e] = cast<TP>(
            adamw_element<A>(factors, kept, cast<A>(g[u].v[e]), cast<A>(p[u].v[e]), first[u].v[e], second[u].v[e]));
      store_as<n>(m + i, first[u]);
      store_as<n>(v + i, second[u]);
      store_as<n>(param + i, p[u]);
      if (value) store_as<n>(value_at(i), map_packs<n, TV>(ConvertElement<TV>{}, p[u]));
    }
  }
  for (int i = packs * n + static_cast<int>(threadIdx.x); i < length; i += tensor_threads) {
    const TP p = cast<TP>(adamw_element<A>(factors, kept, cast<A>(grad[i]), cast<A>(param[i]), m[i], v[i]));
    param[i] = p;
    if (value) *value_at(i) = cast<TV>(p);
  }
}

// --- The norm
// -----------------------------------------------------------------------------------------------------------

inline constexpr int norm_chunk = 16384;

template <class TG>
struct NormTable : ChunkTable<1500> {
  const TG* grad[1500];
  std::int64_t count[1500];

  void put(int i, const View<const TG, 1, CudaSpace>& x) {
    grad[i] = x.data_handle();
    count[i] = x.extent(0);
  }
};

template <class TG>
__global__ void __launch_bounds__(tensor_threads)
    norm_partials(const __grid_constant__ NormTable<TG> table, double* partials) {
  constexpr int n = pack_of<TG>;
  __shared__ double shared[32];
  const int k = table.tensor_of(blockIdx.x);
  const std::int64_t start = std::int64_t{blockIdx.x - table.first[k]} * norm_chunk;
  const auto length = static_cast<int>(min(std::int64_t{norm_chunk}, table.count[k] - start));
  const TG* const grad = table.grad[k] + start;
  // Which thread adds what does not depend on how the tensor lies, so that the bits do not.
  const bool packed = all_aligned(grad);
  const int packs = length / n;
  double sum[2] = {};
#pragma unroll 4
  for (int i = static_cast<int>(threadIdx.x); i < packs; i += tensor_threads) {
    Pack<TG, n> g;
    if (packed) {
      g = load<n>(grad + i * n);
    } else {
#pragma unroll
      for (int e = 0; e < n; ++e) g.v[e] = grad[i * n + e];
    }
#pragma unroll
    for (int e = 0; e < n; ++e) {
      const double x = cast<double>(g.v[e]);
      sum[e % 2] = std::fma(x, x, sum[e % 2]);
    }
  }
  if (const int i = packs * n + static_cast<int>(threadIdx.x); i < length) {
    const double x = cast<double>(grad[i]);
    sum[0] = std::fma(x, x, sum[0]);
  }
  double total[1] = {sum[0] + sum[1]};
  block_sums(total, shared);
  if (threadIdx.x == 0) partials[blockIdx.x] = total[0];
}

inline constexpr int total_threads = 1024;

/// The sum of all partials, by one block.
template <class A>
__global__ void __launch_bounds__(total_threads) sum_partials(const A* partials, std::int64_t count, A* out) {
  __shared__ A shared[32];
  A total[1] = {};
  for (std::int64_t i = threadIdx.x; i < count; i += total_threads) total[0] += partials[i];
  block_sums(total, shared);
  if (threadIdx.x == 0) out[0] = total[0];
}

// --- The state of an update, and what moves by it
// -----------------------------------------------------------------------

template <class State>
__global__ void begin_update(State* state, const double* norm_squared, ops::UpdateOptions options) {
  detail::begin_update(*state, *norm_squared, options);
}

inline constexpr int ema_chunk = 4096;

template <class TX, class T>
struct EmaTable : ChunkTable<1100> {
  const TX* x[1100];
  T* y[1100];
  std::int64_t count[1100];

  void put(int i, const ops::EmaTensor<TX, T>& tensor) {
    x[i] = tensor.x;
    y[i] = tensor.y;
    count[i] = tensor.count;
  }
};

template <class TX, class T>
__global__ void __launch_bounds__(tensor_threads)
    ema_step(const __grid_constant__ EmaTable<TX, T> table, const ops::UpdateState* state) {
  constexpr int n = pack_of < T >> pack_of<TX> ? pack_of<T> : pack_of<TX>;
  constexpr int together = 2;
  if (state->skip) return;
  const LerpElements<T> lerp{static_cast<Accum<T>>(state->ema_weight)};
  const int k = table.tensor_of(blockIdx.x);
  const std::int64_t start = std::int64_t{blockIdx.x - table.first[k]} * ema_chunk;
  const auto length = static_cast<int>(min(std::int64_t{ema_chunk}, table.count[k] - start));
  const TX* const x = table.x[k] + start;
  T* const y = table.y[k] + start;
  const int packs = all_aligned(x, y) ? length / n : 0;
  for (int base = static_cast<int>(threadIdx.x); base < packs; base += together * tensor_threads) {
    Pack<T, n> out[together];
#pragma unroll
    for (int u = 0; u < together; ++u)
      if (const int i = (base + u * tensor_threads) * n; i < packs * n)
        out[u] = map_packs<n, T>(lerp, load_as<n, TX>(x + i), load_as<n, T>(static_cast<const T*>(y + i)));
#pragma unroll
    for (int u = 0; u < together; ++u)
      if (const int i = (base + u * tensor_threads) * n; i < packs * n) store_as<n>(y + i, out[u]);
  }
  for (int i = packs * n + static_cast<int>(threadIdx.x); i < length; i += tensor_threads) y[i] = lerp(x[i], y[i]);
}

SEGUE_KERNELS_END

SEGUE_NAMESPACE_BEGIN
namespace detail {

/// Calls `run(table, chunks)` for as few tables as hold all tensors that are not empty.
template <class Table, class Tensors, class Count, class Run>
void for_each_table(const Tensors& tensors, std::int64_t chunk, Count&& count_of, Run&& run) {
  static_assert(sizeof(Table) <= 32000, "a table must leave room for a kernel's other parameters");
  Table table;
  std::int64_t chunks = 0;
  table.tensors = 0;
  const auto flush = [&] {
    if (table.tensors > 0) run(static_cast<const Table&>(table), chunks);
    table.tensors = 0;
    chunks = 0;
  };
  for (const auto& tensor : tensors) {
    const std::int64_t own = ceil_div(count_of(tensor), chunk);
    if (own == 0) continue;
    if (table.tensors == Table::capacity || chunks + own > std::numeric_limits<std::int32_t>::max()) flush();
    table.put(table.tensors, tensor);
    table.first[table.tensors++] = static_cast<std::uint32_t>(chunks);
    chunks += own;
  }
  flush();
}

}  // namespace detail

template <>
struct Kernel<op::AdamWStep, Cuda> {
  template <class TP, class TG, class TV>
  static void run(Exec<Cuda>& exec, std::span<const ops::AdamWTensor<TP, TG, TV>> tensors,
                  const detail::AdamWFactors<Accum<TP>>& factors) {
    step(exec, tensors, factors, {}, nullptr);
  }

  template <class TP, class TG, class TV>
  static void run(Exec<Cuda>& exec, std::span<const ops::AdamWTensor<TP, TG, TV>> tensors,
                  const ops::AdamWOptions& options, View<const ops::UpdateState, 1, CudaSpace> state) {
    step(exec, tensors, {}, options, state.data_handle());
  }

 private:
  template <class TP, class TG, class TV>
  static void step(Exec<Cuda>& exec, std::span<const ops::AdamWTensor<TP, TG, TV>> tensors,
                   const detail::AdamWFactors<Accum<TP>>& factors, const ops::AdamWOptions& options,
                   const ops::UpdateState* state) {
    using Table = kernels::AdamWTable<TP, TG, TV>;
    detail::for_each_table<Table>(
        tensors, kernels::adamw_chunk, [](const auto& tensor) { return tensor.count; },
        [&](const Table& table, std::int64_t chunks) {
          launch(exec, "adamw_step", kernels::adamw_step<TP, TG, TV>, dim3(static_cast<unsigned>(chunks)),
                 dim3(kernels::tensor_threads), 0, table, factors, options, state);
        });
  }
};

template <>
struct Kernel<op::GlobalNorm, Cuda> {
  template <class TG>
  static std::size_t workspace_bytes(const Exec<Cuda>&, std::span<const View<const TG, 1, CudaSpace>> grads) {
    std::int64_t chunks = 0;
    for (const auto& g : grads) chunks += ceil_div(g.extent(0), kernels::norm_chunk);
    return static_cast<std::size_t>(chunks) * sizeof(double);
  }

  template <class TG>
  static void run(Exec<Cuda>& exec, std::span<const View<const TG, 1, CudaSpace>> grads, View<double, 1, CudaSpace> out,
                  View<std::byte, 1, CudaSpace> scratch) {
    using Table = kernels::NormTable<TG>;
    constexpr const char* name = "global_norm_squared";
    auto* const partials = reinterpret_cast<double*>(scratch.data_handle());
    std::int64_t done = 0;
    detail::for_each_table<Table>(
        grads, kernels::norm_chunk, [](const auto& g) { return g.extent(0); },
        [&](const Table& table, std::int64_t chunks) {
          launch(exec, name, kernels::norm_partials<TG>, dim3(static_cast<unsigned>(chunks)),
                 dim3(kernels::tensor_threads), 0, table, partials + done);
          done += chunks;
        });
    launch(exec, name, kernels::sum_partials<double>, dim3(1), dim3(kernels::total_threads), 0,
           static_cast<const double*>(partials), done, out.data_handle());
  }

  template <class TG>
  static double sum_of_squares(Exec<Cuda>& exec, std::span<const View<const TG, 1, CudaSpace>> grads) {
    const auto out = exec.empty<double, 1>({1});
    const auto scratch = exec.empty<std::byte, 1>({static_cast<std::int64_t>(workspace_bytes(exec, grads))});
    run(exec, grads, out.view(), scratch.view());
    return to_host(exec, out.view())[0];
  }
};

template <>
struct Kernel<op::BeginUpdate, Cuda> {
  static void run(Exec<Cuda>& exec, View<ops::UpdateState, 1, CudaSpace> state,
                  View<const double, 1, CudaSpace> norm_squared, const ops::UpdateOptions& options) {
    launch(exec, "begin_update", kernels::begin_update<ops::UpdateState>, dim3(1), dim3(1), 0, state.data_handle(),
           norm_squared.data_handle(), options);
  }
};

template <>
struct Kernel<op::EmaStep, Cuda> {
  template <class TX, class T>
  static void run(Exec<Cuda>& exec, std::span<const ops::EmaTensor<TX, T>> tensors,
                  View<const ops::UpdateState, 1, CudaSpace> state) {
    using Table = kernels::EmaTable<TX, T>;
    detail::for_each_table<Table>(
        tensors, kernels::ema_chunk, [](const auto& tensor) { return tensor.count; },
        [&](const Table& table, std::int64_t chunks) {
          launch(exec, "ema_step", kernels::ema_step<TX, T>, dim3(static_cast<unsigned>(chunks)),
                 dim3(kernels::tensor_threads), 0, table, state.data_handle());
        });
  }
};

SEGUE_NAMESPACE_END
