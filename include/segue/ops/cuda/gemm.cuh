// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>

#include "segue/core/launch.cuh"
#include "segue/ops/cuda/access.cuh"
#include "segue/ops/cuda/activation_math.cuh"
#include "segue/ops/cuda/cublaslt.cuh"
#include "segue/ops/gemm.hpp"

SEGUE_KERNELS_BEGIN

/// What remains to be done to a product: c = act(sum + bias), pre = sum + bias. `sum` may be c or pre.
template <class TC, class TBias>
struct Finish {
  const TC* sum;
  const TBias* bias;  ///< or null
  TC* pre;            ///< or null
  TC* c;
  std::int64_t ld_sum, ld_pre, ldc;
  std::uint32_t columns;
  ops::Activation activation;
};

/// A thread takes N neighbours at a time; `packs` of them are in all rows together.
template <int N, class Index, class TC, class TBias>
__global__ void __launch_bounds__(256) finish_gemm(const Finish<TC, TBias> f, Index packs) {
  using A = Accum<TC>;
  const Index per_row = static_cast<Index>(f.columns / static_cast<std::uint32_t>(N));
  const Index stride = static_cast<Index>(gridDim.x) * blockDim.x;
  with_activation(f.activation, [&]<ops::Activation Act>() {
    for (Index i = static_cast<Index>(blockIdx.x) * blockDim.x + threadIdx.x; i < packs; i += stride) {
      const Index row = i / per_row;
      const auto column = static_cast<std::int64_t>(i - row * per_row) * N;
      const auto r = static_cast<std::int64_t>(row);
      Pack<A, N> x = load_as<N, A>(f.sum + r * f.ld_sum + column);
      if (f.bias) {
        const Pack<A, N> shift = load_as<N, A>(f.bias + column);
#pragma unroll
        for (int k = 0; k < N; ++k) x.v[k] += shift.v[k];
      }
      if (f.pre) store_as<N>(f.pre + r * f.ld_pre + column, x);
#pragma unroll
      for (int k = 0; k < N; ++k) x.v[k] = activate<Act>(x.v[k]);
      store_as<N>(f.c + r * f.ldc + column, x);
    }
  });
}

/// A product with any strides: element (i, p) of a lies at i·a_row + p·a_step, (p, j) of b at p·b_step + j·b_column.
template <class T, class TC, class TBias>
struct TiledProduct {
  const T* a;
  const T* b;
  TC* c;
  const TBias* bias;  ///< or null
  TC* pre;            ///< or null
  std::int64_t m, n, k, a_row, a_step, b_step, b_column, ldc, ld_pre;
  Accum<T> alpha, beta;
  ops::Activation activation;
};

/// For what the library refuses. Each block makes a tile of 64 x 64, each thread 4 x 4 of it, summed in the order of k.
template <class T, class TC, class TBias>
__global__ void __launch_bounds__(256) tiled_gemm(const TiledProduct<T, TC, TBias> p) {
  using A = Accum<T>;
  constexpr int tile = 64, depth = 16;
  __shared__ A left[depth][tile + 1], right[depth][tile + 1];
  const std::int64_t tiles_across = (p.n + tile - 1) / tile;
  const std::int64_t row0 = static_cast<std::int64_t>(blockIdx.x) / tiles_across * tile;
  const std::int64_t column0 = static_cast<std::int64_t>(blockIdx.x) % tiles_across * tile;
  const int t = static_cast<int>(threadIdx.x), ty = t / 16, tx = t % 16;
  A sum[4][4] = {};
  for (std::int64_t k0 = 0; k0 < p.k; k0 += depth) {
    for (int e = t; e < tile * depth; e += 256) {
      // Neighbouring threads read neighbours in memory, whichever axis that is.
      const int ai = p.a_step == 1 ? e / depth : e % tile, ap = p.a_step == 1 ? e % depth : e / tile;
      const int bj = p.b_step == 1 ? e / depth : e % tile, bp = p.b_step == 1 ? e % depth : e / tile;
      left[ap][ai] =
          row0 + ai < p.m && k0 + ap < p.k ? cast<A>(p.a[(row0 + ai) * p.a_row + (k0 + ap) * p.a_step]) : A(0);
      right[bp][bj] =
          column0 + bj < p.n && k0 + bp < p.k ? cast<A>(p.b[(k0 + bp) * p.b_step + (column0 + bj) * p.b_column]) : A(0);
    }
    __syncthreads();
    for (int step = 0; step < depth; ++step) {
      A x[4], y[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) x[i] = left[step][ty * 4 + i];
#pragma unroll
      for (int j = 0; j < 4; ++j) y[j] = right[step][tx + 16 * j];
#pragma unroll
      for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j) sum[i][j] += x[i] * y[j];
    }
    __syncthreads();
  }
  A before[16];  // the activation
