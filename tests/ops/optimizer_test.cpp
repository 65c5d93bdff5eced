// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include "segue/ops/cpu/optimizer.hpp"

namespace {
using Device = segue::Cpu;
}

#include "ops/optimizer_test.inl"
