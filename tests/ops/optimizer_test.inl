// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

// Included by one source a device, which defines `Device` and includes its kernels.
#include "segue/ops/optimizer.hpp"
#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/operands.hpp"

namespace {

using namespace segue;
using support::Values;
using Space = Device::Space;

struct State {
  Values param, m, v;
};

/// torch.optim.AdamW, in double.
void reference_step(State& s, const Values& grad, const ops::AdamWOptions& o, std::int64_t step, double scale,
                    bool decay) {
  for (std::size_t i = 0; i < s.param.size(); ++i) {
    const double g = grad[i] * scale;
    if (decay) s.param[i] *= 1 - o.lr * o.weight_decay;
    s.m[i] += (1 - o.beta1) * (g - s.m[i]);
    s.v[i] = o.beta2 * s.v[i] + (1 - o.beta2) * g * g;
    const double root = std::sqrt(s.v[i]) / std::sqrt(1 - std::pow(o.beta2, static_cast<double>(step)));
    s.param[i] -= o.lr / (1 - std::pow(o.beta1, static_cast<double>(step))) * s.m[i] / (root + o.eps);
  }
}

constexpr std::int64_t counts[] = {1, 0, 7, 4096, 9001, 64};

/// Five steps over tensors of several sizes.
template <class TP, class TG>
std::vector<State> train(int threads, const ops::AdamWOptions& options) {
  Exec<Device> exec({.threads = threads});
  using A = Accum<TP>;
  std::vector<Tensor<TP, 1, Space>> params;
  std::vector<Tensor<TG, 1, Space>> grads;
  std::vector<Tensor<A, 1, Space>> first, second;
  std::vector<ops::AdamWTensor<TP, TG>> tensors;
  for (std::uint64_t k = 0; k < 6; ++k) {
    const Shape<1> shape{counts[k]};
    params.push_back(support::operand<TP>(exec, shape, support::random_values<TP>(counts[k], 10 + k)));
    grads.push_back(support::poisoned<TG>(exec, shape));
    first.push_back(support::operand<A>(exec, shape, Values(static_cast<std::size_t>(counts[k]))));
    second.push_back(support::operand<A>(exec, shape, Values(static_cast<std::size_t>(counts[k]))));
    tensors.push_back({params[k].data_handle(), grads[k].data_handle(), first[k].data_handle(), second[k].data_handle(),
                       counts[k], k % 2 == 0});
  }
  for (std::int64_t step = 1; step <= 5; ++step) {
    for (std::uint64_t k = 0; k < 6; ++k) {
      const Values g = support::random_values<TG>(counts[k], 100 * static_cast<std::uint64_t>(step) + k);
      for (std::int64_t i = 0; i < counts[k]; ++i) grads[k](i) = cast<TG>(g[static_cast<std::size_t>(i)]);
    }
    ops::adamw_step(exec, std::span<const ops::AdamWTensor<TP, TG>>(tensors), options, step, 0.5);
  }
  std::vector<State> out;
  for (std::size_t k = 0; k < 6; ++k)
    out.push_back({support::values_of(params[k]), support::values_of(first[k]), support::values_of(second[k])});
  return out;
}

template <class TP, class TG>
void check_training(double tolerance) {
  const ops::AdamWOptions options{.lr = 0.02, .beta1 = 0.8, .beta2 = 0.95, .eps = 1e-6, .weight_decay = 0.1};
  const auto got = train<TP, TG>(2, options);
  for (std::uint64_t k = 0; k < 6; ++k) {
    State s{support::random_values<TP>(counts[k], 10 + k), Values(static_cast<std::size_t>(counts[k])),
            Values(static_cast<std::size_t>(counts[k]))};
    for (std::int64_t step = 1; step <= 5; ++step)
      reference_step(s, support::random_values<TG>(counts[k], 100 * static_cast<std::uint64_t>(step) + k), options,
                     step, 0.5, k % 2 == 0);
    CHECK(support::worst_difference(got[k].param, s.param) < tolerance);
    CHECK(support::worst_difference(got[k].m, s.m) < 1e-6);
    CHECK(support::worst_difference(got[k].v, s.v) < 1e-6);
  }
  for (const int threads : {1, 5}) {
    const auto again = train<TP, TG>(threads, options);
    for (std::size_t k = 0; k < 6; ++k) {
      CHECK(again[k].param == got[k].param);
      CHECK(again[k].v == got[k].v);
    }
  }
}

}  // namespace

