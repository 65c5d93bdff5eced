// expect: include segue/cpu.hpp for Cpu or segue/cuda.cuh for Cuda before the first call
// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#ifdef SEGUE_OK
#include "segue/ops/cuda/elementwise.cuh"
#else
#include "segue/core/exec.cuh"
#include "segue/ops/elementwise.hpp"
#endif

void run(segue::Exec<segue::Cuda>& exec, segue::View<const float, 2, segue::CudaSpace> x,
         segue::View<float, 2, segue::CudaSpace> y) {
  segue::ops::add(exec, x, x, y);
}
