// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "segue/ops/cuda/rows.cuh"

SEGUE_KERNELS_BEGIN

/// Where K column sums go: row g of each holds the totals of group g; those without data are not wanted.
template <int K, class T>
struct ColumnResults {
  Rows<T> rows[K];
  bool accumulate;
};

/// a + b, never joined with the product that a or b is: what is added must not depend on how it was read.
__device__ __forceinline__ float plain_sum(float a, float b) { return __fadd_rn(a, b); }
__device__ __forceinline__ double plain_sum(double a, double b) { return __dadd_rn(a, b); }

/// The number of a block: see `counted_grid`.
__device__ __forceinline__ std::int64_t block_number() {
  return static_cast<std::int64_t>(blockIdx.y) * gridDim.x + blockIdx.x;
}

/// Sums of a chunk of rows, apart for each group: a warp takes neighbouring columns of one chunk, so that no thread
/// meets another's sums. partials: (K, groups, chunks, columns). Scattered groups take their rows from all chunks;
/// others are runs of `run` rows, and each has chunks of its own.
template <int K, bool Scattered, bool Aligned, int N, class A, class Terms>
__global__ void __launch_bounds__(128) column_partials(int rows, int columns, int groups, int chunks, int rows_a_chunk,
                                                       int run, RowGroups group, Terms terms, A* partials) {
  constexpr int ahead = 4;  // rows that are read before the first of them is added
  const int warps_a_chunk = (columns + 32 * N - 1) / (32 * N);
  const std::int64_t warp = block_number() * blockDim.y + threadIdx.y;
  const std::int64_t cut = warp / warps_a_chunk;  // among the chunks of all groups
  const int c = static_cast<int>(warp - cut * warps_a_chunk) * 32 * N + static_cast<int>(threadIdx.x) * N;
  if (cut >= (Scattered ? 1 : static_cast<std::int64_t>(groups)) * chunks || c >= columns) return;
  const int n = Aligned || columns - c > N ? N : columns - c;
  const int own = Scattered ? 0 : static_cast<int>(cut / chunks);  // the group of all its rows
  const int chunk = static_cast<int>(cut - static_cast<std::int64_t>(own) * chunks);
  // A table may have rows for more groups than there are; theirs would begin far beyond the rows.
  const std::int64_t group_begin = static_cast<std::int64_t>(own) * run;
  const std::int64_t chunk_begin = group_begin + static_cast<std::int64_t>(chunk) * rows_a_chunk;
  const std::int64_t group_end = min(static_cast<std::int64_t>(rows), group_begin + run);
  const int begin = static_cast<int>(min(group_end, chunk_begin));
  const int end = static_cast<int>(min(group_end, chunk_begin + rows_a_chunk));

  const auto place = [&](int k, int g) {
    return partials + ((static_cast<std::int64_t>(k) * groups + g) * chunks + chunk) * columns + c;
  };
  Pack<A, N> sums[K] = {};
  if constexpr (Scattered)
    for (int k = 0; k < K; ++k)
      for (int g = 0; g < groups; ++g) store_pack<Aligned>(place(k, g), sums[k], n);
  const auto flush = [&](int g) {
#pragma unroll
    for (int k = 0; k < K; ++k) {
      store_gradient<Aligned>(place(k, g), sums[k], n, Scattered);
      sums[k] = {};
    }
  };
  int current = Scattered ? group(begin) : own;
  for (int r = begin; r < end; r += ahead) {
    decltype(terms.template load<Aligned, N>(0, 0, 0)) loaded[ahead];
    int g[ahead];
#pragma unroll
    for (int u = 0; u < ahead; ++u) {
      const int row = min(r + u, end - 1);
      if constexpr (Scattered) g[u] = group(row);
      loaded[u] = terms.template load<Aligned, N>(row, c, n);
    }
#pragma unroll
    for (int u = 0; u < ahead; ++u) {
      if (r + u >= end) continue;
      if constexpr (Scattered) {
        if (g[u] != current) flush(current);
        current = g[u];
      }
      Pack<A, N> added[K];
      terms.template of<Aligned>(loaded[u], r + u, c, n, added);
#pragma unroll
      for (int k = 0; k < K; ++k)
#pragma unroll
        for (int i = 0; i < N; ++i) sums[k].v[i] = plain_sum(sums[k].v[i], added[k].v[i]);
    }
  }
  flush(current);
}

