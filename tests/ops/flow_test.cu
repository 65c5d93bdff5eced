// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include "segue/ops/cpu/flow.hpp"
#include "segue/ops/cuda/flow.cuh"

namespace {
using Device = segue::Cuda;
}

#include "ops/flow_test.inl"
