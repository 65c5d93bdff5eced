// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

// Included by one source a device, which defines `Device` and includes its kernels and those of Cpu, which give the
// reference in double.
#include "segue/ops/residual.hpp"
#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/operands.hpp"

namespace {

using namespace segue;
using ops::GradMode;
using support::Values;
using Space = Device::Space;

enum class Gates { none, blocks, runs, listed };

struct Case {
  std::int64_t rows = 11, columns = 37;
  Gates gates = Gates::listed;
  std::int64_t padding = 0;

  /// Rows of a group that lie together; a run is cut into parts for its sums, a block is not.
  std::int64_t rows_per_group() const { return gates == Gates::runs ? 60 : 4; }
  std::int64_t table_rows() const { return gates == Gates::listed ? 3 : ceil_div(rows, rows_per_group()); }
  // Row 1 of the listed table belongs to nobody.
  std::int64_t group_of(std::int64_t r) const {
    return gates != Gates::listed ? r / rows_per_group() : r % 3 == 0 ? 2 : 0;
  }
};

template <class T, class On = Device>
struct Run {
  using W = Accum<T>;
  using Space = On::Space;
  Case c;
  Exec<On>& exec;
  Values xs, hs, dys, gates;
  Tensor<T, 2, Space> x, h, dy, y, dh;
  Tensor<W, 2, Space> gate, dgate;
  Tensor<std::int32_t, 1, Space> group;
  Tensor<std::byte, 1, Space> scratch;

  template <class Rounding>
  Run(Exec<On>& e, const Case& which, Rounding) : c(which), exec(e) {
    const Shape<2> shape{c.rows, c.columns}, table{c.table_rows(), c.columns};
    xs = support::random_values<Rounding>(c.rows * c.columns, 1);
    hs = support::random_values<Rounding>(c.rows * c.columns, 2);
    dys = support::random_values<Rounding>(c.rows * c.columns, 3);
    gates = support::random_values<float>(c.table_rows() * c.columns, 4);
    x = support::operand<T>(exec, shape, xs, c.padding);
    h = support::operand<T>(exec, shape, hs, 2 * c.padding);
    dy = support::operand<T>(exec, shape, dys, c.padding);
    y = support::poisoned<T>(exec, shape, c.padding);
    dh = support::poisoned<T>(exec, shape, c.padding);
    if (c.gates != Gates::none) {
      gate = support::operand<W>(exec, table, gates, 5 * c.columns);
      dgate = support::poisoned<W>(exec, table, c.columns);
      std::vector<std::int32_t> groups;
      for (std::int64_t r = 0; r < c.rows; ++r) groups.push_back(static_cast<std::int32_t>(c.group_of(r)));
      group = support::tensor_of(exec, groups);
    }
    scratch = support::scratch_of(exec, static_cast<std::size_t>(ops::gated_residual_backward_workspace_bytes<T>(
                                            exec, c.rows, c.columns, c.table_rows())));
  }

  ops::Gate<W, Space> gates_of() const {
    ops::Gate<W, Space> g{gate, {}, c.rows_per_group()};
    if (c.gates == Gates::listed) g.group = group;
    return g;
  }
  void forward() const { ops::gated_residual_forward(exec, x, h, gates_of(), y.view()); }
  void backward(View<T, 2, Space> out, GradMode mode) const {
    ops::gated_residual_backward(exec, dy, h, gates_of(), out, mode, dgate, mode, scratch.view());
  }
  std::vector<Values> results() const {
    std::vector<Values> out{support::values_of(y), support::values_of(dh)};
    if (dgate) out.push_back(support::values_of(dgate));
    return out;
  }
  std::vector<Values> all() const {
    forward();
    backward(dh.view(), GradMode::overwrite);
    return results();
  }
};

}  // namespace

TEMPLATE_TEST_CASE("gated residuals of every type agree with double", "", float, double, bfloat16, float16) {
  Exec<Device> exec({.threads = 2});
  Exec<Cpu> cpu({.threads = 2});
  for (const Gates gates : {Gates::none, Gates::blocks, Gates::runs, Gates::listed})
    for (const std::int64_t columns : {1, 64, 333, 1536}) {
      const Case c{.rows = 70, .columns = columns, .gates = gates, .padding = columns % 2};
      const auto got = Run<TestType>(exec, c, TestType()).all();
      const auto expected = Run<double, Cpu>(cpu, c, TestType()).all();
      for (std::size_t i = 0; i < got.size(); ++i)
        CHECK(support::worst_difference(got[i], expected[i]) < (i < 2 ? support::rounding<TestType> : 0) + 4e-6);
    }
}

