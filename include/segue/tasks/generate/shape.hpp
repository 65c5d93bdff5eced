// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "segue/core/config.hpp"
#include "segue/core/random.hpp"
#include "segue/tasks/draws.hpp"
#include "segue/tasks/generate/texture.hpp"

SEGUE_NAMESPACE_BEGIN
namespace tasks {

/// Cosine and sine of an angle in 1/65536 turns, Q12.
struct Direction {
  std::int32_t cos = 4096, sin = 0;
};
inline Direction direction(std::int32_t angle) {
  const auto v = ::segue::detail::sincos_turns(static_cast<float>(angle & 65535) * 0x1p-16f);
  const auto q12 = [](float x) {  // rounded down without std::floor, which keeps loops over angles from vectorising
    const float exact = std::fma(x, 4096.0f, 0.5f);
    const auto whole = static_cast<std::int32_t>(exact);
    return whole - (static_cast<float>(whole) > exact ? 1 : 0);
  };
  return {q12(v.cos), q12(v.sin)};
}

enum class PartKind : std::uint8_t { Ellipse, Box, Capsule, Polygon, Ring };

/// A primitive of an outline, in the local units of its body (Q12, the body's radius is 1.0).
struct Part {
  PartKind kind = PartKind::Ellipse;
  bool cut = false;                           ///< taken away from what came before instead of added
  std::int32_t x = 0, y = 0;                  ///< centre
  Direction turn;                             ///< of the part against its body
  std::int32_t half_x = 4096, half_y = 4096;  ///< half extents; of a ring, half_y is the radius of the hole
  int sides = 0;                              ///< of a polygon: the half-planes normal . (x, y) <= offset
  std::array<Direction, 7> normal{};
  std::array<std::int32_t, 7> offset{};
};

/// An outline: parts added and cut one after the other, with an uneven edge if `wobble` is set.
struct Outline {
  std::array<Part, 6> parts{};
  int count = 0;
  std::int32_t wobble = 0;  ///< Q12 local units

