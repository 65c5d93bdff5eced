// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include "segue/core/graph.cuh"
#include "segue/ops/cpu/loss.hpp"
#include "segue/ops/cuda/loss.cuh"

namespace {
using Device = segue::Cuda;
}

#include "ops/loss_test.inl"

TEST_CASE("a graph of the squared error gives the bits of its calls") {
  Exec<Cuda> exec;
  const Shape<4> shape{2, 16, 21, 104};
  const std::int64_t count = element_count(shape);
  const auto p = support::operand<bfloat16>(exec, shape, support::random_values<bfloat16>(count, 1));
  const auto t = support::operand<bfloat16>(exec, shape, support::random_values<bfloat16>(count, 2));
  const auto dp = support::poisoned<bfloat16>(exec, shape);
  const auto loss = support::poisoned<double>(exec, Shape<1>{1});
  const View<const float, 1, CudaSpace> none{};
  const auto work = [&] {
    ops::mse_forward(exec, p.view(), t, none, 1, loss.view());
    ops::mse_backward(exec, p, t, none, 1, loss, dp.view(), GradMode::overwrite);
  };
  work();
  const Values once = support::values_of(loss), gradient = support::values_of(dp);
  const Graph graph = Graph::capture(exec, work);
  for (int i = 0; i < 2; ++i) graph.replay(exec);
  exec.synchronize();
  CHECK(support::values_of(loss) == once);
  CHECK(support::values_of(dp) == gradient);
}
