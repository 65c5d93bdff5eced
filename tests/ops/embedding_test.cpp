// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include "segue/ops/cpu/embedding.hpp"

namespace {
using Device = segue::Cpu;
}

#include "ops/embedding_test.inl"
