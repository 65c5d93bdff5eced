// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include "segue/ops/cpu/guidance.hpp"

namespace {
using Device = segue::Cpu;
}

#include "ops/guidance_test.inl"
