// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "segue/core/config.hpp"
#include "segue/tasks/draws.hpp"

// Pictures are generated with integers only: an item is the same with every compiler and every processor.
// Qn is a fixed-point number with n fractional bits.
SEGUE_NAMESPACE_BEGIN
namespace tasks {

/// Red, green and blue, 0 … 255.
struct Rgb {
  std::int32_t r = 0, g = 0, b = 0;
  friend constexpr bool operator==(const Rgb&, const Rgb&) = default;
};

/// share/256 of b, the rest of a.
constexpr Rgb mix(const Rgb& a, const Rgb& b, int share) {
  return {a.r + (((b.r - a.r) * share) >> 8), a.g + (((b.g - a.g) * share) >> 8), a.b + (((b.b - a.b) * share) >> 8)};
}

/// A lattice of 16x16 random values, 0 … 255: the material of smooth value noise that repeats every 16 cells.
struct NoiseLattice {
  /// The values at the corners of a cell, a byte each from the lowest on: its own, the next in u, in v, and in both.
  /// Together, so that a place of the noise is fetched at once.
  std::array<std::uint32_t, 256> cells{};

  explicit NoiseLattice(Draws& draws) {
    std::array<std::uint32_t, 256> values;
    for (std::size_t i = 0; i < values.size(); i += 4) {
      const std::uint32_t word = draws.word();
      for (std::size_t k = 0; k < 4; ++k) values[i + k] = (word >> (8 * k)) & 255u;
    }
    for (std::size_t row = 0; row < 256; row += 16) {
      const std::uint32_t *own = values.data() + row, *next = values.data() + ((row + 16) & 255);
      for (std::size_t i = 0; i < 16; ++i) {
        const std::size_t j = (i + 1) & 15;
        cells[row + i] = own[i] | own[j] << 8 | next[i] << 16 | next[j] << 24;
      }
    }
  }
  NoiseLattice() = default;
};

/// The noise, 0 … 255 and smooth, at n places (scale * u[i] + offset_u, scale * v[i] + offset_v) in lattice cells, Q12.
inline void noise_row(const NoiseLattice& lattice, const std::int32_t* u, const std::int32_t* v, int n,
                      std::int32_t scale, std::int32_t offset_u, std::int32_t offset_v, std::int32_t* noise) {
  // What is fetched from scattered places apart from what is computed, so that the latter is done several at once.
  constexpr int chunk = 64;
  std::array<std::uint32_t, chunk> cell;
  for (int begin = 0; begin < n; begin += chunk) {
    const int count = std::min(chunk, n - begin);
    const std::int32_t *from_u = u + begin, *from_v = v + begin;
    std::int32_t* to = noise + begin;
    for (int i = 0; i < count; ++i) {
      const std::int32_t x = scale * from_u[i] + offset_u, y = scale * from_v[i] + offset_v;
      cell[static_cast<std::size_t>(i)] = static_cast<std::uint32_t>(((y >> 8) & 240) + ((x >> 12) & 15));
    }
    for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i) cell[i] = lattice.cells[cell[i]];
    for (int i = 0; i < count; ++i) {
      const std::int32_t x = scale * from_u[i] + offset_u, y = scale * from_v[i] + offset_v;
      std::int32_t fu = (x >> 4) & 255, fv = (y >> 4) & 255;
      fu = (fu * fu * (768 - 2 * fu)) >> 16;
      fv = (fv * fv * (768 - 2 * fv)) >> 16;
      const std::uint32_t word = cell[static_cast<std::size_t>(i)];
      const auto a = static_cast<std::int32_t>(word & 255u), b = static_cast<std::int32_t>((word >> 8) & 255u);
      const auto c = static_cast<std::int32_t>((word >> 16) & 255u), d = static_cast<std::int32_t>(word >> 24);
      const std::int32_t top = a * 256 + (b - a) * fu, bottom = c * 256 + (d - c) * fu;
      to[i] = (top + (((bottom - top) * fv) >> 8)) >> 8;
    }
  }
}

