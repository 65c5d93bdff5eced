// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include "segue/ops/cpu/residual.hpp"

namespace {
using Device = segue::Cpu;
}

#include "ops/residual_test.inl"
