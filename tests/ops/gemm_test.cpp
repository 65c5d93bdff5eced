// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include <bit>

#include "segue/ops/cpu/gemm.hpp"

namespace {
using Device = segue::Cpu;
}

#include "ops/gemm_test.inl"

TEST_CASE("gemm multiplies operands of different types", "[gemm]") {
  SECTION("float by bfloat16 into float") { verify_shapes<float, bfloat16, float>(); }
  SECTION("bfloat16 by float into bfloat16") { verify_shapes<bfloat16, float, bfloat16>(); }
  SECTION("bfloat16 by float16 into bfloat16") { verify_shapes<bfloat16, float16, bfloat16>(); }
  SECTION("float16 by float into bfloat16") { verify_shapes<float16, float, bfloat16>(); }
}

TEST_CASE("gemm of different types lets non-finite values through and only where they belong", "[gemm]") {
  verify_not_finite<float, bfloat16>();
  verify_not_finite<bfloat16, float>();
  verify_not_finite<float16, bfloat16>();
}

TEST_CASE("gemm keeps a NaN whose payload is in its last bits", "[gemm]") {
  Exec<Device> exec;
  constexpr std::int64_t m = 40, n = 70, k = 64;
  const auto a = support::operand<float>(exec, Shape<2>{m, k}, support::random_values<float>(m * k, 1));
  a.data_handle()[3 * k + 8] = std::bit_cast<float>(0x7F800001u);
  const auto b = support::operand<bfloat16>(exec, Shape<2>{n, k}, Values(n * k, 1.0));
  const auto c = support::poisoned<float>(exec, Shape<2>{m, n});
  const auto scratch = support::scratch_of(
      exec, ops::gemm_workspace_bytes<float, bfloat16, float>(exec, m, n, k, Transpose::no, Transpose::yes));
  ops::gemm(exec, a, Transpose::no, b, Transpose::yes, c, {}, ops::Epilogue<float, float, typename Device::Space>{},
            scratch);
  const Values got = support::values_of(c);
  for (std::size_t i = 0; i < got.size(); ++i) CHECK(std::isnan(got[i]) == (i / n == 3));
}

TEST_CASE("a value that is not finite changes no bit of other rows and columns of gemm", "[gemm]") {
  Exec<Device> exec;
  constexpr std::int64_t m = 70, n = 100, k = 90;
  const auto multiply = [&](std::int64_t row, std::int64_t column) {
    Values av = support::random_values<float>(m * k, 1), bv = support::random_values<bfloat16>(k * n, 2);
    if (row >= 0) av[static_cast<std::size_t>(row * k + 5)] = std::numeric_limits<double>::quiet_NaN();
    if (column >= 0) bv[static_cast<std::size_t>(7 * n + column)] = std::numeric_limits<double>::infinity();
    const auto a = support::operand<float>(exec, Shape<2>{m, k}, av);
    const auto b = support::operand<bfloat16>(exec, Shape<2>{k, n}, bv);
    const auto c = support::poisoned<float>(exec, Shape<2>{m, n});
    const auto scratch = support::scratch_of(
        exec, ops::gemm_workspace_bytes<float, bfloat16, float>(exec, m, n, k, Transpose::no, Transpose::no));
    ops::gemm(exec, a, Transpose::no, b, Transpose::no, c, {}, ops::Epilogue<float, float, typename Device::Space>{},
              scratch);
    return support::values_of(c);
  };
  const Values clean = multiply(-1, -1), other = multiply(3, 40);
  std::size_t different = 0;
  for (std::int64_t i = 0; i < m; ++i)
    for (std::int64_t j = 0; j < n; ++j)
      if (i != 3 && j != 40)
        different += clean[static_cast<std::size_t>(i * n + j)] != other[static_cast<std::size_t>(i * n + j)];
  CHECK(different == 0);
}

TEMPLATE_TEST_CASE("gemm packs a b that is larger than its scratch part by part", "[gemm]", float, bfloat16) {
  Exec<Device> exec(typename Exec<Device>::Options{.threads = 2});
  for (const Transpose t : {Transpose::no, Transpose::yes})
    Case<TestType, TestType, TestType>{.m = 3, .n = 2100, .k = 2051, .tb = t}.verify(exec);
}

TEST_CASE("gemm adds what is there to sums of several panels, whichever way these are gathered", "[gemm]") {
  Exec<Device> exec(typename Exec<Device>::Options{.threads = 2});
  // Alone they go straight to c, else they are put aside until they are whole.
  Case<float, float, float> shape{.m = 67, .n = 131, .k = 2100};
  const Values sums = shape.run(exec)[0], there = shape.c();
  shape.scale = {.alpha = 1, .beta = 1};
  const Values added = shape.run(exec)[0];
  std::size_t different = 0;
  for (std::size_t i = 0; i < sums.size(); ++i)
    different += added[i] != static_cast<float>(sums[i]) + static_cast<float>(there[i]);
  CHECK(different == 0);
}

