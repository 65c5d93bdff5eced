// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include "segue/ops/cpu/loss.hpp"

namespace {
using Device = segue::Cpu;
}

#include "ops/loss_test.inl"
