// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

// Included by one source a device, which defines `Device` and includes its kernels.
#include "segue/ops/gemm.hpp"
#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/operands.hpp"

namespace {

using namespace segue;
using ops::Activation;
using ops::Transpose;
using support::Values;

double reference_activation(Activation activation, double x) {
  switch (activation) {
    case Activation::gelu_tanh: return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case Activation::gelu: return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0)));
    case Activation::silu: return x / (1 + std::exp(-x));
    case Activation::none: break;
  }
  return x;
}

template <class TA, class TB, class TC>
struct Case {
  std::int64_t m, n, k;
  Transpose ta = Transpose::no, tb = Transpose::no;
  ops::GemmScale scale{};
  bool bias = false, pre_activation = false;
  Activation activation = Activation::none;
  std::int64_t padding = 0;

  Values a() const { return support::random_values<TA>(m * k, 1); }
  Values b() const { return support::random_values<TB>(k * n, 2); }
  Values c() const { return support::random_values<TC>(m * n, 3); }
  Values bias_values() const { return support::random_values<TC>(n, 4); }

  /// {c, pre_activation}
  std::array<Values, 2> expected() const {
    const Values av = a(), bv = b(), cv = c(), shift = bias_values();
    std::array<Values, 2> out{Values(static_cast<std::size_t>(m * n)), Values(static_cast<std::size_t>(m * n))};
    for (std::int64_t i = 0; i < m; ++i)
      for (std::int64_t j = 0; j < n; ++j) {
        double sum = 0;
        for (std::int64_t p = 0; p < k; ++p)
          sum += av[static_cast<std::size_t>(ta == Transpose::no ? i * k + p : p * m + i)] *
                 bv[static_cast<std::size_t>(tb == Transpose::no ? p * n + j : j * k + p)];
        const auto at = static_cast<std::size_t>(i * n + j);
        sum *= scale.alpha;
        if (scale.beta != 0) sum += scale.beta * cv[at];
        if (bias) sum += shift[static_cast<std::size_t>(j)];
        out[0][at] = reference_activation(activation, sum);
        out[1][at] = sum;
      }
    return out;
  }

  std::array<Values, 2> run(Exec<Device>& exec) const {
    const auto at = support::operand<TA>(exec, ta == Transpose::no ? Shape<2>{m, k} : Shape<2>{k, m}, a(), padding);
    const auto bt = support::operand<TB>(exec, tb == Transpose::no ? Shape<2>{k, n} : Shape<2>{n, k}, b(), padding);
    const auto ct = scale.beta == 0 ? support::poisoned<TC>(exec, Shape<2>{m, n}, padding)
                                    : support::operand<TC>(exec, Shape<2>{m, n}, c(), padding);
    const auto shift = support::operand<TC>(exec, Shape<1>{n}, bias_values());
    const auto pre = support::poisoned<TC>(exec, Shape<2>{m, n}, padding);
    const auto scratch = support::scratch_of(exec, ops::gemm_workspace_bytes<TA, TB, TC>(exec, m, n, k, ta, tb));
    ops::Epilogue<TC, TC, typename Device::Space> epilogue{.activation = activation};
    if (bias) epilogue.bias = shift;
    if (pre_activation) epilogue.pre_activation = pre;
    ops::gemm(exec, at, ta, bt, tb, ct, scale, epilogue, scratch);
    return {support::values_of(ct), pre_activation ? support::values_of(pre) : Values()};
  }

  double tolerance() const {
    return 2 * support::rounding<TC> + (std::is_same_v<TC, double> ? 1e-13 : 1e-6 + 4e-7 * std::sqrt(double(k)));
  }

  void verify(Exec<Device>& exec) const {
    INFO("m " << m << " n " << n << " k " << k << " transposed " << int(ta) << int(tb) << " activation "
              << int(activation) << " padding " << padding);
    const auto got = run(exec), want = expected();
    CHECK(support::worst_difference(got[0], want[0]) <= tolerance());
    if (pre_activation) CHECK(support::worst_difference(got[1], want[1]) <= tolerance());
  }
};

