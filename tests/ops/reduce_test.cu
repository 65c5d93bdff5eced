// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include "segue/core/graph.cuh"
#include "segue/ops/cpu/reduce.hpp"
#include "segue/ops/cuda/reduce.cuh"

namespace {
using Device = segue::Cuda;
}

#include "ops/reduce_test.inl"

TEST_CASE("a graph of reductions sums what it finds, also where nothing was reduced before its capture") {
  Exec<Cuda> exec;
  const std::int64_t count = 300007;
  const Values xs = support::random_values<float>(count, 1);
  const auto x = support::operand<float>(exec, Shape<1>{count}, xs);
  const auto out = support::poisoned<double>(exec, Shape<1>{2});
  const auto flag = support::tensor_of<std::int32_t>(exec, {7});
  const auto work = [&] {
    ops::sum(exec, x.view(), out.slice(0, 0, 1).view());
    ops::sum_of_squares(exec, x.view(), out.slice(0, 1, 2).view());
    ops::has_nonfinite(exec, x.view(), flag.view(), GradMode::overwrite);
  };
  const Graph graph = Graph::capture(exec, work);
  for (int i = 0; i < 3; ++i) graph.replay(exec);
  exec.synchronize();
  const Values replayed = support::values_of(out);
  CHECK(support::values_of(flag)[0] == 0);
  work();
  CHECK(support::values_of(out) == replayed);
  CHECK(std::abs(replayed[1] - sum_of(xs, xs)) < 1e-8);
}
