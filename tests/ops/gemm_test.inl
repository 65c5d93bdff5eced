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

template <class TA, class TB, class TC, class TBias = TC>
struct Case {
  std::int64_t m, n, k;
  Transpose ta = Transpose::no, tb = Transpose::no;
  ops::GemmScale scale{};
  bool bias = false, pre_activation = false;
  Activation activation = Activation::none;
  std::int64_t padding = 0;  // elements between rows
  std::int64_t shift = 0;    // and before the first of them

  Values a() const { return support::random_values<TA>(m * k, 1); }
  Values b() const { return support::random_values<TB>(k * n, 2); }
  Values c() const { return support::random_values<TC>(m * n, 3); }
  Values bias_values() const { return support::random_values<TBias>(n, 4); }

  /// {c, pre_activation}
  std::array<Values, 2> expected() const {
    const Values av = a(), bv = b(), cv = c(), offset = bias_values();
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
        if (bias) sum += offset[static_cast<std::size_t>(j)];
        out[0][at] = reference_activation(activation, sum);
        out[1][at] = sum;
      }
    return out;
  }

  /// A matrix that starts `shift` elements behind an aligned address.
  template <class T>
  auto matrix(Exec<Device>& exec, std::int64_t rows, std::int64_t columns, const Values& values) const {
    Values shifted;
    if (!values.empty())
      for (std::int64_t i = 0; i < rows; ++i) {
        shifted.insert(shifted.end(), static_cast<std::size_t>(shift), std::numeric_limits<double>::quiet_NaN());
        shifted.insert(shifted.end(), values.begin() + i * columns, values.begin() + (i + 1) * columns);
      }
    return support::operand<T>(exec, Shape<2>{rows, columns + shift}, shifted, padding)
        .slice(1, shift, shift + columns);
  }

  std::array<Values, 2> run(Exec<Device>& exec) const {
    const bool flip_a = ta == Transpose::yes, flip_b = tb == Transpose::yes;
    const auto at = matrix<TA>(exec, flip_a ? k : m, flip_a ? m : k, a());
    const auto bt = matrix<TB>(exec, flip_b ? n : k, flip_b ? k : n, b());
    const auto ct = matrix<TC>(exec, m, n, scale.beta == 0 ? Values() : c());
    const auto biast = support::operand<TBias>(exec, Shape<1>{n}, bias_values());
    const auto pre = matrix<TC>(exec, m, n, {});
    const auto scratch = support::scratch_of(exec, ops::gemm_workspace_bytes<TA, TB, TC>(exec, m, n, k, ta, tb));
    ops::Epilogue<TC, TBias, typename Device::Space> epilogue{.activation = activation};
    if (bias) epilogue.bias = biast;
    if (pre_activation) epilogue.pre_activation = pre;
    ops::gemm(exec, at, ta, bt, tb, ct, scale, epilogue, scratch);
    return {support::values_of(ct), pre_activation ? support::values_of(pre) : Values()};
  }

  double tolerance() const {
    return 2 * support::rounding<TC> + (std::is_same_v<TC, double> ? 1e-13 : 1e-6 + 4e-7 * std::sqrt(double(k)));
  }

  void verify(Exec<Device>& exec) const {
    INFO("m " << m << " n " << n << " k " << k << " transposed " << int(ta) << int(tb) << " activation "
              << int(activation) << " padding " << padding << " shift " << shift);
    const auto got = run(exec), want = expected();
    CHECK(support::worst_difference(got[0], want[0]) <= tolerance());
    if (pre_activation) CHECK(support::worst_difference(got[1], want[1]) <= tolerance());
  }
};

template <class TA, class TB, class TC>
void verify_shapes() {
  Exec<Device> exec(typename Exec<Device>::Options{.threads = 2});
  const std::int64_t shapes[][3] = {{1, 1, 1},     {1, 37, 5},    {5, 1, 9},      {7, 33, 16},
                                    {6, 16, 8},    {14, 32, 385}, {3, 4, 800},    {97, 65, 31},
                                    {129, 40, 70}, {16, 530, 3},  {40, 17, 1200}, {165, 70, 64}};
  for (const auto& s : shapes)
    for (const Transpose ta : {Transpose::no, Transpose::yes})
      for (const Transpose tb : {Transpose::no, Transpose::yes})
        Case<TA, TB, TC>{.m = s[0], .n = s[1], .k = s[2], .ta = ta, .tb = tb, .padding = s[2] % 3, .shift = s[1] % 2}
            .verify(exec);
}

