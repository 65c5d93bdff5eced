// expect: linear: the weight is in the memory of another device than the context; copy it there first
// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include "segue/cpu.hpp"
#include "segue/nn/linear.hpp"

#ifdef SEGUE_OK
using Space = segue::HostSpace;
#else
using Space = segue::CudaSpace;
#endif

using P = segue::Policy<segue::Fp32, segue::Cpu>;

void run(segue::Context<P>& ctx, const segue::nn::Linear<P, segue::Tensor<float, 2, Space>>& linear,
         const segue::Tensor<float, 2, segue::HostSpace>& x) {
  (void)linear(ctx, x);
}
