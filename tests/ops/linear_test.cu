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

TEST_CASE("a product that sums its operand for the bias has the same bits in every run, in all types", "[linear]") {
  const auto verify = [&]<class T>(T, std::int64_t m, GemmMath math, double tolerance) {
    constexpr std::int64_t n = 328, k = 200;
    const Values dy = support::random_values<T>(m * n, 1), x = support::random_values<T>(m * k, 2);
    Values want(n, 0.0), first;
    for (std::size_t i = 0; i < dy.size(); ++i) want[i % n] += dy[i];
    for (int run = 0; run < 3; ++run) {
      Exec<Device> exec;
      exec.set_gemm_math(math);
      const auto dw = support::poisoned<float>(exec, Shape<2>{n, k});
      const auto db = support::poisoned<float>(exec, Shape<1>{n});
      ops::linear_backward_weight_and_bias(
          exec, support::operand<T>(exec, Shape<2>{m, n}, dy, 8), support::operand<T>(exec, Shape<2>{m, k}, x, 8), dw,
          GradMode::overwrite, db, GradMode::overwrite,
          support::scratch_of(exec, ops::linear_backward_weight_and_bias_workspace_bytes<T, T, float>(exec, m, n, k)));
      Values got = support::values_of(db);
      CHECK(support::worst_difference(got, want) <= tolerance);
      const Values product = support::values_of(dw);
      got.insert(got.end(), product.begin(), product.end());
      if (run == 0) first = got;
      CHECK(got == first);
    }
  };
  for (const std::int64_t m : {5000, 20000}) {  // in one kernel, and more than that takes
    verify(bfloat16(), m, GemmMath::native, 1e-5);
    verify(float16(), m, GemmMath::native, 1e-5);
    verify(float(), m, GemmMath::native, 1e-5);
    verify(float(), m, GemmMath::tf32, 1e-5);
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