#pragma unroll
  for (int i = 0; i < 4; ++i)
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const std::int64_t row = row0 + ty * 4 + i, column = column0 + tx + 16 * j;
      if (row >= p.m || column >= p.n) continue;
      A x = p.alpha * sum[i][j];
      if (p.beta != A(0)) x += p.beta * cast<A>(p.c[row * p.ldc + column]);
      if (p.bias) x += cast<A>(p.bias[column]);
      if (p.pre) p.pre[row * p.ld_pre + column] = cast<TC>(x);
      before[i * 4 + j] = x;
    }
  // Not unrolled: sixteen times every activation would take longer to compile than the rest of the kernel.
  with_activation(p.activation, [&]<ops::Activation Act>() {
#pragma unroll 1
    for (int e = 0; e < 16; ++e) {
      const std::int64_t row = row0 + ty * 4 + e / 4, column = column0 + tx + 16 * (e % 4);
      if (row < p.m && column < p.n) p.c[row * p.ldc + column] = cast<TC>(activate<Act>(before[e]));
    }
  });
}

SEGUE_KERNELS_END

SEGUE_NAMESPACE_BEGIN
namespace detail {

/// Row stride as the library wants it; that of a single row means nothing, so that it is given a well aligned one.
template <class T>
std::int64_t leading_dimension(const View<T, 2, CudaSpace>& x) {
  return x.extent(0) > 1 ? x.stride(0) : ceil_div(x.extent(1), 8) * 8;
}

template <class TA, class TC>
LtCall lt_call(const Exec<Cuda>& exec, const View<const TA, 2, CudaSpace>& a, ops::Transpose ta,
               const View<const TA, 2, CudaSpace>& b, ops::Transpose tb, const View<TC, 2, CudaSpace>& c,
               ops::GemmScale scale) {
  LtCall call;
  call.m = c.extent(0);
  call.n = c.extent(1);
  call.k = a.extent(ta == ops::Transpose::no ? 1 : 0);
  call.a = a.data_handle();
  call.b = b.data_handle();
  call.c = call.d = c.data_handle();
  call.lda = leading_dimension(a);
  call.ldb = leading_dimension(b);
  call.ldc = call.ldd = leading_dimension(c);
  call.transpose_a = ta == ops::Transpose::yes;
  call.transpose_b = tb == ops::Transpose::yes;
  call.type = cublas_type<TA>;
  call.result_type = cublas_type<TC>;
  call.math = exec.gemm_math();
  call.alpha = scale.alpha;
  call.beta = scale.beta;
  return call;
}

/// The library's gelu is gelu_tanh within some 1e-5: as good as ours where the result is rounded to 16 bits.
template <class T>
inline constexpr bool fuses_gelu = sizeof(T) == 2;

/// Rows that overlap (a stride of 0, say) and empty sums are not for the library.
template <class TA, class TC>
bool for_library(const View<const TA, 2, CudaSpace>& a, const View<const TA, 2, CudaSpace>& b,
                 const View<TC, 2, CudaSpace>& c) {
  const auto separate = [](const auto& x) { return x.extent(0) <= 1 || x.stride(0) >= x.extent(1); };
  return !a.empty() && !b.empty() && separate(a) && separate(b) && separate(c);
}

template <class TC, class TBias>
void finish_gemm(Exec<Cuda>& exec, const char* op, View<const TC, 2, CudaSpace> sum,
                 View<const TBias, 1, CudaSpace> bias, ops::Activation activation, View<TC, 2, CudaSpace> pre,
                 View<TC, 2, CudaSpace> c) {
  const auto packed = [&](std::int64_t n) { return packs(sum, n) && packs(bias, n) && packs(pre, n) && packs(c, n); };
  const kernels::Finish<TC, TBias> f{sum.data_handle(), bias.data_handle(),
                                     pre.data_handle(), c.data_handle(),
                                     sum.stride(0),     pre.data_handle() ? pre.stride(0) : 0,
                                     c.stride(0),       static_cast<std::uint32_t>(c.extent(1)),
                                     activation};
  const auto issue = [&](auto kernel, auto count) {
    launch(exec, op, kernel, dim3(grid_for(exec, ceil_div(static_cast<std::int64_t>(count), 256), 16)), dim3(256), 0, f,
           count);
  };
  constexpr int wide = kernels::pack_of<TC>;
  if (packed(wide) && c.size() / wide < std::int64_t{1} << 31)
    issue(kernels::finish_gemm<wide, std::uint32_t, TC, TBias>, static_cast<std::uint32_t>(c.size() / wide));
  else
    issue(kernels::finish_gemm<1, std::uint64_t, TC, TBias>, static_cast<std::uint64_t>(c.size()));
}

/// The product by our own kernel.
template <class T, class TC, class TBias>
void tiled_gemm(Exec<Cuda>& exec, const char* op, View<const T, 2, CudaSpace> a, ops::Transpose ta,
                View<const T, 2, CudaSpace> b, ops::Transpose tb, View<TC, 2, CudaSpace> c, ops::GemmScale scale,
                const ops::Epilogue<TC, TBias, CudaSpace>& epilogue) {
  const bool fa = ta == ops::Transpose::yes, fb = tb == ops::Transpose::yes;
  kernels::TiledProduct<T, TC, TBias> p{};
  p.a = a.data_handle();
  p.b = b.data_handle();
  p.c = c.data_handle();
  p.bias = epilogue.bias.data_handle();
  p.pre = epilogue.pre_activation.data_handle();
  p.m = c.extent(0);
  p.n = c.extent(1);
  p.k = a.extent(fa ? 0 : 1);
  p.a_row = fa ? 1 : a.stride(0);
  p.a_step = fa ? a.stride(0) : 1;
  p.b_step = fb ? 1 : b.stride(0);
  p.b_column = fb ? b.stride(0) : 1;
  p.ldc = c.stride(0);
  p.ld_pre = p.pre ? epilogue.pre_activation.stride(0) : 0;
  p.alpha = static_cast<Accum<T>>(scale.alpha);
  p.beta = static_cast<Accum<T>>(scale.beta);
  p.activation = epilogue.activation;
  launch(exec, op, kernels::tiled_gemm<T, TC, TBias>,
         dim3(static_cast<unsigned>(ceil_div(p.m, 64) * ceil_div(p.n, 64))), dim3(256), 0, p);
}

}  // namespace detail

