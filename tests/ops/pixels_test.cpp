// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include "segue/ops/cpu/pixels.hpp"

namespace {
using Device = segue::Cpu;
}

#include "ops/pixels_test.inl"
