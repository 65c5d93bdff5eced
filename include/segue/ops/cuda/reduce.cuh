// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "segue/ops/cuda/column_sums.cuh"
#include "segue/ops/reduce.hpp"

SEGUE_NAMESPACE_BEGIN
namespace detail {

inline constexpr int most_reduce_blocks = 1024;

/// Where the blocks of a reduction leave their sums, and the count of those that have: zero between reductions. One for
/// an Exec will do, since its work is done in order.
class ReduceScratch {
 public:
  explicit ReduceScratch(Exec<Cuda>& exec) {
    constexpr const char* where = "ReduceScratch";
    // Not of the Exec's pool, which may be a graph's now.
    memory_ = Pool(exec.pool().allocator()).allocate(most_reduce_blocks * sizeof(double) + sizeof(unsigned));
    // On a stream of its own: the Exec's may be captured now.
    cudaStream_t stream = nullptr;
    cuda_check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), where);
    cudaError_t status = cudaMemsetAsync(done(), 0, sizeof(unsigned), stream);
    if (status == cudaSuccess) status = cudaStreamSynchronize(stream);
    (void)cudaStreamDestroy(stream);
    cuda_check(status, where);
  }

  template <class S>
  S* partials() const {
    static_assert(sizeof(S) <= sizeof(double));
    return static_cast<S*>(memory_.data());
  }
  unsigned* done() const {
    return reinterpret_cast<unsigned*>(static_cast<double*>(memory_.data()) + most_reduce_blocks);
  }

 private:
  Buffer memory_;
};

}  // namespace detail
SEGUE_NAMESPACE_END

SEGUE_KERNELS_BEGIN

/// finish(Σ term(i)), i < items. The block that is the last to be done adds up the blocks' sums, in their order.
template <class S, class Term, class Finish>
__global__ void __launch_bounds__(256)
    reduce(std::int64_t items, Term term, S* partials, unsigned* done, Finish finish) {
  __shared__ S shared[2][32];
  __shared__ bool last;
  S sum[1] = {S(0)};
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
#pragma unroll 4
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < items; i += step)
    sum[0] += term(i);
  block_sums(sum, shared[0]);
  if (gridDim.x > 1) {
    if (threadIdx.x == 0) {
      partials[blockIdx.x] = sum[0];
      __threadfence();
      last = atomicAdd(done, 1u) == gridDim.x - 1;
    }
    __syncthreads();
    if (!last) return;
    __threadfence();
    sum[0] = S(0);
    for (unsigned i = threadIdx.x; i < gridDim.x; i += blockDim.x) sum[0] += __ldcg(partials + i);
    block_sums(sum, shared[1]);
    if (threadIdx.x == 0) *done = 0;
  }
  if (threadIdx.x == 0) finish(sum[0]);
}

/// N elements of a flat array from `at` on; those beyond its end are zero.
template <bool Aligned, int N, class A, class T>
__device__ __forceinline__ Pack<A, N> flat_pack(const T* x, std::int64_t at, std::int64_t count) {
  if (Aligned && count - at >= N) return load_as<N, A>(x + at);
  return load_pack<false, N, A>(x + at, count - at < N ? static_cast<int>(count - at) : N);
}

/// The sum of a pack of elements in double.
template <bool Aligned, class T>
struct SumTerm {
  static constexpr int pack = pack_of<T>;
  const T* x;
  std::int64_t count;

  __device__ __forceinline__ double operator()(std::int64_t i) const {
    return pack_sum(flat_pack<Aligned, pack, double>(x, i * pack, count));
  }
};
template <bool Aligned, class TA, class TB>
struct DotTerm {
  static constexpr int pack = pack_of<TA> < pack_of<TB> ? pack_of<TA> : pack_of<TB>;
  const TA* a;
  const TB* b;
  std::int64_t count;

  __device__ __forceinline__ double operator()(std::int64_t i) const {
    Pack<double, pack> x = flat_pack<Aligned, pack, double>(a, i * pack, count);
    const Pack<double, pack> y = flat_pack<Aligned, pack, double>(b, i * pack, count);
#pragma unroll
    for (int k = 0; k < pack; ++k) x.v[k] *= y.v[k];
    return pack_sum(x);
  }
};
/// Whether a pack holds what is not finite: 0·x is NaN for infinity and NaN, and 0 for all else.
template <bool Aligned, class T>
struct NonfiniteTerm {
  static constexpr int pack = pack_of<T>;
  const T* x;
  std::int64_t count;

