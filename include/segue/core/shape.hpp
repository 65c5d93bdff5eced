// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "segue/core/config.hpp"

SEGUE_NAMESPACE_BEGIN

/// Extents of a tensor; also used for strides. The rank is part of the type.
template <int Rank>
using Shape = std::array<std::int64_t, static_cast<std::size_t>(Rank)>;

/// Number of elements; 1 for rank 0.
template <std::size_t Rank>
constexpr std::int64_t element_count(const std::array<std::int64_t, Rank>& shape) {
  std::int64_t n = 1;
  for (std::size_t i = 0; i < Rank; ++i) n *= shape[i];
  return n;
}

/// Row-major strides in elements.
template <std::size_t Rank>
constexpr std::array<std::int64_t, Rank> contiguous_strides(const std::array<std::int64_t, Rank>& shape) {
  std::array<std::int64_t, Rank> strides{};
  std::int64_t running = 1;
  for (std::size_t i = Rank; i-- > 0;) {
    strides[i] = running;
    running *= shape[i];
  }
  return strides;
}

/// "(2, 320, 384)"; for error messages.
template <class Extents>
std::string shape_string(const Extents& shape) {
  std::string out = "(";
  const char* separator = "";
  for (const auto e : shape) {
    out += separator;
    out += std::to_string(e);
    separator = ", ";
  }
  return out + ")";
}

constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

SEGUE_NAMESPACE_END
