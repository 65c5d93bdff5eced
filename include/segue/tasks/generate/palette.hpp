// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "segue/core/config.hpp"
#include "segue/tasks/draws.hpp"
#include "segue/tasks/generate/scene.hpp"
#include "segue/tasks/generate/shape.hpp"
#include "segue/tasks/generate/texture.hpp"

SEGUE_NAMESPACE_BEGIN
namespace tasks {

/// Any colour: even over the cube, or saturated, grey, dark or light.
inline Rgb random_colour(Draws& draws) {
  const auto byte = [&](int low, int high) { return static_cast<std::int32_t>(draws.between(low, high)); };
  switch (draws.below(6)) {
    case 0:
    case 1: return {byte(0, 255), byte(0, 255), byte(0, 255)};
    case 2:
    case 3: {
      std::array<std::int32_t, 3> c = {byte(190, 255), byte(0, 60), byte(0, 255)};
      draws.shuffle(std::span<std::int32_t>(c));
      return {c[0], c[1], c[2]};
    }
    case 4: {
      const std::int32_t grey = byte(0, 255);
      return {std::clamp(grey + byte(-12, 12), 0, 255), std::clamp(grey + byte(-12, 12), 0, 255),
              std::clamp(grey + byte(-12, 12), 0, 255)};
    }
    default: {
      const std::int32_t base = draws.chance(128) ? 0 : 150;
      return {base + byte(0, 105), base + byte(0, 105), base + byte(0, 105)};
    }
  }
}

/// A surface with any pattern and colours. @param flat_chance of 256, for a plain one.
inline Texture random_texture(Draws& draws, int flat_chance = 60) {
  Texture t;
  t.noise = NoiseLattice(draws);
  t.a = random_colour(draws);
  t.b = random_colour(draws);
  if (draws.chance(90)) t.b = mix(t.a, t.b, draws.between(40, 140));
  t.pattern = draws.chance(flat_chance) ? Pattern::Flat : static_cast<Pattern>(draws.between(1, pattern_count - 1));
  switch (t.pattern) {
    case Pattern::Gradient: t.frequency = draws.between(160, 420); break;
    case Pattern::Clouds: t.frequency = draws.between(200, 1100); break;
    case Pattern::Spots: t.frequency = draws.between(500, 1400); break;
    case Pattern::Bricks: t.frequency = draws.between(500, 1300); break;
    default: t.frequency = draws.between(180, 1000); break;
  }
  t.phase_u = t.pattern == Pattern::Gradient || t.pattern == Pattern::Rings ? 0 : draws.below(4096 * 8);
  t.phase_v = t.pattern == Pattern::Rings ? 0 : draws.below(4096 * 8);
  const Direction turn = direction(draws.below(65536));
  t.turn_cos = turn.cos;
  t.turn_sin = turn.sin;
  if (draws.chance(50)) t.warp = draws.between(500, 5000);
  if (draws.chance(100)) t.shade = draws.between(20, 130);
  if (draws.chance(80)) t.light = draws.between(-60, 60);
  return t;
}

/// A plain surface.
inline Texture flat_texture(const Rgb& colour) {
  Texture t;
  t.a = t.b = colour;
  return t;
}

/// A convex polygon around the origin.
inline Part random_polygon(Draws& draws) {
  Part p;
  p.kind = PartKind::Polygon;
  p.sides = draws.between(3, 7);
  const int start = draws.below(65536);
  std::int32_t most = 0;
  for (int s = 0; s < p.sides; ++s) {
    const auto at = static_cast<std::size_t>(s);
    const int jitter = draws.between(-5000, 5000) * 3 / p.sides;
    p.normal[at] = direction(start + 65536 * s / p.sides + jitter);
    p.offset[at] = draws.between(p.sides == 3 ? 1500 : 2500, p.sides == 3 ? 2500 : 4000);
    most = std::max(most, p.offset[at]);
  }
  p.half_x = p.half_y = p.sides == 3 ? 2 * most : most;
  return p;
}

/// An outline of one to five parts, about as large as the unit disc: convex shapes, rings, crosses, stars, blobs,
/// crescents, letters, figures.
inline Outline random_outline(Draws& draws) {
  Outline o;
  Part p;
  switch (draws.below(12)) {
    case 0:
      p.half_y = draws.between(1600, 4096);
      o.add(p);
      break;
    case 1:
      p.kind = PartKind::Box;
      p.half_x = 3600;
      p.half_y = draws.between(1200, 3600);
      o.add(p);
      break;
    case 2:
    case 3: o.add(random_polygon(draws)); break;
    case 4:
      p.kind = PartKind::Ring;
      p.half_y = draws.between(1500, 3000);
      o.add(p);
      break;
    case 5:
      p.kind = PartKind::Capsule;
      p.half_y = draws.between(700, 1600);
      p.half_x = 4096 - p.half_y;
      o.add(p);
      break;
    case 6:  // crosses, T, L
      p.kind = PartKind::Box;
      p.half_x = 3700;
      p.half_y = draws.between(700, 1500);
      p.y = draws.between(-1, 1) * (3700 - p.half_y);
      o.add(p);
      p.turn = direction(16384);
      p.x = draws.between(-1, 1) * (3700 - p.half_y);
      p.y = 0;
      o.add(p);
      break;
    case 7:  // stars: two or three turned polygons
    {
      p = Part{};
      p.kind = PartKind::Polygon;
      p.sides = draws.chance(128) ? 3 : 4;
      const int copies = draws.between(2, 3);
      const std::int32_t inner = draws.between(1700, 2600);
      for (int s = 0; s < p.sides; ++s) {
        p.normal[static_cast<std::size_t>(s)] = direction(65536 * s / p.sides);
        p.offset[static_cast<std::size_t>(s)] = inner;
      }
      p.half_x = p.half_y = p.sides == 3 ? 2 * inner : inner * 3 / 2;
      for (int k = 0; k < copies; ++k) {
        p.turn = direction(65536 * k / (p.sides * copies));
        o.add(p);
      }
      break;
    }
    case 8: {  // crescents and bites
      o.add(p);
      Part bite;
      bite.cut = true;
      bite.x = draws.between(1500, 3500);
      bite.y = draws.between(-1500, 1500);
      bite.half_x = bite.half_y = draws.between(1500, 3400);
      o.add(bite);
      break;
    }
    case 9: {  // blobs of discs
      const int discs = draws.between(2, 5);
      for (int k = 0; k < discs; ++k) {
        p.x = draws.between(-2000, 2000);
        p.y = draws.between(-2000, 2000);
        p.half_x = p.half_y = draws.between(1200, 2300);
        o.add(p);
      }
      break;
    }
    default: {  // figures: a body, a head, limbs
      p.half_x = draws.between(1500, 2400);
      p.half_y = draws.between(1300, 2200);
      o.add(p);
      Part head;
      head.x = draws.between(-1200, 1200);
      head.y = -2500;
      head.half_x = head.half_y = draws.between(900, 1500);
      o.add(head);
      const int limbs = draws.between(1, 4);
      for (int k = 0; k < limbs; ++k) {
        Part limb;
        limb.kind = PartKind::Capsule;
        limb.x = draws.between(-2200, 2200);
        limb.y = draws.between(200, 2400);
        limb.half_x = draws.between(700, 1600);
        limb.half_y = draws.between(300, 600);
        limb.turn = direction(draws.below(65536));
        o.add(limb);
      }
      break;
    }
  }
  if (draws.chance(60)) o.wobble = draws.between(300, 1200);
  return o;
}

/// A body with any outline and surface.
inline Body random_body(Draws& draws, int flat_chance = 60) {
  Body body{random_outline(draws), random_texture(draws, flat_chance), 0, {}};
  if (body.texture.pattern == Pattern::Flat) body.texture.noise = NoiseLattice(draws);
  if (draws.chance(50)) {
    body.border = draws.between(200, 450);
    body.border_colour = draws.chance(128) ? mix(body.texture.a, Rgb{}, 180) : random_colour(draws);
  }
  return body;
}

}  // namespace tasks
SEGUE_NAMESPACE_END
