// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include "segue/schedulers/flow_matching.hpp"

#include <cmath>
#include <string>

#include "segue/ops/cpu/elementwise.hpp"
#include "segue/ops/cpu/guidance.hpp"
#include "segue/policy/policy.hpp"
#include "segue/schedulers/any_scheduler.hpp"
#include "segue/testing/golden.hpp"
#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/paths.hpp"

namespace {

using namespace segue;
using namespace segue::schedulers;
using P = Policy<Fp32, Cpu>;
using Clip = Tensor<float, 5, HostSpace>;

testing::Golden golden() { return testing::Golden((support::golden_dir() / "schedulers.safetensors").string()); }

double worst(const std::vector<double>& a, const std::vector<double>& b) {
  if (a.size() != b.size()) return INFINITY;
  double w = 0;
  for (std::size_t i = 0; i < a.size(); ++i) w = std::max(w, std::abs(a[i] - b[i]));
  return w;
}

Clip make(Exec<Cpu>& exec, double first, double slope) {
  auto x = exec.empty<float, 5>({2, 1, 3, 2, 2});
  for (std::int64_t i = 0; i < x.size(); ++i)
    x.data_handle()[i] = static_cast<float>(first + slope * static_cast<double>(i));
  return x;
}

// What the page says a user writes: the midpoint of the last two velocities.
struct AdamsBashforth {
  Clip last;
  void begin() { last = {}; }
  template <class Device, class X, class V>
  void step(Exec<Device>& exec, View<X, 5, typename Device::Space> x, View<V, 5, typename Device::Space> v,
            double sigma, double sigma_next) {
    const double h = sigma_next - sigma;
    if (last) {
      ops::axpby(exec, 1.5 * h, v, 1.0, x);
      ops::axpby(exec, -0.5 * h, last.view(), 1.0, x);
    } else {
      ops::axpby(exec, h, v, 1.0, x);
      last = exec.template empty<float, 5>(v.shape());
    }
    ops::copy(exec, v, last.view());
  }
};
static_assert(Solver<AdamsBashforth, Cpu, float, float>);
static_assert(Solver<Euler, Cpu, float, float>);
static_assert(!Solver<LinearPath, Cpu, float, float>);

}  // namespace

TEST_CASE("time grids are those of diffusers") {
  const auto g = golden();
  for (const double shift : {1.0, 3.0, 5.0})
    for (const int n : {4, 20}) {
      const std::string tail = "_shift" + std::to_string(static_cast<int>(shift)) + "_n" + std::to_string(n) + ".";
      INFO(tail);
      const auto piped = ShiftedGrid{shift}.sigmas(n);
      CHECK(worst(piped, g.values("euler_sigmas" + tail + "sigmas")) < 2e-7);
      const auto doubly = DoublyShiftedGrid{shift}.sigmas(n);
      CHECK(worst(doubly, g.values("euler_default" + tail + "sigmas")) < 2e-7);
      std::vector<double> timesteps(piped.begin(), piped.end() - 1);
      for (double& t : timesteps) t *= timestep_scale;
      CHECK(worst(timesteps, g.values("euler_sigmas" + tail + "timesteps")) < 2e-4);
    }
  CHECK(support::message_of<InputError>([] { ShiftedGrid{}.sigmas(0); }) ==
        "time grid: steps is 0, expected 1 or more");
  CHECK(support::message_of<InputError>([] { ShiftedGrid{0.0}.sigmas(4); }).find("shift") != std::string::npos);
  CHECK(ShiftedGrid{3.0}.sigmas(1) == std::vector<double>{1.0, 0.0});
}

TEST_CASE("Euler's trajectories are those of diffusers, step by step") {
  const auto g = golden();
  Exec<Cpu> exec;
  const double a = -0.75, b = 0.5;
  for (const std::string path : {"default", "sigmas"})
    for (const int shift : {1, 3, 5})
      for (const int n : {4, 20}) {
        const std::string name =
            "euler_" + path + "_shift" + std::to_string(shift) + "_n" + std::to_string(n) + ".trajectory";
        INFO(name);
        const auto expected = g.tensor<float, 4>(exec, name);
        AnyScheduler<P> scheduler =
            path == "default" ? AnyScheduler<P>(FlowMatching<LinearPath, Velocity, DoublyShiftedGrid, Euler>{
                                    .grid = {.shift = static_cast<double>(shift)}})
                              : AnyScheduler<P>(FlowMatching<>{.grid = {.shift = static_cast<double>(shift)}});
        const Shape<5> shape{1, 1, 2, 3, 4};
        auto x = exec.empty<float, 5>(shape), v = exec.empty<float, 5>(shape);
        for (std::int64_t i = 0; i < x.size(); ++i) x.data_handle()[i] = expected.data_handle()[i];
        const auto sigmas = scheduler.sigmas(n);
        scheduler.begin();
        double w = 0;
        for (int s = 0; s < n; ++s) {
          for (std::int64_t i = 0; i < x.size(); ++i)
            v.data_handle()[i] = static_cast<float>(a * x.data_handle()[i] + b * sigmas[static_cast<std::size_t>(s)]);
          scheduler.step(exec, x, v, {}, 1.0, sigmas[static_cast<std::size_t>(s)],
                         sigmas[static_cast<std::size_t>(s) + 1]);
          for (std::int64_t i = 0; i < x.size(); ++i)
            w = std::max(w, std::abs(static_cast<double>(x.data_handle()[i]) -
                                     static_cast<double>(expected.data_handle()[(s + 1) * x.size() + i])));
        }
        CHECK(w < 2e-6);
      }
}