  __device__ __forceinline__ int operator()(std::int64_t i) const {
    using A = Accum<T>;
    Pack<A, pack> v = flat_pack<Aligned, pack, A>(x, i * pack, count);
#pragma unroll
    for (int k = 0; k < pack; ++k) v.v[k] *= A(0);
    return pack_sum(v) == A(0) ? 0 : 1;
  }
};

struct StoreSum {
  double* out;
  double factor = 1;

  __device__ __forceinline__ void operator()(double sum) const { *out = factor * sum; }
};
struct RaiseFlag {
  std::int32_t* flag;
  bool accumulate;

  __device__ __forceinline__ void operator()(int found) const {
    *flag = found > 0 || (accumulate && *flag != 0) ? 1 : 0;
  }
};

SEGUE_KERNELS_END

SEGUE_NAMESPACE_BEGIN
namespace detail {

/// The number of blocks, and with it the order of the sum, follows from the number of items alone.
template <class S, class Term, class Finish>
void reduce(Exec<Cuda>& exec, const char* op, std::int64_t items, const Term& term, const Finish& finish) {
  const std::int64_t blocks = std::clamp<std::int64_t>(ceil_div(items, 256 * 4), 1, most_reduce_blocks);
  const ReduceScratch& scratch = exec.template extension<ReduceScratch>();
  launch(exec, op, kernels::reduce<S, Term, Finish>, dim3(static_cast<unsigned>(blocks)), dim3(256), 0, items, term,
         scratch.template partials<S>(), scratch.done(), finish);
}

/// Whether whole packs of a flat array can be read.
template <class T>
bool flat_packs(const View<const T, 1, CudaSpace>& x, int n) {
  return packs(View<const T, 1, CudaSpace>(x.data_handle(), {n}), n);
}

}  // namespace detail

template <>
struct Kernel<op::Sum, Cuda> {
  template <class T>
  static void run(Exec<Cuda>& exec, View<const T, 1, CudaSpace> x, View<double, 1, CudaSpace> out) {
    detail::with_flag(detail::flat_packs(x, kernels::pack_of<T>), [&](auto aligned) {
      using Term = kernels::SumTerm<aligned(), T>;
      detail::reduce<double>(exec, "sum", ceil_div(x.size(), Term::pack), Term{x.data_handle(), x.size()},
                             kernels::StoreSum{out.data_handle()});
    });
  }
};

template <>
struct Kernel<op::Dot, Cuda> {
  template <class TA, class TB>
  static void run(Exec<Cuda>& exec, View<const TA, 1, CudaSpace> a, View<const TB, 1, CudaSpace> b,
                  View<double, 1, CudaSpace> out) {
    constexpr int pack = kernels::DotTerm<true, TA, TB>::pack;
    detail::with_flag(detail::flat_packs(a, pack) && detail::flat_packs(b, pack), [&](auto aligned) {
      detail::reduce<double>(exec, "dot", ceil_div(a.size(), pack),
                             kernels::DotTerm<aligned(), TA, TB>{a.data_handle(), b.data_handle(), a.size()},
                             kernels::StoreSum{out.data_handle()});
    });
  }
};

template <>
struct Kernel<op::HasNonfinite, Cuda> {
  template <class T>
  static void run(Exec<Cuda>& exec, View<const T, 1, CudaSpace> x, View<std::int32_t, 1, CudaSpace> flag,
                  ops::GradMode mode) {
    detail::with_flag(detail::flat_packs(x, kernels::pack_of<T>), [&](auto aligned) {
      using Term = kernels::NonfiniteTerm<aligned(), T>;
      detail::reduce<int>(exec, "has_nonfinite", ceil_div(x.size(), Term::pack), Term{x.data_handle(), x.size()},
                          kernels::RaiseFlag{flag.data_handle(), mode == ops::GradMode::accumulate});
    });
  }
};

template <>
struct Kernel<op::SumRows, Cuda> {
  template <class T>
  static std::int64_t workspace_bytes(const Exec<Cuda>&, std::int64_t rows, std::int64_t columns) {
    return detail::column_sums_bytes<Accum<T>>(1, rows, columns, 1);
  }

  template <class T, class TOut>
  static void run(Exec<Cuda>& exec, View<const T, 2, CudaSpace> x, View<TOut, 1, CudaSpace> out, ops::GradMode mode,
                  View<std::byte, 1, CudaSpace> scratch) {
    constexpr int pack = kernels::pack_of<T>;
    detail::column_sums<1, Accum<T>, pack>(exec, "sum_rows", x.extent(0), x.extent(1), 1, kernels::RowGroups{},
                                           kernels::RowTerms<T>{detail::rows_at(x)}, detail::packs(x, pack),
                                           scratch.data_handle(), detail::column_results(mode, detail::one_row(out)));
  }
};

SEGUE_NAMESPACE_END
