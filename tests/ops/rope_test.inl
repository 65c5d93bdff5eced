// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

// Included by one source a device, which defines `Device` and includes its kernels and those of Cpu, which give the
// reference in double.
#include "segue/ops/rope.hpp"
#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/operands.hpp"

namespace {

using namespace segue;
using ops::GradMode;
using support::Values;
using Space = Device::Space;

struct Case {
  std::int64_t batch = 2, tokens = 6;
  int heads = 3;
  std::int64_t head_dim = 10;
  bool weighted = true, rotated = true;
  std::int64_t padding = 0;
  double eps = 1e-6;

  std::int64_t rows() const { return batch * tokens; }
  std::int64_t columns() const { return heads * head_dim; }
};

template <class T, class On = Device>
struct Run {
  using W = Accum<T>;
  using Space = On::Space;
  Case c;
  Exec<On>& exec;
  Values xs, dys, weights, angles;
  Tensor<T, 2, Space> x, dy, y, dx;
  Tensor<W, 1, Space> weight, dweight, rstd;
  Tensor<float, 2, Space> cos, sin;
  Tensor<std::byte, 1, Space> scratch;

  template <class Rounding>
  Run(Exec<On>& e, const Case& which, Rounding) : c(which), exec(e) {
    const Shape<2> shape{c.rows(), c.columns()}, table{c.tokens, c.head_dim / 2};
    xs = support::random_values<Rounding>(c.rows() * c.columns(), 1);
    dys = support::random_values<Rounding>(c.rows() * c.columns(), 2);
    angles = support::random_values<float>(c.tokens * c.head_dim / 2, 4, 3);
    x = support::operand<T>(exec, shape, xs, c.padding);
    dy = support::operand<T>(exec, shape, dys, 2 * c.padding);
    y = support::poisoned<T>(exec, shape, c.padding);
    dx = support::poisoned<T>(exec, shape, c.padding);
    rstd = support::poisoned<W>(exec, Shape<1>{c.rows()});
    if (c.weighted) {
      weights = support::random_values<float>(c.columns(), 3);
      weight = support::operand<W>(exec, Shape<1>{c.columns()}, weights);
      dweight = support::poisoned<W>(exec, Shape<1>{c.columns()});
    }
    if (c.rotated) {
      Values cosines = angles, sines = angles;
      for (double& v : cosines) v = std::cos(v);
      for (double& v : sines) v = std::sin(v);
      cos = support::operand<float>(exec, table, cosines, c.padding);
      sin = support::operand<float>(exec, table, sines, c.padding);
    }
    scratch = support::scratch_of(
        exec, static_cast<std::size_t>(ops::rms_norm_rope_backward_workspace_bytes<T>(exec, c.rows(), c.columns())));
  }

  void forward() const { ops::rms_norm_rope_forward(exec, x, weight.view(), c.eps, cos, sin, c.heads, y.view(), rstd); }
  void backward(View<T, 2, Space> out, GradMode mode) const {
    ops::rms_norm_rope_backward(exec, dy, x, rstd, weight.view(), cos, sin, c.heads, out, mode, dweight.view(), mode,
                                scratch.view());
  }
  std::vector<Values> results() const {
    std::vector<Values> out{support::values_of(y), support::values_of(dx), support::values_of(rstd)};
    if (dweight) out.push_back(support::values_of(dweight));
    return out;
  }
  std::vector<Values> all() const {
    forward();
    backward(dx.view(), GradMode::overwrite);
    return results();
  }
  Values expected(bool normed = true) const {
    Values out(xs.size());
    const std::int64_t columns = c.columns();
    for (std::int64_t r = 0; r < c.rows(); ++r) {
      double squares = 0;
      for (std::int64_t k = 0; k < columns; ++k) squares += std::pow(xs[static_cast<std::size_t>(r * columns + k)], 2);
      const double scale = normed ? 1 / std::sqrt(squares / static_cast<double>(columns) + c.eps) : 1;
      const auto value = [&](std::int64_t k) {
        return xs[static_cast<std::size_t>(r * columns + k)] * scale *
               (normed && c.weighted ? weights[static_cast<std::size_t>(k)] : 1);
      };
      for (std::int64_t k = 0; k < columns; k += 2) {
        const std::int64_t entry = r % c.tokens * (c.head_dim / 2) + k % c.head_dim / 2;
        const double angle = angles[static_cast<std::size_t>(entry)];
        // The table is float.
        const double co = c.rotated ? static_cast<double>(static_cast<float>(std::cos(angle))) : 1;
        const double si = c.rotated ? static_cast<double>(static_cast<float>(std::sin(angle))) : 0;
        out[static_cast<std::size_t>(r * columns + k)] = value(k) * co - value(k + 1) * si;
        out[static_cast<std::size_t>(r * columns + k + 1)] = value(k) * si + value(k + 1) * co;
      }
    }
    return out;
  }
};

}  // namespace

