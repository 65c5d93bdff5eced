// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include "segue/ops/cpu/elementwise.hpp"

namespace {
using Device = segue::Cpu;
}

#include "ops/elementwise_test.inl"
