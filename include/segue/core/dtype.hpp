// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>
#include <type_traits>

#include "segue/core/config.hpp"

SEGUE_NAMESPACE_BEGIN

/// Every element type that safetensors knows. Sub-byte types are storage only.
enum class DType : std::uint8_t {
  Bool,
  U8,
  I8,
  U16,
  I16,
  U32,
  I32,
  U64,
  I64,
  F16,
  BF16,
  F32,
  F64,
  C64,
  F8_E4M3,
  F8_E5M2,
  F8_E8M0,
  F6_E2M3,
  F6_E3M2,
  F4
};

/// Width of one element in bits (4 and 6 for the packed types).
constexpr int bit_width(DType t) {
  switch (t) {
    case DType::F4: return 4;
    case DType::F6_E2M3:
    case DType::F6_E3M2: return 6;
    case DType::Bool:
    case DType::U8:
    case DType::I8:
    case DType::F8_E4M3:
    case DType::F8_E5M2:
    case DType::F8_E8M0: return 8;
    case DType::U16:
    case DType::I16:
    case DType::F16:
    case DType::BF16: return 16;
    case DType::U32:
    case DType::I32:
    case DType::F32: return 32;
    case DType::U64:
    case DType::I64:
    case DType::F64:
    case DType::C64: return 64;
  }
  return 0;
}

/// The spelling of the safetensors format: "F32", "BF16", "F8_E4M3", ...
constexpr std::string_view name(DType t) {
  switch (t) {
    case DType::Bool: return "BOOL";
    case DType::U8: return "U8";
    case DType::I8: return "I8";
    case DType::U16: return "U16";
    case DType::I16: return "I16";
    case DType::U32: return "U32";
    case DType::I32: return "I32";
    case DType::U64: return "U64";
    case DType::I64: return "I64";
    case DType::F16: return "F16";
    case DType::BF16: return "BF16";
    case DType::F32: return "F32";
    case DType::F64: return "F64";
    case DType::C64: return "C64";
    case DType::F8_E4M3: return "F8_E4M3";
    case DType::F8_E5M2: return "F8_E5M2";
    case DType::F8_E8M0: return "F8_E8M0";
    case DType::F6_E2M3: return "F6_E2M3";
    case DType::F6_E3M2: return "F6_E3M2";
    case DType::F4: return "F4";
  }
  return "?";
}

namespace detail {

/// float32 bits -> bfloat16 bits, round to nearest even; NaN stays NaN.
SEGUE_HOST_DEVICE constexpr std::uint16_t bf16_from_f32(std::uint32_t u) {
  // Branch-free, so that loops over it vectorise.
  const std::uint32_t rounded = (u + 0x7FFFu + ((u >> 16) & 1u)) >> 16;
  const std::uint32_t quiet = (u >> 16) | 0x40u;
  return static_cast<std::uint16_t>((u & 0x7FFFFFFFu) > 0x7F800000u ? quiet : rounded);
}

/// float32 bits -> float16 bits, round to nearest even, subnormals kept, overflow to infinity.
SEGUE_HOST_DEVICE constexpr std::uint16_t f16_from_f32(std::uint32_t u) {
  const std::uint32_t sign = (u >> 16) & 0x8000u;
  const std::uint32_t a = u & 0x7FFFFFFFu;
  if (a >= 0x7F800000u) return static_cast<std::uint16_t>(sign | 0x7C00u | (a > 0x7F800000u ? 0x200u : 0u));
  if (a >= 0x477FF000u) return static_cast<std::uint16_t>(sign | 0x7C00u);
  if (a >= 0x38800000u) {
    const std::uint32_t rebased = a - 0x38000000u;
    return static_cast<std::uint16_t>(sign | ((rebased + 0xFFFu + ((rebased >> 13) & 1u)) >> 13));
  }
  if (a < 0x33000000u) return static_cast<std::uint16_t>(sign);
  const std::uint32_t shift = 126u - (a >> 23);  // 14 .. 24
  const std::uint32_t mantissa = (a & 0x7FFFFFu) | 0x800000u;
  const std::uint32_t kept = mantissa >> shift;
  const std::uint32_t rest = mantissa & ((1u << shift) - 1u);
  const std::uint32_t half = 1u << (shift - 1u);
  const std::uint32_t up = rest > half || (rest == half && (kept & 1u)) ? 1u : 0u;
  return static_cast<std::uint16_t>(sign | (kept + up));
}

/// float16 bits -> float32 bits, exact.
SEGUE_HOST_DEVICE constexpr std::uint32_t f32_from_f16(std::uint16_t h) {
  const std::uint32_t sign = (static_cast<std::uint32_t>(h) & 0x8000u) << 16;
  const std::uint32_t exponent = (h >> 10) & 0x1Fu;
  std::uint32_t mantissa = h & 0x3FFu;
  if (exponent == 31u) return sign | 0x7F800000u | (mantissa << 13);
  if (exponent != 0u) return sign | ((exponent + 112u) << 23) | (mantissa << 13);
  if (mantissa == 0u) return sign;
  std::uint32_t e = 113u;
  while ((mantissa & 0x400u) == 0u) {
    mantissa <<= 1;
    --e;
  }
  return sign | (e << 23) | ((mantissa & 0x3FFu) << 13);
}

// Kernels convert by the processor's own instructions, which round alike; which NaN a NaN becomes may differ.

SEGUE_HOST_DEVICE constexpr std::uint16_t bf16_from_float(float v) {
#if defined(__CUDA_ARCH__)
  if (!__builtin_is_constant_evaluated()) {
    std::uint16_t bits;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(v));
    return bits;
  }
#endif
  return bf16_from_f32(bit_cast<std::uint32_t>(v));
}

