// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

// Included by one source a device, which defines `Device` and includes its kernels and those of Cpu, which give the
// reference in double.
#include "segue/ops/norm.hpp"
#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/operands.hpp"

namespace {

using namespace segue;
using ops::GradMode;
using support::Values;
using Space = Device::Space;

/// Weights and tables stay wide when activations are narrow.
template <class T>
using Wide = Accum<T>;

enum class Kind { layer, rms };
enum class Groups { none, blocks, listed };

struct Case {
  Kind kind = Kind::layer;
  std::int64_t rows = 7, columns = 37;
  bool weighted = true;
  Groups groups = Groups::none;
  std::int64_t padding = 0;
  double eps = 1e-6;

  bool biased() const { return weighted && kind == Kind::layer; }
  std::int64_t rows_per_group() const { return 3; }
  std::int64_t table_rows() const {
    return groups == Groups::none ? 0 : groups == Groups::blocks ? ceil_div(rows, rows_per_group()) + 1 : 5;
  }
  std::int64_t group_of(std::int64_t r) const {
    // Row 2 of the listed table belongs to nobody.
    constexpr std::int64_t listed[] = {3, 0, 0, 4, 1, 3, 3, 0, 4};
    return groups == Groups::blocks ? r / rows_per_group() : listed[r % 9];
  }
};

struct Inputs {
  Values x, dy, weight, bias, scale, shift;
};

template <class T>
Inputs inputs_of(const Case& c) {
  Inputs in;
  in.x = support::random_values<T>(c.rows * c.columns, 1);
  in.dy = support::random_values<T>(c.rows * c.columns, 2);
  for (std::size_t i = 0; i < in.x.size(); ++i) in.x[i] = cast<double>(cast<T>(2 * in.x[i] + 0.5));
  if (c.weighted) in.weight = support::random_values<float>(c.columns, 3);
  if (c.biased()) in.bias = support::random_values<float>(c.columns, 4);
  in.scale = support::random_values<float>(c.table_rows() * c.columns, 5);
  in.shift = support::random_values<float>(c.table_rows() * c.columns, 6);
  return in;
}

Values reference(const Case& c, const Inputs& in) {
  Values y(in.x.size());
  const auto at = [](const Values& v, std::int64_t i) { return v[static_cast<std::size_t>(i)]; };
  for (std::int64_t r = 0; r < c.rows; ++r) {
    double mean = 0, squares = 0;
    if (c.kind == Kind::layer)
      for (std::int64_t k = 0; k < c.columns; ++k) mean += at(in.x, r * c.columns + k) / static_cast<double>(c.columns);
    for (std::int64_t k = 0; k < c.columns; ++k) squares += std::pow(at(in.x, r * c.columns + k) - mean, 2);
    const double rstd = 1 / std::sqrt(squares / static_cast<double>(c.columns) + c.eps);
    for (std::int64_t k = 0; k < c.columns; ++k) {
      double v = (at(in.x, r * c.columns + k) - mean) * rstd;
      if (c.weighted) v *= at(in.weight, k);
      if (c.biased()) v += at(in.bias, k);
      if (c.groups != Groups::none) {
        const std::int64_t g = c.group_of(r) * c.columns + k;
        v = v * (1 + at(in.scale, g)) + at(in.shift, g);
      }
      y[static_cast<std::size_t>(r * c.columns + k)] = v;
    }
  }
  return y;
}

/// All operands of one case in the types of T, and the calls.
template <class T, class On = Device>
struct Run {
  using W = Wide<T>;
  using Space = On::Space;
  Case c;
  Exec<On>& exec;
  Tensor<T, 2, Space> x, dy, y, dx;
  Tensor<W, 1, Space> weight, bias, dweight, dbias, mean, rstd;
  Tensor<W, 2, Space> scale, shift, dscale, dshift;
  Tensor<std::int32_t, 1, Space> group;
  Tensor<std::byte, 1, Space> scratch;

  Run(Exec<On>& e, const Case& which, const Inputs& in) : c(which), exec(e) {
    const Shape<2> shape{c.rows, c.columns};
    x = support::operand<T>(exec, shape, in.x, c.padding);
    dy = support::operand<T>(exec, shape, in.dy, c.padding);
    y = support::poisoned<T>(exec, shape, c.padding);
    dx = support::poisoned<T>(exec, shape, c.padding);
    mean = support::poisoned<W>(exec, Shape<1>{c.rows});
    rstd = support::poisoned<W>(exec, Shape<1>{c.rows});
    if (c.weighted) {
      weight = support::operand<W>(exec, Shape<1>{c.columns}, in.weight);
      dweight = support::poisoned<W>(exec, Shape<1>{c.columns});
    }
    if (c.biased()) {
      bias = support::operand<W>(exec, Shape<1>{c.columns}, in.bias);
      dbias = support::poisoned<W>(exec, Shape<1>{c.columns});
    }
    if (c.groups != Groups::none) {
      const Shape<2> table{c.table_rows(), c.columns};
      scale = support::operand<W>(exec, table, in.scale, 5 * c.columns);
      shift = support::operand<W>(exec, table, in.shift, 5 * c.columns);
      dscale = support::poisoned<W>(exec, table, c.columns);
      dshift = support::poisoned<W>(exec, table, c.columns);
      std::vector<std::int32_t> groups;
      for (std::int64_t r = 0; r < c.rows; ++r) groups.push_back(static_cast<std::int32_t>(c.group_of(r)));
      group = support::tensor_of(exec, groups);
    }
    scratch = support::scratch_of(
        exec, static_cast<std::size_t>(
                  c.kind == Kind::layer
                      ? ops::layer_norm_backward_workspace_bytes<T>(exec, c.rows, c.columns, c.table_rows())
                      : ops::rms_norm_backward_workspace_bytes<T>(exec, c.rows, c.columns, c.table_rows())));
  }

