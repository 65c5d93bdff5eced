// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <utility>

#include "segue/core/dtype.hpp"

SEGUE_NAMESPACE_BEGIN
namespace detail {
namespace simd {

// The compilers' vector extensions rather than intrinsics: one text serves SSE2, AVX, AVX-512 and NEON, and nothing
// heavy is included. Kernels treat the tail of a row as a full vector whose missing lanes are zero, so that the bits
// of an element never depend on where it lies.
#if defined(__AVX512F__)
inline constexpr int vector_bytes = 64;
#elif defined(__AVX__)
inline constexpr int vector_bytes = 32;
#else
inline constexpr int vector_bytes = 16;
#endif

template <class T, int Bytes>
struct Of {
  typedef T type __attribute__((vector_size(Bytes)));
};

template <class T>
inline constexpr int lanes = vector_bytes / static_cast<int>(sizeof(T));

/// A full register of T (float or double).
template <class T>
using Vec = typename Of<T, vector_bytes>::type;
using Words = typename Of<std::uint32_t, vector_bytes>::type;
using Ints = typename Of<std::int32_t, vector_bytes>::type;
using Halves = typename Of<std::uint16_t, vector_bytes / 2>::type;

template <class T>
SEGUE_FORCE_INLINE Vec<T> broadcast(T x) {
  return x - Vec<T>{};
}

SEGUE_FORCE_INLINE Vec<float> widen_bf16(Halves h) {
  return std::bit_cast<Vec<float>>(__builtin_convertvector(h, Words) << 16);
}

SEGUE_FORCE_INLINE Halves narrow_bf16(Vec<float> x) {
  const Words u = std::bit_cast<Words>(x);
  const Words rounded = (u + 0x7FFFu + ((u >> 16) & 1u)) >> 16;
  const Words quiet = (u >> 16) | 0x40u;
  return __builtin_convertvector((u & 0x7FFFFFFFu) > 0x7F800000u ? quiet : rounded, Halves);
}

SEGUE_FORCE_INLINE Vec<float> widen_f16(Halves h) {
  const Words w = __builtin_convertvector(h, Words);
  const Words magnitude = (w & 0x7FFFu) << 13;
  // The product moves the exponent and normalises subnormals, exactly.
  const Words scaled = std::bit_cast<Words>(std::bit_cast<Vec<float>>(magnitude) * 0x1p112f);
  const Words special = magnitude | 0x7F800000u;
  return std::bit_cast<Vec<float>>(((w & 0x8000u) << 16) | ((w & 0x7C00u) == 0x7C00u ? special : scaled));
}

SEGUE_FORCE_INLINE Halves narrow_f16(Vec<float> x) {
  const Words u = std::bit_cast<Words>(x);
  const Words a = u & 0x7FFFFFFFu;
  const Words normal = (a - 0x38000000u + 0xFFFu + ((a >> 13) & 1u)) >> 13;
  // Adding 1/2 lets the adder round a subnormal at the right bit.
  const Words subnormal = std::bit_cast<Words>(std::bit_cast<Vec<float>>(a) + 0.5f) - 0x3F000000u;
  Words out = a < 0x38800000u ? subnormal : normal;
  out = a >= 0x477FF000u ? Words{} + 0x7C00u : out;
  out = a > 0x7F800000u ? Words{} + 0x7E00u : out;
  return __builtin_convertvector(out | ((u >> 16) & 0x8000u), Halves);
}

/// `lanes<A>` elements from `p`, widened to A.
template <class A, class T>
SEGUE_FORCE_INLINE Vec<A> load(const T* p) {
  if constexpr (std::is_same_v<A, T>) {
    Vec<A> x;
    std::memcpy(&x, p, sizeof(x));
    return x;
  } else if constexpr (std::is_same_v<A, float> && std::is_same_v<T, bfloat16>) {
    Halves h;
    std::memcpy(&h, p, sizeof(h));
    return widen_bf16(h);
  } else if constexpr (std::is_same_v<A, float> && std::is_same_v<T, float16>) {
    Halves h;
    std::memcpy(&h, p, sizeof(h));
    return widen_f16(h);
  } else {
    Vec<A> x{};
    for (int i = 0; i < lanes<A>; ++i) x[i] = cast<A>(p[i]);
    return x;
  }
}

/// Rounds `lanes<A>` elements to T.
template <class A, class T>
SEGUE_FORCE_INLINE void store(T* p, Vec<A> x) {
  if constexpr (std::is_same_v<A, T>) {
    std::memcpy(p, &x, sizeof(x));
  } else if constexpr (std::is_same_v<A, float> && std::is_same_v<T, bfloat16>) {
    const Halves h = narrow_bf16(x);
    std::memcpy(p, &h, sizeof(h));
  } else if constexpr (std::is_same_v<A, float> && std::is_same_v<T, float16>) {
    const Halves h = narrow_f16(x);
    std::memcpy(p, &h, sizeof(h));
  } else {
    for (int i = 0; i < lanes<A>; ++i) p[i] = cast<T>(static_cast<A>(x[i]));
  }
}

/// Out of line, since tails are rare and inlining them at every call doubles the time to compile.
template <class A, class T>
[[gnu::noinline]] Vec<A> load_tail(const T* p, std::int64_t n) {
  T padded[static_cast<std::size_t>(lanes<A>)];
  std::memset(static_cast<void*>(padded), 0, sizeof(padded));
  if (n > 0) std::memcpy(static_cast<void*>(padded), p, static_cast<std::size_t>(n) * sizeof(T));
  return load<A>(static_cast<const T*>(padded));
}

/// The first `n` lanes from `p`, the others zero.
template <class A, class T>
SEGUE_FORCE_INLINE Vec<A> load(const T* p, std::int64_t n) {
  return n >= lanes<A> ? load<A>(p) : load_tail<A>(p, n);
}

template <class A, class T>
[[gnu::noinline]] void store_tail(T* p, Vec<A> x, std::int64_t n) {
  T padded[static_cast<std::size_t>(lanes<A>)];
  store<A>(static_cast<T*>(padded), x);
  if (n > 0) std::memcpy(static_cast<void*>(p), padded, static_cast<std::size_t>(n) * sizeof(T));
}

/// Stores the first `n` lanes only.
template <class A, class T>
SEGUE_FORCE_INLINE void store(T* p, Vec<A> x, std::int64_t n) {
  if (n >= lanes<A>)
    store<A>(p, x);
  else
    store_tail<A>(p, x, n);
}

/// Sum of the lanes, in a fixed tree.
template <class A>
SEGUE_FORCE_INLINE A horizontal_sum(Vec<A> x) {
  A lane[static_cast<std::size_t>(lanes<A>)];
  std::memcpy(lane, &x, sizeof(x));
  for (int n = lanes<A> / 2; n > 0; n /= 2)
    for (int i = 0; i < n; ++i) lane[i] += lane[i + n];
  return lane[0];
}

/// Lane i of the result is lane I_i of a and b, counted through.
template <int... I, class V>
SEGUE_FORCE_INLINE V shuffle(V a, V b) {
#if defined(__CUDACC__)  // its front end loses a pack inside the builtin
  constexpr int n = sizeof...(I);
  constexpr int from[] = {I...};
  V out;
  for (int i = 0; i < n; ++i) out[i] = from[i] < n ? a[from[i]] : b[from[i] - n];
  return out;
#else
  return __builtin_shufflevector(a, b, I...);
#endif
}

/// Transposes a square of registers in place, by swapping ever smaller blocks.
template <class A>
SEGUE_FORCE_INLINE void transpose(Vec<A> (&r)[static_cast<std::size_t>(lanes<A>)]) {
  constexpr int n = lanes<A>;
  const auto stage = [&r]<int Step, std::size_t... L>(std::integral_constant<int, Step>, std::index_sequence<L...>)
      __attribute__((always_inline)) {
    const auto swap = [](Vec<A> & top, Vec<A> & bottom) __attribute__((always_inline)) {
      const Vec<A> t = top, b = bottom;
      top = shuffle<((static_cast<int>(L) & Step) ? n + static_cast<int>(L) - Step : static_cast<int>(L))...>(t, b);
      bottom = shuffle<((static_cast<int>(L) & Step) ? n + static_cast<int>(L) : static_cast<int>(L) + Step)...>(t, b);
    };
    ((static_cast<int>(L) & Step ? void() : swap(r[L], r[(L + Step) % n])), ...);
  };
  constexpr auto all = std::make_index_sequence<static_cast<std::size_t>(n)>();
  if constexpr (n > 8) stage(std::integral_constant<int, 8>(), all);
  if constexpr (n > 4) stage(std::integral_constant<int, 4>(), all);
  if constexpr (n > 2) stage(std::integral_constant<int, 2>(), all);
  stage(std::integral_constant<int, 1>(), all);
}

}  // namespace simd
}  // namespace detail
SEGUE_NAMESPACE_END
