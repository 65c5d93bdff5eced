// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include "segue/train/optimizer.hpp"

#include <algorithm>
#include <cmath>
#include <string>

#include "segue/ops/cpu/elementwise.hpp"
#include "segue/ops/cpu/optimizer.hpp"
#include "segue/testing/golden.hpp"
#include "segue/train/ema.hpp"
#include "segue/train/lr_schedule.hpp"
#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/paths.hpp"

namespace {

using namespace segue;
using P = Policy<Fp32, Cpu>;
template <int Rank, class T = float>
using Leaf = nn::Parameter<T, Rank, HostSpace, float, float>;

/// Three leaves of different ranks, as the recorded cases have them.
struct ThreeLeaves {
  Leaf<2> a;
  Leaf<1> b;
  Leaf<3> c;
  explicit ThreeLeaves(Exec<Cpu>& exec)
      : a(exec.empty<float, 2>({7, 5})), b(exec.empty<float, 1>({13})), c(exec.empty<float, 3>({3, 2, 4})) {}
  void visit(auto&& v) {
    v("a.weight", a);
    v("a.bias", b);
    v("table", c);
  }
  void each(auto&& f) {
    f(0, a);
    f(1, b);
    f(2, c);
  }
};

struct Narrow {
  Leaf<1, bfloat16> w;
  void visit(auto&& v) { v("w", w); }
};

/// Row `row` of a recorded history into memory.
void put(const testing::Golden& g, const std::string& name, std::int64_t row, float* to, std::int64_t count) {
  const auto all = g.values(name);
  for (std::int64_t i = 0; i < count; ++i) to[i] = static_cast<float>(all[static_cast<std::size_t>(row * count + i)]);
}

double worst_from(const testing::Golden& g, const std::string& name, std::int64_t row, const float* found,
                  std::int64_t count) {
  const auto all = g.values(name);
  double worst = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    const double e = all[static_cast<std::size_t>(row * count + i)];
    worst = std::max(worst, std::abs(static_cast<double>(found[i]) - e) / (std::abs(e) + 1e-6));
  }
  return worst;
}

template <class F>
void set_grads(Exec<Cpu>& exec, ThreeLeaves& model, F&& value) {
  model.each([&](int which, auto& leaf) {
    auto g = exec.empty<float, std::remove_reference_t<decltype(leaf)>::rank()>(leaf.shape());
    for (std::int64_t i = 0; i < g.size(); ++i) g.data_handle()[i] = value(which, i);
    leaf.slot().add(exec, g);
  });
}

}  // namespace

TEST_CASE("ten steps of AdamW are torch's, with and without clipping") {
  const testing::Golden g((support::golden_dir() / "ops_optimizer.safetensors").string());
  for (const std::string name : {"adamw", "adamw_clipped"}) {
    INFO(name);
    const auto parameters = g.parameters(name);
    const auto lr = g.values(name + ".lr_f64"), norms = g.values(name + ".grad_norm");
    Exec<Cpu> exec;
    ThreeLeaves model(exec);
    model.each([&](int k, auto& leaf) {
      put(g, name + ".param" + std::to_string(k), 0, leaf.value().data_handle(), leaf.value().size());
    });
    const auto betas = parameters.get<std::vector<double>>("betas", "case");
    train::AdamW<P> optimizer(exec, model,
                              {betas[0], betas[1], parameters.get<double>("eps", "case"),
                               parameters.get<double>("weight_decay", "case"), train::Decay::all});
    for (std::int64_t step = 0; step < 10; ++step) {
      model.each([&](int k, auto& leaf) {
        auto grad = exec.empty<float, std::remove_reference_t<decltype(leaf)>::rank()>(leaf.shape());
        put(g, name + ".grad" + std::to_string(k), step, grad.data_handle(), grad.size());
        leaf.slot().add(exec, grad);
      });
      const double norm = optimizer.grad_norm(exec);
      CHECK(std::abs(norm / norms[static_cast<std::size_t>(step)] - 1) < 1e-6);
      optimizer.step(exec, lr[static_cast<std::size_t>(step)],
                     name == "adamw" ? 1.0 : ops::clip_coefficient(norm, parameters.get<double>("max_norm", "case")));
      optimizer.drop_grads();
      model.each([&](int k, auto& leaf) {
        CHECK(worst_from(g, name + ".param" + std::to_string(k), step + 1, leaf.value().data_handle(),
                         leaf.value().size()) < 1e-4);
      });
    }
    CHECK(optimizer.steps() == 10);
    for (std::size_t k = 0; k < 3; ++k) {
      const auto& m = optimizer.first_moment(k);
      const auto& v = optimizer.second_moment(k);
      CHECK(worst_from(g, name + ".exp_avg" + std::to_string(k), 0, m.data_handle(), m.size()) < 1e-4);
      CHECK(worst_from(g, name + ".exp_avg_sq" + std::to_string(k), 0, v.data_handle(), v.size()) < 1e-4);
    }
  }
}

TEST_CASE("what no backward reached is left alone, and decay spares what it is told to spare") {
  Exec<Cpu> exec;
  ThreeLeaves model(exec);
  model.each([&](int, auto& leaf) { ops::fill(exec, 2.0, leaf.value().view()); });
  train::AdamW<P> optimizer(exec, model, {.weight_decay = 0.5, .decay = train::Decay::matrices});
  // Zero gradients: only the decay moves a parameter.
  set_grads(exec, model, [](int, std::int64_t) { return 0.0f; });
  optimizer.step(exec, 0.1);
  CHECK(model.a.value().data_handle()[0] == 2.0f * (1 - 0.05f));
  CHECK(model.b.value().data_handle()[0] == 2.0f);
  CHECK(model.c.value().data_handle()[0] == 2.0f);
  optimizer.drop_grads();
  CHECK(!model.a.slot().filled());
  const float before = model.a.value().data_handle()[0];
  optimizer.step(exec, 0.1);
  CHECK(model.a.value().data_handle()[0] == before);
}