TEST_CASE("AdamW follows torch.optim.AdamW in every type, at any thread count") {
  check_training<double, double>(1e-13);
  check_training<float, float>(1e-6);
  check_training<float, bfloat16>(1e-6);
  // Each of the five steps rounds.
  check_training<bfloat16, bfloat16>(5 * support::rounding<bfloat16>);
  check_training<float16, float>(5 * support::rounding<float16>);
}

TEST_CASE("the square root in the update is correctly rounded") {
  Exec<Device> exec;
  const std::int64_t count = 1000;
  const Values gs = support::random_values<float>(count, 1);
  const auto p = support::operand<float>(exec, Shape<1>{count}, Values(static_cast<std::size_t>(count)));
  const auto g = support::operand<float>(exec, Shape<1>{count}, gs);
  const auto m = support::operand<float>(exec, Shape<1>{count}, Values(static_cast<std::size_t>(count)));
  const auto v = support::operand<float>(exec, Shape<1>{count}, Values(static_cast<std::size_t>(count)));
  const ops::AdamWTensor<float, float> tensor{p.data_handle(), g.data_handle(), m.data_handle(),
                                              v.data_handle(), count,           false};
  // beta = 0: m = g, v = g², no correction; lr = 1 and eps = 0 leave g/√(g²).
  const ops::AdamWOptions options{.lr = 1, .beta1 = 0, .beta2 = 0, .eps = 0, .weight_decay = 0};
  ops::adamw_step(exec, std::span<const ops::AdamWTensor<float, float>>(&tensor, 1), options, 1);
  int wrong = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    const float f = g(i);
    wrong += p(i) != -(f / std::sqrt(f * f));
  }
  CHECK(wrong == 0);
}

TEMPLATE_TEST_CASE("the global norm is that of all tensors together", "", float, double, bfloat16, float16) {
  std::vector<double> norms;
  for (const int threads : {1, 2, 5}) {
    Exec<Device> exec({.threads = threads});
    std::vector<Tensor<TestType, 1, Space>> tensors;
    std::vector<View<const TestType, 1, Space>> views;
    double squares = 0;
    for (std::uint64_t k = 0; k < 6; ++k) {
      const Values g = support::random_values<TestType>(counts[k], k);
      for (const double v : g) squares += v * v;
      tensors.push_back(support::operand<TestType>(exec, Shape<1>{counts[k]}, g));
      views.push_back(tensors.back().cview());
    }
    const double norm = ops::global_norm(exec, std::span<const View<const TestType, 1, Space>>(views));
    CHECK(std::abs(norm - std::sqrt(squares)) < 1e-11);
    norms.push_back(norm);
    tensors[3](5) = cast<TestType>(std::numeric_limits<float>::quiet_NaN());
    CHECK(std::isnan(ops::global_norm(exec, std::span<const View<const TestType, 1, Space>>(views))));
  }
  CHECK(norms[0] == norms[1]);
  CHECK(norms[0] == norms[2]);
}

TEST_CASE("clipping as clip_grad_norm_ does it") {
  CHECK(ops::clip_coefficient(0.5, 1) == 1);
  CHECK(ops::clip_coefficient(4, 1) == 1 / (4 + 1e-6));
  CHECK(ops::clip_coefficient(0, 1) == 1);
}

TEST_CASE("AdamW names a step that is none, and waits while planning") {
  Exec<Device> exec;
  float p = 1, g = 1, m = 0, v = 0;
  const ops::AdamWTensor<float, float> tensor{&p, &g, &m, &v, 1, true};
  const std::span<const ops::AdamWTensor<float, float>> list(&tensor, 1);
  CHECK(support::message_of<InputError>([&] { ops::adamw_step(exec, list, {}, 0); }) ==
        "adamw_step: step is 0, expected 1 or more");
  exec.set_planning(true);
  ops::adamw_step(exec, list, {}, 1);
  CHECK(p == 1);
}
