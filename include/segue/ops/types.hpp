// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "segue/core/view.hpp"

SEGUE_NAMESPACE_BEGIN
namespace detail {

/// A `Tensor`, `View` or view of constants as a read-only view.
template <class X>
using ConstViewOf = View<const typename X::value_type, X::rank(), typename X::space>;

template <class X>
constexpr ConstViewOf<X> const_view(const X& x) {
  return ConstViewOf<X>(x);
}

/// @throws InputError if an operator's scratch is smaller than its `workspace_bytes`.
template <class Space>
void check_scratch(std::string_view op, const View<std::byte, 1, Space>& scratch, std::size_t need) {
  if (static_cast<std::size_t>(scratch.size()) < need)
    throw_input(op, "size of scratch", std::to_string(scratch.size()), std::to_string(need) + " bytes");
}

// gelu_tanh(x) = x/2·(1 + tanh u) = x·sigmoid(2u): one exponential, and accurate where 1 + tanh u cancels.
template <class A>
inline constexpr A gelu_tanh_scale = A(1.5957691216057307117597842397375);  // 2·√(2/π)
template <class A>
inline constexpr A gelu_tanh_cubic = A(0.044715);

}  // namespace detail

namespace ops {

/// What a backward does with a gradient that it is handed: `overwrite` never reads it (it may be uninitialised),
/// `accumulate` adds to it.
enum class GradMode : std::uint8_t { overwrite, accumulate };

/// Whether an operand of a GEMM is read as it lies or transposed.
enum class Transpose : std::uint8_t { no, yes };

/// Pointwise functions that GEMM epilogues and elementwise operators share.
///   gelu_tanh  x/2 · (1 + tanh(√(2/π)·(x + 0.044715·x³)))
///   gelu       x/2 · (1 + erf(x/√2))
///   silu       x / (1 + exp(-x))
enum class Activation : std::uint8_t { none, gelu_tanh, gelu, silu };

}  // namespace ops
SEGUE_NAMESPACE_END
