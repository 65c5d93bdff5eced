// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include "segue/core/graph.cuh"
#include "segue/ops/cpu/residual.hpp"
#include "segue/ops/cuda/residual.cuh"

namespace {
using Device = segue::Cuda;
}

#include "ops/residual_test.inl"

TEST_CASE("a graph of gated residuals gives the bits of their calls, however rows lie in memory") {
  Exec<Cuda> exec;
  const Case c{.rows = 700, .columns = 1536};
  const auto expected = Run<bfloat16>(exec, c, bfloat16()).all();
  Case apart = c;
  apart.padding = 1;
  CHECK(Run<bfloat16>(exec, apart, bfloat16()).all() == expected);
  const Run<bfloat16> run(exec, c, bfloat16());
  const Graph graph = Graph::capture(exec, [&] {
    run.forward();
    run.backward(run.dh.view(), GradMode::overwrite);
  });
  graph.replay(exec);
  exec.synchronize();
  CHECK(run.results() == expected);
}
