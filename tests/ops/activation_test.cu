// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include "segue/ops/cpu/activation.hpp"
#include "segue/ops/cuda/activation.cuh"

namespace {
using Device = segue::Cuda;
}

#include "ops/activation_test.inl"