template <>
struct Kernel<op::Gemm, Cuda> {
  template <class TA, class TB, class TC>
  static std::size_t workspace_bytes(const Exec<Cuda>&, std::int64_t, std::int64_t, std::int64_t, ops::Transpose,
                                     ops::Transpose) {
    return 0;
  }

  template <class TA, class TB, class TC, class TBias>
  static void run(Exec<Cuda>& exec, View<const TA, 2, CudaSpace> a, ops::Transpose ta, View<const TB, 2, CudaSpace> b,
                  ops::Transpose tb, View<TC, 2, CudaSpace> c, ops::GemmScale scale,
                  const ops::Epilogue<TC, TBias, CudaSpace>& epilogue, View<std::byte, 1, CudaSpace>) {
    static_assert(std::is_same_v<TA, TB>,
                  "gemm(exec<Cuda>, ...): a and b must have one element type; cast one of them with ops::copy first");
    static_assert(std::is_same_v<TC, TA> || std::is_same_v<TC, float>,
                  "gemm(exec<Cuda>, ...): c must have the element type of a and b, or float");
    if constexpr (std::is_same_v<TA, TB> && (std::is_same_v<TC, TA> || std::is_same_v<TC, float>)) {
      if (!detail::for_library(a, b, c) ||
          !by_library(exec, detail::lt_call(exec, a, ta, b, tb, c, scale), c, epilogue))
        detail::tiled_gemm(exec, op, a, ta, b, tb, c, scale, epilogue);
    }
  }

