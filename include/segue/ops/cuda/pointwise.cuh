// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "segue/core/launch.cuh"
#include "segue/ops/cuda/access.cuh"

// What elementwise kernels share: an operator is a functor of element values.

SEGUE_KERNELS_BEGIN

inline constexpr int pointwise_threads = 256;

/// Division of n in [0, 2^31) by a number that the host knows, as a multiplication.
class Divider {
 public:
  Divider() = default;
  /// @param divisor in [1, 2^31)
  explicit Divider(std::int64_t divisor) : divisor_(static_cast<std::uint32_t>(divisor)) {
    while ((std::int64_t{1} << shift_) < divisor) ++shift_;
    if (divisor > 1)
      multiplier_ = static_cast<std::uint32_t>(((std::uint64_t{1} << (31 + shift_)) + divisor_ - 1) / divisor_);
    shift_ = shift_ > 0 ? shift_ - 1 : 0;
  }

  SEGUE_HOST_DEVICE std::uint32_t divisor() const { return divisor_; }
  friend __device__ __forceinline__ std::uint32_t operator/(std::uint32_t n, const Divider& d) {
    return d.divisor_ == 1 ? n : __umulhi(n, d.multiplier_) >> d.shift_;
  }

 private:
  std::uint32_t divisor_ = 1;
  std::uint32_t multiplier_ = 0;
  std::uint32_t shift_ = 0;
};

/// The rows of a view.
template <class T>
struct Lines {
  T* data;
  std::int64_t stride;
};

template <int N, class T, class F, class... In>
__device__ __forceinline__ Pack<T, N> map_packs(const F& f, const Pack<In, N>&... in) {
  Pack<T, N> out;
#pragma unroll
  for (int k = 0; k < N; ++k) out.v[k] = f(in.v[k]...);
  return out;
}

/// y(i) = f(in(i)…) for i < count, N neighbours at a time and Unroll times N a thread. y may be an input.
template <int N, int Unroll, class F, class T, class... In>
__global__ void __launch_bounds__(pointwise_threads) map_flat(F f, std::int64_t count, T* y, const In*... in) {
  constexpr int threads = pointwise_threads;
  const std::int64_t packs = count / N;
  const std::int64_t base = std::int64_t{blockIdx.x} * (threads * Unroll);
  const std::int64_t first = base + threadIdx.x;
  if (base + threads * Unroll <= packs) {
    // All loads are issued before the first store.
    Pack<T, N> out[Unroll];
#pragma unroll
    for (int u = 0; u < Unroll; ++u) out[u] = map_packs<N, T>(f, load_as<N, In>(in + (first + u * threads) * N)...);
#pragma unroll
    for (int u = 0; u < Unroll; ++u) store_as<N>(y + (first + u * threads) * N, out[u]);
  } else {
    for (std::int64_t i = first; i < packs; i += threads)
      store_as<N>(y + i * N, map_packs<N, T>(f, load_as<N, In>(in + i * N)...));
  }
  if (blockIdx.x == gridDim.x - 1 && threadIdx.x < count - packs * N) {
    const std::int64_t i = packs * N + threadIdx.x;
    y[i] = f(in[i]...);
  }
}

/// The same over rows of `row_packs` times N elements; `items` packs in all.
template <int N, int Unroll, class F, class T, class... In>
__global__ void __launch_bounds__(pointwise_threads)
    map_rows(F f, Divider row_packs, std::uint32_t items, Lines<T> y, Lines<const In>... in) {
  constexpr int threads = pointwise_threads;
  const std::uint32_t first = blockIdx.x * (threads * Unroll) + threadIdx.x;
  const auto row = [&](int u) { return (first + static_cast<std::uint32_t>(u * threads)) / row_packs; };
  const auto column = [&](int u) {
    return static_cast<std::int64_t>(first + static_cast<std::uint32_t>(u * threads) - row(u) * row_packs.divisor()) *
           N;
  };
  if ((blockIdx.x + 1) * (threads * Unroll) <= items) {
    Pack<T, N> out[Unroll];
#pragma unroll
    for (int u = 0; u < Unroll; ++u)
      out[u] = map_packs<N, T>(f, load_as<N, In>(in.data + row(u) * in.stride + column(u))...);
#pragma unroll
    for (int u = 0; u < Unroll; ++u) store_as<N>(y.data + row(u) * y.stride + column(u), out[u]);
  } else {
    for (int u = 0; u < Unroll && first + static_cast<std::uint32_t>(u * threads) < items; ++u)
      store_as<N>(y.data + row(u) * y.stride + column(u),
                  map_packs<N, T>(f, load_as<N, In>(in.data + row(u) * in.stride + column(u))...));
  }
}

