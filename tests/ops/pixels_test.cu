// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include "segue/ops/cuda/pixels.cuh"

namespace {
using Device = segue::Cuda;
}

#include "ops/pixels_test.inl"
