// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include "segue/ops/cpu/reduce.hpp"

namespace {
using Device = segue::Cpu;
}

#include "ops/reduce_test.inl"
