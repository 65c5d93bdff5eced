// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "segue/ops/cuda/column_sums.cuh"
#include "segue/ops/residual.hpp"

SEGUE_KERNELS_BEGIN

/// y = base + gate·h, each of base and gate absent: 0 and 1. y may be base or h. Threads along x share out a row, one
/// pack each: with so few registers a multiprocessor is full of threads, which keeps more bytes on their way than
/// several packs a thread would.
template <int N, class T, class TM>
__global__ void __launch_bounds__(256) gated_rows(int rows, int columns, Rows<const T> base, Rows<const T> h,
                                                  Rows<const TM> gate, RowGroups group, Rows<T> y) {
  using A = Accum<T>;
  const int tiles = (columns + static_cast<int>(blockDim.x) * N - 1) / (static_cast<int>(blockDim.x) * N);
  const int strip = static_cast<int>(blockIdx.x) / tiles, tile = static_cast<int>(blockIdx.x) - strip * tiles;
  const int c = (tile * static_cast<int>(blockDim.x) + static_cast<int>(threadIdx.x)) * N;
  const int r = strip * static_cast<int>(blockDim.y) + static_cast<int>(threadIdx.y);
  if (c >= columns || r >= rows) return;

  Pack<A, N> out, before = {}, factor;
#pragma unroll
  for (int i = 0; i < N; ++i) out.v[i] = factor.v[i] = A(1);
  if (h.data) out = load_as<N, A>(h(r) + c);
  if (base.data) before = load_as<N, A>(base(r) + c);
  if (gate.data) factor = load_as<N, A>(gate(group(r)) + c);
#pragma unroll
  for (int i = 0; i < N; ++i) out.v[i] = before.v[i] + factor.v[i] * out.v[i];
  store_as<N>(y(r) + c, out);
}

/// What a row adds to the gradient of its gate: dy·h, or dy where h is absent.
template <class T>
struct GateTerms {
  Rows<const T> dy, h;

  template <int N>
  struct Loaded {
    Pack<T, N> dy, h;
  };
  template <bool Aligned, int N>
  __device__ __forceinline__ Loaded<N> load(int r, int c, int n) const {
    Loaded<N> loaded{load_pack<Aligned, N, T>(dy(r) + c, n), {}};
    if (h.data) loaded.h = load_pack<Aligned, N, T>(h(r) + c, n);
    return loaded;
  }

  template <bool Aligned, int N, class A>
  __device__ __forceinline__ void of(const Loaded<N>& loaded, int, int, int, Pack<A, N> (&out)[1]) const {
    const Pack<A, N> a = widen<A>(loaded.dy), b = widen<A>(loaded.h);
#pragma unroll
    for (int i = 0; i < N; ++i) out[0].v[i] = h.data ? a.v[i] * b.v[i] : a.v[i];
  }
};

SEGUE_KERNELS_END

SEGUE_NAMESPACE_BEGIN
namespace detail {

template <class T, class TM>
void gated_rows(Exec<Cuda>& exec, const char* op, const View<const T, 2, CudaSpace>& base,
                const View<const T, 2, CudaSpace>& h, const ops::Gate<TM, CudaSpace>& gate,
                const View<T, 2, CudaSpace>& y) {
  const int rows = int_extent(op, "rows", y.extent(0)), columns = int_extent(op, "columns", y.extent(1));
  if (rows == 0) return;
  const auto start = [&](auto width) {
    const std::int64_t across = ceil_div(columns, width());
    const std::int64_t tiles = ceil_div(across, 256);
    const std::int64_t x = tiles == 1 ? across : ceil_div(ceil_div(across, tiles), 32) * 32, rows_at_once = 256 / x;
    const std::int64_t blocks = tiles * ceil_div(rows, rows_at_once);
    launch(exec, op, kernels::gated_rows<width(), T, TM>, dim3(static_cast<unsigned>(blocks)),
           dim3(static_cast<unsigned>(x), static_cast<unsigned>(rows_at_once)), 0, rows, columns, rows_at(base),
           rows_at(h), rows_at(gate.gate), row_groups(gate.group, gate.rows_per_group), rows_at(y));
  };
  constexpr int pack = kernels::pack_of<T>;
  if (packs(base, pack) && packs(h, pack) && packs(gate.gate, pack) && packs(y, pack))
    start(std::integral_constant<int, pack>{});
  else
    start(std::integral_constant<int, 1>{});
}

}  // namespace detail

template <>
struct Kernel<op::GatedResidualForward, Cuda> {
  template <class T, class TM>
  static void run(Exec<Cuda>& exec, View<const T, 2, CudaSpace> x, View<const T, 2, CudaSpace> h,
                  const ops::Gate<TM, CudaSpace>& gate, View<T, 2, CudaSpace> y) {
    detail::gated_rows(exec, "gated_residual_forward", x, h, gate, y);
  }
};

template <>
struct Kernel<op::GatedResidualBackward, Cuda> {
  template <class T>
  static std::int64_t workspace_bytes(const Exec<Cuda>&, std::int64_t rows, std::int64_t columns,
                                      std::int64_t table_rows) {
    return detail::column_sums_bytes<Accum<T>>(1, rows, columns, table_rows);
  }

  template <class T, class TM>
  static void run(Exec<Cuda>& exec, View<const T, 2, CudaSpace> dy, View<const T, 2, CudaSpace> h,
                  const ops::Gate<TM, CudaSpace>& gate, View<T, 2, CudaSpace> dh, ops::GradMode dh_mode,
                  View<TM, 2, CudaSpace> dgate, ops::GradMode dgate_mode, View<std::byte, 1, CudaSpace> scratch) {
    constexpr const char* op = "gated_residual_backward";
    constexpr int pack = kernels::pack_of<T>;
    // First, because dh may overwrite dy.
    if (dgate.data_handle())
      detail::column_sums<1, Accum<T>, pack>(exec, op, dy.extent(0), dy.extent(1), gate.gate.extent(0),
                                             detail::row_groups(gate.group, gate.rows_per_group),
                                             kernels::GateTerms<T>{detail::rows_at(dy), detail::rows_at(h)},
                                             detail::packs(dy, pack) && detail::packs(h, pack), scratch.data_handle(),
                                             detail::column_results(dgate_mode, dgate));
    if (dh.data_handle())
      detail::gated_rows(
          exec, op,
          dh_mode == ops::GradMode::accumulate ? View<const T, 2, CudaSpace>(dh) : View<const T, 2, CudaSpace>{}, dy,
          gate, dh);
  }
};

SEGUE_NAMESPACE_END
