// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include <cstdio>

#include "segue/core/graph.cuh"
#include "segue/ops/cuda/elementwise.cuh"

using namespace segue;

int main() {
  try {
    Exec<Cuda> exec;
    const auto x = exec.empty<float, 1>({1000});
    const Graph graph = Graph::capture(exec, [&] { ops::fill(exec, 2.0, x.view()); });
    graph.replay(exec);
    std::printf("%g\n", static_cast<double>(to_host(exec, x.view()).back()));
  } catch (const CudaError& error) {
    std::printf("%s\n", error.what());
  }
}
