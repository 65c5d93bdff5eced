// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include "segue/ops/cpu/activation.hpp"
#include "segue/testing/check_gradients.hpp"

namespace {
using Device = segue::Cpu;
}

#include "ops/activation_test.inl"

TEST_CASE("gradients of activations are central differences") {
  Exec<Device> exec({.threads = 2});
  for (const Activation activation : activations) {
    const Values xs = support::random_values<double>(5 * 37, 1, 6), dys = support::random_values<double>(5 * 37, 2);
    const auto x = support::operand<double>(exec, Shape<2>{5, 37}, xs, 1);
    const auto dy = support::operand<double>(exec, Shape<2>{5, 37}, dys, 2);
    const auto y = support::poisoned<double>(exec, Shape<2>{5, 37}, 3),
               dx = support::poisoned<double>(exec, Shape<2>{5, 37});
    ops::activation_backward(exec, activation, x, dy, dx.view(), GradMode::overwrite);
    const auto check = testing::check_gradients(
        [&] {
          ops::activation_forward(exec, activation, x, y.view());
          const Values out = support::values_of(y);
          double sum = 0;
          for (std::size_t i = 0; i < out.size(); ++i) sum += dys[i] * out[i];
          return sum;
        },
        {{"x", x, dx}});
    INFO(check.message);
    CHECK(check.ok);
  }
}
