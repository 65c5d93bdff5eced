// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "segue/io/json.hpp"
#include "segue/policy/policy.hpp"
#include "segue/schedulers/flow_matching.hpp"

SEGUE_NAMESPACE_BEGIN
namespace schedulers {

/// Any composition behind one type, for schedulers that are chosen at run time: one virtual call a step.
template <PolicyLike P>
class AnyScheduler {
 public:
  using Device = typename P::Device;
  template <class T>
  using Clip = Tensor<T, 5, typename P::Space>;
  using X = typename P::accum;
  using V = typename P::compute;

  template <class S>
    requires(!std::same_as<S, AnyScheduler> && Scheduler<S, Device, X, V>)
  AnyScheduler(S scheduler) : erased_(std::make_unique<Model<S>>(std::move(scheduler))) {}

  std::vector<double> sigmas(int steps) const { return erased_->sigmas(steps); }
  void begin() { erased_->begin(); }
  void step(Exec<Device>& exec, const Clip<X>& x, const Clip<V>& said, const Clip<V>& said_uncond, double guidance,
            double sigma, double sigma_next) {
    erased_->step(exec, x, said, said_uncond, guidance, sigma, sigma_next);
  }

 private:
  struct Base {
    virtual ~Base() = default;
    virtual std::vector<double> sigmas(int steps) const = 0;
    virtual void begin() = 0;
    virtual void step(Exec<Device>&, const Clip<X>&, const Clip<V>&, const Clip<V>&, double, double, double) = 0;
  };
  template <class S>
  struct Model final : Base {
    explicit Model(S s) : scheduler(std::move(s)) {}
    std::vector<double> sigmas(int steps) const override { return scheduler.sigmas(steps); }
    void begin() override { scheduler.begin(); }
    void step(Exec<Device>& exec, const Clip<X>& x, const Clip<V>& said, const Clip<V>& said_uncond, double guidance,
              double sigma, double sigma_next) override {
      scheduler.step(exec, x, said, said_uncond, guidance, sigma, sigma_next);
    }
    S scheduler;
  };

  std::unique_ptr<Base> erased_;
};

/// The scheduler that a scheduler_config.json names. Sigmas run as the pipelines of diffusers pass them.
/// @throws InputError for a class or an option that is not here.
template <PolicyLike P>
AnyScheduler<P> make_scheduler(const io::Json& config, std::string_view where) {
  const auto kind = config.get_or<std::string>("_class_name", "FlowMatchEulerDiscreteScheduler", where);
  if (kind != "FlowMatchEulerDiscreteScheduler")
    throw_input(where, "key '_class_name'", "\"" + kind + "\"", "\"FlowMatchEulerDiscreteScheduler\"");
  for (const char* key : {"use_dynamic_shifting", "use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas",
                          "invert_sigmas", "stochastic_sampling"})
    if (config.get_or<bool>(key, false, where)) throw_input(where, "key '" + std::string(key) + "'", "true", "false");
  const double shift = config.get_or<double>("shift", 1.0, where);
  if (!(shift > 0)) throw_input(where, "key 'shift'", std::to_string(shift), "a positive number");
  return FlowMatching<LinearPath, Velocity, ShiftedGrid, Euler>{.grid = {.shift = shift}};
}

}  // namespace schedulers
SEGUE_NAMESPACE_END
