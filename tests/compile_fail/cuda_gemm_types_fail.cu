// expect: gemm(exec<Cuda>, ...): a and b must have one element type; cast one of them with ops::copy first
// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include "segue/ops/cuda/gemm.cuh"

using segue::bfloat16;
#ifdef SEGUE_OK
using Weight = bfloat16;
#else
using Weight = segue::float16;
#endif

void run(segue::Exec<segue::Cuda>& exec, segue::View<const bfloat16, 2, segue::CudaSpace> x,
         segue::View<const Weight, 2, segue::CudaSpace> w, segue::View<bfloat16, 2, segue::CudaSpace> y) {
  segue::ops::gemm(exec, x, segue::ops::Transpose::no, w, segue::ops::Transpose::yes, y, {},
                   segue::ops::Epilogue<bfloat16, bfloat16, segue::CudaSpace>{}, {});
}
