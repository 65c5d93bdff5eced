// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include "segue/ops/cpu/elementwise.hpp"
#include "segue/ops/cuda/elementwise.cuh"

namespace {
using Device = segue::Cuda;
}

#include "ops/elementwise_test.inl"