/// How two colours alternate.
enum class Pattern : std::uint8_t { Flat, Gradient, Clouds, Spots, Stripes, Checker, Dots, Rings, Bricks, Plaid };
inline constexpr int pattern_count = 10;

/// A surface: pattern, colours, shading. Local coordinates are Q12, 1.0 is the radius of the object it is on.
struct Texture {
  Pattern pattern = Pattern::Flat;
  Rgb a, b;
  std::int32_t frequency = 256;                ///< periods in one unit, Q8
  std::int32_t phase_u = 0, phase_v = 0;       ///< Q12 periods
  std::int32_t turn_cos = 4096, turn_sin = 0;  ///< direction of the pattern on the object, Q12
  std::int32_t warp = 0;                       ///< bending by noise, Q12 periods
  std::int32_t shade = 0;                      ///< depth of a soft change of brightness, 0 … 256
  std::int32_t light = 0;                      ///< brightness added from one side to the other, in grey levels
  NoiseLattice noise;
};

namespace detail {

inline std::int32_t clamp_int(std::int32_t v, std::int32_t low, std::int32_t high) {
  return v < low ? low : (v > high ? high : v);
}

/// Three planes of n values, one after the other, as n pixels of three bytes.
inline void interleave(const std::int32_t* planes, std::size_t n, std::uint8_t* to) {
  const std::int32_t *r = planes, *g = r + n, *b = g + n;
  const auto byte = [](std::int32_t v) { return static_cast<std::uint8_t>(clamp_int(v, 0, 255)); };
  for (std::size_t i = 0; i < n; ++i) {
    to[3 * i] = byte(r[i]);
    to[3 * i + 1] = byte(g[i]);
    to[3 * i + 2] = byte(b[i]);
  }
}

/// A square wave of period 1 (Q12) whose flanks are as steep as `gain` says: 0 … 256.
inline std::int32_t soft_square(std::int32_t x, std::int32_t gain) {
  const std::int32_t ramp = std::abs((x & 4095) - 2048) - 1024;
  return clamp_int(128 + ((ramp * gain) >> 8), 0, 256);
}

/// The share of colour b at n places: (u[i], v[i]) in periods, Q12; `gain` makes flanks about a pixel wide.
/// @param scratch a row of n words.
inline void pattern_row(Pattern pattern, const NoiseLattice& lattice, const std::int32_t* u, const std::int32_t* v,
                        int n, std::int32_t gain, std::int32_t* scratch, std::int32_t* share) {
  switch (pattern) {
    case Pattern::Flat:
      for (int i = 0; i < n; ++i) share[i] = 0;
      return;
    case Pattern::Gradient:
      for (int i = 0; i < n; ++i) share[i] = clamp_int(128 + (u[i] >> 5), 0, 256);
      return;
    case Pattern::Clouds:
      noise_row(lattice, u, v, n, 1, 0, 0, share);
      noise_row(lattice, u, v, n, 3, 20000, 9000, scratch);
      for (int i = 0; i < n; ++i) share[i] = clamp_int(((share[i] * 180 + scratch[i] * 90) >> 7) - 62, 0, 256);
      return;
    case Pattern::Spots:
      noise_row(lattice, u, v, n, 1, 0, 0, share);
      for (int i = 0; i < n; ++i) share[i] = clamp_int(128 + (((share[i] - 150) * gain) >> 5), 0, 256);
      return;
    case Pattern::Stripes:
      for (int i = 0; i < n; ++i) share[i] = soft_square(u[i], gain);
      return;
    case Pattern::Checker:
      for (int i = 0; i < n; ++i) {
        share[i] = 128 + (((soft_square(u[i], gain) - 128) * (soft_square(v[i], gain) - 128)) >> 7);
      }
      return;
    case Pattern::Dots:
      for (int i = 0; i < n; ++i) {
        const std::int32_t du = (u[i] & 4095) - 2048, dv = (v[i] & 4095) - 2048;
        share[i] = clamp_int(128 + (((480 - ((du * du + dv * dv) >> 12)) * gain) >> 8), 0, 256);
      }
      return;
    case Pattern::Rings:
      for (int i = 0; i < n; ++i) {
        const std::int32_t x = std::abs(u[i]), y = std::abs(v[i]);
        share[i] = soft_square(std::max(x, y) + ((3 * std::min(x, y)) >> 3), gain);
      }
      return;
    case Pattern::Bricks:
      for (int i = 0; i < n; ++i) {
        const std::int32_t x = (u[i] >> 1) + ((v[i] >> 12) & 1) * 2048;
        const std::int32_t edge =
            std::min(2048 - std::abs((v[i] & 4095) - 2048), 2 * (2048 - std::abs((x & 4095) - 2048)));
        share[i] = clamp_int(128 + (((500 - edge) * gain) >> 8), 0, 256);
      }
      return;
    case Pattern::Plaid:
      for (int i = 0; i < n; ++i) share[i] = (soft_square(u[i], gain) + soft_square(v[i], gain)) >> 1;
      return;
  }
}

}  // namespace detail