template <class TA, class TB, class TC>
void verify_shapes() {
  Exec<Device> exec(typename Exec<Device>::Options{.threads = 2});
  const std::int64_t shapes[][3] = {{1, 1, 1},     {1, 37, 5},    {5, 1, 9},     {7, 33, 16},
                                    {6, 16, 8},    {14, 32, 385}, {3, 4, 800},   {97, 65, 31},
                                    {129, 40, 70}, {16, 530, 3},  {40, 17, 1200}};
  for (const auto& s : shapes)
    for (const Transpose ta : {Transpose::no, Transpose::yes})
      for (const Transpose tb : {Transpose::no, Transpose::yes})
        Case<TA, TB, TC>{.m = s[0], .n = s[1], .k = s[2], .ta = ta, .tb = tb, .padding = s[2] % 3}.verify(exec);
}

}  // namespace

TEST_CASE("gemm agrees with a double reference in every element type", "[gemm]") {
  SECTION("float") { verify_shapes<float, float, float>(); }
  SECTION("double") { verify_shapes<double, double, double>(); }
  SECTION("bfloat16") { verify_shapes<bfloat16, bfloat16, bfloat16>(); }
  SECTION("float16") { verify_shapes<float16, float16, float16>(); }
  SECTION("float by bfloat16 into float") { verify_shapes<float, bfloat16, float>(); }
  SECTION("float16 by float into bfloat16") { verify_shapes<float16, float, bfloat16>(); }
}

TEST_CASE("gemm applies its epilogue in the documented order", "[gemm]") {
  Exec<Device> exec(typename Exec<Device>::Options{.threads = 2});
  for (const Activation activation : {Activation::none, Activation::gelu_tanh, Activation::gelu, Activation::silu})
    for (const std::int64_t k : {20, 900})
      for (const std::int64_t n : {11, 48}) {
        const ops::GemmScale scale{.alpha = 0.5, .beta = -1.25};
        Case<float, float, float>{.m = 35,
                                  .n = n,
                                  .k = k,
                                  .scale = scale,
                                  .bias = true,
                                  .pre_activation = true,
                                  .activation = activation,
                                  .padding = 3}
            .verify(exec);
        Case<bfloat16, bfloat16, bfloat16>{.m = 35,
                                           .n = n,
                                           .k = k,
                                           .scale = {},
                                           .bias = true,
                                           .pre_activation = true,
                                           .activation = activation,
                                           .padding = 1}
            .verify(exec);
        Case<double, double, double>{.m = 35, .n = n, .k = k, .scale = scale, .bias = true, .activation = activation}
            .verify(exec);
      }
}

TEST_CASE("gemm over an empty K is the epilogue of nothing", "[gemm]") {
  Exec<Device> exec;
  Case<float, float, float>{.m = 9, .n = 19, .k = 0, .bias = true, .activation = Activation::silu}.verify(exec);
  Case<float, float, float>{.m = 9, .n = 19, .k = 0, .scale = {.alpha = 1, .beta = 2}}.verify(exec);
  CHECK(Case<float, float, float>{.m = 0, .n = 19, .k = 4}.run(exec)[0].empty());
  CHECK(Case<float, float, float>{.m = 3, .n = 0, .k = 4}.run(exec)[0].empty());
}

TEST_CASE("gemm gives the same bits at any thread count", "[gemm]") {
  for (const Transpose t : {Transpose::no, Transpose::yes})
    for (const std::int64_t m : {3, 50, 320}) {
      const Case<float, float, float> shape{
          .m = m, .n = 200, .k = 500, .ta = t, .tb = t, .bias = true, .activation = Activation::gelu_tanh};
      Exec<Device> one(typename Exec<Device>::Options{.threads = 1});
      const Values expected = shape.run(one)[0];
      for (const int threads : {2, 3, 5}) {
        Exec<Device> several(typename Exec<Device>::Options{.threads = threads});
        CHECK(shape.run(several)[0] == expected);
      }
    }
}

