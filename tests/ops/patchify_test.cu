// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include "segue/ops/cpu/patchify.hpp"
#include "segue/ops/cuda/patchify.cuh"

namespace {
using Device = segue::Cuda;
}

#include "ops/patchify_test.inl"
