// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include "segue/core/graph.cuh"
#include "segue/ops/cpu/norm.hpp"
#include "segue/ops/cuda/norm.cuh"

namespace {
using Device = segue::Cuda;
}

#include "ops/norm_test.inl"

TEMPLATE_TEST_CASE("bits of norms do not depend on how rows lie in memory", "", float, bfloat16) {
  Exec<Cuda> exec;
  for (const Kind kind : {Kind::layer, Kind::rms})
    for (const std::int64_t columns : {64, 384, 1536, 5120, 8192, 20000}) {
      const Case packed{.kind = kind, .rows = 9, .columns = columns, .groups = Groups::listed};
      Case apart = packed;
      apart.padding = 1;
      const Inputs in = inputs_of<TestType>(packed);
      INFO("columns " << columns);
      const bool same = results_of<TestType>(exec, packed, in) == results_of<TestType>(exec, apart, in);
      CHECK(same);
    }
}

TEMPLATE_TEST_CASE("norms of rows of every length agree with double", "", float, bfloat16) {
  Exec<Cuda> exec;
  Exec<Cpu> cpu;
  for (const Kind kind : {Kind::layer, Kind::rms})
    for (const std::int64_t columns : {256, 1000, 1032, 2048, 3072, 5120, 8192, 8200, 16400, 20001}) {
      const Case c{.kind = kind, .rows = 5, .columns = columns, .groups = Groups::blocks, .eps = 1e-2};
      const Inputs in = inputs_of<TestType>(c);
      const auto got = results_of<TestType>(exec, c, in);
      const auto expected = results_of<double>(cpu, c, in);
      for (std::size_t i = 0; i < got.size(); ++i) {
        INFO("result " << i << ", columns " << columns);
        CHECK(support::worst_difference(got[i], expected[i]) <
              (i == 0 || i == 2 ? support::rounding<TestType> : 0) + 2e-5);
      }
    }
}

TEST_CASE("a graph of norms gives the bits of their calls") {
  Exec<Cuda> exec;
  const Case c{.kind = GENERATE(Kind::layer, Kind::rms), .rows = 500, .columns = 384, .groups = Groups::listed};
  const Inputs in = inputs_of<bfloat16>(c);
  const auto expected = results_of<bfloat16>(exec, c, in);
  const Run<bfloat16> run(exec, c, in);
  const Graph graph = Graph::capture(exec, [&] {
    run.forward();
    run.backward();
  });
  graph.replay(exec);
  exec.synchronize();
  CHECK(run.results() == expected);
}