TEST_CASE("a frozen model and a frozen leaf") {
  Exec<Cpu> exec;
  ThreeLeaves model(exec);
  model.each([&](int, auto& leaf) { ops::fill(exec, 1.0, leaf.value().view()); });
  model.b.set_trains(false);
  train::AdamW<P> optimizer(exec, model);
  REQUIRE(optimizer.parameters().size() == 2);
  CHECK(optimizer.parameters()[0]->name() == "a.weight");
  CHECK(optimizer.parameters()[1]->name() == "table");
  CHECK(optimizer.parameters()[1]->shape() == std::vector<std::int64_t>{3, 2, 4});
  model.a.set_trains(false);
  model.c.set_trains(false);
  CHECK(support::contains(support::message_of<InputError>([&] { train::AdamW<P> none(exec, model); }),
                          "nothing in the model trains"));
}

TEST_CASE("updates below bfloat16's resolution add up in the master copy") {
  using P16 = Policy<Bf16, Cpu>;
  Exec<Cpu> exec;
  Narrow model{Leaf<1, bfloat16>(exec.empty<bfloat16, 1>({4}))};
  ops::fill(exec, 1.0, model.w.value().view());
  train::AdamW<P16> optimizer(exec, model, {.weight_decay = 0.0});
  for (int step = 0; step < 40; ++step) {
    auto g = exec.empty<float, 1>({4});
    ops::fill(exec, 1.0, g.view());
    model.w.slot().add(exec, g);
    optimizer.step(exec, 1e-3);
    optimizer.drop_grads();
  }
  CHECK(std::abs(model.w.master().data_handle()[0] - 0.96f) < 1e-4f);
  CHECK(std::abs(cast<float>(model.w.value().data_handle()[0]) - 0.96f) < 4e-3f);
}

TEST_CASE("a gradient that is not finite shows in the norm") {
  Exec<Cpu> exec;
  ThreeLeaves model(exec);
  model.each([&](int, auto& leaf) { ops::fill(exec, 1.0, leaf.value().view()); });
  train::AdamW<P> optimizer(exec, model);
  set_grads(exec, model, [](int k, std::int64_t i) { return k == 2 && i == 5 ? INFINITY : 1.0f; });
  CHECK(!std::isfinite(optimizer.grad_norm(exec)));
}

TEST_CASE("learning rates are those of diffusers") {
  const testing::Golden g((support::golden_dir() / "schedulers.safetensors").string());
  const auto check = [&](const std::string& name, train::LrSchedule schedule) {
    INFO(name);
    const auto expected = g.values(name + ".lr_f64");
    REQUIRE(expected.size() == 20);
    double worst = 0;
    for (std::int64_t i = 0; i < 20; ++i)
      worst = std::max(worst, std::abs(1e-3 * schedule.factor(i, 20) - expected[static_cast<std::size_t>(i)]));
    CHECK(worst < 1e-15);
  };
  check("lr_constant", {});
  check("lr_constant_with_warmup", {train::LrDecay::constant, 5});
  check("lr_linear", {train::LrDecay::linear, 5});
  check("lr_cosine", {train::LrDecay::cosine, 5});
  // The rate is constant until the last steps, which fall as a run of their own would.
  const train::LrSchedule late{train::LrDecay::cosine, 2, 8}, whole{train::LrDecay::cosine};
  CHECK(late.factor(1, 20) == 0.5);
  for (std::int64_t i = 2; i <= 12; ++i) CHECK(late.factor(i, 20) == 1.0);
  for (std::int64_t i = 12; i < 20; ++i) CHECK(late.factor(i, 20) == whole.factor(i - 12, 8));
  CHECK(train::lr_decay_from_name("cosine", "--schedule") == train::LrDecay::cosine);
  CHECK(support::message_of<InputError>([] { train::lr_decay_from_name("cosin", "--schedule"); }) ==
        "--schedule: the learning-rate schedule is 'cosin', expected constant, linear or cosine");
}

TEST_CASE("the moving average warms up, and steps aside for sampling") {
  Exec<Cpu> exec;
  ThreeLeaves model(exec);
  model.each([&](int, auto& leaf) { ops::fill(exec, 1.0, leaf.value().view()); });
  train::AdamW<P> optimizer(exec, model);
  train::Ema<P> ema(exec, optimizer, 0.3);
  double expected = 1.0;
  for (int t = 0; t < 6; ++t) {
    const double value = 2.0 + t;
    model.each([&](int, auto& leaf) { ops::fill(exec, value, leaf.value().view()); });
    ema.update(exec);
    const double decay = std::min(0.3, (1.0 + t) / (10.0 + t));
    expected = decay * expected + (1 - decay) * value;
  }
  CHECK(std::abs(ema.averages()[1].data_handle()[12] - expected) < 1e-5);
  {
    const train::EmaScope<P> scope(exec, ema);
    CHECK(std::abs(model.c.value().data_handle()[7] - expected) < 1e-5);
  }
  CHECK(model.c.value().data_handle()[7] == 7.0f);
  CHECK_THROWS_AS(train::Ema<P>(exec, optimizer, 1.0), InputError);
}
