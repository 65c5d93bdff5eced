// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "segue/ops/elementwise.hpp"
#include "segue/ops/optimizer.hpp"
#include "segue/train/parameters.hpp"

SEGUE_NAMESPACE_BEGIN
namespace train {

/// Which parameters weight decay reaches. `all` is torch.optim.AdamW over one group. `matrices` spares biases, norms
/// and modulation tables: it takes leaves called "….weight" with two axes or more.
enum class Decay : std::uint8_t { all, matrices };

struct AdamWSettings {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 1e-2;
  Decay decay = Decay::all;
};

/// AdamW over everything in a model that trains: torch.optim.AdamW to the last rounding, in the policy's master type.
/// Parameters that no backward reached in a step are left alone, as torch does where `grad` is None.
/// The numbers of a step may come from the host (`step`) or from where the parameters live (`begin`, `update`): the
/// second way never visits the host, so that a device can record it.
/// Memory: two moments of the master type a parameter.
template <PolicyLike P>
class AdamW {
 public:
  using Device = typename P::Device;
  using Space = typename P::Space;
  using Master = typename P::master;
  using Grad = typename P::grad;
  using Moment = Accum<Master>;
  using Parameters = std::vector<std::unique_ptr<TrainedParameter<P>>>;

  template <class Model>
  AdamW(Exec<Device>& exec, Model& model, const AdamWSettings& settings = {})
      : settings_(settings), parameters_(trained_parameters<P>(exec, model)) {
    ops::UpdateState start;
    if constexpr (scales_loss) start.loss_scale = 65536.0;  // as torch's GradScaler begins
    state_ = exec.template empty<ops::UpdateState, 1>({1});
    restore(exec, start);
    for (const auto& p : parameters_) {
      const std::int64_t n = p->master().size();
      m_.push_back(exec.template empty<Moment, 1>({n}));
      v_.push_back(exec.template empty<Moment, 1>({n}));
      ops::fill(exec, 0.0, m_.back().view());
      ops::fill(exec, 0.0, v_.back().view());
    }
  }

  /// √(Σ g²) over all gradients, in double; not finite if any element is not. 0 while planning.
  double grad_norm(Exec<Device>& exec) const {
    const auto grads = gradients();
    return ops::global_norm(exec, std::span<const View<const Grad, 1, Space>>(grads));
  }

  /// One update with g = grad_scale·grad, then the masters are rounded into the values. Gradients stay.
  void step(Exec<Device>& exec, double lr, double grad_scale = 1.0) {
    const auto tensors = update_list();
    ++steps_;
    ops::adamw_step(exec, std::span<const Entry>(tensors), options(lr), steps_, grad_scale);
    write_back(exec);
  }

  /// The numbers of the run, where the parameters are.
  View<ops::UpdateState, 1, Space> state() const { return state_.view(); }
  /// One of them, as a tensor of one element.
  template <class T>
  View<T, 1, Space> state(T ops::UpdateState::*member) const {
    // The address of a member is arithmetic: the state itself may be out of the host's reach.
    const ops::UpdateState layout{};
    const auto offset =
        reinterpret_cast<const std::byte*>(&(layout.*member)) - reinterpret_cast<const std::byte*>(&layout);
    return {reinterpret_cast<T*>(reinterpret_cast<std::byte*>(state_.data_handle()) + offset), {1}};
  }
  /// Hands the learning rate of the next update over.
  void begin(Exec<Device>& exec, double lr) { exec.upload(&lr, state(&ops::UpdateState::lr)); }
  /// One update from the gradients as they are: their norm, clipping, skipping where a number is not finite, AdamW, and
  /// rounding into the values. `max_norm` 0 does not clip; `ema_decay` is what `Ema` shall move by.
  void update(Exec<Device>& exec, double max_norm, double ema_decay = 0.0) {
    const auto grads = gradients();
    const std::span<const View<const Grad, 1, Space>> list(grads);
    const auto norm_squared = exec.template empty<double, 1>({1});
    const auto scratch = exec.template empty<std::byte, 1>(
        {static_cast<std::int64_t>(ops::global_norm_squared_workspace_bytes(exec, list))});
    ops::global_norm_squared(exec, list, norm_squared.view(), scratch.view());
    ops::begin_update(exec, state(), norm_squared.cview(),
                      ops::UpdateOptions{.beta1 = settings_.beta1,
                                         .beta2 = settings_.beta2,
                                         .max_norm = max_norm,
                                         .ema_decay = ema_decay,
                                         .dynamic_loss_scale = scales_loss});
    const auto tensors = update_list();
    ops::adamw_step(exec, std::span<const Entry>(tensors), options(0.0), state_.cview());
    write_back(exec);
  }
  /// The numbers of the run, on the host; waits for the device.
  ops::UpdateState fetch(Exec<Device>& exec) {
    const ops::UpdateState now = to_host(exec, state_.view())[0];
    steps_ = now.updates;
    return now;
  }
  void restore(Exec<Device>& exec, const ops::UpdateState& to) {
    exec.upload(&to, state_.view());
    steps_ = to.updates;
  }

  void drop_grads() {
    for (const auto& p : parameters_) p->drop_grad();
  }

  const Parameters& parameters() const { return parameters_; }
  const AdamWSettings& settings() const { return settings_; }
  /// Updates so far: the t of the bias correction.
  std::int64_t steps() const { return steps_; }
  const Tensor<Moment, 1, Space>& first_moment(std::size_t i) const { return m_[i]; }
  const Tensor<Moment, 1, Space>& second_moment(std::size_t i) const { return v_[i]; }

 private:
  using Entry = ops::AdamWTensor<Master, Grad, typename TrainedParameter<P>::Rounded>;
  static constexpr bool scales_loss = std::is_same_v<typename P::compute, float16>;

  std::vector<View<const Grad, 1, Space>> gradients() const {
    std::vector<View<const Grad, 1, Space>> grads;
    for (const auto& p : parameters_)
      if (const auto g = p->grad(); g.data_handle()) grads.push_back(g);
    return grads;
  }
  std::vector<Entry> update_list() const {
    std::vector<Entry> tensors;
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      const auto g = parameters_[i]->grad();
      if (!g.data_handle()) continue;
      const auto master = parameters_[i]->master();
      const auto [columns, stride] = parameters_[i]->rounded_rows();
      tensors.push_back({master.data_handle(), g.data_handle(), m_[i].data_handle(), v_[i].data_handle(), master.size(),
                         decays(*parameters_[i]), parameters_[i]->rounded(), columns, stride});
    }
    return tensors;
  }
  /// What the update could not round by itself.
  void write_back(Exec<Device>& exec) const {
    for (const auto& p : parameters_)
      if (!p->rounded()) p->write_back(exec);
  }
  ops::AdamWOptions options(double lr) const {
    return {lr, settings_.beta1, settings_.beta2, settings_.eps, settings_.weight_decay};
  }
  bool decays(const TrainedParameter<P>& p) const {
    return settings_.decay == Decay::all || (p.shape().size() >= 2 && p.name().ends_with(".weight"));
  }

  AdamWSettings settings_;
  Parameters parameters_;
  std::vector<Tensor<Moment, 1, Space>> m_, v_;
  Tensor<ops::UpdateState, 1, Space> state_;
  std::int64_t steps_ = 0;
};

}  // namespace train
SEGUE_NAMESPACE_END
