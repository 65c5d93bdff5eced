// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include <type_traits>
#include <vector>

#include "segue/core/dispatch.hpp"
#include "segue/core/view.hpp"
#include "support/catch.hpp"
#include "support/errors.hpp"

using namespace segue;
using support::message_of;

template <class T, int Rank>
using HostView = View<T, Rank, HostSpace>;

static_assert(std::is_trivially_copyable_v<HostView<float, 4>>);
static_assert(std::is_convertible_v<HostView<float, 2>, HostView<const float, 2>>);
static_assert(!std::is_convertible_v<HostView<const float, 2>, HostView<float, 2>>);
static_assert(!std::is_convertible_v<HostView<float, 2>, HostView<const double, 2>>);

namespace {

std::vector<int> numbers(int n) {
  std::vector<int> out(static_cast<std::size_t>(n));
  for (int i = 0; i < n; ++i) out[static_cast<std::size_t>(i)] = i;
  return out;
}

}  // namespace

TEST_CASE("a view indexes row-major and slices") {
  std::vector<int> data = numbers(24);
  const HostView<int, 3> x(data.data(), {2, 3, 4});
  CHECK(x.size() == 24);
  CHECK(x.strides() == Shape<3>{12, 4, 1});
  CHECK(x(1, 2, 3) == 23);
  CHECK(x.is_contiguous());

  const auto middle = x.slice(1, 1, 3);
  CHECK(middle.shape() == Shape<3>{2, 2, 4});
  CHECK(middle(0, 0, 0) == 4);
  CHECK(middle(1, 1, 3) == 23);
  CHECK_FALSE(middle.is_contiguous());
  CHECK(middle.has_contiguous_rows());

  const auto last = x.slice(2, 1, 3);
  CHECK(last(1, 0, 1) == 14);
  CHECK_FALSE(last.is_contiguous());
  CHECK(last.has_contiguous_rows());

  const auto second = x[1];
  CHECK(second.shape() == Shape<2>{3, 4});
  CHECK(second(0, 0) == 12);

  x(0, 0, 0) = 99;
  CHECK(data[0] == 99);
}

TEST_CASE("contiguity ignores the strides of axes of one element") {
  std::vector<int> data = numbers(8);
  CHECK(HostView<int, 3>(data.data(), {1, 2, 4}, {777, 4, 1}).is_contiguous());
  CHECK(HostView<int, 2>(data.data(), {2, 1}, {1, 5}).has_contiguous_rows());
  CHECK_FALSE(HostView<int, 2>(data.data(), {4, 2}, {1, 4}).has_contiguous_rows());
  CHECK(HostView<int, 2>(data.data(), {0, 4}).empty());
}

TEST_CASE("rows_of collapses what forms one stride") {
  std::vector<int> data = numbers(120);
  const HostView<int, 3> x(data.data(), {2, 3, 20});
  const auto all = rows_of(x);
  CHECK(all.shape() == Shape<2>{6, 20});
  CHECK(all(5, 19) == 119);

  const auto part = rows_of(x.slice(2, 5, 9));
  CHECK(part.shape() == Shape<2>{6, 4});
  CHECK(part.stride(0) == 20);
  CHECK(part(5, 3) == 108);

  const auto one = rows_of(x.slice(0, 1, 2).slice(1, 1, 3));
  CHECK(one.shape() == Shape<2>{2, 20});
  CHECK(one(0, 0) == 80);

  const auto single = rows_of(HostView<int, 1>(data.data(), {7}));
  CHECK(single.shape() == Shape<2>{1, 7});
  CHECK(rows_of(HostView<int, 3>(data.data(), {2, 0, 5})).extent(0) == 0);
  CHECK(rows_of(HostView<int, 3>(data.data(), {0, 3, 5})).extent(0) == 0);

  CHECK(message_of<InputError>([&] { rows_of(x.slice(1, 0, 2), "norm"); }) ==
        "norm: the leading axes of a view of shape (2, 2, 20) and strides (60, 20, 1) do not form one row stride; make "
        "it "
        "contiguous first");
}

TEST_CASE("shape checks name operator, argument, found and expected") {
  std::vector<int> data = numbers(12);
  const HostView<int, 2> x(data.data(), {3, 4});
  detail::check_shape("op", "x", x, {3, 4});
  detail::check_shape("op", "x", x, {-1, 4});
  CHECK(message_of<InputError>([&] {
          detail::check_shape("op", "x", x, {3, 5});
        }) == "op: shape of x is (3, 4), expected (3, 5)");
  const HostView<int, 2> transposed(data.data(), {4, 3}, {1, 4});
  CHECK(message_of<InputError>([&] {
          detail::check_shape("op", "x", transposed, {4, 3});
        }) == "op: last-axis stride of x is 4, expected 1");
  CHECK(message_of<InputError>([&] { detail::check(false, "op", "this is wrong"); }) == "op: this is wrong");
}

TEST_CASE("dispatch turns a value into a constant or names the closed set") {
  using Set = std::integer_sequence<int, 64, 128, 256>;
  CHECK(dispatch("attention", "head_dim", 128, Set{}, [](auto v) { return decltype(v)::value + 1; }) == 129);
  int seen = 0;
  dispatch("attention", "head_dim", 64, Set{}, [&](auto v) { seen = v; });
  CHECK(seen == 64);
  CHECK(message_of<InputError>([&] { dispatch("attention", "head_dim", 96, Set{}, [](auto) {}); }) ==
        "attention: head_dim is 96, expected one of 64, 128, 256");
}
