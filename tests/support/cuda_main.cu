// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

// The main of test programs that need a GPU: without one they say so and count as skipped.
#include <cstdio>

#include <cuda_runtime.h>

#if __has_include(<catch2/catch_session.hpp>)
#include <catch2/catch_session.hpp>
#else
#define CATCH_CONFIG_RUNNER
#include <catch2/catch.hpp>
#endif

int main(int argc, char** argv) {
  constexpr int skipped = 77;
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status != cudaSuccess || count == 0) {
    std::printf("skipped: no CUDA device (%s)\n", status == cudaSuccess ? "none is there" : cudaGetErrorString(status));
    return skipped;
  }
  return Catch::Session().run(argc, argv);
}
