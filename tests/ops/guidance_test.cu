// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include "segue/ops/cpu/guidance.hpp"
#include "segue/ops/cuda/guidance.cuh"

namespace {
using Device = segue::Cuda;
}

#include "ops/guidance_test.inl"
