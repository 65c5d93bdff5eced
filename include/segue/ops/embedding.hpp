// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "segue/core/dispatch.hpp"
#include "segue/core/dtype.hpp"
#include "segue/core/exec.hpp"
#include "segue/ops/checks.hpp"
#include "segue/ops/cost.hpp"

SEGUE_NAMESPACE_BEGIN
namespace op {
struct SinusoidalEmbedding;
}  // namespace op

namespace ops {

/// Which half of the embedding holds the sines. diffusers' `flip_sin_to_cos=True` is `cos_first`, and what Wan uses.
enum class SinusoidOrder : std::uint8_t { sin_first, cos_first };

struct SinusoidOptions {
  SinusoidOrder order = SinusoidOrder::cos_first;
  double max_period = 10000;
  double downscale_freq_shift = 0;
};

/// out(b, i) = cos or sin of t(b)·max_period^(−i/(half − downscale_freq_shift)), i < half = dim/2; a last odd element
/// is 0. Rounded to float where diffusers' `get_timestep_embedding` rounds, so that large t give its numbers.
///   t (B) float; out (B, dim), row stride free
/// No gradient: timesteps are data. @throws InputError if a shape does not fit, or half <= downscale_freq_shift.
template <class Device, class T>
void sinusoidal_embedding(Exec<Device>& exec, std::type_identity_t<View<const float, 1, typename Device::Space>> t,
                          View<T, 2, typename Device::Space> out, const SinusoidOptions& options = {}) {
  static_assert(is_floating<T>, "sinusoidal_embedding: out must hold float, double, bfloat16 or float16");
  constexpr std::string_view name = "sinusoidal_embedding";
  detail::check_shape(name, "t", t, {-1});
  detail::check_shape(name, "out", out, {t.extent(0), out.extent(1)});
  const std::int64_t half = out.extent(1) / 2;
  if (half > 0 && static_cast<double>(half) <= options.downscale_freq_shift)
    throw_input(name, "downscale_freq_shift", std::to_string(options.downscale_freq_shift),
                "less than half the dimension, " + std::to_string(half));
  if (exec.planning() || out.empty()) return;
  Kernel<op::SinusoidalEmbedding, Device>::run(exec, t, out, options);
}

template <class T>
constexpr Cost sinusoidal_embedding_cost(std::int64_t batch, std::int64_t dim) {
  const double n = static_cast<double>(batch) * static_cast<double>(dim);
  return {3 * n, n * sizeof(T)};
}

}  // namespace ops
SEGUE_NAMESPACE_END
