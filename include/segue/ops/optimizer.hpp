// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>
#include <span>

#include "segue/core/dispatch.hpp"
#include "segue/core/dtype.hpp"
#include "segue/core/exec.hpp"
#include "segue/ops/checks.hpp"
#include "segue/ops/cost.hpp"
#include "segue/ops/types.hpp"

SEGUE_NAMESPACE_BEGIN
namespace op {
struct AdamWStep;
struct GlobalNorm;
struct BeginUpdate;
struct EmaStep;
}  // namespace op

namespace ops {

/// One tensor of a multi-tensor AdamW step: contiguous memory of `count` elements each. The moments start as 0.
template <class TP, class TG, class TV = TP>
struct AdamWTensor {
  TP* param = nullptr;
  const TG* grad = nullptr;
  Accum<TP>* m = nullptr;  ///< first moment
  Accum<TP>* v = nullptr;  ///< second moment
  std::int64_t count = 0;
  bool decay = true;    ///< whether weight_decay applies; biases and norms are often left out
  TV* value = nullptr;  ///< what the model computes with: the new parameter is rounded into it; null: nothing is
  /// Where the rows of `value` lie apart: the elements of a row, and from row to row. 0: `value` is contiguous.
  std::int64_t value_columns = 0;
  std::int64_t value_stride = 0;

  /// Where in `value` element i goes.
  SEGUE_HOST_DEVICE static constexpr std::int64_t value_index(std::int64_t i, std::int64_t columns,
                                                              std::int64_t stride) {
    return columns == 0 ? i : i / columns * stride + i % columns;
  }
};

/// The defaults of torch.optim.AdamW.
struct AdamWOptions {
  double lr = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 1e-2;
};

/// The numbers of a training run that live where the parameters live, so that a step that is captured once can be
/// replayed.
struct UpdateState {
  double lr = 0;          ///< of this step; written before it
  double loss = 0;        ///< of this step, mean over its batches, loss scale taken out; written before the update
  double grad_norm = 0;   ///< of this step, loss scale taken out
  double grad_scale = 1;  ///< what AdamW multiplies gradients by: clip coefficient / loss scale
  double bias_correction1 = 1, bias_correction2 = 1;  ///< 1 − beta^updates
  double ema_weight = 0;                              ///< 1 − decay of this update
  double loss_scale = 1;                              ///< what the next loss is multiplied by before the backward
  std::int64_t updates = 0;                           ///< the t of the bias correction
  std::int64_t steady = 0;                            ///< good updates since the loss scale changed
  std::int64_t skipped = 0, consecutive_skipped = 0;
  std::int32_t skip = 0;  ///< 1: the loss or the gradient is not finite, nothing is updated
};

struct UpdateOptions {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double max_norm = 0;   ///< that gradients are clipped to; 0: no clipping
  double ema_decay = 0;  ///< 0: no moving average
  /// Growth and backoff of the loss scale, with the defaults of torch.amp.GradScaler.
  bool dynamic_loss_scale = false;
  double growth = 2;
  double backoff = 0.5;
  std::int64_t growth_interval = 2000;
};

/// One tensor of a multi-tensor moving average: contiguous memory of `count` elements each.
template <class TX, class T>
struct EmaTensor {
  const TX* x = nullptr;
  T* y = nullptr;
  std::int64_t count = 0;
};

/// The factor that torch.nn.utils.clip_grad_norm_ applies: min(1, max_norm/(norm + 1e-6)).
SEGUE_HOST_DEVICE constexpr double clip_coefficient(double norm, double max_norm) {
  const double coefficient = max_norm / (norm + 1e-6);
  return coefficient < 1 ? coefficient : 1;
}

/// The decay of a moving average at update t = 0, 1, …: it warms up, so that the beginning is forgotten.
SEGUE_HOST_DEVICE constexpr double ema_decay(double decay, std::int64_t t) {
  const double warm = static_cast<double>(1 + t) / static_cast<double>(10 + t);
  return warm < decay ? warm : decay;
}

}  // namespace ops

