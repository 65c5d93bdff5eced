// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include "segue/ops/cpu/linear.hpp"

namespace {
using Device = segue::Cpu;
}

#include "ops/linear_test.inl"

TEST_CASE("linear multiplies activations by weights of another type", "[linear]") {
  for (const auto& s : {Shape<3>{1, 40, 24}, Shape<3>{131, 37, 29}}) verify_linear<float, bfloat16>(s[0], s[1], s[2]);
}

TEST_CASE("the bias gradient has the same bits at any thread count", "[linear]") {
  const Values dy = support::random_values<float>(700 * 301, 1);
  Values first;
  for (const int threads : {1, 2, 3}) {
    Exec<Device> exec(typename Exec<Device>::Options{.threads = threads});
    const auto db = support::poisoned<float>(exec, Shape<1>{301});
    ops::linear_backward_bias(exec, support::operand<float>(exec, Shape<2>{700, 301}, dy), db, GradMode::overwrite);
    if (threads == 1) first = support::values_of(db);
    CHECK(support::values_of(db) == first);
  }
}