SEGUE_HOST_DEVICE constexpr std::uint16_t f16_from_float(float v) {
#if defined(__CUDA_ARCH__)
  if (!__builtin_is_constant_evaluated()) {
    std::uint16_t bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(v));
    return bits;
  }
#endif
  return f16_from_f32(bit_cast<std::uint32_t>(v));
}

SEGUE_HOST_DEVICE constexpr float float_from_f16(std::uint16_t bits) {
#if defined(__CUDA_ARCH__)
  if (!__builtin_is_constant_evaluated()) {
    float v;
    asm("cvt.f32.f16 %0, %1;" : "=f"(v) : "h"(bits));
    return v;
  }
#endif
  return bit_cast<float>(f32_from_f16(bits));
}

}  // namespace detail

/// Storage type: the upper half of a float32. Arithmetic happens in float; conversions are explicit.
struct bfloat16 {
  std::uint16_t bits;
  bfloat16() = default;
  SEGUE_HOST_DEVICE explicit constexpr bfloat16(float v) : bits(detail::bf16_from_float(v)) {}
  SEGUE_HOST_DEVICE explicit constexpr operator float() const {
    return detail::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
  }
};

/// Storage type: IEEE binary16.
struct float16 {
  std::uint16_t bits;
  float16() = default;
  SEGUE_HOST_DEVICE explicit constexpr float16(float v) : bits(detail::f16_from_float(v)) {}
  SEGUE_HOST_DEVICE explicit constexpr operator float() const { return detail::float_from_f16(bits); }
};

/// The element types that operators compute with.
template <class T>
inline constexpr bool is_floating =
    std::is_same_v<T, float> || std::is_same_v<T, double> || std::is_same_v<T, bfloat16> || std::is_same_v<T, float16>;

/// The type in which sums over `T` are kept: float, and double for double.
template <class T>
using Accum = std::conditional_t<std::is_same_v<std::remove_cv_t<T>, double>, double, float>;

/// Converts between element types; the only conversion that kernels use.
template <class To, class From>
SEGUE_HOST_DEVICE constexpr To cast(From v) {
  if constexpr (std::is_same_v<To, From>) {
    return v;
  } else if constexpr (std::is_same_v<To, bfloat16> || std::is_same_v<To, float16>) {
    return To(static_cast<float>(v));
  } else if constexpr (std::is_same_v<From, bfloat16> || std::is_same_v<From, float16>) {
    return static_cast<To>(static_cast<float>(v));
  } else {
    return static_cast<To>(v);
  }
}

template <DType Value>
struct DTypeConstant {
  static constexpr DType value = Value;
};
template <class T>
struct DTypeOf;
template <>
struct DTypeOf<bool> : DTypeConstant<DType::Bool> {};
template <>
struct DTypeOf<std::uint8_t> : DTypeConstant<DType::U8> {};
template <>
struct DTypeOf<std::int8_t> : DTypeConstant<DType::I8> {};
template <>
struct DTypeOf<std::uint16_t> : DTypeConstant<DType::U16> {};
template <>
struct DTypeOf<std::int16_t> : DTypeConstant<DType::I16> {};
template <>
struct DTypeOf<std::uint32_t> : DTypeConstant<DType::U32> {};
template <>
struct DTypeOf<std::int32_t> : DTypeConstant<DType::I32> {};
template <>
struct DTypeOf<std::uint64_t> : DTypeConstant<DType::U64> {};
template <>
struct DTypeOf<std::int64_t> : DTypeConstant<DType::I64> {};
template <>
struct DTypeOf<float16> : DTypeConstant<DType::F16> {};
template <>
struct DTypeOf<bfloat16> : DTypeConstant<DType::BF16> {};
template <>
struct DTypeOf<float> : DTypeConstant<DType::F32> {};
template <>
struct DTypeOf<double> : DTypeConstant<DType::F64> {};

template <class T>
inline constexpr DType dtype_of = DTypeOf<std::remove_cv_t<T>>::value;

SEGUE_NAMESPACE_END
