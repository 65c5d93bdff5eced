// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include "segue/ops/cpu/patchify.hpp"

namespace {
using Device = segue::Cpu;
}

#include "ops/patchify_test.inl"
