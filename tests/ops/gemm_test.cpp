// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include "segue/ops/cpu/gemm.hpp"

namespace {
using Device = segue::Cpu;
}

#include "ops/gemm_test.inl"

TEST_CASE("gemm multiplies operands of different types", "[gemm]") {
  SECTION("float by bfloat16 into float") { verify_shapes<float, bfloat16, float>(); }
  SECTION("float16 by float into bfloat16") { verify_shapes<float16, float, bfloat16>(); }
}

TEMPLATE_TEST_CASE("gemm packs a b that is larger than its scratch part by part", "[gemm]", float, bfloat16) {
  Exec<Device> exec(typename Exec<Device>::Options{.threads = 2});
  for (const Transpose t : {Transpose::no, Transpose::yes})
    Case<TestType, TestType, TestType>{.m = 3, .n = 2100, .k = 2051, .tb = t}.verify(exec);
}

TEMPLATE_TEST_CASE("gemm gives the same bits at any thread count", "[gemm]", float, bfloat16) {
  using T = TestType;
  for (const Transpose t : {Transpose::no, Transpose::yes})
    for (const std::int64_t m : {3, 50, 320}) {
      const Case<T, T, T> shape{
          .m = m, .n = 200, .k = 500, .ta = t, .tb = t, .bias = true, .activation = Activation::gelu_tanh};
      Exec<Device> one(typename Exec<Device>::Options{.threads = 1});
      const Values expected = shape.run(one)[0];
      for (const int threads : {2, 3, 5}) {
        Exec<Device> several(typename Exec<Device>::Options{.threads = threads});
        CHECK(shape.run(several)[0] == expected);
      }
    }
}

TEMPLATE_TEST_CASE("a row of gemm has the same bits in any batch", "[gemm]", float, bfloat16) {
  using T = TestType;
  Exec<Device> exec(typename Exec<Device>::Options{.threads = 2});
  // Long sums with an activation, short ones that go straight to c or are added to it.
  const std::int64_t k = GENERATE(450, 90, 96);
  const double beta = k < 450 ? GENERATE(0.0, 1.0) : 0.0;
  const Activation activation = k == 450 ? Activation::gelu : Activation::none;
  constexpr std::int64_t m = 131, n = 75;
  const auto a = support::operand<T>(exec, Shape<2>{m, k}, support::random_values<T>(m * k, 1));
  const auto b = support::operand<T>(exec, Shape<2>{n, k}, support::random_values<T>(n * k, 2));
  const auto multiply = [&](std::int64_t row, std::int64_t rows, std::int64_t column, std::int64_t columns) {
    const auto all = support::operand<T>(exec, Shape<2>{m, n}, support::random_values<T>(m * n, 3));
    const auto c = all.slice(0, row, row + rows).slice(1, column, column + columns);
    const auto scratch = support::scratch_of(
        exec, ops::gemm_workspace_bytes<T, T, T>(exec, rows, columns, k, Transpose::no, Transpose::yes));
    ops::gemm(exec, a.slice(0, row, row + rows), Transpose::no, b.slice(0, column, column + columns), Transpose::yes, c,
              {.alpha = 1, .beta = beta}, ops::Epilogue<T, T, typename Device::Space>{.activation = activation},
              scratch);
    return support::values_of(c);
  };
  const Values whole = multiply(0, m, 0, n);
  const std::int64_t parts[][4] = {{0, 1, 0, n},  {130, 1, 0, n},  {77, 3, 0, n},
                                   {5, 64, 0, n}, {1, 130, 3, 72}, {64, 67, 70, 5}};
  for (const auto& p : parts) {
    const Values part = multiply(p[0], p[1], p[2], p[3]);
    bool same = true;
    for (std::int64_t i = 0; i < p[1]; ++i)
      for (std::int64_t j = 0; j < p[3]; ++j)
        same = same && part[static_cast<std::size_t>(i * p[3] + j)] ==
                           whole[static_cast<std::size_t>((p[0] + i) * n + p[2] + j)];
    INFO("rows from " << p[0] << " count " << p[1] << " columns from " << p[2] << " count " << p[3]);
    CHECK(same);
  }
}

TEST_CASE("gemm reads skinny operands where they lie with the bits of packed ones", "[gemm]") {
  Exec<Device> exec;
  constexpr std::int64_t m = 300, n = 260, k = 70;
  const auto a = support::operand<float>(exec, Shape<2>{k, m}, support::random_values<float>(m * k, 1));
  const auto b = support::operand<float>(exec, Shape<2>{k, n}, support::random_values<float>(n * k, 2));
  const auto multiply = [&](std::int64_t rows, std::int64_t columns) {
    const auto c = support::poisoned<float>(exec, Shape<2>{rows, columns});
    const auto scratch = support::scratch_of(
        exec, ops::gemm_workspace_bytes<float, float, float>(exec, rows, columns, k, Transpose::yes, Transpose::no));
    ops::gemm(exec, a.slice(1, 0, rows), Transpose::yes, b.slice(1, 0, columns), Transpose::no, c, {},
              ops::Epilogue<float, float, typename Device::Space>{}, scratch);
    return c;
  };
  const auto whole = multiply(m, n);
  for (const std::int64_t rows : {std::int64_t{4}, std::int64_t{16}, m})
    for (const std::int64_t columns : {4, 16, 64, 70}) {
      const auto part = multiply(rows, columns);
      CHECK(support::values_of(part) == support::values_of(whole.slice(0, 0, rows).slice(1, 0, columns)));
    }
}
