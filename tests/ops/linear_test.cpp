// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include "segue/ops/cpu/linear.hpp"

namespace {
using Device = segue::Cpu;
}

#include "ops/linear_test.inl"
