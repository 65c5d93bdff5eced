// expect: Device must name its memory Space; use segue::Cpu or segue::Cuda
// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include "segue/policy/policy.hpp"

struct Gpu {};

#ifdef SEGUE_OK
using Device = segue::Cpu;
#else
using Device = Gpu;
#endif

segue::Policy<segue::Fp32, Device>::compute value = 0;
