// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

// Included by one source a device, which defines `Device` and includes its kernels.
#include "segue/ops/reduce.hpp"
#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/operands.hpp"

namespace {

using namespace segue;
using ops::GradMode;
using support::Values;
using Space = Device::Space;

double sum_of(const Values& a, const Values& b) {
  long double total = 0;
  for (std::size_t i = 0; i < a.size(); ++i) total += static_cast<long double>(a[i]) * static_cast<long double>(b[i]);
  return static_cast<double>(total);
}

}  // namespace

TEMPLATE_TEST_CASE("whole sums are those of double, at any thread count", "", float, double, bfloat16, float16) {
  using T = TestType;
  for (const std::int64_t count : {0, 1, 5, 4096, 4097, 300007, 2000001}) {
    if (count > 300007 && !std::is_same_v<T, float>) continue;
    const Values xs = support::random_values<T>(count, 1), ws = support::random_values<float>(count, 2);
    Values bits;
    for (const int threads : {1, 2, 5}) {
      Exec<Device> exec({.threads = threads});
      const auto x = support::operand<T>(exec, Shape<2>{1, count}, xs);
      const auto w = support::operand<float>(exec, Shape<2>{1, count}, ws);
      const auto out = support::poisoned<double>(exec, Shape<1>{3});
      for (int repeated = 0; repeated < 2; ++repeated) {
        ops::sum(exec, x.view(), out.slice(0, 0, 1).view());
        ops::sum_of_squares(exec, x.view(), out.slice(0, 1, 2).view());
        ops::dot(exec, x.view(), w.view(), out.slice(0, 2, 3).view());
        const Values got = support::values_of(out);
        if (bits.empty()) bits = got;
        CHECK(got == bits);
        const double tolerance = 1e-14 * static_cast<double>(count);
        CHECK(std::abs(got[0] - sum_of(xs, Values(xs.size(), 1.0))) <= tolerance);
        CHECK(std::abs(got[1] - sum_of(xs, xs)) <= tolerance);
        CHECK(std::abs(got[2] - sum_of(xs, ws)) <= tolerance);
      }
    }
  }
}

TEMPLATE_TEST_CASE("bits of a whole sum do not depend on where in memory it starts", "", float, bfloat16) {
  using T = TestType;
  Exec<Device> exec;
  const std::int64_t count = 12345;
  const Values xs = support::random_values<T>(count, 1);
  Values bits;
  for (const std::int64_t start : {0, 1, 3, 4, 8}) {
    Values shifted(static_cast<std::size_t>(start));
    shifted.insert(shifted.end(), xs.begin(), xs.end());
    const auto whole = support::operand<T>(exec, Shape<1>{count + start}, shifted);
    const auto x = whole.slice(0, start, start + count);
    const auto out = support::poisoned<double>(exec, Shape<1>{2});
    ops::sum(exec, x.view(), out.slice(0, 0, 1).view());
    ops::sum_of_squares(exec, x.view(), out.slice(0, 1, 2).view());
    if (bits.empty()) bits = support::values_of(out);
    CHECK(support::values_of(out) == bits);
  }
}

TEST_CASE("squares are summed where float would overflow") {
  Exec<Device> exec;
  const auto x = support::operand<float>(exec, Shape<1>{3}, {3e30, 4e30, 0});
  const auto out = exec.empty<double, 1>({1});
  ops::sum_of_squares(exec, x.view(), out.view());
  CHECK(std::abs(support::values_of(out)[0] / 25e60 - 1) < 1e-6);
}