 private:
  static constexpr const char* op = "gemm";

  /// The product and as much of the epilogue as the library fuses, then the rest in one pass.
  template <class TC, class TBias>
  static bool by_library(Exec<Cuda>& exec, const detail::LtCall& plain, View<TC, 2, CudaSpace> c,
                         const ops::Epilogue<TC, TBias, CudaSpace>& epilogue) {
    using ops::Activation;
    auto& library = exec.extension<detail::CublasLt>();
    const auto& pre = epilogue.pre_activation;
    const bool wants_bias = epilogue.bias.data_handle() != nullptr, wants_pre = pre.data_handle() != nullptr;
    const Activation activation = epilogue.activation;
    const bool fits = std::is_same_v<TBias, TC> || !wants_bias;
    const auto with_bias = [&](detail::LtCall call, int of) {
      if (wants_bias) {
        of = of == CUBLASLT_EPILOGUE_DEFAULT ? CUBLASLT_EPILOGUE_BIAS : of | CUBLASLT_EPILOGUE_BIAS;
        call.bias = const_cast<TBias*>(epilogue.bias.data_handle());
      }
      call.epilogue = static_cast<cublasLtEpilogue_t>(of);
      return call;
    };
    if (fits && activation == Activation::none && !wants_pre)
      if (library.multiply(exec, op, with_bias(plain, CUBLASLT_EPILOGUE_DEFAULT))) return true;
    if (fits && activation == Activation::gelu_tanh && detail::fuses_gelu<TC>) {
      detail::LtCall call = with_bias(plain, wants_pre ? CUBLASLT_EPILOGUE_GELU_AUX : CUBLASLT_EPILOGUE_GELU);
      if (wants_pre) {
        call.aux = pre.data_handle();
        call.ld_aux = detail::leading_dimension(pre);
      }
      if (library.multiply(exec, op, call)) return true;
    }
    // The sum lies where it is wanted, if it is, so that the pass reads one matrix and writes one.
    const View<TC, 2, CudaSpace> sum = wants_pre ? pre : c;
    detail::LtCall call = plain;
    call.d = sum.data_handle();
    call.ldd = detail::leading_dimension(sum);
    if (call.beta == 0) {
      call.c = call.d;
      call.ldc = call.ldd;
    }
    const bool biased = !wants_bias || (fits && library.multiply(exec, op, with_bias(call, CUBLASLT_EPILOGUE_DEFAULT)));
    if (!(biased && wants_bias) && !library.multiply(exec, op, call)) return false;
    if (biased && !wants_pre && activation == Activation::none) return true;
    detail::finish_gemm(exec, op, View<const TC, 2, CudaSpace>(sum),
                        biased ? View<const TBias, 1, CudaSpace>{} : epilogue.bias, activation,
                        wants_pre && !biased ? pre : View<TC, 2, CudaSpace>{}, c);
    return true;
  }
};

template <>
struct Kernel<op::GemmChoices, Cuda> {
  static std::string text(Exec<Cuda>& exec) { return exec.extension<detail::CublasLt>().choices(); }
  static bool restore(Exec<Cuda>& exec, std::string_view text) {
    return exec.extension<detail::CublasLt>().restore_choices(text);
  }
};

namespace ops {

/// Measures the products of shapes met from now on, once each, and keeps the fastest of the library's algorithms; never
/// while a graph is captured. Another run may choose others, with other roundings: `gemm_choices` repeats them.
/// @throws Error if the Exec was made deterministic.
inline void tune_gemms(Exec<Cuda>& exec, bool on) {
  if (on && exec.deterministic())
    throw Error(
        "tune_gemms: this Exec is deterministic, so its products are not measured; make it with "
        "Options{.deterministic = false}, or restore choices that were measured before");
  exec.extension<detail::CublasLt>().set_tuning(on);
}

}  // namespace ops
SEGUE_NAMESPACE_END
