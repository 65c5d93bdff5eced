// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "segue/core/dispatch.hpp"
#include "segue/core/dtype.hpp"
#include "segue/core/exec.hpp"
#include "segue/ops/checks.hpp"
#include "segue/ops/cost.hpp"

SEGUE_NAMESPACE_BEGIN
namespace op {
struct NormalizePixels;
}  // namespace op

namespace ops {

/// A byte as the models see it: v / 127.5 − 1, rounded once, so that every compiler gives the same float.
SEGUE_HOST_DEVICE constexpr float model_value(std::uint8_t v) {
  return static_cast<float>(2 * static_cast<int>(v) - 255) / 255.0f;
}

/// Clips of bytes as pictures hold them, to model space: out(b, c, f, y, x) = pixels(b, f, y, x, c) / 127.5 − 1,
/// rounded to T.
///   pixels (B, F, H, W, C) contiguous
///   out    (B, C, F, H, W), last axis contiguous, other strides free
/// @throws InputError if a shape does not fit or pixels has gaps. Cost: `normalize_pixels_cost`.
template <class Device, class T>
void normalize_pixels(Exec<Device>& exec,
                      std::type_identity_t<View<const std::uint8_t, 5, typename Device::Space>> pixels,
                      View<T, 5, typename Device::Space> out) {
  static_assert(is_floating<T>, "normalize_pixels: out must hold float, double, bfloat16 or float16");
  detail::check_shape("normalize_pixels", "pixels", pixels,
                      {out.extent(0), out.extent(2), out.extent(3), out.extent(4), out.extent(1)});
  detail::check_shape("normalize_pixels", "out", out, out.shape());
  if (!pixels.is_contiguous()) throw_input("normalize_pixels", "pixels", "a view with gaps", "contiguous memory");
  if (exec.planning() || out.empty()) return;
  Kernel<op::NormalizePixels, Device>::run(exec, pixels, out);
}

template <class T>
constexpr Cost normalize_pixels_cost(std::int64_t elements) {
  const auto n = static_cast<double>(elements);
  return {2 * n, n * (1 + sizeof(T))};
}

}  // namespace ops
SEGUE_NAMESPACE_END
