// expect: linear: w must be a Var that trains, or a frozen weight
// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include "segue/cpu.hpp"
#include "segue/functional/linear.hpp"

struct Packed {};

#ifdef SEGUE_OK
using Weight = segue::Tensor<segue::bfloat16, 2, segue::HostSpace>;
#else
using Weight = Packed;
#endif

using Context = segue::Context<segue::Policy<segue::Fp32, segue::Cpu>>;

void run(Context& ctx, const segue::Tensor<float, 2, segue::HostSpace>& x, const Weight& weight) {
  (void)segue::functional::linear(ctx, x, weight, segue::Tensor<float, 1, segue::HostSpace>());
}
