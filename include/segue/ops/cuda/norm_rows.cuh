// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "segue/ops/cuda/rows.cuh"

// What LayerNorm, RMSNorm and RMSNorm with rotary embedding share. They differ in the mean (`Centred`) and in `Tail`,
// what happens to a normalised row x̂:
//   row<Aligned>(r, c, step)              what this thread needs of the tables for row r; its packs start at c + i·step
//   forward<Aligned>(row, c, n, pack)     x̂ to y
//   backward<Aligned>(row, c, n, pack)    dy to g, the gradient of x̂

SEGUE_KERNELS_BEGIN

template <bool Centred, int P, bool Aligned, class T, class Tail>
__global__ void norm_forward(int rows, int columns, Rows<const T> x, Tail tail, Accum<T> eps, Rows<T> y, Accum<T>* mean,
                             Accum<T>* rstd) {
  using A = Accum<T>;
  constexpr int N = pack_of<T>;
  __shared__ A shared[2][32];
  const int r = static_cast<int>(blockIdx.x * blockDim.y + threadIdx.y);
  if (r >= rows) return;
  RowPart<P, Aligned, N, A, T> part(x(r), columns);
  const int step = static_cast<int>(blockDim.x) * N;
  const auto tables = tail.template row<Aligned>(r, static_cast<int>(threadIdx.x) * N, step);
  A centre = 0;
  if constexpr (Centred) {
    A sum[1] = {A(0)};
    for_packs(
        columns, [&](const Pack<A, N>& v, int, int) { sum[0] += pack_sum(v); }, part);
    row_sums(sum, shared[0]);
    centre = sum[0] / static_cast<A>(columns);
  }
  A squares[1] = {A(0)};
  for_packs(
      columns,
      [&](Pack<A, N> v, int, int n) {
#pragma unroll
        for (int i = 0; i < N; ++i) {
          const A d = Aligned || i < n ? v.v[i] - centre : A(0);
          v.v[i] = d * d;
        }
        squares[0] += pack_sum(v);
      },
      part);
  row_sums(squares, shared[1]);
  const A inverse = A(1) / sqrt(squares[0] / static_cast<A>(columns) + eps);
  if (threadIdx.x == 0) {
    if (Centred && mean) mean[r] = centre;
    if (rstd) rstd[r] = inverse;
  }
  T* const out = y(r);
  for_packs(
      columns,
      [&](Pack<A, N> v, int c, int n) {
#pragma unroll
        for (int i = 0; i < N; ++i) v.v[i] = (v.v[i] - centre) * inverse;
        tail.template forward<Aligned>(tables, c, n, v);
        store_pack<Aligned>(out + c, v, n);
      },
      part);
}

