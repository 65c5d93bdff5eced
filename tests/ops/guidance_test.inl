// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

// Included by one source a device, which defines `Device` and includes its kernels.
#include "segue/ops/guidance.hpp"
#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/operands.hpp"

namespace {

using namespace segue;
using support::Values;

template <class T, class TV>
void check_step(bool guided) {
  Exec<Device> exec({.threads = 2});
  for (const std::int64_t columns : {0, 1, 1001, 4096}) {
    const Shape<3> shape{2, 3, columns};
    const Values xs = support::random_values<T>(6 * columns, 1), cs = support::random_values<TV>(6 * columns, 2),
                 us = support::random_values<TV>(6 * columns, 3);
    const auto x = support::operand<T>(exec, shape, xs, columns % 3);
    const auto c = support::operand<TV>(exec, shape, cs), u = support::operand<TV>(exec, shape, us, columns % 2);
    ops::guided_euler_step(exec, x.view(), c.view(), guided ? u.view() : View<TV, 3, typename Device::Space>{}, 5.0,
                           -0.125);
    Values expected = xs;
    for (std::size_t i = 0; i < xs.size(); ++i)
      expected[i] += -0.125 * (guided ? us[i] + 5.0 * (cs[i] - us[i]) : cs[i]);
    CHECK(support::worst_difference(support::values_of(x), expected) <
          support::rounding<T> + (std::is_same_v<T, double> ? 1e-15 : 3e-7));
  }
}

}  // namespace

TEST_CASE("a guided Euler step follows its formula") {
  const bool guided = GENERATE(false, true);
  check_step<float, float>(guided);
  check_step<double, double>(guided);
  check_step<float, bfloat16>(guided);
  check_step<bfloat16, bfloat16>(guided);
  check_step<float16, float16>(guided);
}

TEST_CASE("a guided Euler step names what does not fit, and waits while planning") {
  Exec<Device> exec;
  const auto x = support::operand<float>(exec, Shape<2>{1, 2}, {1, 2});
  const auto v = support::operand<float>(exec, Shape<2>{2, 2}, {1, 2, 3, 4});
  CHECK(support::message_of<InputError>([&] { ops::guided_euler_step(exec, x.view(), x.view(), v, 1, 1); }) ==
        "guided_euler_step: shape of v_uncond is (2, 2), expected (1, 2)");
  exec.set_planning(true);
  ops::guided_euler_step(exec, x.view(), x.view(), {}, 1, 1);
  CHECK(support::values_of(x) == Values{1, 2});
}
