// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include "segue/ops/cpu/norm.hpp"

namespace {
using Device = segue::Cpu;
}

#include "ops/norm_test.inl"
