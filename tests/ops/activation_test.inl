// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

// Included by one source a device, which defines `Device` and includes its kernels.
#include "segue/ops/activation.hpp"
#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/operands.hpp"

namespace {

using namespace segue;
using ops::Activation;
using ops::GradMode;
using support::Values;

double formula(Activation activation, double x) {
  switch (activation) {
    case Activation::gelu_tanh: return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case Activation::gelu: return 0.5 * x * std::erfc(-x / std::sqrt(2.0));
    case Activation::silu: return x / (1 + std::exp(-x));
    case Activation::none: break;
  }
  return x;
}

constexpr Activation activations[] = {Activation::none, Activation::gelu_tanh, Activation::gelu, Activation::silu};

}  // namespace

TEST_CASE("activations follow their formula") {
  Exec<Device> exec({.threads = 2});
  for (const Activation activation : activations) {
    const Values xs = support::random_values<double>(5 * 37, 1, 6);
    const auto x = support::operand<double>(exec, Shape<2>{5, 37}, xs, 1);
    const auto y = support::poisoned<double>(exec, Shape<2>{5, 37}, 3);
    Values expected = xs;
    for (double& v : expected) v = formula(activation, v);
    ops::activation_forward(exec, activation, x, y.view());
    CHECK(support::worst_difference(support::values_of(y), expected) < 1e-13);
  }
}

TEMPLATE_TEST_CASE("activations of every type agree with double", "", float, bfloat16, float16) {
  for (const Activation activation : activations)
    for (const std::int64_t columns : {0, 1, 8, 40, 333, 20000}) {
      const Shape<3> shape{2, 2, columns};
      const Values xs = support::random_values<TestType>(4 * columns, 1, 12);
      const Values dys = support::random_values<TestType>(4 * columns, 2);
      const auto run = [&](auto& exec, auto type) {
        using T = decltype(type);
        const auto x = support::operand<T>(exec, shape, xs, columns % 2), dy = support::operand<T>(exec, shape, dys);
        const auto y = support::poisoned<T>(exec, shape, columns % 2), dx = support::poisoned<T>(exec, shape);
        ops::activation_forward(exec, activation, x, y.view());
        ops::activation_backward(exec, activation, x, dy, dx.view(), GradMode::overwrite);
        std::vector<Values> out{support::values_of(y), support::values_of(dx)};
        ops::activation_backward(exec, activation, x, dy, dx.view(), GradMode::accumulate);
        out.push_back(support::values_of(dx));
        ops::activation_backward(exec, activation, x, dy, dy.view(), GradMode::overwrite);
        CHECK(support::values_of(dy) == out[1]);
        ops::activation_forward(exec, activation, x, x.view());
        CHECK(support::values_of(x) == out[0]);
        return out;
      };
      Exec<Device> device({.threads = 2}), many({.threads = 7});
      Exec<Cpu> host;
      const auto got = run(device, TestType());
      CHECK(run(many, TestType()) == got);
      const auto expected = run(host, double());
      for (std::size_t i = 0; i < 3; ++i)
        CHECK(support::worst_difference(got[i], expected[i]) <
              static_cast<double>(1 + i / 2) * (support::rounding<TestType> + 1e-6));
    }
}

TEST_CASE("activations name what does not fit") {
  Exec<Device> exec;
  const auto x = exec.empty<float, 2>({6, 8});
  CHECK(support::message_of<InputError>([&] {
          ops::activation_forward(exec, Activation::silu, x, exec.empty<float, 2>({6, 7}).view());
        }) == "activation_forward: shape of y is (6, 7), expected (6, 8)");
}
