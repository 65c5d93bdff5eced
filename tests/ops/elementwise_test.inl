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

/// How many elements a view reaches over.
template <int Rank>
std::int64_t reach(const Shape<Rank>& shape, const Shape<Rank>& strides) {
  std::int64_t last = 0;
  for (std::size_t i = 0; i < shape.size(); ++i) last += (shape[i] - 1) * strides[i];
  return last + 1;
}

/// Copies between views of these strides that begin at `offset`, and compares all memory of the target, gaps included.
template <class TS, class TD, int Rank>
void check_strides(Exec<Device>& exec, const Shape<Rank>& shape, const Shape<Rank>& from, const Shape<Rank>& to,
                   std::int64_t offset = 0) {
  std::vector<TS> source(static_cast<std::size_t>(offset + reach<Rank>(shape, from)));
  for (std::size_t i = 0; i < source.size(); ++i) source[i] = cast<TS>(static_cast<float>(i % 4093));
  std::vector<TD> target(static_cast<std::size_t>(offset + reach<Rank>(shape, to)), cast<TD>(-7.0f));
  const auto x = support::tensor_of(exec, source);
  const auto y = support::tensor_of(exec, target);
  ops::copy(exec, View<TS, Rank, Space>(x.data_handle() + offset, shape, from),
            View<TD, Rank, Space>(y.data_handle() + offset, shape, to));
  for (std::int64_t i = 0; i < element_count(shape); ++i) {
    std::int64_t rest = i, s = offset, t = offset;
    for (std::size_t axis = shape.size(); axis-- > 0;) {
      s += rest % shape[axis] * from[axis];
      t += rest % shape[axis] * to[axis];
      rest /= shape[axis];
    }
    target[static_cast<std::size_t>(t)] = cast<TD>(source[static_cast<std::size_t>(s)]);
  }
  const auto got = to_host(exec, y.view());
  INFO("shape " << shape_string(shape) << " from " << shape_string(from) << " to " << shape_string(to));
  CHECK(std::memcmp(got.data(), target.data(), target.size() * sizeof(TD)) == 0);
}

template <class TS, class TD>
void check_all_strides() {
  Exec<Device> exec({.threads = 2});
  const std::int64_t offset = GENERATE(0, 1);
  // Transposes: squares, edges of squares, few lines on one side, batches of them.
  for (const std::int64_t rows : {1, 3, 8, 64, 130})
    for (const std::int64_t columns : {1, 5, 33, 70})
      check_strides<TS, TD, 2>(exec, {rows, columns}, {columns + 2, 1}, {1, rows + 1}, offset);
  check_strides<TS, TD, 3>(exec, {3, 20, 40}, {1000, 1, 21}, {800, 40, 1}, offset);
  check_strides<TS, TD, 4>(exec, {2, 9, 11, 16}, {9 * 16 * 11, 11, 1, 99}, {9 * 16 * 11, 16 * 11, 16, 1}, offset);
  // (a, b, c, d) -> (c, a, d, b), and back
  check_strides<TS, TD, 4>(exec, {5, 3, 6, 4}, {6, 120, 1, 30}, {72, 24, 4, 1}, offset);
  check_strides<TS, TD, 4>(exec, {5, 3, 6, 4}, {72, 24, 4, 1}, {6, 120, 1, 30}, offset);
  // Rows that lie apart, in one axis, in three and with packs to a row; six axes.
  check_strides<TS, TD, 2>(exec, {7, 48}, {64, 1}, {48, 1}, offset);
  check_strides<TS, TD, 3>(exec, {3, 5, 48}, {1024, 64, 1}, {512, 96, 1}, offset);
  check_strides<TS, TD, 3>(exec, {3, 5, 7}, {100, 11, 1}, {90, 9, 1}, offset);
  check_strides<TS, TD, 6>(exec, {2, 3, 2, 3, 2, 5}, {1000, 200, 70, 20, 7, 1}, {1200, 300, 100, 30, 9, 1}, offset);
  // Nothing contiguous; a row that repeats; one element.
  check_strides<TS, TD, 2>(exec, {13, 17}, {34, 2}, {51, 3}, offset);
  check_strides<TS, TD, 2>(exec, {7, 48}, {0, 1}, {48, 1}, offset);
  check_strides<TS, TD, 3>(exec, {4, 16, 9}, {0, 1, 16}, {144, 9, 1}, offset);
  check_strides<TS, TD, 2>(exec, {1, 1}, {5, 3}, {1, 1}, offset);
}

}  // namespace

