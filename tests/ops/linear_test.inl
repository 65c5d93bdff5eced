// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

// Included by one source a device, which defines `Device` and includes its kernels.
#include "segue/ops/linear.hpp"
#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/operands.hpp"

namespace {

using namespace segue;
using ops::Activation;
using ops::GradMode;
using support::Values;

/// Σ_p left(i, p) · right(p, j) for operands given by index functions.
template <class Left, class Right>
Values product(std::int64_t m, std::int64_t n, std::int64_t k, Left&& left, Right&& right) {
  Values out;
  for (std::int64_t i = 0; i < m; ++i)
    for (std::int64_t j = 0; j < n; ++j) {
      double sum = 0;
      for (std::int64_t p = 0; p < k; ++p) sum += left(i, p) * right(p, j);
      out.push_back(sum);
    }
  return out;
}

double reference_slope(Activation activation, double x) {
  const double u = std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x), s = 1 / (1 + std::exp(-x));
  switch (activation) {
    case Activation::gelu_tanh:
      return 0.5 * (1 + std::tanh(u)) +
             0.5 * x * (1 - std::tanh(u) * std::tanh(u)) * std::sqrt(2 / M_PI) * (1 + 3 * 0.044715 * x * x);
    case Activation::gelu:
      return 0.5 * (1 + std::erf(x / std::sqrt(2.0))) + x * std::exp(-0.5 * x * x) / std::sqrt(2 * M_PI);
    case Activation::silu: return s + x * s * (1 - s);
    case Activation::none: break;
  }
  return 1;
}

template <class T, class TW>
void verify_linear(std::int64_t m, std::int64_t n, std::int64_t k) {
  INFO("m " << m << " n " << n << " k " << k);
  Exec<Device> exec(typename Exec<Device>::Options{.threads = 2});
  const double tolerance =
      2 * support::rounding<T> +
      (std::is_same_v<T, double> ? 1e-13 : 1e-6 + 4e-7 * std::sqrt(double(std::max(m, std::max(n, k)))));
  const Values x = support::random_values<T>(m * k, 1), w = support::random_values<TW>(n * k, 2);
  const Values bias = support::random_values<TW>(n, 3), dy = support::random_values<T>(m * n, 4);
  const Values old = support::random_values<T>(m * k + n * k + n, 5);
  const auto xt = support::operand<T>(exec, Shape<2>{m, k}, x, 3);
  const auto wt = support::operand<TW>(exec, Shape<2>{n, k}, w);
  const auto bt = support::operand<TW>(exec, Shape<1>{n}, bias);
  const auto dyt = support::operand<T>(exec, Shape<2>{m, n}, dy, 1);
  const auto at = [](const Values& v, std::int64_t columns) {
    return [&v, columns](std::int64_t i, std::int64_t j) { return v[static_cast<std::size_t>(i * columns + j)]; };
  };
  const auto transposed = [](auto f) { return [f](std::int64_t i, std::int64_t j) { return f(j, i); }; };

  {
    const auto yt = support::poisoned<T>(exec, Shape<2>{m, n}), pre = support::poisoned<T>(exec, Shape<2>{m, n}, 2);
    const auto scratch = support::scratch_of(exec, ops::linear_forward_workspace_bytes<T, TW, T>(exec, m, n, k));
    ops::linear_forward(exec, xt, wt, bt, Activation::silu, yt, pre, scratch);
    Values want = product(m, n, k, at(x, k), transposed(at(w, k)));
    for (std::size_t i = 0; i < want.size(); ++i) want[i] += bias[i % static_cast<std::size_t>(n)];
    CHECK(support::worst_difference(support::values_of(pre), want) <= tolerance);
    for (double& v : want) v /= 1 + std::exp(-v);
    // Where bias and activation are not fused into the product, their operands are rounded to T as well.
    CHECK(support::worst_difference(support::values_of(yt), want) <= tolerance + support::rounding<T>);
    ops::linear_forward(exec, xt, wt, {}, Activation::none, yt, {}, scratch);
    CHECK(support::worst_difference(support::values_of(yt), product(m, n, k, at(x, k), transposed(at(w, k)))) <=
          tolerance);
  }
  for (const GradMode mode : {GradMode::overwrite, GradMode::accumulate}) {
    const bool add = mode == GradMode::accumulate;
    const auto check = [&](const Values& got, Values want, const Values& before) {
      if (add)
        for (std::size_t i = 0; i < want.size(); ++i) want[i] += before[i];
      CHECK(support::worst_difference(got, want) <= tolerance);
    };
    const auto target = [&]<class TG, std::size_t Rank>(TG, std::array<std::int64_t, Rank> shape,
                                                        const Values& before) {
      return add ? support::operand<TG>(exec, shape, before) : support::poisoned<TG>(exec, shape);
    };
    using TG = Accum<T>;
    const auto dx = target(T(), Shape<2>{m, k}, Values(old.begin(), old.begin() + m * k));
    ops::linear_backward_input(
        exec, dyt, wt, dx, mode,
        support::scratch_of(exec, ops::linear_backward_input_workspace_bytes<T, TW, T>(exec, m, n, k)));
    check(support::values_of(dx), product(m, k, n, at(dy, n), at(w, k)), old);
    const auto dw = target(TG(), Shape<2>{n, k}, Values(old.begin(), old.begin() + n * k));
    ops::linear_backward_weight(
        exec, dyt, xt, dw, mode,
        support::scratch_of(exec, ops::linear_backward_weight_workspace_bytes<T, T, TG>(exec, m, n, k)));
    check(support::values_of(dw), product(n, k, m, transposed(at(dy, n)), at(x, k)), old);
    const auto db = target(TG(), Shape<1>{n}, Values(old.begin(), old.begin() + n));
    ops::linear_backward_bias(exec, dyt, db, mode,
                              support::scratch_of(exec, ops::linear_backward_bias_workspace_bytes<T>(exec, m, n)));
    const Values sums = product(n, 1, m, transposed(at(dy, n)), [](std::int64_t, std::int64_t) { return 1.0; });
    check(support::values_of(db), sums, old);
    for (const GradMode bias_mode : {GradMode::overwrite, GradMode::accumulate}) {
      const auto both_dw = target(TG(), Shape<2>{n, k}, Values(old.begin(), old.begin() + n * k));
      const Values before(old.begin(), old.begin() + n);
      const auto both_db = bias_mode == GradMode::accumulate ? support::operand<TG>(exec, Shape<1>{n}, before)
                                                             : support::poisoned<TG>(exec, Shape<1>{n});
      ops::linear_backward_weight_and_bias(
          exec, dyt, xt, both_dw, mode, both_db, bias_mode,
          support::scratch_of(exec, ops::linear_backward_weight_and_bias_workspace_bytes<T, T, TG>(exec, m, n, k)));
      check(support::values_of(both_dw), product(n, k, m, transposed(at(dy, n)), at(x, k)), old);
      Values wanted = sums;
      if (bias_mode == GradMode::accumulate)
        for (std::size_t i = 0; i < wanted.size(); ++i) wanted[i] += before[i];
      CHECK(support::worst_difference(support::values_of(both_db), wanted) <= tolerance);
    }

    const Values before_activation = support::random_values<T>(m * k, 6, 3);
    const auto pre = support::operand<T>(exec, Shape<2>{m, k}, before_activation, 8);
    for (const Activation activation : {Activation::none, Activation::gelu_tanh, Activation::gelu, Activation::silu}) {
      INFO("activation " << int(activation));
      Values want = product(m, k, n, at(dy, n), at(w, k));
      for (std::size_t i = 0; i < want.size(); ++i) want[i] *= reference_slope(activation, before_activation[i]);
      const auto through = target(T(), Shape<2>{m, k}, Values(old.begin(), old.begin() + m * k));
      ops::linear_backward_input_through_activation(
          exec, dyt, wt, activation, pre, through, mode,
          support::scratch_of(
              exec, ops::linear_backward_input_through_activation_workspace_bytes<T, TW, T>(exec, m, n, k, mode)));
      // The product may be rounded before its slope, of at most 1.13, is applied.
      const Values got = support::values_of(through);
      if (add)
        for (std::size_t i = 0; i < want.size(); ++i) want[i] += old[i];
      CHECK(support::worst_difference(got, want) <= 2 * tolerance);
    }
  }
}

}  // namespace