/// Values that are not finite come through, and only where they belong.
template <class TA, class TB>
void verify_not_finite() {
  Exec<Device> exec;
  const double infinity = std::numeric_limits<double>::infinity();
  for (const auto& [m, n, k] : {std::array<std::int64_t, 3>{7, 5, 20}, {70, 100, 90}}) {
    Values av = support::random_values<TA>(m * k, 1), bv(static_cast<std::size_t>(k * n), 1.0);
    const auto at = [k = k](std::int64_t row, std::int64_t step) { return static_cast<std::size_t>(row * k + step); };
    av[at(3, 5)] = std::numeric_limits<double>::quiet_NaN();
    av[at(4, 5)] = infinity;
    av[at(5, 5)] = -infinity;
    av[at(6, 5)] = 0;
    const auto multiply = [&](Activation activation) {
      const auto a = support::operand<TA>(exec, Shape<2>{m, k}, av);
      const auto b = support::operand<TB>(exec, Shape<2>{k, n}, bv);
      const auto c = support::poisoned<float>(exec, Shape<2>{m, n});
      const auto scratch = support::scratch_of(
          exec, ops::gemm_workspace_bytes<TA, TB, float>(exec, m, n, k, Transpose::no, Transpose::no));
      ops::gemm(exec, a, Transpose::no, b, Transpose::no, c, {},
                ops::Epilogue<float, float, typename Device::Space>{.activation = activation}, scratch);
      return support::values_of(c);
    };
    for (const Activation activation : {Activation::none, Activation::gelu_tanh, Activation::gelu, Activation::silu}) {
      INFO(m << " x " << n << " x " << k << ", activation " << static_cast<int>(activation));
      const Values got = multiply(activation);
      bool right = true;
      for (std::size_t i = 0; i < got.size(); ++i) {
        const std::int64_t row = static_cast<std::int64_t>(i) / n;
        if (row != 5) right = right && std::isnan(got[i]) == (row == 3);
        if (row == 4) right = right && got[i] == infinity;
        if (row == 5 && activation == Activation::none) right = right && got[i] == -infinity;
      }
      CHECK(right);
    }
    // An infinity in a column of b meets 0 in one row, infinities of its own and of the other sign, and a NaN.
    bv[static_cast<std::size_t>(5 * n + 1)] = infinity;
    const Values got = multiply(Activation::none);
    const auto of_row = [&got, n = n](std::int64_t row) { return got[static_cast<std::size_t>(row * n + 1)]; };
    CHECK(std::isnan(of_row(3)));
    CHECK(of_row(4) == infinity);
    CHECK(of_row(5) == -infinity);
    CHECK(std::isnan(of_row(6)));
    CHECK(std::isfinite(got[static_cast<std::size_t>(6 * n)]));
  }
}

}  // namespace

TEST_CASE("gemm agrees with a double reference in every element type", "[gemm]") {
  SECTION("float") { verify_shapes<float, float, float>(); }
  SECTION("double") { verify_shapes<double, double, double>(); }
  SECTION("bfloat16") { verify_shapes<bfloat16, bfloat16, bfloat16>(); }
  SECTION("float16") { verify_shapes<float16, float16, float16>(); }
  SECTION("bfloat16 into float") { verify_shapes<bfloat16, bfloat16, float>(); }
  SECTION("float16 into float") { verify_shapes<float16, float16, float>(); }
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
        for (const bool pre : {false, true})
          for (const bool bias : {false, true}) {
            Case<bfloat16, bfloat16, bfloat16>{
                .m = 35, .n = n, .k = k, .bias = bias, .pre_activation = pre, .activation = activation}
                .verify(exec);
            Case<float16, float16, float>{
                .m = 35, .n = n, .k = k, .bias = bias, .pre_activation = pre, .activation = activation}
                .verify(exec);
          }
        Case<bfloat16, bfloat16, bfloat16, float>{
            .m = 35, .n = n, .k = k, .bias = true, .pre_activation = k == 20, .activation = activation}
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

TEST_CASE("gemm lets non-finite values through and only where they belong", "[gemm]") {
  verify_not_finite<float, float>();
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
  if (scratch.size() > 8)
    CHECK(support::contains(call(a, b, c, plain, scratch.slice(0, 0, 8)), "gemm: size of scratch is 8, expected"));
}

TEST_CASE("gemm checks its arguments while planning, and does no more", "[gemm]") {
  Exec<Device> exec;
  exec.set_planning(true);
  const auto a = exec.template empty<float, 2>({4, 6}), b = exec.template empty<float, 2>({6, 5});
  const auto c = exec.template empty<float, 2>({4, 5});
  const auto call = [&](const auto& left) {
    const auto scratch = support::scratch_of(
        exec, ops::gemm_workspace_bytes<float, float, float>(exec, 4, 5, 6, Transpose::no, Transpose::no));
    ops::gemm(exec, left, Transpose::no, b, Transpose::no, c, {}, ops::Epilogue<float, float, typename Device::Space>{},
              scratch);
  };
  call(a);
  CHECK(support::message_of<InputError>([&] { call(a.slice(0, 0, 3)); }) ==
        "gemm: shape of a is (3, 6), expected (4, 6)");
}