  void add(const Part& part) {
    if (count < static_cast<int>(parts.size())) parts[static_cast<std::size_t>(count++)] = part;
  }
  /// The radius of a disc around the origin that holds the outline, Q12.
  std::int32_t bound() const {
    std::int32_t most = 0;
    for (int k = 0; k < count; ++k) {
      const Part& p = parts[static_cast<std::size_t>(k)];
      if (p.cut) continue;
      const std::int32_t ax = std::abs(p.x), ay = std::abs(p.y);
      std::int32_t reach = std::max(p.half_x, p.half_y);
      if (p.kind == PartKind::Box) reach = std::max(p.half_x, p.half_y) + std::min(p.half_x, p.half_y) / 2;
      if (p.kind == PartKind::Capsule) reach = p.half_x + p.half_y;
      if (p.kind == PartKind::Polygon) reach = 2 * p.half_x;
      most = std::max(most, std::max(ax, ay) + std::min(ax, ay) / 2 + reach);
    }
    return most + wobble;
  }
};

/// Signed distances, in 1/256 pixels, of n places at local (u[i], v[i]) to an outline: negative inside. Exact at the
/// edge, which is where coverage is read. @param scale pixels in a local unit, Q8. @param lattice for the wobble.
/// @param scratch a row of n words.
inline void outline_row(const Outline& outline, const NoiseLattice& lattice, const std::int32_t* u,
                        const std::int32_t* v, int n, std::int32_t scale, std::int32_t* scratch,
                        std::int32_t* distance) {
  constexpr std::int32_t far = 1 << 24;
  for (int i = 0; i < n; ++i) distance[i] = far;
  for (int k = 0; k < outline.count; ++k) {
    const Part& p = outline.parts[static_cast<std::size_t>(k)];
    const Direction d = p.turn;
    const bool cut = p.cut;
    const std::int32_t px = p.x, py = p.y;
    // Two units from the edge is far enough for every use, and keeps the product in 32 bits up to 512 pixels a unit.
    const auto pixels = [scale](std::int32_t local) { return (detail::clamp_int(local, -8192, 8192) * scale) >> 12; };
    const auto each = [&](auto&& local) {
      if (cut) {
        for (int i = 0; i < n; ++i) {
          const std::int32_t x = u[i] - px, y = v[i] - py;
          const std::int32_t inside = local((x * d.cos + y * d.sin) >> 12, (y * d.cos - x * d.sin) >> 12);
          distance[i] = std::max(distance[i], -pixels(inside));
        }
      } else {
        for (int i = 0; i < n; ++i) {
          const std::int32_t x = u[i] - px, y = v[i] - py;
          const std::int32_t inside = local((x * d.cos + y * d.sin) >> 12, (y * d.cos - x * d.sin) >> 12);
          distance[i] = std::min(distance[i], pixels(inside));
        }
      }
    };
    switch (p.kind) {
      case PartKind::Ellipse: {
        const std::int32_t ix = (4096 << 12) / std::max(p.half_x, 64), iy = (4096 << 12) / std::max(p.half_y, 64);
        const std::int32_t half = std::min(p.half_x, p.half_y) / 2;
        each([=](std::int32_t x, std::int32_t y) {
          const std::int32_t a = detail::clamp_int((x * ix) >> 12, -12000, 12000);
          const std::int32_t b = detail::clamp_int((y * iy) >> 12, -12000, 12000);
          return ((((a * a + b * b) >> 12) - 4096) * half) >> 12;
        });
        break;
      }
      case PartKind::Ring: {
        const std::int32_t ix = (4096 << 12) / std::max(p.half_x, 64);
        const std::int32_t half = p.half_x / 2;
        const std::int32_t hole = (p.half_y * ((4096 << 12) / std::max(p.half_x, 64))) >> 12;
        const std::int32_t hole_square = (hole * hole) >> 12;
        each([=](std::int32_t x, std::int32_t y) {
          const std::int32_t a = detail::clamp_int((x * ix) >> 12, -12000, 12000);
          const std::int32_t b = detail::clamp_int((y * ix) >> 12, -12000, 12000);
          const std::int32_t q = (a * a + b * b) >> 12;
          return (std::max(q - 4096, hole_square - q) * half) >> 12;
        });
        break;
      }
      case PartKind::Box: {
        const std::int32_t hx = p.half_x, hy = p.half_y;
        each([=](std::int32_t x, std::int32_t y) { return std::max(std::abs(x) - hx, std::abs(y) - hy); });
        break;
      }
      case PartKind::Capsule: {
        const std::int32_t hx = p.half_x, hy = std::max(p.half_y, 64);
        const std::int32_t inverse = (4096 << 8) / hy;
        each([=](std::int32_t x, std::int32_t y) {
          const std::int32_t rest = detail::clamp_int(x - detail::clamp_int(x, -hx, hx), -12000, 12000);
          const std::int32_t side = detail::clamp_int(y, -12000, 12000);
          const std::int32_t q = (rest * rest + side * side) >> 12;
          return ((((q >> 3) * inverse) >> 5) - hy) / 2;
        });
        break;
      }
      case PartKind::Polygon: {
        // Side by side over the row, so that the inner loops are plain ones.
        for (int i = 0; i < n; ++i) scratch[i] = -far;
        for (int side = 0; side < p.sides; ++side) {
          const Direction local = p.normal[static_cast<std::size_t>(side)];
          const std::int32_t nx = (local.cos * d.cos - local.sin * d.sin) >> 12;
          const std::int32_t ny = (local.cos * d.sin + local.sin * d.cos) >> 12;
          const std::int32_t offset = p.offset[static_cast<std::size_t>(side)];
          for (int i = 0; i < n; ++i) {
            scratch[i] = std::max(scratch[i], ((nx * (u[i] - px) + ny * (v[i] - py)) >> 12) - offset);
          }
        }
        if (cut) {
          for (int i = 0; i < n; ++i) distance[i] = std::max(distance[i], -pixels(scratch[i]));
        } else {
          for (int i = 0; i < n; ++i) distance[i] = std::min(distance[i], pixels(scratch[i]));
        }
        break;
      }
    }
  }
  if (outline.wobble > 0) {
    const std::int32_t depth = (outline.wobble * scale) >> 12;
    noise_row(lattice, u, v, n, 3, 31000, 47000, scratch);
    for (int i = 0; i < n; ++i) distance[i] += ((scratch[i] - 128) * depth) >> 7;
  }
}

}  // namespace tasks
SEGUE_NAMESPACE_END