TEMPLATE_TEST_CASE("elementwise operators compute what they say", "", float, double, bfloat16, float16) {
  using T = TestType;
  Exec<Device> exec({.threads = 3});
  const double tolerance = support::rounding<T> + (std::is_same_v<T, double> ? 1e-15 : 3e-7);
  for (const std::int64_t columns : {0, 1, 7, 64, 1032, 9001}) {
    const Shape<3> shape{2, 3, columns};
    const Values as = support::random_values<T>(6 * columns, 1), bs = support::random_values<T>(6 * columns, 2);
    // Rows that lie apart, by whole packs or not.
    for (const std::int64_t padding : {0, 1, 16}) {
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
}

TEMPLATE_TEST_CASE("elementwise operators write their elements alone, however these lie", "", float, bfloat16) {
  using T = TestType;
  Exec<Device> exec;
  for (const std::int64_t offset : {0, 1, 3})
    for (const std::int64_t count : {0, 1, 15, 4099}) {
      const auto x = support::operand<T>(exec, Shape<1>{count + 9}, support::random_values<T>(count + 9, 1));
      const auto y = support::operand<T>(exec, Shape<1>{count + 9}, Values(static_cast<std::size_t>(count + 9), 2.0));
      ops::scale(exec, 0.5, x.slice(0, offset, offset + count), y.slice(0, offset, offset + count).view());
      Values expected = support::values_of(x);
      for (std::int64_t i = 0; i < count + 9; ++i) {
        double& v = expected[static_cast<std::size_t>(i)];
        v = i >= offset && i < offset + count ? cast<double>(cast<T>(static_cast<float>(0.5 * v))) : 2.0;
      }
      CHECK(support::values_of(y) == expected);
    }
}

TEMPLATE_TEST_CASE("integers are filled too", "", std::int32_t, std::uint8_t, std::int64_t) {
  Exec<Device> exec;
  const auto x = support::tensor_of(exec, std::vector<TestType>(1003, TestType(9)));
  ops::fill(exec, 5, x.slice(0, 1, 1001).view());
  std::vector<TestType> expected(1003, TestType(5));
  expected[0] = expected[1001] = expected[1002] = 9;
  CHECK(to_host(exec, x.view()) == expected);
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
  std::vector<TestType> host;
  for (const double v : values) host.push_back(cast<TestType>(v));
  const auto source = support::tensor_of(exec, host).template reshape_to<2>({3, columns});
  const auto check = [&]<class To>(To) {
    Values expected;
    for (const TestType v : host) expected.push_back(cast<double>(cast<To>(v)));
    for (const std::int64_t padding : {0, 1}) {
      const auto target = support::poisoned<To>(exec, Shape<2>{3, columns}, padding);
      ops::copy(exec, source.view(), target.view());
      CHECK(support::values_of(target) == expected);
    }
  };
  check(float());
  check(double());
  check(bfloat16());
  check(float16());
}

TEST_CASE("copy takes any strides") {
  check_all_strides<float, float>();
  check_all_strides<float, bfloat16>();
  check_all_strides<bfloat16, bfloat16>();
  check_all_strides<std::uint8_t, float>();
  check_all_strides<double, double>();
}

TEST_CASE("copy names what does not fit") {
  Exec<Device> exec;
  const auto x = exec.empty<float, 4>({3, 4, 5, 6});
  CHECK(support::message_of<InputError>([&] { ops::copy(exec, x.view(), x.slice(1, 1, 3).slice(3, 2, 5).view()); }) ==
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
  CHECK(std::isnan(support::values_of(y)[0]));
}
