// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

// Included by one source a device, which defines `Device` and includes its kernels and those of Cpu, which give the
// reference in double.
#include "segue/ops/loss.hpp"
#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/operands.hpp"

namespace {

using namespace segue;
using ops::GradMode;
using support::Values;
using Space = Device::Space;

struct Case {
  Shape<4> shape{3, 2, 4, 35};
  bool weighted = true;
  std::int64_t first_frame = 1;
};

double reference(const Case& c, const Values& p, const Values& t, const Values& weight) {
  const auto [batch, channels, frames, length] = c.shape;
  double loss = 0;
  std::size_t i = 0;
  for (std::int64_t b = 0; b < batch; ++b) {
    double sum = 0;
    for (std::int64_t k = 0; k < channels; ++k)
      for (std::int64_t f = 0; f < frames; ++f)
        for (std::int64_t s = 0; s < length; ++s, ++i)
          if (f >= c.first_frame) sum += (p[i] - t[i]) * (p[i] - t[i]);
    loss += (c.weighted ? weight[static_cast<std::size_t>(b)] : 1) * sum /
            static_cast<double>(channels * (frames - c.first_frame) * length);
  }
  return loss / static_cast<double>(batch);
}

}  // namespace

TEST_CASE("the squared error follows its formula") {
  Exec<Device> exec({.threads = 2});
  const Case c{.weighted = GENERATE(false, true),
               .first_frame = GENERATE(std::int64_t{0}, std::int64_t{1}, std::int64_t{3})};
  const std::int64_t count = element_count(c.shape);
  const Values ps = support::random_values<double>(count, 1), ts = support::random_values<double>(count, 2);
  const Values ws{0.5, 2, 0.25};
  const auto p = support::operand<double>(exec, c.shape, ps, 3), t = support::operand<double>(exec, c.shape, ts);
  const auto w = c.weighted ? support::operand<float>(exec, Shape<1>{3}, ws) : Tensor<float, 1, Space>();
  const auto loss = support::poisoned<double>(exec, Shape<1>{1});
  ops::mse_forward(exec, p.view(), t, w, c.first_frame, loss.view());
  CHECK(std::abs(support::values_of(loss)[0] - reference(c, ps, ts, ws)) < 1e-14);
}

TEMPLATE_TEST_CASE("squared errors of every type agree with double, at any thread count", "", float, bfloat16,
                   float16) {
  for (const Shape<4>& shape :
       {Shape<4>{2, 3, 5, 4096}, Shape<4>{1, 1, 2, 1}, Shape<4>{4, 700, 2, 7}, Shape<4>{2, 16, 5, 104}}) {
    const Case c{.shape = shape, .first_frame = 1};
    const std::int64_t count = element_count(shape);
    const Values ps = support::random_values<TestType>(count, 1), ts = support::random_values<TestType>(count, 2);
    const Values ws(static_cast<std::size_t>(shape[0]), 0.75);
    Values losses;
    Values gradient;
    const auto run = [&]<class T, class On>(T, On, int threads) {
      Exec<On> exec({.threads = threads});
      const auto p = support::operand<T>(exec, shape, ps),
                 t = support::operand<T>(exec, shape, ts, shape[3] % 8 ? 1 : 8);
      const auto w = support::operand<float>(exec, Shape<1>{shape[0]}, ws);
      const auto loss = support::poisoned<double>(exec, Shape<1>{1});
      ops::mse_forward(exec, p.view(), t, w, 1, loss.view());
      const auto dp = support::poisoned<T>(exec, shape);
      const auto dloss = support::operand<double>(exec, Shape<1>{1}, {100});
      ops::mse_backward(exec, p, t, w, 1, dloss, dp.view(), GradMode::overwrite);
      const Values once = support::values_of(dp);
      ops::mse_backward(exec, p, t, w, 1, dloss, dp.view(), GradMode::accumulate);
      Values twice = once;
      for (double& v : twice) v *= 2;
      CHECK(support::worst_difference(support::values_of(dp), twice) <= 2 * support::rounding<T>);
      return std::pair(support::values_of(loss)[0], once);
    };
    const auto expected = run(double(), Cpu(), 1), one = run(TestType(), Device(), 1);
    CHECK(std::abs(one.first - expected.first) < 1e-6);
    CHECK(std::abs(expected.first - reference(c, ps, ts, ws)) < 1e-12);
    CHECK(support::worst_difference(one.second, expected.second) < support::rounding<TestType> + 1e-6);
    CHECK(run(TestType(), Device(), 3) == one);
    CHECK(run(TestType(), Device(), 8) == one);
  }
}

TEST_CASE("squared errors of nothing, and what does not fit") {
  Exec<Device> exec;
  const auto p = exec.empty<float, 4>({2, 3, 4, 5});
  const auto empty = exec.empty<float, 4>({0, 3, 4, 5});
  const View<const float, 1, Space> none{};
  const auto loss = support::poisoned<double>(exec, Shape<1>{1});
  ops::mse_forward(exec, empty.view(), empty, none, 0, loss.view());
  CHECK(support::values_of(loss)[0] == 0);
  CHECK(support::message_of<InputError>([&] { ops::mse_forward(exec, p.view(), p, none, 4, loss.view()); }) ==
        "mse_forward: first_frame is 4, expected less than the 4 frames of pred");
  CHECK(support::message_of<InputError>([&] { ops::mse_forward(exec, p.view(), empty, none, 0, loss.view()); }) ==
        "mse_forward: shape of target is (0, 3, 4, 5), expected (2, 3, 4, 5)");
  exec.set_planning(true);
  ops::mse_forward(exec, p.view(), p, none, 0, loss.view());
  CHECK(support::values_of(loss)[0] == 0);
}
