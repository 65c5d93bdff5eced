// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include "segue/ops/cpu/norm.hpp"

namespace {
using Device = segue::Cpu;
}

#include "ops/norm_test.inl"
#include "segue/testing/check_gradients.hpp"

TEST_CASE("norms follow their formula and their gradients central differences") {
  Exec<Cpu> exec({.threads = 2});
  const Case c{.kind = GENERATE(Kind::layer, Kind::rms),
               .rows = 11,
               .columns = GENERATE(std::int64_t{1}, std::int64_t{5}, std::int64_t{40}),
               .weighted = GENERATE(false, true),
               .groups = GENERATE(Groups::none, Groups::blocks, Groups::listed),
               .padding = 3,
               .eps = 1e-3};
  const Inputs in = inputs_of<double>(c);
  const Run<double> run(exec, c, in);
  run.forward();
  CHECK(support::worst_difference(support::values_of(run.y), reference(c, in)) < 1e-13);
  run.backward();

  const auto loss = [&] {
    run.forward();
    double sum = 0;
    const Values y = support::values_of(run.y);
    for (std::size_t i = 0; i < y.size(); ++i) sum += in.dy[i] * y[i];
    return sum;
  };
  std::vector<testing::AllClose> checks{testing::check_gradients(loss, {{"x", run.x, run.dx}})};
  if (c.weighted) checks.push_back(testing::check_gradients(loss, {{"weight", run.weight, run.dweight}}));
  if (c.biased()) checks.push_back(testing::check_gradients(loss, {{"bias", run.bias, run.dbias}}));
  if (c.groups != Groups::none)
    checks.push_back(
        testing::check_gradients(loss, {{"scale", run.scale, run.dscale}, {"shift", run.shift, run.dshift}}));
  for (const auto& check : checks) {
    INFO(check.message);
    CHECK(check.ok);
  }
}

TEMPLATE_TEST_CASE("bits of norms do not depend on threads", "", float, bfloat16) {
  const Case c{.kind = GENERATE(Kind::layer, Kind::rms),
               .rows = 300,
               .columns = 517,
               .groups = GENERATE(Groups::blocks, Groups::listed)};
  const Inputs in = inputs_of<TestType>(c);
  Exec<Cpu> one({.threads = 1});
  const auto expected = results_of<TestType>(one, c, in);
  for (const int threads : {2, 3, 8}) {
    Exec<Cpu> exec({.threads = threads});
    CHECK(results_of<TestType>(exec, c, in) == expected);
  }
}
