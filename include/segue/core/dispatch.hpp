// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "segue/core/error.hpp"

SEGUE_NAMESPACE_BEGIN

namespace detail {
template <class...>
inline constexpr bool always_false = false;
}  // namespace detail

/// The implementation of operator `Op` on `Device`. `ops/cpu/` and `ops/cuda/` specialise it; front doors call
/// `Kernel<Op, Device>::run`. There is no fallback: a missing include is a compile error, never another algorithm.
template <class Op, class Device>
struct Kernel {
  static_assert(
      detail::always_false<Op, Device>,
      "segue::Kernel<Op, Device>: the kernels of this device are not included here; include segue/cpu.hpp for "
      "Cpu or segue/cuda.cuh for Cuda before the first call");
};

/// Turns a run-time value into a constant: calls `f(std::integral_constant<int, V>{})` for the V that equals `value`.
/// @throws InputError that names `what`, the value and the closed set.
template <int... Values, class F>
decltype(auto) dispatch(std::string_view where, std::string_view what, std::int64_t value,
                        std::integer_sequence<int, Values...>, F&& f) {
  using Result = std::common_type_t<decltype(f(std::integral_constant<int, Values>{}))...>;
  if constexpr (std::is_void_v<Result>) {
    const bool hit = ((value == Values && (f(std::integral_constant<int, Values>{}), true)) || ...);
    if (hit) return;
  } else {
    Result result{};
    const bool hit = ((value == Values && ((result = f(std::integral_constant<int, Values>{})), true)) || ...);
    if (hit) return result;
  }
  std::string set;
  ((set += (set.empty() ? "" : ", ") + std::to_string(Values)), ...);
  throw_input(where, what, std::to_string(value), "one of " + set);
}

SEGUE_NAMESPACE_END
