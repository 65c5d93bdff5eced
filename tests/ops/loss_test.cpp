// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include "segue/ops/cpu/loss.hpp"

namespace {
using Device = segue::Cpu;
}

#include "ops/loss_test.inl"
#include "segue/testing/check_gradients.hpp"

TEST_CASE("the gradient of the squared error follows central differences") {
  Exec<Cpu> exec({.threads = 2});
  const Case c{.weighted = GENERATE(false, true),
               .first_frame = GENERATE(std::int64_t{0}, std::int64_t{1}, std::int64_t{3})};
  const std::int64_t count = element_count(c.shape);
  const Values ps = support::random_values<double>(count, 1), ts = support::random_values<double>(count, 2);
  const Values ws{0.5, 2, 0.25};
  const auto p = support::operand<double>(exec, c.shape, ps, 3), t = support::operand<double>(exec, c.shape, ts);
  const auto w = c.weighted ? support::operand<float>(exec, Shape<1>{3}, ws) : Tensor<float, 1, Space>();
  const auto loss = support::poisoned<double>(exec, Shape<1>{1});
  const auto dloss = support::operand<double>(exec, Shape<1>{1}, {3});
  const auto dp = support::poisoned<double>(exec, c.shape, 1);
  ops::mse_backward(exec, p, t, w, c.first_frame, dloss, dp.view(), GradMode::overwrite);
  const auto check = testing::check_gradients(
      [&] {
        ops::mse_forward(exec, p.view(), t, w, c.first_frame, loss.view());
        return 3 * loss(0);
      },
      {{"pred", p, dp}});
  INFO(check.message);
  CHECK(check.ok);
}
