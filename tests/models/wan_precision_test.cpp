// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include "segue/core/exec.hpp"

namespace {
using Device = segue::Cpu;
}

#include "models/wan_precision_test.inl"

TEST_CASE("bf16 weights under float32 activations") {
  const std::string name = GENERATE(std::string("wan_t2v"), std::string("wan_i2v"));
  check_precision<Bf16Weights, float>(name, 1e-2, 1.5e-2);
}
