// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

#include "segue/core/dispatch.hpp"
#include "segue/core/dtype.hpp"
#include "segue/core/exec.hpp"
#include "segue/ops/checks.hpp"
#include "segue/ops/cost.hpp"

SEGUE_NAMESPACE_BEGIN
namespace op {
struct AdamWStep;
struct GlobalNorm;
}  // namespace op

namespace ops {

/// One tensor of a multi-tensor AdamW step: contiguous memory of `count` elements each. The moments start as 0.
template <class TP, class TG>
struct AdamWTensor {
  TP* param = nullptr;
  const TG* grad = nullptr;
  Accum<TP>* m = nullptr;  ///< first moment
  Accum<TP>* v = nullptr;  ///< second moment
  std::int64_t count = 0;
  bool decay = true;  ///< whether weight_decay applies; biases and norms are often left out
};

/// The defaults of torch.optim.AdamW.
struct AdamWOptions {
  double lr = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 1e-2;
};

/// Decoupled weight decay as torch.optim.AdamW (Loshchilov & Hutter, 2019), with g = grad_scale·grad:
///   param *= 1 − lr·weight_decay;   m += (1 − beta1)·(g − m);   v = beta2·v + (1 − beta2)·g²
///   param −= lr/(1 − beta1^step) · m / (√v/√(1 − beta2^step) + eps)
/// @param step 1 for the first call. @param grad_scale clip coefficient, over the loss scale if there is one.
/// Elementwise in Accum<TP>: no bits depend on how tensors are grouped.
/// @throws InputError if step < 1.
template <class Device, class TP, class TG>
void adamw_step(Exec<Device>& exec, std::span<const AdamWTensor<TP, TG>> tensors, const AdamWOptions& options,
                std::int64_t step, double grad_scale = 1) {
  static_assert(is_floating<TP> && is_floating<TG>, "adamw_step: parameters and gradients must be floating point");
  if (step < 1) throw_input("adamw_step", "step", std::to_string(step), "1 or more");
  if (exec.planning() || tensors.empty()) return;
  Kernel<op::AdamWStep, Device>::run(exec, tensors, options, step, grad_scale);
}

template <class TP, class TG>
constexpr Cost adamw_step_cost(std::int64_t elements) {
  const auto n = static_cast<double>(elements);
  return {14 * n, n * (2 * sizeof(TP) + sizeof(TG) + 4 * sizeof(Accum<TP>))};
}

/// √(Σ over all tensors of g²), in double, in an order that depends on the counts alone. NaN and infinity come through.
/// While planning it returns 0.
template <class Device, class TG>
double global_norm(Exec<Device>& exec, std::span<const View<const TG, 1, typename Device::Space>> grads) {
  static_assert(is_floating<TG>, "global_norm: gradients must hold float, double, bfloat16 or float16");
  for (const auto& g : grads) detail::check_shape("global_norm", "a gradient", g, {-1});
  if (exec.planning()) return 0;
  return Kernel<op::GlobalNorm, Device>::run(exec, grads);
}

/// The factor that torch.nn.utils.clip_grad_norm_ applies: min(1, max_norm/(norm + 1e-6)).
constexpr double clip_coefficient(double norm, double max_norm) {
  const double coefficient = max_norm / (norm + 1e-6);
  return coefficient < 1 ? coefficient : 1;
}

}  // namespace ops
SEGUE_NAMESPACE_END
