// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include "segue/ops/cpu/rope.hpp"

namespace {
using Device = segue::Cpu;
}

#include "ops/rope_test.inl"
#include "segue/testing/check_gradients.hpp"

TEST_CASE("normed rotary embedding follows its formula and its gradients central differences") {
  Exec<Cpu> exec({.threads = 2});
  const Case c{.heads = GENERATE(1, 3),
               .head_dim = GENERATE(std::int64_t{2}, std::int64_t{10}, std::int64_t{16}),
               .weighted = GENERATE(false, true),
               .rotated = GENERATE(false, true),
               .padding = 2,
               .eps = 1e-3};
  const Run<double> run(exec, c, double());
  const auto results = run.all();
  CHECK(support::worst_difference(results[0], run.expected()) < 1e-13);
  const auto loss = [&] {
    run.forward();
    double sum = 0;
    const Values y = support::values_of(run.y);
    for (std::size_t i = 0; i < y.size(); ++i) sum += run.dys[i] * y[i];
    return sum;
  };
  auto check = testing::check_gradients(loss, {{"x", run.x, run.dx}});
  INFO(check.message);
  CHECK(check.ok);
  if (c.weighted) {
    check = testing::check_gradients(loss, {{"weight", run.weight, run.dweight}});
    INFO(check.message);
    CHECK(check.ok);
  }
}

TEST_CASE("bits of normed rotary embedding do not depend on threads") {
  const Case c{.batch = 3, .tokens = 150, .head_dim = 42};
  Exec<Cpu> one({.threads = 1});
  const auto expected = Run<float>(one, c, float()).all();
  for (const int threads : {2, 3, 8}) {
    Exec<Cpu> exec({.threads = threads});
    CHECK(Run<float>(exec, c, float()).all() == expected);
  }
}
