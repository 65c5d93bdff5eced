// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#if defined(__CUDACC__)
#include "segue/cuda.cuh"
#else
#include "segue/cpu.hpp"
#endif
#include "segue/policy/policy.hpp"

namespace example {

// g++ makes a program for the CPU, in the precision that its target names, nvcc the one for a GPU: these choices are
// all the difference.
#if defined(__CUDACC__)
using Policy = segue::Policy<segue::Bf16, segue::Cuda>;
inline constexpr const char* device_name = "cuda";
#else
#if !defined(SEGUE_EXAMPLE_PRECISION)
#define SEGUE_EXAMPLE_PRECISION Fp32
#endif
using Policy = segue::Policy<segue::SEGUE_EXAMPLE_PRECISION, segue::Cpu>;
inline constexpr const char* device_name = "cpu";
#endif
inline constexpr const char* precision_name = Policy::Precision::name;

}  // namespace example