/// Colours of n places at local coordinates (u[i], v[i]), Q12. @param pixel the size of a pixel in local units, Q12.
/// scratch_u, scratch_v, share: rows of n words.
inline void texture_row(const Texture& texture, const std::int32_t* u, const std::int32_t* v, int n, std::int32_t pixel,
                        std::int32_t* scratch_u, std::int32_t* scratch_v, std::int32_t* share, std::int32_t* r,
                        std::int32_t* g, std::int32_t* b) {
  if (texture.pattern != Pattern::Flat) {
    const std::int32_t f = texture.frequency, c = texture.turn_cos, s = texture.turn_sin;
    const std::int32_t pu = texture.phase_u, pv = texture.phase_v;
    for (int i = 0; i < n; ++i) {
      const std::int32_t x = (u[i] * c + v[i] * s) >> 12, y = (v[i] * c - u[i] * s) >> 12;
      scratch_u[i] = ((x * f) >> 8) + pu;
      scratch_v[i] = ((y * f) >> 8) + pv;
    }
    if (texture.warp > 0) {
      const std::int32_t warp = texture.warp;
      noise_row(texture.noise, u, v, n, 3, 7000, 30000, share);
      for (int i = 0; i < n; ++i) scratch_u[i] += ((share[i] - 128) * warp) >> 7;
    }
    const std::int32_t step = std::max((pixel * f) >> 8, 1);
    const std::int32_t gain = detail::clamp_int(65536 / step, 32, 1024);
    detail::pattern_row(texture.pattern, texture.noise, scratch_u, scratch_v, n, gain, r, share);
    const Rgb from = texture.a, to = {texture.b.r - from.r, texture.b.g - from.g, texture.b.b - from.b};
    for (int i = 0; i < n; ++i) {
      r[i] = from.r + ((to.r * share[i]) >> 8);
      g[i] = from.g + ((to.g * share[i]) >> 8);
      b[i] = from.b + ((to.b * share[i]) >> 8);
    }
  } else {
    for (int i = 0; i < n; ++i) {
      r[i] = texture.a.r;
      g[i] = texture.a.g;
      b[i] = texture.a.b;
    }
  }
  if (texture.shade > 0) {
    const std::int32_t shade = texture.shade;
    noise_row(texture.noise, u, v, n, 2, 50000, 1000, share);
    for (int i = 0; i < n; ++i) {
      const std::int32_t k = 256 + (((share[i] - 128) * shade) >> 7);
      r[i] = (r[i] * k) >> 8;
      g[i] = (g[i] * k) >> 8;
      b[i] = (b[i] * k) >> 8;
    }
  }
  if (texture.light != 0) {
    const std::int32_t light = texture.light;
    for (int i = 0; i < n; ++i) {
      const std::int32_t add = (-(u[i] + v[i]) * light) >> 12;
      r[i] += add;
      g[i] += add;
      b[i] += add;
    }
  }
}

}  // namespace tasks
SEGUE_NAMESPACE_END