TEST_CASE("the RoPE table holds Wan's angles") {
  Exec<Device> exec({.threads = 2});
  CHECK(ops::rope_axes(128).frame == 44);
  CHECK(ops::rope_axes(128).height == 42);
  CHECK(ops::rope_axes(128).width == 42);
  CHECK(ops::rope_axes(64).frame == 24);
  CHECK(ops::rope_axes(12).head_dim() == 12);
  const ops::RopeGrid grid{2, 3, 4};
  const ops::RopeAxes axes = ops::rope_axes(16);  // 8, 4, 4
  const auto cos = support::poisoned<float>(exec, Shape<2>{24, 8}, 1),
             sin = support::poisoned<float>(exec, Shape<2>{24, 8});
  ops::rope_table(exec, grid, axes, 10000.0, cos.view(), sin.view());
  Values cosines, sines;
  for (int f = 0; f < 2; ++f)
    for (int h = 0; h < 3; ++h)
      for (int w = 0; w < 4; ++w) {
        const double angles[] = {f * 1.0,
                                 f * std::pow(10000.0, -0.25),
                                 f * std::pow(10000.0, -0.5),
                                 f * std::pow(10000.0, -0.75),
                                 h * 1.0,
                                 h * 0.01,
                                 w * 1.0,
                                 w * 0.01};
        for (const double a : angles) {
          cosines.push_back(static_cast<double>(static_cast<float>(std::cos(a))));
          sines.push_back(static_cast<double>(static_cast<float>(std::sin(a))));
        }
      }
  CHECK(support::worst_difference(support::values_of(cos), cosines) < 1e-7);
  CHECK(support::worst_difference(support::values_of(sin), sines) < 1e-7);
  CHECK(support::message_of<InputError>([&] {
          ops::rope_table(exec, grid, {7, 5, 4}, 1e4, cos.view(), sin.view());
        }) == "rope_table: axes is (7, 5, 4), expected even numbers");
  CHECK(support::message_of<InputError>([&] {
          ops::rope_table(exec, {2, 3, 5}, axes, 1e4, cos.view(), sin.view());
        }) == "rope_table: shape of cos is (24, 8), expected (30, 8)");
}

TEST_CASE("rotation alone turns pairs, and turning back undoes it") {
  Exec<Device> exec({.threads = 2});
  const Case c{.head_dim = GENERATE(std::int64_t{6}, std::int64_t{64}), .padding = 1};
  const Run<double> run(exec, c, double());
  ops::rope_forward(exec, run.x, run.cos, run.sin, c.heads, run.y.view());
  CHECK(support::worst_difference(support::values_of(run.y), run.expected(false)) < 1e-14);
  ops::rope_backward(exec, run.y, run.cos, run.sin, c.heads, run.dx.view(), GradMode::overwrite);
  CHECK(support::worst_difference(support::values_of(run.dx), run.xs) < 3e-7);
  ops::rope_backward(exec, run.y, run.cos, run.sin, c.heads, run.dx.view(), GradMode::accumulate);
  Values doubled = run.xs;
  for (double& v : doubled) v *= 2;
  CHECK(support::worst_difference(support::values_of(run.dx), doubled) < 6e-7);
  ops::rope_forward(exec, run.x, run.cos, run.sin, c.heads, run.x.view());
  CHECK(support::values_of(run.x) == support::values_of(run.y));
}

