// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>

#include "segue/ops/cpu/rows.hpp"
#include "segue/ops/embedding.hpp"

SEGUE_NAMESPACE_BEGIN

template <>
struct Kernel<op::SinusoidalEmbedding, Cpu> {
  template <class T>
  static void run(Exec<Cpu>& exec, View<const float, 1, HostSpace> t, View<T, 2, HostSpace> out,
                  const ops::SinusoidOptions& options) {
    const std::int64_t dim = out.extent(1), half = dim / 2;
    const bool cos_first = options.order == ops::SinusoidOrder::cos_first;
    const auto decay = static_cast<float>(-std::log(options.max_period));
    const auto steps = static_cast<float>(static_cast<double>(half) - options.downscale_freq_shift);
    detail::parallel_for(
        exec, t.extent(0),
        [&](std::int64_t begin, std::int64_t end) {
          for (std::int64_t b = begin; b < end; ++b) {
            T* const row = out.data_handle() + b * out.stride(0);
            for (std::int64_t i = 0; i < half; ++i) {
              // PyTorch works in float here, and an ulp of the frequency is 1e-4 of a radian at t = 1000.
              const float exponent = decay * static_cast<float>(i) / steps;
              const auto frequency = static_cast<float>(std::exp(static_cast<double>(exponent)));
              const double angle = static_cast<double>(t.data_handle()[b] * frequency);
              row[i] = cast<T>(cos_first ? std::cos(angle) : std::sin(angle));
              row[half + i] = cast<T>(cos_first ? std::sin(angle) : std::cos(angle));
            }
            if (dim % 2) row[dim - 1] = cast<T>(0.0f);
          }
        },
        detail::row_grain(dim * 32));
  }
};

SEGUE_NAMESPACE_END
