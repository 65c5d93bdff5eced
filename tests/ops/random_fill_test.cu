// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include "segue/core/graph.cuh"
#include "segue/ops/cpu/random_fill.hpp"
#include "segue/ops/cuda/random_fill.cuh"

namespace {
using Device = segue::Cuda;
}

#include "ops/random_fill_test.inl"

TEST_CASE("the step of a draw may lie on the device, so that a graph draws anew in every replay") {
  Exec<Cuda> exec;
  auto step = support::tensor_of<std::uint32_t>(exec, {0});
  const RandomKey moving{.seed = 3, .site = 1, .step = 12345, .device_step = step.data_handle()};
  const auto x = exec.empty<float, 1>({1000}), y = exec.empty<float, 1>({1000});
  const auto ones = support::operand<float>(exec, Shape<1>{1000}, Values(1000, 1.0));
  const Graph graph = Graph::capture(exec, [&] {
    ops::fill_normal(exec, x.view(), moving);
    ops::dropout_forward(exec, ones, 0.5, moving, y.view());
  });
  CHECK(graph.nodes() == 2);
  for (const std::uint32_t at : {4u, 9u}) {
    exec.upload(&at, step.view());
    graph.replay(exec);
    const auto normals = elements(x), kept = elements(y);
    const RandomKey fixed{.seed = 3, .site = 1, .step = at};
    ops::fill_normal(exec, x.view(), fixed);
    ops::dropout_forward(exec, ones, 0.5, fixed, y.view());
    CHECK(differing(normals, elements(x)) == 0);
    CHECK(differing(kept, elements(y)) == 0);
  }
}
