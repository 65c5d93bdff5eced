// expect: Precision must name storage, compute, accum, grad, master and gemm_math
// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include "segue/policy/policy.hpp"

struct Precision : segue::Fp32 {
#ifndef SEGUE_OK
  using master = int;
#endif
};

segue::Policy<Precision, segue::Cpu>::compute value = 0;