TEST_CASE("linear and its gradients agree with a double reference", "[linear]") {
  const std::int64_t shapes[][3] = {{1, 1, 1}, {1, 40, 24}, {5, 16, 8}, {131, 37, 29}, {70, 100, 400}, {300, 64, 96}};
  for (const auto& s : shapes) {
    verify_linear<float, float>(s[0], s[1], s[2]);
    verify_linear<double, double>(s[0], s[1], s[2]);
    verify_linear<bfloat16, bfloat16>(s[0], s[1], s[2]);
    verify_linear<float16, float16>(s[0], s[1], s[2]);
  }
}

TEST_CASE("linear over no rows gives no output and zero parameter gradients", "[linear]") {
  verify_linear<float, float>(0, 7, 5);
}

TEST_CASE("the bias gradient names a shape that does not fit", "[linear]") {
  Exec<Device> exec;
  const auto dy = support::poisoned<float>(exec, Shape<2>{3, 4});
  const auto db = support::poisoned<float>(exec, Shape<1>{5});
  CHECK(support::message_of<InputError>([&] { ops::linear_backward_bias(exec, dy, db, GradMode::overwrite); }) ==
        "linear_backward_bias: shape of dy is (3, 4), expected (-1, 5)");
  const auto x = support::poisoned<float>(exec, Shape<2>{3, 2}), dw = support::poisoned<float>(exec, Shape<2>{4, 2});
  CHECK(support::message_of<InputError>([&] {
          ops::linear_backward_weight_and_bias(exec, dy, x, dw, GradMode::overwrite, db, GradMode::overwrite, {});
        }) == "linear_backward_weight_and_bias: shape of dbias is (5), expected (4)");
}

TEST_CASE("the way back through an activation names a shape that does not fit, and does nothing while planning",
          "[linear]") {
  Exec<Device> exec;
  exec.set_planning(true);
  const auto dy = exec.template empty<float, 2>({3, 4}), w = exec.template empty<float, 2>({4, 5});
  const auto dx = exec.template empty<float, 2>({3, 5});
  const auto call = [&](const View<const float, 2, typename Device::Space>& pre) {
    ops::linear_backward_input_through_activation(
        exec, dy, w, Activation::silu, pre, dx, GradMode::accumulate,
        support::scratch_of(exec, ops::linear_backward_input_through_activation_workspace_bytes<float, float, float>(
                                      exec, 3, 4, 5, GradMode::accumulate)));
  };
  call(dx.cview());
  CHECK(support::message_of<InputError>([&] { call(dx.cview().slice(0, 0, 2)); }) ==
        "linear_backward_input_through_activation: shape of pre_activation is (2, 5), expected (3, 5)");
}
