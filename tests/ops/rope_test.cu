// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include "segue/core/graph.cuh"
#include "segue/ops/cpu/rope.hpp"
#include "segue/ops/cuda/rope.cuh"

namespace {
using Device = segue::Cuda;
}

#include "ops/rope_test.inl"

TEST_CASE("the RoPE table of the device is that of the host to a unit in the last place") {
  Exec<Cuda> exec;
  Exec<Cpu> cpu;
  const ops::RopeGrid grid{21, 30, 52};
  const ops::RopeAxes axes = ops::rope_axes(128);
  const Shape<2> shape{grid.tokens(), 64};
  const auto cos = exec.empty<float, 2>(shape), sin = exec.empty<float, 2>(shape);
  const auto host_cos = cpu.empty<float, 2>(shape), host_sin = cpu.empty<float, 2>(shape);
  ops::rope_table(exec, grid, axes, 10000.0, cos.view(), sin.view());
  ops::rope_table(cpu, grid, axes, 10000.0, host_cos.view(), host_sin.view());
  const auto worst_ulp = [&](const auto& device, const auto& host) {
    const auto got = support::memory_of<CudaSpace, float>(device.data_handle(), device.size());
    double worst = 0;
    for (std::size_t i = 0; i < got.size(); ++i) {
      const float expected = host.data_handle()[i];
      const float ulp = std::nextafter(std::abs(expected), 2.0f) - std::abs(expected);
      worst = std::max(worst, std::abs(static_cast<double>(got[i]) - static_cast<double>(expected)) / ulp);
    }
    return worst;
  };
  CHECK(worst_ulp(cos, host_cos) <= 1);
  CHECK(worst_ulp(sin, host_sin) <= 1);
}

TEMPLATE_TEST_CASE("bits of normed rotary embedding do not depend on how rows lie in memory", "", float, bfloat16) {
  Exec<Cuda> exec;
  for (const auto& [heads, head_dim] : {std::pair(12, 128), std::pair(40, 128), std::pair(6, 64), std::pair(5, 24)}) {
    const Case packed{.tokens = 5, .heads = heads, .head_dim = head_dim};
    Case apart = packed;
    apart.padding = 1;
    INFO(heads << " heads of " << head_dim);
    const bool same = Run<TestType>(exec, packed, TestType()).all() == Run<TestType>(exec, apart, TestType()).all();
    CHECK(same);
  }
}

TEST_CASE("a graph of normed rotary embedding gives the bits of its calls") {
  Exec<Cuda> exec;
  const Case c{.batch = 2, .tokens = 250, .heads = 12, .head_dim = 128};
  const auto expected = Run<bfloat16>(exec, c, bfloat16()).all();
  const Run<bfloat16> run(exec, c, bfloat16());
  const Graph graph = Graph::capture(exec, [&] {
    run.forward();
    run.backward(run.dx.view(), GradMode::overwrite);
  });
  graph.replay(exec);
  exec.synchronize();
  CHECK(run.results() == expected);
}