TEMPLATE_TEST_CASE("sums over rows agree with double, at any thread count", "", float, double, bfloat16, float16) {
  using T = TestType;
  for (const std::int64_t rows : {0, 1, 64, 1000})
    for (const std::int64_t columns : {0, 1, 333, 384}) {
      const Values xs = support::random_values<T>(rows * columns, 1);
      Values expected(static_cast<std::size_t>(columns));
      for (std::size_t i = 0; i < xs.size(); ++i) expected[i % expected.size()] += xs[i];
      Values bits;
      for (const int threads : {1, 2, 5}) {
        Exec<Device> exec({.threads = threads});
        const auto x = support::operand<T>(exec, Shape<2>{rows, columns}, xs, threads == 5 ? 8 : 3);
        const auto out = support::poisoned<Accum<T>>(exec, Shape<1>{columns});
        const auto scratch =
            support::scratch_of(exec, static_cast<std::size_t>(ops::sum_rows_workspace_bytes<T>(exec, rows, columns)));
        ops::sum_rows(exec, x.view(), out.view(), GradMode::overwrite, scratch.view());
        const Values got = support::values_of(out);
        if (bits.empty()) bits = got;
        CHECK(got == bits);
        CHECK(support::worst_difference(got, expected) < 1e-5);
        ops::sum_rows(exec, x.view(), out.view(), GradMode::accumulate, scratch.view());
        Values twice = expected;
        for (double& v : twice) v *= 2;
        CHECK(support::worst_difference(support::values_of(out), twice) < 1e-5);
      }
    }
}

TEMPLATE_TEST_CASE("one element that is not finite is found wherever it is", "", float, double, bfloat16, float16) {
  using T = TestType;
  Exec<Device> exec({.threads = 2});
  const std::int64_t count = 9001;
  Values values = support::random_values<T>(count, 1);
  values[0] = -0.0;
  values[1] = 60000;
  const auto flag = support::tensor_of<std::int32_t>(exec, {77});
  const auto found = [&](GradMode mode) {
    const auto x = support::operand<T>(exec, Shape<1>{count}, values);
    ops::has_nonfinite(exec, x.view(), flag.view(), mode);
    return support::values_of(flag)[0];
  };
  CHECK(found(GradMode::overwrite) == 0);
  CHECK(found(GradMode::accumulate) == 0);
  for (const double bad : {std::numeric_limits<double>::infinity(), -std::numeric_limits<double>::infinity(),
                           std::numeric_limits<double>::quiet_NaN()})
    for (const std::int64_t i : {std::int64_t{0}, std::int64_t{4097}, count - 1}) {
      const double kept = std::exchange(values[static_cast<std::size_t>(i)], bad);
      CHECK(found(GradMode::overwrite) == 1);
      values[static_cast<std::size_t>(i)] = kept;
    }
  CHECK(found(GradMode::accumulate) == 1);
  CHECK(found(GradMode::overwrite) == 0);
  const auto none = exec.empty<T, 1>({0});
  ops::has_nonfinite(exec, none.view(), flag.view(), GradMode::overwrite);
  CHECK(support::values_of(flag)[0] == 0);
}

TEST_CASE("reductions name what does not fit, and wait while planning") {
  Exec<Device> exec;
  const auto x = exec.empty<float, 2>({4, 6});
  const auto out = support::operand<double>(exec, Shape<1>{1}, {5});
  CHECK(support::message_of<InputError>([&] { ops::sum(exec, x.slice(1, 0, 3).view(), out.view()); }) ==
        "sum: strides of x is (6, 1), expected a contiguous view");
  CHECK(support::message_of<InputError>([&] { ops::dot(exec, x.view(), x.slice(0, 0, 3).view(), out.view()); }) ==
        "dot: shape of b is (3, 6), expected (4, 6)");
  CHECK(support::contains(support::message_of<InputError>([&] {
                            ops::sum_rows(exec, x.view(), exec.empty<float, 1>({6}).view(), GradMode::overwrite,
                                          View<std::byte, 1, Space>{});
                          }),
                          "sum_rows: scratch is 0 bytes, expected at least"));
  exec.set_planning(true);
  ops::sum(exec, x.view(), out.view());
  CHECK(support::values_of(out)[0] == 5);
}