TEST_CASE("a row of gemm has the same bits in any batch", "[gemm]") {
  Exec<Device> exec(typename Exec<Device>::Options{.threads = 2});
  // Long sums with an activation, short ones that go straight to c or are added to it.
  const std::int64_t k = GENERATE(450, 90);
  const double beta = k == 90 ? GENERATE(0.0, 1.0) : 0.0;
  const Activation activation = k == 450 ? Activation::gelu : Activation::none;
  constexpr std::int64_t m = 131, n = 75;
  const auto a = support::operand<float>(exec, Shape<2>{m, k}, support::random_values<float>(m * k, 1));
  const auto b = support::operand<float>(exec, Shape<2>{n, k}, support::random_values<float>(n * k, 2));
  const auto multiply = [&](std::int64_t row, std::int64_t rows, std::int64_t column, std::int64_t columns) {
    const auto all = support::operand<float>(exec, Shape<2>{m, n}, support::random_values<float>(m * n, 3));
    const auto c = all.slice(0, row, row + rows).slice(1, column, column + columns);
    const auto scratch = support::scratch_of(
        exec, ops::gemm_workspace_bytes<float, float, float>(exec, rows, columns, k, Transpose::no, Transpose::yes));
    ops::gemm(exec, a.slice(0, row, row + rows), Transpose::no, b.slice(0, column, column + columns), Transpose::yes, c,
              {.alpha = 1, .beta = beta}, ops::Epilogue<float, float, typename Device::Space>{.activation = activation},
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

TEST_CASE("gemm lets non-finite values through and only where they belong", "[gemm]") {
  Exec<Device> exec;
  Values av = support::random_values<float>(7 * 20, 1);
  av[3 * 20 + 5] = std::numeric_limits<double>::quiet_NaN();
  const auto a = support::operand<float>(exec, Shape<2>{7, 20}, av);
  const auto b = support::operand<float>(exec, Shape<2>{20, 5}, support::random_values<float>(100, 2));
  for (const Activation activation : {Activation::none, Activation::gelu_tanh, Activation::gelu, Activation::silu}) {
    const auto c = support::poisoned<float>(exec, Shape<2>{7, 5});
    const auto scratch = support::scratch_of(
        exec, ops::gemm_workspace_bytes<float, float, float>(exec, 7, 5, 20, Transpose::no, Transpose::no));
    ops::gemm(exec, a, Transpose::no, b, Transpose::no, c, {},
              ops::Epilogue<float, float, typename Device::Space>{.activation = activation}, scratch);
    const Values got = support::values_of(c);
    for (std::size_t i = 0; i < got.size(); ++i) CHECK(std::isnan(got[i]) == (i / 5 == 3));
  }
}

TEST_CASE("gemm names the argument that does not fit", "[gemm]") {
  Exec<Device> exec;
  const auto a = support::poisoned<float>(exec, Shape<2>{4, 6});
  const auto b = support::poisoned<float>(exec, Shape<2>{6, 5});
  const auto c = support::poisoned<float>(exec, Shape<2>{4, 5});
  const auto scratch = support::scratch_of(
      exec, ops::gemm_workspace_bytes<float, float, float>(exec, 4, 5, 6, Transpose::no, Transpose::no));
  const ops::Epilogue<float, float, typename Device::Space> plain{};
  const auto call = [&](const auto& left, const auto& right, const auto& out, const auto& epilogue, const auto& room) {
    return support::message_of<InputError>(
        [&] { ops::gemm(exec, left, Transpose::no, right, Transpose::no, out, {}, epilogue, room); });
  };
  CHECK(call(a, c, c, plain, scratch) == "gemm: shape of b is (4, 5), expected (6, 5)");
  CHECK(call(a.slice(0, 0, 3), b, c, plain, scratch) == "gemm: shape of a is (3, 6), expected (4, 6)");
  auto biased = plain;
  biased.bias = support::poisoned<float>(exec, Shape<1>{4});
  CHECK(call(a, b, c, biased, scratch) == "gemm: shape of bias is (4), expected (5)");
  auto kept = plain;
  kept.pre_activation = support::poisoned<float>(exec, Shape<2>{4, 4});
  CHECK(call(a, b, c, kept, scratch) == "gemm: shape of pre_activation is (4, 4), expected (4, 5)");
  CHECK(support::contains(call(a, b, c, plain, scratch.slice(0, 0, 8)), "gemm: size of scratch is 8, expected"));
}