TEST_CASE("the linear path and its velocity are those that diffusers trains on") {
  const auto g = golden();
  Exec<Cpu> exec;
  const auto x0 = g.tensor<float, 5>(exec, "linear_path.x0"), noise = g.tensor<float, 5>(exec, "linear_path.noise");
  const auto sigma = g.values("linear_path.sigma");
  const auto x = exec.empty<float, 5>(x0.shape()), target = exec.empty<float, 5>(x0.shape()),
             back = exec.empty<float, 5>(x0.shape());
  for (std::int64_t i = 0; i < 2; ++i) {
    const PathPoint point = LinearPath{}.at(sigma[static_cast<std::size_t>(i)]);
    mix(exec, point.state, x0.view()[i], noise.view()[i], x.view()[i]);
    mix(exec, Velocity{}.target(point), x0.view()[i], noise.view()[i], target.view()[i]);
    const Combination data = data_from(Velocity{}, point);
    ops::copy(exec, target.view()[i], back.view()[i]);
    ops::axpby(exec, data.state, x.view()[i], data.output, back.view()[i]);
  }
  CHECK(testing::relative_error(x, g.tensor<float, 5>(exec, "linear_path.x")) < 1e-7);
  CHECK(testing::relative_error(target, g.tensor<float, 5>(exec, "linear_path.target")) < 1e-7);
  CHECK(testing::relative_error(back, x0) < 1e-6);
}

TEST_CASE("a prediction of the data is turned into the velocity") {
  const PathPoint point = LinearPath{}.at(0.25);
  const double x0 = 3, n = -2, x = 0.75 * x0 + 0.25 * n;
  const Combination v = velocity_from(DataPrediction{}, point);
  CHECK(std::abs(v.output * x0 + v.state * x - (n - x0)) < 1e-12);
  const Combination same = velocity_from(Velocity{}, point);
  CHECK(same.output == 1);
  CHECK(same.state == 0);

  // Through a scheduler: with the data known, any number of Euler steps ends on it.
  Exec<Cpu> exec;
  FlowMatching<LinearPath, DataPrediction, ShiftedGrid, Euler> scheduler;
  const Clip data = make(exec, 1, 0.5);
  Clip state = make(exec, -4, 0.25);
  const auto sigmas = scheduler.sigmas(5);
  for (std::size_t i = 0; i < 5; ++i) {
    const Clip said = make(exec, 1, 0.5);
    scheduler.step(exec, state, said, {}, 1.0, sigmas[i], sigmas[i + 1]);
  }
  CHECK(testing::relative_error(state, data) < 1e-6);
}

TEST_CASE("guidance is the same fused into Euler and before a solver that knows nothing of it") {
  Exec<Cpu> exec;
  const auto run = [&](auto scheduler) {
    Clip x = make(exec, 1, 0.1);
    const Clip cond = make(exec, 2, 0.3), uncond = make(exec, -1, 0.2);
    scheduler.begin();
    scheduler.step(exec, x, cond, uncond, 3.0, 0.8, 0.5);
    return x;
  };
  const Clip fused = run(FlowMatching<>{});
  const Clip composed = run(FlowMatching<LinearPath, Velocity, ShiftedGrid, AdamsBashforth>{});
  double w = 0;
  for (std::int64_t i = 0; i < fused.size(); ++i) {
    const double k = static_cast<double>(i);
    const double u = -1 + 0.2 * k, c = 2 + 0.3 * k;
    w = std::max(w, std::abs(fused.data_handle()[i] - (1 + 0.1 * k - 0.3 * (u + 3 * (c - u)))));
  }
  CHECK(w < 1e-5);
  CHECK(testing::relative_error(composed, fused) < 1e-6);
}

TEST_CASE("a user's solver of two steps beats Euler on a curved field") {
  Exec<Cpu> exec;
  const auto end_of = [&](auto scheduler) {
    Clip x = make(exec, 1, 0);
    const auto sigmas = scheduler.sigmas(16);
    scheduler.begin();
    for (std::size_t i = 0; i < 16; ++i) {
      const Clip v = make(exec, 0, 0);
      ops::scale(exec, -1.0, x.cview(), v.view());
      scheduler.step(exec, x, v, {}, 1.0, sigmas[i], sigmas[i + 1]);
    }
    return static_cast<double>(x.data_handle()[0]);
  };
  const double exact = std::exp(1.0);
  const double euler = std::abs(end_of(FlowMatching<>{}) - exact);
  const double second = std::abs(end_of(FlowMatching<LinearPath, Velocity, ShiftedGrid, AdamsBashforth>{}) - exact);
  CHECK(second < 0.2 * euler);
}

TEST_CASE("scheduler_config.json picks a scheduler or is refused in a sentence") {
  const auto make = [](const char* text) { return make_scheduler<P>(io::parse_json(text, "s.json"), "s.json"); };
  CHECK(make(R"({"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0})").sigmas(4) ==
        ShiftedGrid{3.0}.sigmas(4));
  CHECK(support::message_of<InputError>([&] { make(R"({"_class_name": "UniPCMultistepScheduler"})"); }) ==
        "s.json: key '_class_name' is \"UniPCMultistepScheduler\", expected \"FlowMatchEulerDiscreteScheduler\"");
  CHECK(support::message_of<InputError>([&] { make(R"({"use_dynamic_shifting": true})"); }) ==
        "s.json: key 'use_dynamic_shifting' is true, expected false");
  CHECK_THROWS_AS(make(R"({"shift": -1})"), InputError);
}
