// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include "segue/ops/cpu/activation.hpp"

namespace {
using Device = segue::Cpu;
}

#include "ops/activation_test.inl"
