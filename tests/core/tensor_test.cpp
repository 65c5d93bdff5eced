// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include <vector>

#include "segue/core/exec.hpp"
#include "support/catch.hpp"
#include "support/errors.hpp"

using namespace segue;

TEST_CASE("a tensor shares its memory and gives it back with the last holder") {
  Exec<Cpu> exec;
  {
    const auto x = exec.empty<float, 2>({3, 4});
    CHECK(x.unique());
    x(1, 2) = 7;
    const auto y = x;
    CHECK_FALSE(x.unique());
    CHECK(y(1, 2) == 7);
    CHECK(y.data_handle() == x.data_handle());
    const auto part = x.slice(0, 1, 2);
    CHECK(part(0, 2) == 7);
    CHECK(exec.pool().statistics().current_bytes == 256);
  }
  CHECK(exec.pool().statistics().current_bytes == 0);
}

TEST_CASE("part of a tensor keeps the whole alive") {
  Exec<Cpu> exec;
  auto whole = exec.empty<int, 1>({1000});
  whole(999) = 5;
  auto part = whole.slice(0, 990, 1000);
  whole = {};
  CHECK_FALSE(whole);
  CHECK(part(9) == 5);
  CHECK(exec.pool().statistics().current_bytes > 0);
  part = {};
  CHECK(exec.pool().statistics().current_bytes == 0);
}

TEST_CASE("reshape shares memory or says why it cannot") {
  Exec<Cpu> exec;
  const auto x = exec.empty<int, 2>({4, 6});
  for (int i = 0; i < 24; ++i) x.data_handle()[i] = i;
  const auto y = x.reshape({2, 3, 4});
  CHECK(y(1, 2, 3) == 23);
  CHECK_FALSE(x.unique());
  CHECK(support::message_of<InputError>([&] {
          x.reshape({5, 5});
        }) == "reshape: new shape is (5, 5), expected 24 elements");
  CHECK(support::message_of<InputError>([&] { x.slice(1, 0, 3).reshape({12}); }) ==
        "reshape: strides is (6, 1), expected those of a contiguous tensor");
}

TEST_CASE("a borrowed tensor never frees") {
  std::vector<double> mine{1, 2, 3};
  {
    const auto x = Tensor<double, 1, HostSpace>::borrow({mine.data(), {3}});
    CHECK_FALSE(x.unique());
    CHECK(x(2) == 3);
    x(0) = 9;
  }
  CHECK(mine[0] == 9);
}

TEST_CASE("an Exec takes its threads, seed and allocator from its options") {
  Exec<Cpu> exec(Exec<Cpu>::Options{.threads = 3, .seed = 11});
  CHECK(exec.threads() == 3);
  CHECK(exec.random().next().seed == 11);
  exec.set_threads(0);
  CHECK(exec.threads() >= 1);
  CHECK_FALSE(exec.planning());
  exec.set_planning(true);
  CHECK(exec.planning());
  CHECK(exec.pool().planning());
}
