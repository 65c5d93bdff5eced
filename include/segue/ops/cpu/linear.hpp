// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>

#include "segue/ops/cpu/activation.hpp"
#include "segue/ops/cpu/gemm.hpp"
#include "segue/ops/linear.hpp"

SEGUE_NAMESPACE_BEGIN

template <>
struct Kernel<op::LinearBackwardBias, Cpu> {
  template <class TDy>
  static std::size_t workspace_bytes(const Exec<Cpu>&, std::int64_t, std::int64_t) {
    return 0;
  }

  template <class TDy, class TDb>
  static void run(Exec<Cpu>& exec, View<const TDy, 2, HostSpace> dy, View<TDb, 1, HostSpace> dbias, ops::GradMode mode,
                  View<std::byte, 1, HostSpace>) {
    using A = Accum<TDy>;
    namespace simd = detail::simd;
    constexpr std::int64_t lanes = simd::lanes<A>, width = 4 * lanes, chunk = 64;
    const std::int64_t rows = dy.extent(0), columns = dy.extent(1);
    const auto work = [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t block = begin; block < end; ++block) {
        const std::int64_t first = block * width;
        simd::Vec<A> total[4] = {};
        for (std::int64_t row = 0; row < rows; row += chunk) {
          simd::Vec<A> sum[4] = {};
          for (std::int64_t r = row; r < std::min(rows, row + chunk); ++r)
            for (int j = 0; j < 4; ++j) {
              const std::int64_t column = first + j * lanes;
              if (column < columns)
                sum[j] += simd::load<A>(dy.data_handle() + r * dy.stride(0) + column, columns - column);
            }
          for (int j = 0; j < 4; ++j) total[j] += sum[j];
        }
        for (int j = 0; j < 4; ++j) {
          const std::int64_t column = first + j * lanes;
          if (column >= columns) break;
          TDb* out = dbias.data_handle() + column;
          if (mode == ops::GradMode::accumulate)
            total[j] += simd::load<A>(static_cast<const TDb*>(out), columns - column);
          simd::store<A>(out, total[j], columns - column);
        }
      }
    };
    detail::parallel_for(exec, ceil_div(columns, width), work,
                         ceil_div(1 << 14, std::max<std::int64_t>(1, rows * width)));
  }
};

template <>
struct Kernel<op::LinearBackwardWeightAndBias, Cpu> {
  template <class TDy, class TX, class TDw, class TDb>
  static void run(Exec<Cpu>& exec, View<const TDy, 2, HostSpace> dy, View<const TX, 2, HostSpace> x,
                  View<TDw, 2, HostSpace> dweight, ops::GradMode weight_mode, View<TDb, 1, HostSpace> dbias,
                  ops::GradMode bias_mode, View<std::byte, 1, HostSpace> scratch) {
    ops::linear_backward_weight(exec, dy, x, dweight, weight_mode, scratch);
    ops::linear_backward_bias(exec, dy, dbias, bias_mode, scratch);
  }
};

template <>
struct Kernel<op::LinearBackwardInputThroughActivation, Cpu> {
  // To accumulate, the product needs a place of its own, behind the scratch of the product.
  template <class TDy, class TW, class TDx>
  static std::size_t workspace_bytes(const Exec<Cpu>& exec, std::int64_t m, std::int64_t n, std::int64_t k,
                                     ops::GradMode mode) {
    return product_bytes<TDy, TW, TDx>(exec, m, n, k) +
           (mode == ops::GradMode::accumulate ? static_cast<std::size_t>(m * k) * sizeof(TDx) : 0);
  }

  template <class TDy, class TW, class TDx>
  static void run(Exec<Cpu>& exec, View<const TDy, 2, HostSpace> dy, View<const TW, 2, HostSpace> weight,
                  ops::Activation activation, View<const TDx, 2, HostSpace> pre, View<TDx, 2, HostSpace> dx,
                  ops::GradMode mode, View<std::byte, 1, HostSpace> scratch) {
    const std::int64_t m = dx.extent(0), k = dx.extent(1);
    View<TDx, 2, HostSpace> product = dx;
    if (mode == ops::GradMode::accumulate)
      product = {reinterpret_cast<TDx*>(scratch.data_handle() + product_bytes<TDy, TW, TDx>(exec, m, dy.extent(1), k)),
                 {m, k}};
    ops::linear_backward_input(exec, dy, weight, product, ops::GradMode::overwrite, scratch);
    ops::activation_backward(exec, activation, pre, View<const TDx, 2, HostSpace>(product), dx, mode);
  }

 private:
  template <class TDy, class TW, class TDx>
  static std::size_t product_bytes(const Exec<Cpu>& exec, std::int64_t m, std::int64_t n, std::int64_t k) {
    const std::size_t bytes = ops::linear_backward_input_workspace_bytes<TDy, TW, TDx>(exec, m, n, k);
    return (bytes + 63) / 64 * 64;
  }
};

SEGUE_NAMESPACE_END
