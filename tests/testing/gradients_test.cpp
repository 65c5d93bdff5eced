// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include "segue/core/exec.hpp"
#include "segue/testing/allclose.hpp"
#include "segue/testing/check_gradients.hpp"
#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/operands.hpp"

using namespace segue;

TEST_CASE("allclose names the worst element") {
  Exec<Cpu> exec;
  const auto a = support::operand<float>(exec, Shape<2>{2, 3}, {1, 2, 3, 4, 5, 6}, 2);
  const auto b = support::operand<double>(exec, Shape<2>{2, 3}, {1, 2, 3, 4, 5, 6});
  CHECK(testing::allclose(a, b, 0, 0).ok);
  CHECK(testing::allclose(a, b.view(), 0, 0));
  a(1, 0) = 4.25f;
  a(0, 2) = 3.125f;
  const auto off = testing::allclose(a, b, 0.01, 0.01);
  CHECK_FALSE(off.ok);
  CHECK(off.message == "2 of 6 elements differ, worst at (1, 0): got 4.25, expected 4, difference 0.25, allowed 0.05");
  CHECK(testing::allclose(a, b, 0, 0.0625).ok);
  CHECK(testing::allclose(a, b, 0.25, 0).ok);
  CHECK_FALSE(testing::allclose(a, b, 0.2499, 0).ok);
}

TEST_CASE("allclose is strict about what is not finite and about shapes") {
  Exec<Cpu> exec;
  const double inf = std::numeric_limits<double>::infinity(), nan = std::numeric_limits<double>::quiet_NaN();
  const auto one = [&](double v) { return support::operand<double>(exec, Shape<1>{1}, {v}); };
  CHECK(testing::allclose(one(inf), one(inf), 0, 0).ok);
  CHECK_FALSE(testing::allclose(one(inf), one(-inf), 1, 1).ok);
  CHECK_FALSE(testing::allclose(one(1), one(inf), 1, 1).ok);
  CHECK_FALSE(testing::allclose(one(inf), one(1), 1, 1).ok);
  CHECK_FALSE(testing::allclose(one(nan), one(1), 1, 1).ok);
  CHECK_FALSE(testing::allclose(one(1), one(nan), 1, 1).ok);
  CHECK_FALSE(testing::allclose(one(nan), one(nan), 1, 1).ok);
  const auto wide = exec.empty<double, 1>({2});
  CHECK(testing::allclose(one(1), wide, 1, 1).message == "the shape is (1), expected (2)");
  CHECK(testing::allclose(exec.empty<float, 1>({0}), exec.empty<double, 1>({0}), 0, 0).ok);
}

TEST_CASE("check_gradients tells a right gradient from a wrong one") {
  Exec<Cpu> exec;
  const auto x = support::operand<double>(exec, Shape<2>{2, 3}, support::random_values<double>(6, 1), 1);
  const auto w = support::operand<double>(exec, Shape<1>{3}, {0.5, -2, 30});
  const auto dx = support::poisoned<double>(exec, Shape<2>{2, 3});
  const auto dw = support::operand<double>(exec, Shape<1>{3}, {0, 0, 0});
  const auto loss = [&] {
    double sum = 0;
    for (int r = 0; r < 2; ++r)
      for (int c = 0; c < 3; ++c) sum += w(c) * std::sin(x(r, c));
    return sum;
  };
  for (int r = 0; r < 2; ++r)
    for (int c = 0; c < 3; ++c) {
      dx(r, c) = w(c) * std::cos(x(r, c));
      dw(c) += std::sin(x(r, c));
    }
  const support::Values before = support::values_of(x);
  CHECK(testing::check_gradients(loss, {{"x", x, dx}, {"w", w, dw}}).ok);
  CHECK(support::values_of(x) == before);

  dx(1, 2) *= 1.001;
  const auto wrong = testing::check_gradients(loss, {{"x", x, dx}, {"w", w, dw}});
  CHECK_FALSE(wrong.ok);
  CHECK(support::contains(wrong.message, "gradient of x at (1, 2) is "));
  dx(1, 2) = std::numeric_limits<double>::quiet_NaN();
  CHECK_FALSE(testing::check_gradients(loss, {{"x", x, dx}}).ok);

  const auto message = support::message_of<InputError>([&] {
    testing::check_gradients(loss, {{"w", w, exec.empty<double, 1>({2})}});
  });
  CHECK(message == "check_gradients: shape of the gradient of w is (2), expected (3)");
}