/// Adds up the chunks: each of 16 warps takes an equal run of them, and their sums are added in order.
template <int K, class A, class TOut>
__global__ void __launch_bounds__(512)
    column_totals(int columns, int groups, int chunks, const A* partials, ColumnResults<K, TOut> out) {
  constexpr int warps = 16;
  __shared__ A shared[warps][33];
  const int tiles = (columns + 31) / 32;
  const std::int64_t block = block_number(), sum = block / tiles;  // k·groups + g
  const int c = static_cast<int>(block - sum * tiles) * 32 + static_cast<int>(threadIdx.x);
  const int k = static_cast<int>(sum / groups), g = static_cast<int>(sum - static_cast<std::int64_t>(k) * groups);
  if (k >= K) return;
  Rows<TOut> target = out.rows[0];
#pragma unroll
  for (int i = 1; i < K; ++i)
    if (i == k) target = out.rows[i];
  if (!target.data) return;

  const int warp = static_cast<int>(threadIdx.y), run = (chunks + warps - 1) / warps;
  A total = 0;
  if (c < columns) {
    const A* const from = partials + sum * chunks * columns + c;
    const int end = min(chunks, (warp + 1) * run);
#pragma unroll 8
    for (int i = warp * run; i < end; ++i) total += from[static_cast<std::int64_t>(i) * columns];
  }
  shared[warp][threadIdx.x] = total;
  __syncthreads();
  if (warp != 0 || c >= columns) return;
  total = 0;
#pragma unroll
  for (int i = 0; i < warps; ++i) total += shared[i][threadIdx.x];
  TOut* const place = target(g) + c;
  if (out.accumulate) total += cast<A>(*place);
  *place = cast<TOut>(total);
}

/// What a row adds to the sums of its columns: itself.
template <class T>
struct RowTerms {
  Rows<const T> x;

  template <bool Aligned, int N>
  __device__ __forceinline__ Pack<T, N> load(int r, int c, int n) const {
    return load_pack<Aligned, N, T>(x(r) + c, n);
  }
  template <bool Aligned, int N, class A>
  __device__ __forceinline__ void of(const Pack<T, N>& loaded, int, int, int, Pack<A, N> (&out)[1]) const {
    out[0] = widen<A>(loaded);
  }
};

SEGUE_KERNELS_END