TEMPLATE_TEST_CASE("normed rotary embedding of every type agrees with double", "", float, bfloat16, float16) {
  Exec<Device> exec({.threads = 2});
  Exec<Cpu> cpu({.threads = 2});
  for (const std::int64_t head_dim : {2, 12, 42, 64, 128})
    for (const bool rotated : {false, true}) {
      const Case c{.tokens = 35, .head_dim = head_dim, .rotated = rotated, .padding = 1, .eps = 1e-2};
      const auto got = Run<TestType>(exec, c, TestType()).all();
      const auto expected = Run<double, Cpu>(cpu, c, TestType()).all();
      for (std::size_t i = 0; i < got.size(); ++i) {
        INFO("result " << i << ", head_dim " << head_dim);
        CHECK(support::worst_difference(got[i], expected[i]) < (i < 2 ? support::rounding<TestType> : 0) + 1e-5);
      }
    }
}

TEST_CASE("gradients of normed rotary embedding are added where asked, and outputs may be inputs") {
  Exec<Device> exec({.threads = 2});
  const Run<float> run(exec, {}, float());
  const auto once = run.all();
  run.backward(run.dx.view(), GradMode::accumulate);
  const auto twice = run.results();
  for (const std::size_t i : {1, 3}) {
    Values doubled = once[i];
    for (double& v : doubled) v *= 2;
    CHECK(support::worst_difference(twice[i], doubled) < 1e-6);
  }
  run.backward(run.dy.view(), GradMode::overwrite);
  CHECK(support::values_of(run.dy) == once[1]);
  ops::rms_norm_rope_forward(exec, run.x, run.weight.view(), run.c.eps, run.cos, run.sin, run.c.heads, run.x.view(),
                             run.rstd);
  CHECK(support::values_of(run.x) == once[0]);
}

TEST_CASE("bits of normed rotary embedding depend neither on the run nor on the batch") {
  const Case c{.batch = 3, .tokens = 150, .head_dim = GENERATE(std::int64_t{42}, std::int64_t{128})};
  Exec<Device> exec;
  const auto expected = Run<float>(exec, c, float()).all();
  CHECK(Run<float>(exec, c, float()).all() == expected);
  // random_values draws a prefix: the first sample of three is the only sample of one.
  Case single = c;
  single.batch = 1;
  const auto alone = Run<float>(exec, single, float()).all();
  for (const std::size_t i : {0, 2})
    CHECK(Values(expected[i].begin(), expected[i].begin() + static_cast<std::ptrdiff_t>(alone[i].size())) == alone[i]);
}

TEST_CASE("normed rotary embedding of nothing and while planning") {
  Exec<Device> exec;
  const Run<float> empty(exec, {.batch = 0}, float());
  const auto results = empty.all();
  for (const double v : results[3]) CHECK(v == 0);
  const Run<float> planned(exec, {}, float());
  exec.set_planning(true);
  planned.all();
  CHECK(std::isnan(support::values_of(planned.y)[0]));
  CHECK(std::isnan(support::values_of(planned.dweight)[0]));
}

TEST_CASE("rotary embedding names what does not fit") {
  Exec<Device> exec;
  const auto x = exec.empty<float, 2>({6, 24});
  const auto table = [&](std::int64_t t, std::int64_t d) { return exec.empty<float, 2>({t, d}); };
  const auto message = [&](int heads, View<const float, 2, Space> cos, View<const float, 2, Space> sin) {
    return support::message_of<InputError>([&] { ops::rope_forward(exec, x, cos, sin, heads, x.view()); });
  };
  CHECK(message(5, table(6, 4), table(6, 4)) ==
        "rope_forward: heads is 5, expected a divisor of half the row length 24");
  CHECK(message(3, table(6, 3), table(6, 3)) == "rope_forward: shape of cos is (6, 3), expected (6, 4)");
  CHECK(message(3, table(6, 4), {}) == "rope_forward: cos and sin come together, one of them is absent");
  CHECK(message(3, table(4, 4), table(4, 4)) == "rope_forward: rows of x is 6, expected a multiple of the table's 4");
  CHECK(message(3, {}, {}) == "rope_forward: cos and sin are absent");
}
