// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

// Included by one source a device, which defines `Device` and includes its kernels.
#include "segue/ops/elementwise.hpp"
#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/operands.hpp"

namespace {

using namespace segue;
using support::Values;
using Space = Device::Space;

template <class F>
Values combine(const Values& a, const Values& b, F&& f) {
  Values out(a.size());
  for (std::size_t i = 0; i < a.size(); ++i) out[i] = f(a[i], b[i]);
  return out;
}

}  // namespace

TEMPLATE_TEST_CASE("elementwise operators compute what they say", "", float, double, bfloat16, float16) {
  using T = TestType;
  Exec<Device> exec({.threads = 3});
  const double tolerance = support::rounding<T> + (std::is_same_v<T, double> ? 1e-15 : 3e-7);
  for (const std::int64_t columns : {0, 1, 7, 64, 9001}) {
    const Shape<3> shape{2, 3, columns};
    const Values as = support::random_values<T>(6 * columns, 1), bs = support::random_values<T>(6 * columns, 2);
    const std::int64_t padding = columns % 3;
    const auto a = support::operand<T>(exec, shape, as, padding), b = support::operand<T>(exec, shape, bs);
    const auto fresh = [&] { return support::poisoned<T>(exec, shape, padding); };
    const auto check = [&](const auto& y, auto f) {
      CHECK(support::worst_difference(support::values_of(y), combine(as, bs, f)) < tolerance);
    };

    auto y = fresh();
    ops::add(exec, a, b, y.view());
    check(y, [](double p, double q) { return p + q; });
    y = fresh();
    ops::multiply(exec, a, b, y.view());
    check(y, [](double p, double q) { return p * q; });
    y = fresh();
    ops::scale(exec, -0.75, a, y.view());
    check(y, [](double p, double) { return -0.75 * p; });
    y = fresh();
    ops::axpby(exec, 0.5, a.view(), 0, y.view());
    check(y, [](double p, double) { return 0.5 * p; });
    y = support::operand<T>(exec, shape, bs, padding);
    ops::axpby(exec, 0.5, a.view(), -2, y.view());
    check(y, [](double p, double q) { return 0.5 * p - 2 * q; });
    y = support::operand<T>(exec, shape, bs, padding);
    ops::lerp(exec, a.view(), 0.25, y.view());
    check(y, [](double p, double q) { return q + 0.25 * (p - q); });
    y = fresh();
    ops::fill(exec, 1.5, y.view());
    check(y, [](double, double) { return 1.5; });
    // Outputs may be inputs.
    ops::add(exec, a, b, a.view());
    check(a, [](double p, double q) { return p + q; });
  }
}

TEST_CASE("averages may be wider than what they average") {
  Exec<Device> exec;
  const auto x = support::operand<bfloat16>(exec, Shape<1>{3}, {1, 2, 3});
  const auto y = support::operand<float>(exec, Shape<1>{3}, {0, 0, 1});
  ops::lerp(exec, x.view(), 0.001, y.view());
  CHECK(support::worst_difference(support::values_of(y), {0.001, 0.002, 1.002}) < 1e-7);
  ops::axpby(exec, 2, x.view(), 1, y.view());
  CHECK(support::worst_difference(support::values_of(y), {2.001, 4.002, 7.002}) < 1e-6);
}

TEMPLATE_TEST_CASE("copy converts every type to every type", "", float, double, bfloat16, float16, std::int32_t) {
  Exec<Device> exec({.threads = 2});
  const std::int64_t columns = GENERATE(std::int64_t{0}, std::int64_t{5}, std::int64_t{16400});
  Values values = support::random_values<double>(3 * columns, 1, 100);
  if (std::is_same_v<TestType, std::int32_t>)
    for (double& v : values) v = std::floor(v);
  const auto source = exec.empty<TestType, 2>({3, columns});
  for (std::int64_t i = 0; i < source.size(); ++i)
    source.data_handle()[i] = cast<TestType>(values[static_cast<std::size_t>(i)]);
  const auto check = [&]<class To>(To) {
    const auto target = support::poisoned<To>(exec, Shape<2>{3, columns}, 1);
    ops::copy(exec, source.view(), target.view());
    std::int64_t wrong = 0;
    for (std::int64_t r = 0; r < 3; ++r)
      for (std::int64_t c = 0; c < columns; ++c)
        wrong += cast<double>(target(r, c)) != cast<double>(cast<To>(source(r, c)));
    CHECK(wrong == 0);
  };
  check(float());
  check(double());
  check(bfloat16());
  check(float16());
}

TEST_CASE("copy takes any strides") {
  Exec<Device> exec({.threads = 2});
  const auto x = exec.empty<float, 4>({3, 4, 5, 6});
  for (int i = 0; i < 360; ++i) x.data_handle()[i] = static_cast<float>(i);
  // (a, b, c, d) -> (c, a, d, b)
  const View<float, 4, Space> permuted(x.data_handle(), {5, 3, 6, 4}, {6, 120, 1, 30});
  const auto y = support::poisoned<bfloat16>(exec, Shape<4>{5, 3, 6, 4});
  ops::copy(exec, permuted, y.view());
  const auto back = support::poisoned<float>(exec, Shape<4>{3, 4, 5, 6});
  ops::copy(exec, y.view(), View<float, 4, Space>(back.data_handle(), {5, 3, 6, 4}, {6, 120, 1, 30}));
  std::int64_t wrong = 0;
  for (std::int64_t a = 0; a < 3; ++a)
    for (std::int64_t b = 0; b < 4; ++b)
      for (std::int64_t c = 0; c < 5; ++c)
        for (std::int64_t d = 0; d < 6; ++d) {
          wrong += y(c, a, d, b).bits != bfloat16(x(a, b, c, d)).bits;
          wrong += back(a, b, c, d) != static_cast<float>(bfloat16(x(a, b, c, d)));
        }
  CHECK(wrong == 0);

  // A slice of a slice, and one that repeats a row.
  const auto part = x.slice(1, 1, 3).slice(3, 2, 5);
  const auto z = support::poisoned<float>(exec, Shape<4>{3, 2, 5, 3}, 2);
  ops::copy(exec, part.view(), z.view());
  CHECK(z(2, 1, 4, 2) == x(2, 2, 4, 4));
  CHECK(z(0, 0, 0, 0) == x(0, 1, 0, 2));
  const auto repeated = support::poisoned<float>(exec, Shape<2>{7, 6});
  ops::copy(exec, View<const float, 2, Space>(x.data_handle() + 6, {7, 6}, {0, 1}), repeated.view());
  CHECK(repeated(6, 5) == 11);
  CHECK(support::message_of<InputError>([&] { ops::copy(exec, x.view(), part.view()); }) ==
        "copy: shape of source is (3, 4, 5, 6), expected (3, 2, 5, 3)");
}

TEST_CASE("elementwise operators name what does not fit, and wait while planning") {
  Exec<Device> exec;
  const auto x = exec.empty<float, 3>({2, 3, 4});
  const auto y = support::poisoned<float>(exec, Shape<3>{2, 3, 5});
  CHECK(support::message_of<InputError>([&] { ops::add(exec, x, x, y.view()); }) ==
        "add: shape of a is (2, 3, 4), expected (2, 3, 5)");
  CHECK(support::contains(
      support::message_of<InputError>([&] { ops::scale(exec, 1, x.slice(1, 0, 2), x.slice(1, 0, 2).view()); }),
      "scale: the leading axes of a view of shape (2, 2, 4)"));
  exec.set_planning(true);
  ops::fill(exec, 1, y.view());
  CHECK(std::isnan(y(0, 0, 0)));
}