namespace detail {

// The arithmetic that the devices share. It leaves compilers no product to contract with a sum, so CPU and GPU agree to
// the bit, but for `pow`, where they may differ in the last place of a double.

/// What AdamW computes an element with.
template <class A>
struct AdamWFactors {
  A grad_scale, kept, beta2, rest1, rest2, eps, step_size, root_correction;
};

template <class A>
SEGUE_HOST_DEVICE AdamWFactors<A> adamw_factors(const ops::AdamWOptions& o, double lr, double grad_scale,
                                                double bias_correction1, double bias_correction2) {
  return {static_cast<A>(grad_scale),
          static_cast<A>(std::fma(-lr, o.weight_decay, 1.0)),
          static_cast<A>(o.beta2),
          static_cast<A>(1 - o.beta1),
          static_cast<A>(1 - o.beta2),
          static_cast<A>(o.eps),
          static_cast<A>(lr / bias_correction1),
          static_cast<A>(std::sqrt(bias_correction2))};
}

template <class A>
SEGUE_HOST_DEVICE AdamWFactors<A> adamw_factors(const ops::AdamWOptions& o, const ops::UpdateState& s) {
  return adamw_factors<A>(o, s.lr, s.grad_scale, s.bias_correction1, s.bias_correction2);
}

SEGUE_HOST_DEVICE inline double bias_correction(double beta, std::int64_t updates) {
  return 1 - std::pow(beta, static_cast<double>(updates));
}

/// `ops::begin_update` of one state.
SEGUE_HOST_DEVICE inline void begin_update(ops::UpdateState& s, double norm_squared, const ops::UpdateOptions& o) {
  const auto finite = [](double x) { return x - x == 0; };
  const double scale = s.loss_scale;
  s.grad_norm = std::sqrt(norm_squared) / scale;
  s.skip = finite(s.loss) && finite(norm_squared) ? 0 : 1;
  if (s.skip) {
    ++s.skipped;
    ++s.consecutive_skipped;
    if (o.dynamic_loss_scale) {
      s.loss_scale = scale * o.backoff;
      s.steady = 0;
    }
    return;
  }
  s.consecutive_skipped = 0;
  s.ema_weight = o.ema_decay > 0 ? 1 - ops::ema_decay(o.ema_decay, s.updates) : 0;
  ++s.updates;
  s.bias_correction1 = bias_correction(o.beta1, s.updates);
  s.bias_correction2 = bias_correction(o.beta2, s.updates);
  s.grad_scale = (o.max_norm > 0 ? ops::clip_coefficient(s.grad_norm, o.max_norm) : 1) / scale;
  if (o.dynamic_loss_scale && ++s.steady >= o.growth_interval) {
    // It must stay finite as a float.
    if (finite(static_cast<float>(scale * o.growth))) s.loss_scale = scale * o.growth;
    s.steady = 0;
  }
}

}  // namespace detail

