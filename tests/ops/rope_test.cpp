// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include "segue/ops/cpu/rope.hpp"

namespace {
using Device = segue::Cpu;
}

#include "ops/rope_test.inl"