TEMPLATE_TEST_CASE("gemm gives the same bits at any thread count", "[gemm]", (std::pair<float, float>),
                   (std::pair<bfloat16, bfloat16>), (std::pair<float, bfloat16>)) {
  using T = typename TestType::first_type;
  using TB = typename TestType::second_type;
  for (const Transpose t : {Transpose::no, Transpose::yes})
    for (const std::int64_t m : {3, 50, 320}) {
      const Case<T, TB, T> shape{
          .m = m, .n = 200, .k = 500, .ta = t, .tb = t, .bias = true, .activation = Activation::gelu_tanh};
      Exec<Device> one(typename Exec<Device>::Options{.threads = 1});
      const Values expected = shape.run(one)[0];
      for (const int threads : {2, 3, 5}) {
        Exec<Device> several(typename Exec<Device>::Options{.threads = threads});
        CHECK(shape.run(several)[0] == expected);
      }
    }
}

TEMPLATE_TEST_CASE("a row of gemm has the same bits in any batch", "[gemm]", (std::pair<float, float>),
                   (std::pair<bfloat16, bfloat16>), (std::pair<float, bfloat16>)) {
  using T = typename TestType::first_type;
  using TB = typename TestType::second_type;
  Exec<Device> exec(typename Exec<Device>::Options{.threads = 2});
  // Long sums with an activation, others that go straight to c or are added to it, in one panel and in several.
  const std::int64_t k = GENERATE(450, 90, 96, 2100);
  const double beta = k != 450 ? GENERATE(0.0, 1.0) : 0.0;
  const Activation activation = k == 450 ? Activation::gelu : Activation::none;
  constexpr std::int64_t m = 131, n = 75;
  const auto a = support::operand<T>(exec, Shape<2>{m, k}, support::random_values<T>(m * k, 1));
  const auto b = support::operand<TB>(exec, Shape<2>{n, k}, support::random_values<TB>(n * k, 2));
  const auto multiply = [&](std::int64_t row, std::int64_t rows, std::int64_t column, std::int64_t columns) {
    const auto all = support::operand<T>(exec, Shape<2>{m, n}, support::random_values<T>(m * n, 3));
    const auto c = all.slice(0, row, row + rows).slice(1, column, column + columns);
    const auto scratch = support::scratch_of(
        exec, ops::gemm_workspace_bytes<T, TB, T>(exec, rows, columns, k, Transpose::no, Transpose::yes));
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

TEMPLATE_TEST_CASE("gemm with an operand of bfloat16 is as exact as its sums", "[gemm]", float, float16) {
  using T = TestType;
  Exec<Device> exec;
  const auto verify = [&]<class TA, class TB>(Transpose ta, std::int64_t k, double scale) {
    constexpr std::int64_t m = 67, n = 93;
    Values av = support::random_values<TA>(m * k, 1);
    for (double& x : av) x *= scale;
    const auto a = support::operand<TA>(exec, ta == Transpose::no ? Shape<2>{m, k} : Shape<2>{k, m}, av);
    const auto b = support::operand<TB>(exec, Shape<2>{n, k}, support::random_values<TB>(k * n, 2));
    av = support::values_of(a);
    const Values bv = support::values_of(b);
    const auto c = support::poisoned<float>(exec, Shape<2>{m, n});
    const auto scratch =
        support::scratch_of(exec, ops::gemm_workspace_bytes<TA, TB, float>(exec, m, n, k, ta, Transpose::yes));
    ops::gemm(exec, a, ta, b, Transpose::yes, c, {}, ops::Epilogue<float, float, typename Device::Space>{}, scratch);
    const Values got = support::values_of(c);
    double difference = 0, norm = 0;
    for (std::int64_t i = 0; i < m; ++i)
      for (std::int64_t j = 0; j < n; ++j) {
        double sum = 0;
        for (std::int64_t p = 0; p < k; ++p)
          sum += av[static_cast<std::size_t>(ta == Transpose::no ? i * k + p : p * m + i)] *
                 bv[static_cast<std::size_t>(j * k + p)];
        const double apart = got[static_cast<std::size_t>(i * n + j)] - sum;
        difference += apart * apart;
        norm += sum * sum;
      }
    INFO("k " << k << ", scale " << scale << ", " << std::sqrt(difference / norm));
    // Tiles round less often at full size, and sum 512 steps at a time.
    CHECK(std::sqrt(difference / norm) < (detail::gemm_by_tiles<TA, TB, float>() ? 1.25e-7 : 8e-7));
  };
  for (const Transpose ta : {Transpose::no, Transpose::yes})
    for (const std::int64_t k : {64, 513, 2100})
      for (const double scale : std::is_same_v<T, float> ? std::vector<double>{1.0, 1e-24, 1e24} : std::vector{1.0}) {
        verify.template operator()<T, bfloat16>(ta, k, scale);
        verify.template operator()<bfloat16, T>(ta, k, scale);
      }
}
