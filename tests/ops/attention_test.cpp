// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include "segue/ops/cpu/attention.hpp"

namespace {
using Device = segue::Cpu;
}

#include "ops/attention_test.inl"
