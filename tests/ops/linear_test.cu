// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include "segue/ops/cuda/linear.cuh"

namespace {
using Device = segue::Cuda;
}

#include "ops/linear_test.inl"

TEST_CASE("the bias gradient over many rows has the same bits in every run", "[linear]") {
  constexpr std::int64_t m = 5000, n = 264;
  const Values dy = support::random_values<bfloat16>(m * n, 1);
  Values want(n, 0.0), first;
  for (std::size_t i = 0; i < dy.size(); ++i) want[i % n] += dy[i];
  for (int run = 0; run < 3; ++run) {
    Exec<Device> exec;
    const auto db = support::poisoned<float>(exec, Shape<1>{n});
    ops::linear_backward_bias(
        exec, support::operand<bfloat16>(exec, Shape<2>{m, n}, dy, 8), db, GradMode::overwrite,
        support::scratch_of(exec, ops::linear_backward_bias_workspace_bytes<bfloat16>(exec, m, n)));
    const Values got = support::values_of(db);
    if (run == 0) first = got;
    CHECK(got == first);
    CHECK(support::worst_difference(got, want) <= 1e-5);
  }
}

TEST_CASE("the bias gradient says how much scratch it needs", "[linear]") {
  Exec<Device> exec;
  const auto dy = support::poisoned<float>(exec, Shape<2>{100, 4});
  const auto db = support::poisoned<float>(exec, Shape<1>{4});
  CHECK(support::contains(
      support::message_of<InputError>([&] { ops::linear_backward_bias(exec, dy, db, GradMode::overwrite); }),
      "linear_backward_bias: size of scratch is 0, expected"));
}
