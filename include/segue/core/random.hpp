// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "segue/core/config.hpp"

SEGUE_NAMESPACE_BEGIN

/// The N words of a counter, a key or a block of draws; std::array is out of reach of kernels.
template <class T, int N>
struct Words {
  T values[static_cast<std::size_t>(N)];

  SEGUE_HOST_DEVICE constexpr T& operator[](std::size_t i) { return values[i]; }
  SEGUE_HOST_DEVICE constexpr const T& operator[](std::size_t i) const { return values[i]; }
  SEGUE_HOST_DEVICE constexpr const T* begin() const { return values; }
  SEGUE_HOST_DEVICE constexpr const T* end() const { return values + N; }
  friend constexpr bool operator==(const Words&, const Words&) = default;
};

/// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): a counter and a key in,
/// four words out, no state. The same bits on every device.
SEGUE_HOST_DEVICE constexpr Words<std::uint32_t, 4> philox4x32(Words<std::uint32_t, 4> counter,
                                                               Words<std::uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = std::uint64_t{0xD2511F53u} * counter[0];
    const std::uint64_t p1 = std::uint64_t{0xCD9E8D57u} * counter[2];
    counter = {static_cast<std::uint32_t>(p1 >> 32) ^ counter[1] ^ key[0], static_cast<std::uint32_t>(p1),
               static_cast<std::uint32_t>(p0 >> 32) ^ counter[3] ^ key[1], static_cast<std::uint32_t>(p0)};
    key[0] += 0x9E3779B9u;
    key[1] += 0xBB67AE85u;
  }
  return counter;
}

/// One draw of the library: a seed, the place in the program that draws (`site`), the step of the run.
/// Element i of the draw is word i % 4 of block i / 4.
struct RandomKey {
  std::uint64_t seed = 0;
  std::uint32_t site = 0;
  std::uint32_t step = 0;
  /// Where a device keeps the step, for draws inside a graph that is captured once and replayed; null: `step` holds.
  const std::uint32_t* device_step = nullptr;

  /// The key with its step read from `device_step`: what kernels draw with.
  SEGUE_HOST_DEVICE RandomKey resolved() const { return device_step ? RandomKey{seed, site, *device_step} : *this; }

  SEGUE_HOST_DEVICE constexpr Words<std::uint32_t, 4> block(std::uint64_t index) const {
    return philox4x32({static_cast<std::uint32_t>(index), static_cast<std::uint32_t>(index >> 32), site, step},
                      {static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)});
  }
};

/// A word to a multiple of 2^-24 in [0, 1).
SEGUE_HOST_DEVICE constexpr float uniform_from_bits(std::uint32_t word) {
  return static_cast<float>(word >> 8) * 0x1p-24f;
}

namespace detail {

// Written with explicit fma, and with no product that feeds a sum otherwise: compilers have nothing to contract, so
// hosts and devices agree to the bit. Polynomials: Cephes, S. Moshier.

/// Natural logarithm of u in (0, 1].
SEGUE_HOST_DEVICE inline float log_portable(float u) {
  const std::uint32_t bits = detail::bit_cast<std::uint32_t>(u);
  // Mantissa in [sqrt(1/2), sqrt(2)).
  const std::uint32_t shifted = bits - 0x3F3504F3u;
  const auto exponent = static_cast<float>(static_cast<std::int32_t>(shifted) >> 23);
  const float m = detail::bit_cast<float>((shifted & 0x007FFFFFu) + 0x3F3504F3u);
  const float f = m - 1.0f;
  const float z = f * f;
  float p = 7.0376836292e-2f;
  p = std::fma(p, f, -1.1514610310e-1f);
  p = std::fma(p, f, 1.1676998740e-1f);
  p = std::fma(p, f, -1.2420140846e-1f);
  p = std::fma(p, f, 1.4249322787e-1f);
  p = std::fma(p, f, -1.6668057665e-1f);
  p = std::fma(p, f, 2.0000714765e-1f);
  p = std::fma(p, f, -2.4999993993e-1f);
  p = std::fma(p, f, 3.3333331174e-1f);
  float y = std::fma(exponent, -2.12194440e-4f, (f * z) * p);
  y = std::fma(z, -0.5f, y);
  return std::fma(exponent, 0.693359375f, f + y);
}

struct SinCos {
  float sin, cos;
};

/// sin and cos of 2·pi·u for u in [0, 1).
SEGUE_HOST_DEVICE inline SinCos sincos_turns(float u) {
  // Conversions and selects, not std::floor and branches, so that loops over angles vectorise.
  const int turn = static_cast<int>(std::fma(u, 4.0f, 0.5f));
  const auto quarter = static_cast<float>(turn);
  const float r = std::fma(u, 4.0f, -quarter);  // exact, in [-1/2, 1/2]
  const float x = r * 1.57079632679489661923f;
  const float z = x * x;
  float s = -1.9515295891e-4f;
  s = std::fma(s, z, 8.3321608736e-3f);
  s = std::fma(s, z, -1.6666654611e-1f);
  s = std::fma(s, z * x, x);
  float c = 2.443315711809948e-5f;
  c = std::fma(c, z, -1.388731625493765e-3f);
  c = std::fma(c, z, 4.166664568298827e-2f);
  c = std::fma(c, z * z, std::fma(z, -0.5f, 1.0f));
  const float sin = turn & 1 ? c : s, cos = turn & 1 ? s : c;
  return {turn & 2 ? -sin : sin, (turn + 1) & 2 ? -cos : cos};
}

}  // namespace detail

/// Four standard normals of one block, by Box and Muller.
SEGUE_HOST_DEVICE inline Words<float, 4> normals_from_block(const Words<std::uint32_t, 4>& words) {
  Words<float, 4> out{};
  for (std::size_t pair = 0; pair < 2; ++pair) {
    const float u = static_cast<float>((words[2 * pair] >> 8) + 1u) * 0x1p-24f;
    const float radius = std::sqrt(-2.0f * detail::log_portable(u));
    const detail::SinCos angle = detail::sincos_turns(uniform_from_bits(words[2 * pair + 1]));
    out[2 * pair] = radius * angle.cos;
    out[2 * pair + 1] = radius * angle.sin;
  }
  return out;
}

/// The random state of a run: `site` is counted by the host, draw after draw; `step` is set once a step.
/// Restoring the struct repeats the draws.
struct RandomState {
  std::uint64_t seed = 0;
  std::uint32_t site = 0;
  std::uint32_t step = 0;
  const std::uint32_t* device_step = nullptr;  ///< see `RandomKey`

  /// The key of the next draw.
  RandomKey next() { return {seed, site++, step, device_step}; }
  void begin_step(std::uint32_t new_step) {
    step = new_step;
    site = 0;
  }
  friend bool operator==(const RandomState&, const RandomState&) = default;
};

SEGUE_NAMESPACE_END
