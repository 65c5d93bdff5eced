// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include "segue/ops/cpu/gemm.hpp"

namespace {
using Device = segue::Cpu;
}

#include "ops/gemm_test.inl"
