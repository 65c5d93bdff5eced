// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include "segue/ops/cpu/residual.hpp"

namespace {
using Device = segue::Cpu;
}

#include "ops/residual_test.inl"
#include "segue/testing/check_gradients.hpp"

TEST_CASE("gated residuals follow their formula and their gradients central differences") {
  Exec<Cpu> exec({.threads = 2});
  const Case c{.columns = GENERATE(std::int64_t{1}, std::int64_t{19}),
               .gates = GENERATE(Gates::none, Gates::blocks, Gates::listed),
               .padding = 3};
  const Run<double> run(exec, c, double());
  const auto results = run.all();
  Values expected(run.xs.size());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const std::int64_t r = static_cast<std::int64_t>(i) / c.columns, k = static_cast<std::int64_t>(i) % c.columns;
    const double g = c.gates == Gates::none ? 1 : run.gates[static_cast<std::size_t>(c.group_of(r) * c.columns + k)];
    expected[i] = run.xs[i] + g * run.hs[i];
  }
  CHECK(support::worst_difference(results[0], expected) < 1e-15);

  const auto loss = [&] {
    run.forward();
    double sum = 0;
    const Values y = support::values_of(run.y);
    for (std::size_t i = 0; i < y.size(); ++i) sum += run.dys[i] * y[i];
    return sum;
  };
  auto check = testing::check_gradients(loss, {{"h", run.h, run.dh}});
  INFO(check.message);
  CHECK(check.ok);
  if (c.gates != Gates::none) {
    check = testing::check_gradients(loss, {{"gate", run.gate, run.dgate}});
    INFO(check.message);
    CHECK(check.ok);
  }
}

TEST_CASE("bits of gated residuals do not depend on threads") {
  const Case c{.rows = 300, .columns = 517, .gates = GENERATE(Gates::none, Gates::blocks, Gates::listed)};
  Exec<Cpu> one({.threads = 1});
  const auto expected = Run<float>(one, c, float()).all();
  for (const int threads : {2, 3, 8}) {
    Exec<Cpu> exec({.threads = threads});
    CHECK(Run<float>(exec, c, float()).all() == expected);
  }
}