  ops::Modulation<W, Space> modulation() const {
    ops::Modulation<W, Space> m{scale, shift, {}, c.rows_per_group()};
    if (c.groups == Groups::listed) m.group = group;
    return m;
  }
  void forward(View<T, 2, Space> out) const {
    if (c.kind == Kind::layer)
      ops::layer_norm_forward(exec, x, weight.view(), bias, modulation(), c.eps, out, mean, rstd);
    else
      ops::rms_norm_forward(exec, x, weight.view(), modulation(), c.eps, out, rstd);
  }
  void forward() const { forward(y.view()); }
  void backward(View<T, 2, Space> out, GradMode mode) const {
    if (c.kind == Kind::layer)
      ops::layer_norm_backward(exec, dy, x, mean, rstd, weight.view(), bias, modulation(), out, mode, dweight.view(),
                               dbias, mode, dscale, dshift, mode, scratch.view());
    else
      ops::rms_norm_backward(exec, dy, x, rstd, weight.view(), modulation(), out, mode, dweight.view(), mode, dscale,
                             dshift, mode, scratch.view());
  }
  void backward(GradMode mode = GradMode::overwrite) const { backward(dx.view(), mode); }

  std::vector<Values> results() const {
    std::vector<Values> out{support::values_of(y), support::values_of(rstd), support::values_of(dx)};
    if (c.kind == Kind::layer) out.push_back(support::values_of(mean));
    for (const auto* t : {&dweight, &dbias})
      if (*t) out.push_back(support::values_of(*t));
    for (const auto* t : {&dscale, &dshift})
      if (*t) out.push_back(support::values_of(*t));
    return out;
  }
};

template <class T, class On>
std::vector<Values> results_of(Exec<On>& exec, const Case& c, const Inputs& in) {
  const Run<T, On> run(exec, c, in);
  run.forward();
  run.backward();
  return run.results();
}

}  // namespace

TEMPLATE_TEST_CASE("norms of every type agree with double", "", float, bfloat16, float16) {
  Exec<Device> exec({.threads = 2});
  Exec<Cpu> cpu({.threads = 2});
  for (const Kind kind : {Kind::layer, Kind::rms})
    for (const Groups groups : {Groups::none, Groups::blocks, Groups::listed})
      for (const std::int64_t columns : {1, 7, 64, 333, 1536}) {
        const Case c{
            .kind = kind, .rows = 70, .columns = columns, .groups = groups, .padding = columns % 2, .eps = 1e-2};
        const Inputs in = inputs_of<TestType>(c);
        const auto got = results_of<TestType>(exec, c, in);
        const auto expected = results_of<double>(cpu, c, in);
        REQUIRE(got.size() == expected.size());
        for (std::size_t i = 0; i < got.size(); ++i) {
          // Only y and dx are rounded to the narrow type.
          const double tolerance = (i == 0 || i == 2 ? support::rounding<TestType> : 0) + 2e-5;
          INFO("result " << i << ", columns " << columns);
          CHECK(support::worst_difference(got[i], expected[i]) < tolerance);
        }
      }
}

TEST_CASE("gradients of norms are added where asked, and outputs may be inputs") {
  Exec<Device> exec({.threads = 2});
  const Case c{.kind = GENERATE(Kind::layer, Kind::rms), .groups = Groups::listed};
  const Inputs in = inputs_of<float>(c);
  const auto once = results_of<float>(exec, c, in);

  const Run<float> run(exec, c, in);
  run.forward();
  run.backward();
  run.backward(GradMode::accumulate);
  const auto twice = run.results();
  for (std::size_t i = 2; i < once.size(); ++i) {
    if (c.kind == Kind::layer && i == 3) continue;  // the mean
    Values doubled = once[i];
    for (double& v : doubled) v *= 2;
    CHECK(support::worst_difference(twice[i], doubled) < 1e-6);
  }

  const Run<float> in_place(exec, c, in);
  in_place.forward();
  in_place.backward(in_place.dy.view(), GradMode::overwrite);
  CHECK(support::values_of(in_place.dy) == once[2]);
  in_place.forward(in_place.x.view());
  CHECK(support::values_of(in_place.x) == once[0]);
}