SEGUE_NAMESPACE_BEGIN
namespace detail {

/// A grid of so many blocks or a few more, of which `kernels::block_number` tells the number: one axis holds 2^31 - 1.
inline dim3 counted_grid(std::int64_t blocks) {
  constexpr std::int64_t most = std::int64_t{1} << 30;
  return dim3(static_cast<unsigned>(std::min(blocks, most)), static_cast<unsigned>(ceil_div(blocks, most)));
}

/// How many chunks fill a large device. The order of the sums follows from the number of chunks, so it must not ask
/// which device this is.
inline std::int64_t filling_chunks(std::int64_t columns) { return ceil_div(2112, ceil_div(columns, 256)); }

/// Into how many chunks the rows of scattered groups are cut: enough to fill a device, of 8 rows at least, and no more
/// than what keeps the partial sums in its cache where there are many groups.
inline std::int64_t scattered_chunks(std::int64_t rows, std::int64_t columns, std::int64_t groups) {
  const std::int64_t fitting = std::max<std::int64_t>(8, (std::int64_t{4} << 20) / (groups * columns));
  const std::int64_t chunks =
      std::max<std::int64_t>(1, std::min({ceil_div(rows, 8), filling_chunks(columns), fitting}));
  return ceil_div(rows, ceil_div(rows, chunks));
}

/// Into how many chunks each of `groups` runs of `run` rows is cut, at most.
inline std::int64_t most_run_chunks(std::int64_t run, std::int64_t columns, std::int64_t groups) {
  return std::min(ceil_div(run, 8), ceil_div(filling_chunks(columns), groups));
}

/// Scratch of `column_sums`, however the groups lie.
template <class A>
std::int64_t column_sums_bytes(std::int64_t sums, std::int64_t rows, std::int64_t columns, std::int64_t groups) {
  if (rows == 0 || columns == 0 || groups == 0) return 0;
  const std::int64_t chunks = std::max(scattered_chunks(rows, columns, groups), most_run_chunks(rows, columns, groups));
  return sums * groups * chunks * columns * static_cast<std::int64_t>(sizeof(A));
}

/// Sums over rows, K of them at once and apart for each group of rows, in an order that depends on rows, columns and
/// groups alone.
///   terms.load<Aligned, N>(r, c, n)             what they need of row r at columns c…; n of N elements count
///   terms.of<Aligned>(loaded, r, c, n, packs)   the K packs that the row adds
///   aligned                                     whether rows can be read pack by pack, N elements each
template <int K, class A, int N, class Terms, class TOut>
void column_sums(Exec<Cuda>& exec, const char* op, std::int64_t rows, std::int64_t columns, std::int64_t groups,
                 const kernels::RowGroups& group, const Terms& terms, bool aligned, std::byte* scratch,
                 const kernels::ColumnResults<K, TOut>& out) {
  if (groups == 0 || columns == 0) return;
  const int r = int_extent(op, "rows of x", rows), c = int_extent(op, "columns of x", columns);
  const int g = int_extent(op, "table rows", groups);
  const bool scattered = groups > 1 && group.group != nullptr;
  const std::int64_t run =
      groups > 1 && !scattered ? std::min<std::int64_t>(group.rows_per_group.divisor(), rows) : rows;
  const std::int64_t rows_a_chunk = rows == 0   ? 0
                                    : scattered ? ceil_div(rows, scattered_chunks(rows, columns, groups))
                                                : ceil_div(run, most_run_chunks(run, columns, groups));
  const auto chunks = static_cast<int>(rows == 0 ? 0 : ceil_div(run, rows_a_chunk));
  A* const partials = reinterpret_cast<A*>(scratch);
  if (chunks > 0) {
    const auto start = [&](auto is_aligned, auto width) {
      const std::int64_t warps = (scattered ? 1 : groups) * chunks * ceil_div(columns, 32 * width());
      with_flag(scattered, [&](auto is_scattered) {
        launch(exec, op, kernels::column_partials<K, is_scattered(), is_aligned(), width(), A, Terms>,
               counted_grid(ceil_div(warps, 4)), dim3(32, 4), 0, r, c, g, chunks, static_cast<int>(rows_a_chunk),
               static_cast<int>(run), group, terms, partials);
      });
    };
    if (aligned)
      start(std::true_type{}, std::integral_constant<int, N>{});
    else  // pairs: a rotation needs both of its elements
      start(std::false_type{}, std::integral_constant<int, 2>{});
  }
  launch(exec, op, kernels::column_totals<K, A, TOut>, counted_grid(ceil_div(columns, 32) * groups * K), dim3(32, 16),
         0, c, g, chunks, partials, out);
}

template <class TOut>
View<TOut, 2, CudaSpace> one_row(const View<TOut, 1, CudaSpace>& x) {
  return {x.data_handle(), {1, x.extent(0)}};
}

template <class... TOut>
auto column_results(ops::GradMode mode, const View<TOut, 2, CudaSpace>&... out) {
  return kernels::ColumnResults<static_cast<int>(sizeof...(TOut)), std::common_type_t<TOut...>>{
      {rows_at(out)...}, mode == ops::GradMode::accumulate};
}

}  // namespace detail
SEGUE_NAMESPACE_END