namespace ops {

/// Decoupled weight decay as torch.optim.AdamW (Loshchilov & Hutter, 2019), with g = grad_scale·grad:
///   param *= 1 − lr·weight_decay;   m += (1 − beta1)·(g − m);   v = beta2·v + (1 − beta2)·g²
///   param −= lr/(1 − beta1^step) · m / (√v/√(1 − beta2^step) + eps);   value = param, rounded
/// @param step 1 for the first call. @param grad_scale clip coefficient, over the loss scale if there is one.
/// Elementwise in Accum<TP>: no bits depend on how tensors are grouped. The root and the quotients are correctly
/// rounded on every device; a product that feeds a sum is rounded before it or not, as the device's compiler likes.
/// Memory must be apart, but a tensor's `value` may be absent.
/// @throws InputError if step < 1.
template <class Device, class TP, class TG, class TV = TP>
void adamw_step(Exec<Device>& exec, std::span<const AdamWTensor<TP, TG, TV>> tensors, const AdamWOptions& options,
                std::int64_t step, double grad_scale = 1) {
  static_assert(is_floating<TP> && is_floating<TG> && is_floating<TV>,
                "adamw_step: parameters, gradients and values must be floating point");
  if (step < 1) throw_input("adamw_step", "step", std::to_string(step), "1 or more");
  if (exec.planning() || tensors.empty()) return;
  const double correction1 = detail::bias_correction(options.beta1, step);
  const double correction2 = detail::bias_correction(options.beta2, step);
  Kernel<op::AdamWStep, Device>::run(
      exec, tensors, detail::adamw_factors<Accum<TP>>(options, options.lr, grad_scale, correction1, correction2));
}

/// The same with lr, grad_scale and bias corrections from the state that `begin_update` prepared; where its `skip` is
/// set nothing is written. `options.lr` is not read.
///   state (1)
/// @throws InputError if the shape of state does not fit.
template <class Device, class TP, class TG, class TV = TP>
void adamw_step(Exec<Device>& exec, std::span<const AdamWTensor<TP, TG, TV>> tensors, const AdamWOptions& options,
                View<const UpdateState, 1, typename Device::Space> state) {
  static_assert(is_floating<TP> && is_floating<TG> && is_floating<TV>,
                "adamw_step: parameters, gradients and values must be floating point");
  detail::check_shape("adamw_step", "state", state, {1});
  if (exec.planning() || tensors.empty()) return;
  Kernel<op::AdamWStep, Device>::run(exec, tensors, options, state);
}

/// @param values whether the parameters are rounded into values of type TV too.
template <class TP, class TG, class TV = TP>
constexpr Cost adamw_step_cost(std::int64_t elements, bool values = false) {
  const auto n = static_cast<double>(elements);
  return {14 * n, n * (2 * sizeof(TP) + sizeof(TG) + 4 * sizeof(Accum<TP>) + (values ? sizeof(TV) : 0))};
}

/// √(Σ over all tensors of g²), in double, in an order that depends on the counts alone. NaN and infinity come through.
/// Waits for the device, whose pool lends the scratch; `global_norm_squared` does neither.
/// While planning it returns 0.
template <class Device, class TG>
double global_norm(Exec<Device>& exec, std::span<const View<const TG, 1, typename Device::Space>> grads) {
  static_assert(is_floating<TG>, "global_norm: gradients must hold float, double, bfloat16 or float16");
  for (const auto& g : grads) detail::check_shape("global_norm", "a gradient", g, {-1});
  if (exec.planning()) return 0;
  return std::sqrt(Kernel<op::GlobalNorm, Device>::sum_of_squares(exec, grads));
}

/// Bytes of scratch for `global_norm_squared`.
template <class Device, class TG>
std::size_t global_norm_squared_workspace_bytes(const Exec<Device>& exec,
                                                std::span<const View<const TG, 1, typename Device::Space>> grads) {
  return Kernel<op::GlobalNorm, Device>::workspace_bytes(exec, grads);
}

/// out(0) = Σ over all tensors of g², as in `global_norm`, where the gradients live.
///   out (1)
/// @throws InputError if a shape does not fit or scratch is too small.
template <class Device, class TG>
void global_norm_squared(Exec<Device>& exec, std::span<const View<const TG, 1, typename Device::Space>> grads,
                         View<double, 1, typename Device::Space> out,
                         View<std::byte, 1, typename Device::Space> scratch) {
  static_assert(is_floating<TG>, "global_norm_squared: gradients must hold float, double, bfloat16 or float16");
  constexpr std::string_view name = "global_norm_squared";
  for (const auto& g : grads) detail::check_shape(name, "a gradient", g, {-1});
  detail::check_shape(name, "out", out, {1});
  detail::check_scratch(name, scratch, global_norm_squared_workspace_bytes(exec, grads));
  if (exec.planning()) return;
  Kernel<op::GlobalNorm, Device>::run(exec, grads, out, scratch);
}

/// Prepares an update where its numbers live. From `loss` and `loss_scale` of the state and the squared norm of the
/// gradients, loss scale included: the norm, whether the update is skipped because something is not finite, the clip
/// coefficient, the count of updates and the bias corrections, the weight of the moving average (see `ema_decay`), and
/// the loss scale of the next step. A skipped update is counted and leaves all that it does not decide.
///   state (1), norm_squared (1)
/// CPU and GPU agree to the bit, but for `pow` in the bias corrections, where the last place may differ.
/// @throws InputError if a shape does not fit.
template <class Device>
void begin_update(Exec<Device>& exec, View<UpdateState, 1, typename Device::Space> state,
                  std::type_identity_t<View<const double, 1, typename Device::Space>> norm_squared,
                  const UpdateOptions& options) {
  detail::check_shape("begin_update", "state", state, {1});
  detail::check_shape("begin_update", "norm_squared", norm_squared, {1});
  if (exec.planning()) return;
  Kernel<op::BeginUpdate, Device>::run(exec, state, norm_squared, options);
}

/// y += ema_weight·(x − y) for all tensors, as `lerp`, with the weight of the state; where its `skip` is set nothing is
/// written. Elementwise in Accum<T>. x and y must be apart.
///   state (1)
/// @throws InputError if the shape of state does not fit.
template <class Device, class TX, class T>
void ema_step(Exec<Device>& exec, std::span<const EmaTensor<TX, T>> tensors,
              View<const UpdateState, 1, typename Device::Space> state) {
  static_assert(is_floating<TX> && is_floating<T>, "ema_step: x and y must hold float, double, bfloat16 or float16");
  detail::check_shape("ema_step", "state", state, {1});
  if (exec.planning() || tensors.empty()) return;
  Kernel<op::EmaStep, Device>::run(exec, tensors, state);
}

template <class TX, class T>
constexpr Cost ema_step_cost(std::int64_t elements) {
  const auto n = static_cast<double>(elements);
  return {3 * n, n * (sizeof(TX) + 2 * sizeof(T))};
}

}  // namespace ops
SEGUE_NAMESPACE_END