SEGUE_KERNELS_END

SEGUE_NAMESPACE_BEGIN
namespace detail {

/// Work items of one launch: what 32-bit index arithmetic in kernels reaches.
inline constexpr std::int64_t most_items = std::int64_t{1} << 30;

template <class T>
bool is_aligned(const T* p, std::int64_t n) {
  return reinterpret_cast<std::uintptr_t>(p) % std::min<std::size_t>(16, static_cast<std::size_t>(n) * sizeof(T)) == 0;
}

/// y(r, c) = f(inputs(r, c)…) for views of one (R, C) shape with free row strides: `f` takes and gives element values.
/// y may be an input. One launch, unless there are more than 2^30 packs in rows that lie apart.
template <class F, class T, class... In>
void for_each_element(Exec<Cuda>& exec, const char* name, const F& f, View<T, 2, CudaSpace> y,
                      View<const In, 2, CudaSpace>... in) {
  constexpr int threads = kernels::pointwise_threads;
  constexpr int narrowest = static_cast<int>(std::min({sizeof(T), sizeof(In)...}));
  constexpr int pack = narrowest < 16 ? 16 / narrowest : 1;
  constexpr int unroll = 2;  // so that enough loads are in flight to hide the latency of memory
  const std::int64_t rows = y.extent(0), columns = y.extent(1);

  const auto flat = [&](std::int64_t count, T* py, const In*... pi) {
    const auto run = [&]<int N>(std::integral_constant<int, N>) {
      const std::int64_t blocks = std::max<std::int64_t>(1, ceil_div(count / N, threads * unroll));
      launch(exec, name, kernels::map_flat<N, unroll, F, T, In...>, dim3(static_cast<unsigned>(blocks)), dim3(threads),
             0, f, count, py, pi...);
    };
    if (is_aligned(py, pack) && (is_aligned(pi, pack) && ...))
      run(std::integral_constant<int, pack>());
    else
      run(std::integral_constant<int, 1>());
  };
  if (y.is_contiguous() && (in.is_contiguous() && ...))
    return flat(rows * columns, y.data_handle(), in.data_handle()...);

  const auto strided = [&]<int N>(std::integral_constant<int, N>) {
    const std::int64_t packs = columns / N, most_rows = most_items / packs;
    for (std::int64_t row = 0; row < rows; row += most_rows) {
      const std::int64_t items = std::min(most_rows, rows - row) * packs;
      launch(exec, name, kernels::map_rows<N, unroll, F, T, In...>,
             dim3(static_cast<unsigned>(ceil_div(items, threads * unroll))), dim3(threads), 0, f,
             kernels::Divider(packs), static_cast<std::uint32_t>(items),
             kernels::Lines<T>{y.data_handle() + row * y.stride(0), y.stride(0)},
             kernels::Lines<const In>{in.data_handle() + row * in.stride(0), in.stride(0)}...);
    }
  };
  if (columns > most_items)
    for (std::int64_t r = 0; r < rows; ++r)
      flat(columns, y.data_handle() + r * y.stride(0), (in.data_handle() + r * in.stride(0))...);
  else if (packs(y, pack) && (packs(in, pack) && ...))
    strided(std::integral_constant<int, pack>());
  else
    strided(std::integral_constant<int, 1>());
}

}  // namespace detail
SEGUE_NAMESPACE_END
