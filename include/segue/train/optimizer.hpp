// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

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

/// Which parameters weight decay reaches. `all` is torch.optim.AdamW over one group. `matrices` spares biases, norms and
/// modulation tables: it takes leaves called "….weight" with two axes or more.
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
    std::vector<View<const Grad, 1, Space>> grads;
    for (const auto& p : parameters_)
      if (const auto g = p->grad(); g.data_handle()) grads.push_back(g);
    return ops::global_norm(exec, std::span<const View<const Grad, 1, Space>>(grads));
  }

  /// One update with g = grad_scale·grad, then the masters are rounded into the values. Gradients stay.
  void step(Exec<Device>& exec, double lr, double grad_scale = 1.0) {
    std::vector<ops::AdamWTensor<Master, Grad>> tensors;
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      const auto g = parameters_[i]->grad();
      if (!g.data_handle()) continue;
      const auto master = parameters_[i]->master();
      tensors.push_back({master.data_handle(), g.data_handle(), m_[i].data_handle(), v_[i].data_handle(), master.size(),
                         decays(*parameters_[i])});
    }
    ++steps_;
    ops::adamw_step(exec, std::span<const ops::AdamWTensor<Master, Grad>>(tensors),
                    {lr, settings_.beta1, settings_.beta2, settings_.eps, settings_.weight_decay}, steps_, grad_scale);
    for (const auto& p : parameters_) p->write_back(exec);
  }

  void drop_grads() {
    for (const auto& p : parameters_) p->drop_grad();
  }

  const Parameters& parameters() const { return parameters_; }
  const AdamWSettings& settings() const { return settings_; }
  /// Updates so far: the t of the bias correction.
  std::int64_t steps() const { return steps_; }
  void set_steps(std::int64_t steps) { steps_ = steps; }
  const Tensor<Moment, 1, Space>& first_moment(std::size_t i) const { return m_[i]; }
  const Tensor<Moment, 1, Space>& second_moment(std::size_t i) const { return v_[i]; }

 private:
  bool decays(const TrainedParameter<P>& p) const {
    return settings_.decay == Decay::all || (p.shape().size() >= 2 && p.name().ends_with(".weight"));
  }

  AdamWSettings settings_;
  Parameters parameters_;
  std::vector<Tensor<Moment, 1, Space>> m_, v_;
  std::int64_t steps_ = 0;
};

}  // namespace train
SEGUE_NAMESPACE_END
