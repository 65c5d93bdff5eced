// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "segue/core/config.hpp"

SEGUE_NAMESPACE_BEGIN
namespace ops {

/// What a call has to do at least: floating-point operations (a multiply-add is two) and bytes moved when every
/// operand is read once and every result is written once. Benchmarks divide by it.
struct Cost {
  double flops = 0;
  double bytes = 0;

  friend constexpr Cost operator+(Cost a, Cost b) { return {a.flops + b.flops, a.bytes + b.bytes}; }
  constexpr Cost& operator+=(Cost b) { return *this = *this + b; }
  friend constexpr bool operator==(const Cost&, const Cost&) = default;
};

}  // namespace ops
SEGUE_NAMESPACE_END