TEMPLATE_TEST_CASE("bits of norms depend neither on the run nor on the place of a row", "", float, bfloat16) {
  const Case c{.kind = GENERATE(Kind::layer, Kind::rms),
               .rows = 300,
               .columns = GENERATE(std::int64_t{517}, std::int64_t{1536}),
               .groups = GENERATE(Groups::none, Groups::blocks, Groups::listed)};
  const Inputs in = inputs_of<TestType>(c);
  Exec<Device> exec;
  const auto all = results_of<TestType>(exec, c, in);
  CHECK(results_of<TestType>(exec, c, in) == all);
  if (c.groups != Groups::none) return;

  Case single = c;
  single.rows = 1;
  const auto row = [&](const Values& v, std::int64_t r) {
    return Values(v.begin() + r * c.columns, v.begin() + (r + 1) * c.columns);
  };
  for (const std::int64_t r : {0, 1, 17, 299}) {
    Inputs part = in;
    part.x = row(in.x, r);
    part.dy = row(in.dy, r);
    const auto alone = results_of<TestType>(exec, single, part);
    CHECK(alone[0] == row(all[0], r));
    CHECK(alone[2] == row(all[2], r));
  }
}

TEST_CASE("norms of nothing: sums are zero, rows are left alone") {
  Exec<Device> exec;
  for (const Kind kind : {Kind::layer, Kind::rms}) {
    const Case c{.kind = kind, .rows = 0, .columns = 9, .groups = Groups::listed};
    const auto results = results_of<float>(exec, c, inputs_of<float>(c));
    for (const Values& v : results)
      for (const double element : v) CHECK(element == 0);
    const Case thin{.kind = kind, .rows = 4, .columns = 0};
    const Run<float> run(exec, thin, inputs_of<float>(thin));
    run.forward();
    run.backward();
  }
}

TEST_CASE("norms return after their checks while planning") {
  Exec<Device> exec;
  const Case c{.groups = Groups::listed};
  const Run<float> run(exec, c, inputs_of<float>(c));
  exec.set_planning(true);
  run.forward();
  run.backward();
  for (const auto& out : {run.y, run.dx})
    for (const double v : support::values_of(out)) CHECK(std::isnan(v));
}

TEST_CASE("norms name what does not fit") {
  Exec<Device> exec;
  const auto x = exec.empty<float, 2>({6, 8});
  const auto w = exec.empty<float, 1>({7});
  const View<const float, 1, Space> none{};
  const View<float, 1, Space> no_stat{};
  const ops::Modulation<float, Space> plain{};
  const auto forward = [&](View<const float, 1, Space> weight, View<const float, 1, Space> bias,
                           const ops::Modulation<float, Space>& modulation) {
    return support::message_of<InputError>(
        [&] { ops::layer_norm_forward(exec, x, weight, bias, modulation, 1e-6, x.view(), no_stat, no_stat); });
  };
  CHECK(forward(w, none, plain) == "layer_norm_forward: shape of weight is (7), expected (8)");
  CHECK(forward(none, exec.empty<float, 1>({8}), plain) == "layer_norm_forward: bias is given without weight");
  const auto table = exec.empty<float, 2>({2, 8});
  CHECK(forward(none, none, {table, {}, {}, 3}) ==
        "layer_norm_forward: scale and shift of a modulation come together, one of them is absent");
  CHECK(forward(none, none, {table, table, {}, 2}) ==
        "layer_norm_forward: shape of scale is (2, 8), expected at least 3 rows for 6 rows of x in groups of 2");
  CHECK(forward(none, none, {table, table, {}, 0}) ==
        "layer_norm_forward: rows_per_group is 0, expected a positive number where group is absent");
  CHECK(forward(none, none, {table, table, exec.empty<std::int32_t, 1>({5}), 0}) ==
        "layer_norm_forward: shape of group is (5), expected (6)");

  const auto stat = exec.empty<float, 1>({6});
  CHECK(support::message_of<InputError>([&] {
          ops::rms_norm_backward(exec, x, x, stat, none, plain, x.view(), GradMode::overwrite, w.slice(0, 0, 0).view(),
                                 GradMode::overwrite, {}, {}, GradMode::overwrite, View<std::byte, 1, Space>{});
        }) == "rms_norm_backward: shape of dweight is (0), expected (8)");
  const auto dw = exec.empty<float, 1>({8});
  CHECK(support::contains(support::message_of<InputError>([&] {
                            ops::rms_norm_backward(exec, x, x, stat, none, plain, x.view(), GradMode::overwrite,
                                                   dw.view(), GradMode::overwrite, {}, {}, GradMode::overwrite,
                                                   View<std::byte, 1, Space>{});
                          }),
                          "rms_norm_backward: scratch is 0 bytes, expected at least "));
}