/// dx = rstd·(g − mean_c(g) − x̂·mean_c(g·x̂)), without mean_c(g) where the norm has no mean. dx may be dy.
template <bool Centred, int P, bool Aligned, class T, class Tail>
__global__ void __launch_bounds__(512, 2)
    norm_backward(int rows, int columns, Rows<const T> dy, Rows<const T> x, const Accum<T>* mean, const Accum<T>* rstd,
                  Tail tail, Rows<T> dx, bool accumulate) {
  using A = Accum<T>;
  constexpr int N = pack_of<T>;
  __shared__ A shared[2 * 32];
  const int r = static_cast<int>(blockIdx.x * blockDim.y + threadIdx.y);
  if (r >= rows) return;
  RowPart<P, Aligned, N, A, T> grad(dy(r), columns), in(x(r), columns);
  const int step = static_cast<int>(blockDim.x) * N;
  const auto tables = tail.template row<Aligned>(r, static_cast<int>(threadIdx.x) * N, step);
  const A scale = rstd[r];
  const A centre = Centred ? mean[r] : A(0);
  // Sums of g and of g·x̂. Held packs of dy and x turn into g and x̂.
  constexpr int kinds = Centred ? 2 : 1;
  A sums[kinds] = {};
  for_packs(
      columns,
      [&](Pack<A, N>& g, Pack<A, N>& v, int c, int n) {
        tail.template backward<Aligned>(tables, c, n, g);
        Pack<A, N> product;
#pragma unroll
        for (int i = 0; i < N; ++i) {
          v.v[i] = (v.v[i] - centre) * scale;
          product.v[i] = g.v[i] * v.v[i];
        }
        if constexpr (Centred) sums[0] += pack_sum(g);
        sums[kinds - 1] += pack_sum(product);
      },
      grad, in);
  row_sums(sums, shared);
  const A mean_g = Centred ? sums[0] / static_cast<A>(columns) : A(0);
  const A mean_gx = sums[kinds - 1] / static_cast<A>(columns);
  T* const out = dx(r);
  for_packs(
      columns,
      [&](Pack<A, N> g, Pack<A, N> v, int c, int n) {
        if constexpr (P == 0) {
          tail.template backward<Aligned>(tables, c, n, g);
#pragma unroll
          for (int i = 0; i < N; ++i) v.v[i] = (v.v[i] - centre) * scale;
        }
#pragma unroll
        for (int i = 0; i < N; ++i) {
          const A d = Centred ? g.v[i] - mean_g - v.v[i] * mean_gx : g.v[i] - v.v[i] * mean_gx;
          g.v[i] = scale * d;
        }
        store_gradient<Aligned>(out + c, g, n, accumulate);
      },
      grad, in);
}

SEGUE_KERNELS_END

SEGUE_NAMESPACE_BEGIN
namespace detail {

/// A backward holds two rows.
inline constexpr int most_held_pairs = 2;

/// `aligned`: whether the rows and the tables of `tail` can be read pack by pack.
template <bool Centred, class T, class Tail>
void norm_rows_forward(Exec<Cuda>& exec, const char* op, View<const T, 2, CudaSpace> x, const Tail& tail, bool aligned,
                       double eps, View<T, 2, CudaSpace> y, Accum<T>* mean, Accum<T>* rstd) {
  constexpr int pack = kernels::pack_of<T>;
  const int rows = int_extent(op, "rows of x", x.extent(0)), columns = int_extent(op, "columns of x", x.extent(1));
  const RowPlan plan = row_plan(ceil_div(columns, pack));
  with_row_plan(plan, aligned && packs(x, pack) && packs(y, pack), [&](auto held, auto is_aligned) {
    launch(exec, op, kernels::norm_forward<Centred, held(), is_aligned(), T, Tail>, plan.grid(rows), plan.block(), 0,
           rows, columns, rows_at(x), tail, static_cast<Accum<T>>(eps), rows_at(y), mean, rstd);
  });
}

template <bool Centred, class T, class Tail>
void norm_rows_backward(Exec<Cuda>& exec, const char* op, View<const T, 2, CudaSpace> dy, View<const T, 2, CudaSpace> x,
                        const Accum<T>* mean, const Accum<T>* rstd, const Tail& tail, bool aligned,
                        View<T, 2, CudaSpace> dx, ops::GradMode mode) {
  constexpr int pack = kernels::pack_of<T>;
  const int rows = int_extent(op, "rows of x", x.extent(0)), columns = int_extent(op, "columns of x", x.extent(1));
  if (rows == 0) return;
  const RowPlan plan = row_plan(ceil_div(columns, pack), most_held_pairs);
  with_row_plan<most_held_pairs>(plan, aligned && packs(dy, pack) && packs(x, pack) && packs(dx, pack),
                                 [&](auto held, auto is_aligned) {
                                   launch(exec, op, kernels::norm_backward<Centred, held(), is_aligned(), T, Tail>,
                                          plan.grid(rows), plan.block(), 0, rows, columns, rows_at(dy), rows_at(x),
                                          mean, rstd, tail, rows_at(dx), mode == ops::GradMode::accumulate);
                                 });
}

}  // namespace detail
SEGUE_NAMESPACE_END
