// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "segue/ops/cuda/activation.cuh"
#include "segue/ops/cuda/column_sums.cuh"
#include "segue/ops/cuda/gemm.cuh"
#include "segue/ops/linear.hpp"

SEGUE_NAMESPACE_BEGIN

template <>
struct Kernel<op::LinearBackwardBias, Cuda> {
  template <class TDy>
  static std::size_t workspace_bytes(const Exec<Cuda>&, std::int64_t m, std::int64_t n) {
    return static_cast<std::size_t>(detail::column_sums_bytes<Accum<TDy>>(1, m, n, 1));
  }

  template <class TDy, class TDb>
  static void run(Exec<Cuda>& exec, View<const TDy, 2, CudaSpace> dy, View<TDb, 1, CudaSpace> dbias, ops::GradMode mode,
                  View<std::byte, 1, CudaSpace> scratch) {
    constexpr int pack = kernels::pack_of<TDy>;
    detail::column_sums<1, Accum<TDy>, pack>(exec, "linear_backward_bias", dy.extent(0), dy.extent(1), 1,
                                             kernels::RowGroups{}, kernels::RowTerms<TDy>{detail::rows_at(dy)},
                                             detail::packs(dy, pack), scratch.data_handle(),
                                             detail::column_results(mode, detail::one_row(dbias)));
  }
};

template <>
struct Kernel<op::LinearBackwardWeightAndBias, Cuda> {
  template <class TDy, class TX, class TDw, class TDb>
  static void run(Exec<Cuda>& exec, View<const TDy, 2, CudaSpace> dy, View<const TX, 2, CudaSpace> x,
                  View<TDw, 2, CudaSpace> dweight, ops::GradMode weight_mode, View<TDb, 1, CudaSpace> dbias,
                  ops::GradMode bias_mode, View<std::byte, 1, CudaSpace> scratch) {
    if constexpr (std::is_same_v<TDy, TX> && std::is_same_v<TDw, TDb>) {
      const bool exact = sizeof(TDy) == 2 || exec.gemm_math() == GemmMath::native;  // or sums would be of rounded terms
      if (exact && bias_mode == ops::GradMode::overwrite && dy.extent(0) * dy.extent(1) <= most_elements &&
          detail::for_library(dy, x, dweight)) {
        detail::LtCall call =
            detail::lt_call(exec, dy, ops::Transpose::yes, x, ops::Transpose::no, dweight,
                            ops::GemmScale{.beta = weight_mode == ops::GradMode::accumulate ? 1.0 : 0.0});
        // The library's second factor is our first.
        call.epilogue = CUBLASLT_EPILOGUE_BGRADB;
        call.bias = dbias.data_handle();
        if (exec.extension<detail::CublasLt>().multiply(exec, "linear_backward_weight_and_bias", call)) return;
      }
    }
    ops::linear_backward_weight(exec, dy, x, dweight, weight_mode, scratch);
    ops::linear_backward_bias(exec, dy, dbias, bias_mode, scratch);
  }

 private:
  // Up to so many elements of dy one kernel is faster than three (1.3x for 320 x 1536); from there on the library's
  // product with the sums takes longer than without by more than a pass over dy does (0.92x for 32,760 x 8960).
  static constexpr std::int64_t most_elements = std::int64_t{1} << 22;
};

template <>
struct Kernel<op::LinearBackwardInputThroughActivation, Cuda> {
  // To accumulate, the product needs a place of its own.
  template <class TDy, class TW, class TDx>
  static std::size_t workspace_bytes(const Exec<Cuda>&, std::int64_t m, std::int64_t, std::int64_t k,
                                     ops::GradMode mode) {
    return mode == ops::GradMode::accumulate ? static_cast<std::size_t>(m * k) * sizeof(TDx) : 0;
  }

  template <class TDy, class TW, class TDx>
  static void run(Exec<Cuda>& exec, View<const TDy, 2, CudaSpace> dy, View<const TW, 2, CudaSpace> weight,
                  ops::Activation activation, View<const TDx, 2, CudaSpace> pre, View<TDx, 2, CudaSpace> dx,
                  ops::GradMode mode, View<std::byte, 1, CudaSpace> scratch) {
    constexpr const char* op = "linear_backward_input_through_activation";
    constexpr auto keep = ops::Transpose::no;
    if constexpr (std::is_same_v<TDy, TW> && detail::fuses_gelu<TDx>) {
      if (activation == ops::Activation::gelu_tanh && mode == ops::GradMode::overwrite &&
          detail::for_library(dy, weight, dx)) {
        detail::LtCall call = detail::lt_call(exec, dy, keep, weight, keep, dx, ops::GemmScale{});
        call.epilogue = CUBLASLT_EPILOGUE_DGELU;
        call.aux = const_cast<TDx*>(pre.data_handle());
        call.ld_aux = detail::leading_dimension(pre);
        if (exec.extension<detail::CublasLt>().multiply(exec, op, call)) return;
      }
    }
    const View<TDx, 2, CudaSpace> product =
        mode == ops::GradMode::accumulate
            ? View<TDx, 2, CudaSpace>(reinterpret_cast<TDx*>(scratch.data_handle()), dx.shape())
            : dx;
    ops::linear_backward_input(exec, dy, weight, product, ops::GradMode::overwrite, {});
    ops::activation_backward(exec, activation, pre, View<const TDx, 2, CudaSpace>(product), dx, mode);
  }
};

SEGUE_NAMESPACE_END
