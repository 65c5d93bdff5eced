// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include "segue/ops/cpu/random_fill.hpp"

namespace {
using Device = segue::Cpu;
}

#include "ops/random_fill_test.inl"
