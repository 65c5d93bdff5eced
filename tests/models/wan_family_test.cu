// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include "segue/cuda.cuh"

namespace {
using Device = segue::Cuda;
}

#include "models/wan_family_test.inl"