TEST_CASE("gradients of gated residuals are added where asked, and outputs may be inputs") {
  Exec<Device> exec({.threads = 2});
  const Case c{.gates = GENERATE(Gates::none, Gates::listed)};
  const Run<float> run(exec, c, float());
  const auto once = run.all();
  run.backward(run.dh.view(), GradMode::accumulate);
  const auto twice = run.results();
  for (std::size_t i = 1; i < once.size(); ++i) {
    Values doubled = once[i];
    for (double& v : doubled) v *= 2;
    CHECK(support::worst_difference(twice[i], doubled) < 1e-6);
  }

  run.backward(run.dy.view(), GradMode::overwrite);
  CHECK(support::values_of(run.dy) == once[1]);
  ops::gated_residual_forward(exec, run.x, run.h, run.gates_of(), run.h.view());
  CHECK(support::values_of(run.h) == once[0]);
}

TEMPLATE_TEST_CASE("a gate without a branch is what a branch of ones makes of it", "", float, bfloat16) {
  Exec<Device> exec({.threads = 2});
  for (const Gates gates : {Gates::blocks, Gates::runs, Gates::listed})
    for (const std::int64_t columns : {1, 64, 333}) {
      const Case c{.rows = 200, .columns = columns, .gates = gates, .padding = columns % 2};
      Run<TestType> run(exec, c, TestType());
      run.h = support::operand<TestType>(exec, Shape<2>{c.rows, c.columns}, Values(run.hs.size(), 1.0));
      const auto expected = run.all();
      const auto y = support::poisoned<TestType>(exec, Shape<2>{c.rows, c.columns}, c.padding);
      const auto dgate = support::poisoned<Accum<TestType>>(exec, Shape<2>{c.table_rows(), c.columns});
      ops::gated_residual_forward(exec, run.x, {}, run.gates_of(), y.view());
      ops::gated_residual_backward(exec, run.dy, {}, run.gates_of(), View<TestType, 2, Space>{}, GradMode::overwrite,
                                   dgate, GradMode::overwrite, run.scratch.view());
      CHECK(support::values_of(y) == expected[0]);
      CHECK(support::values_of(dgate) == expected[2]);
    }
}

TEST_CASE("a table of gates may reach beyond the rows, and beyond 32 bits") {
  Exec<Device> exec({.threads = 2});
  constexpr std::int64_t rows = 1 << 18, table_rows = (1 << 14) + 1;  // the last would be used from row 2^32 on
  const auto dy = support::operand<float>(exec, Shape<2>{rows, 1}, Values(rows, 1.0));
  const auto gate = support::poisoned<float>(exec, Shape<2>{table_rows, 1});
  const auto dgate = support::poisoned<float>(exec, Shape<2>{table_rows, 1});
  const auto scratch = support::scratch_of(
      exec, static_cast<std::size_t>(ops::gated_residual_backward_workspace_bytes<float>(exec, rows, 1, table_rows)));
  ops::gated_residual_backward(exec, dy, {}, ops::Gate<float, Space>{gate, {}, rows}, View<float, 2, Space>{},
                               GradMode::overwrite, dgate, GradMode::overwrite, scratch.view());
  Values expected(table_rows, 0.0);
  expected[0] = rows;
  CHECK(support::values_of(dgate) == expected);
}

TEST_CASE("two runs of gated residuals give the same bits") {
  const Case c{.rows = 300, .columns = 517, .gates = GENERATE(Gates::none, Gates::blocks, Gates::runs, Gates::listed)};
  Exec<Device> exec;
  CHECK(Run<float>(exec, c, float()).all() == Run<float>(exec, c, float()).all());
}

TEST_CASE("gated residuals of nothing and while planning") {
  Exec<Device> exec;
  const Run<float> empty(exec, {.rows = 0}, float());
  const auto results = empty.all();
  for (const double v : results[2]) CHECK(v == 0);
  Run<float>(exec, {.columns = 0}, float()).all();
  const Run<float> planned(exec, {}, float());
  exec.set_planning(true);
  planned.all();
  CHECK(std::isnan(support::values_of(planned.y)[0]));
  CHECK(std::isnan(support::values_of(planned.dgate)[0]));
}

TEST_CASE("gated residuals name what does not fit") {
  Exec<Device> exec;
  const auto x = exec.empty<float, 2>({6, 8});
  const auto message = [&](View<const float, 2, Space> h, const ops::Gate<float, Space>& gate) {
    return support::message_of<InputError>([&] { ops::gated_residual_forward(exec, x, h, gate, x.view()); });
  };
  CHECK(message(exec.empty<float, 2>({6, 7}), {}) == "gated_residual_forward: shape of h is (6, 7), expected (6, 8)");
  CHECK(message(x, {exec.empty<float, 2>({1, 8}), {}, 5}) ==
        "gated_residual_forward: shape of gate is (1, 8), expected at least 2 rows for 6 rows of x in groups of 5");
  CHECK(support::message_of<InputError>([&] {
          ops::gated_residual_backward(exec, x, x, ops::Gate<float, Space>{}, x.view(), GradMode::overwrite, x,
                                       GradMode::overwrite, View<std::byte, 1, Space>{});
        }) == "gated_residual_backward: dgate was asked for, but there is no gate");
}
