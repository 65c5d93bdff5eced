// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <vector>

#include "segue/ops/elementwise.hpp"
#include "segue/train/optimizer.hpp"

SEGUE_NAMESPACE_BEGIN
namespace train {

/// A moving average of everything that trains. Its decay warms up, min(decay, (1 + t)/(10 + t)) for update t = 0, 1, …,
/// so that the beginning is forgotten. Memory: one more copy of the masters.
template <PolicyLike P>
class Ema {
 public:
  using Device = typename P::Device;
  using Master = typename P::master;
  using Average = Tensor<Master, 1, typename P::Space>;

  /// Starts as a copy of what `optimizer` trains, which must outlive this.
  Ema(Exec<Device>& exec, const AdamW<P>& optimizer, double decay) : optimizer_(&optimizer), decay_(decay) {
    if (!(decay >= 0 && decay < 1)) throw_input("Ema", "decay", std::to_string(decay), "at least 0 and below 1");
    for (const auto& p : optimizer.parameters()) {
      averages_.push_back(exec.template empty<Master, 1>({p->master().size()}));
      ops::copy(exec, p->master(), averages_.back().view());
    }
  }

  static double decay_at(double decay, std::int64_t t) {
    return std::min(decay, static_cast<double>(1 + t) / static_cast<double>(10 + t));
  }

  /// After an update of the optimizer that never visited the host: by the weight in its state, not at all if it
  /// skipped.
  void update(Exec<Device>& exec, View<const ops::UpdateState, 1, typename P::Space> state) {
    std::vector<ops::EmaTensor<Master, Master>> tensors;
    for (std::size_t i = 0; i < averages_.size(); ++i) {
      const auto master = optimizer_->parameters()[i]->master();
      tensors.push_back({master.data_handle(), averages_[i].data_handle(), master.size()});
    }
    ops::ema_step(exec, std::span<const ops::EmaTensor<Master, Master>>(tensors), state);
  }
  /// After an optimizer step.
  void update(Exec<Device>& exec) {
    const double weight = 1.0 - decay_at(decay_, updates_++);
    for (std::size_t i = 0; i < averages_.size(); ++i)
      ops::lerp(exec, optimizer_->parameters()[i]->master(), weight, averages_[i].view());
  }

  const AdamW<P>& optimizer() const { return *optimizer_; }
  const std::vector<Average>& averages() const { return averages_; }
  std::int64_t updates() const { return updates_; }
  void set_updates(std::int64_t updates) { updates_ = updates; }

 private:
  const AdamW<P>* optimizer_;
  double decay_;
  std::vector<Average> averages_;
  std::int64_t updates_ = 0;
};

/// While it lives, the model holds the averages instead of the trained values; nothing may train meanwhile.
/// Memory: a copy of the masters.
template <PolicyLike P>
class EmaScope {
 public:
  EmaScope(Exec<typename P::Device>& exec, const Ema<P>& ema) : exec_(exec), ema_(ema) {
    const auto& parameters = ema.optimizer().parameters();
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      kept_.push_back(exec.template empty<typename P::master, 1>({parameters[i]->master().size()}));
      ops::copy(exec, parameters[i]->master(), kept_.back().view());
      put(i, ema.averages()[i]);
    }
  }
  ~EmaScope() {
    for (std::size_t i = 0; i < kept_.size(); ++i) put(i, kept_[i]);
  }
  EmaScope(const EmaScope&) = delete;
  EmaScope& operator=(const EmaScope&) = delete;

 private:
  void put(std::size_t i, const typename Ema<P>::Average& values) {
    ops::copy(exec_, values.cview(), ema_.optimizer().parameters()[i]->master());
    ema_.optimizer().parameters()[i]->write_back(exec_);
  }

  Exec<typename P::Device>& exec_;
  const Ema<P>& ema_;
  std::vector<typename Ema<P>::Average> kept_;
};

}  // namespace train
SEGUE_NAMESPACE_END
