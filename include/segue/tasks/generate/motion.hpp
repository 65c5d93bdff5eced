// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>

#include "segue/core/config.hpp"
#include "segue/tasks/draws.hpp"
#include "segue/tasks/generate/scene.hpp"
#include "segue/tasks/generate/shape.hpp"

SEGUE_NAMESPACE_BEGIN
namespace tasks {

enum class Path : std::uint8_t { Straight, Bounce, Orbit, Swing };

/// How a body moves: where it is in frame f is a function of f alone. Lengths are pixels Q8, angles 1/65536 turns.
struct Motion {
  Path path = Path::Straight;
  Placement start;
  std::int32_t vx = 0, vy = 0;          ///< a frame; a swing's vy is the length of its rod, an orbit's vx its radius
  std::int32_t gravity = 0;             ///< added to vy each frame
  std::int32_t spin = 0;                ///< a frame; the angular speed of orbits and swings too
  std::int32_t grow = 0;                ///< added to the size each frame
  std::int32_t pulse = 0;               ///< the size swings by this share, Q8
  std::int32_t phase = 0;               ///< of orbits, swings and pulses
  std::int32_t amplitude = 0;           ///< of a swing
  int appears = 0, vanishes = 1 << 20;  ///< frames in which it is there: [appears, vanishes)
  std::int32_t fade = 0;                ///< added to alpha each frame
};

namespace detail {

/// A place on a line with walls at low and high.
inline std::int32_t reflect(std::int32_t v, std::int32_t low, std::int32_t high) {
  const std::int32_t span = std::max(high - low, 1);
  std::int32_t t = (v - low) % (2 * span);
  if (t < 0) t += 2 * span;
  return low + (t < span ? t : 2 * span - t);
}

}  // namespace detail

/// Where the body is in frame f of a picture of the given extents, Q8.
inline Placement place(const Motion& m, int f, std::int32_t width, std::int32_t height) {
  Placement p = m.start;
  if (f < m.appears || f >= m.vanishes) p.alpha = 0;
  switch (m.path) {
    case Path::Straight:
      p.x += m.vx * f;
      p.y += m.vy * f + m.gravity * f * f / 2;
      p.angle += m.spin * f;
      break;
    case Path::Bounce: {
      const std::int32_t radius = std::min(p.size * 3 / 4, std::min(width, height) / 3);
      p.x = detail::reflect(p.x + m.vx * f, radius, width - radius);
      p.y = detail::reflect(p.y + m.vy * f + m.gravity * f * f / 2, radius, height - radius);
      p.angle += m.spin * f;
      break;
    }
    case Path::Orbit: {
      const Direction d = direction(m.phase + m.spin * f);
      p.x += (m.vx * d.cos) >> 12;
      p.y += (m.vy * d.sin) >> 12;
      break;
    }
    case Path::Swing: {
      const std::int32_t angle = (m.amplitude * direction(m.phase + m.spin * f).sin) >> 12;
      const Direction d = direction(angle);
      p.x += (m.vy * d.sin) >> 12;
      p.y += (m.vy * d.cos) >> 12;
      p.angle -= angle;
      break;
    }
  }
  p.size += m.grow * f;
  if (m.pulse > 0) p.size += (((p.size * m.pulse) >> 8) * direction(m.phase + m.spin * f).sin) >> 12;
  p.size = std::max(p.size, 256);
  if (p.alpha > 0) p.alpha = detail::clamp_int(p.alpha + m.fade * f, 0, 256);
  return p;
}

/// Any motion of a body of the given size. @param unit a 64th of the picture's shorter side, Q8 pixels.
inline Motion random_motion(Draws& draws, int frames, std::int32_t width, std::int32_t height, std::int32_t unit,
                            std::int32_t size) {
  Motion m;
  m.start.x = draws.below(width);
  m.start.y = draws.below(height);
  m.start.angle = draws.chance(150) ? draws.below(65536) : 0;
  m.start.size = size;
  if (draws.chance(80)) m.start.stretch = draws.between(180, 360);
  const auto speed = [&](int most) { return draws.between(-most, most) * unit / 16; };
  switch (draws.below(10)) {
    case 0: break;
    case 1:
    case 2: m.path = Path::Bounce; [[fallthrough]];
    case 3:
    case 4:
    case 5:
      m.vx = speed(96);
      m.vy = speed(96);
      if (draws.chance(60)) m.gravity = draws.between(4, 32) * unit / 16;
      break;
    case 6:
      m.path = Path::Orbit;
      m.vx = draws.between(4, 20) * unit;
      m.vy = draws.chance(180) ? m.vx : draws.between(2, 20) * unit;
      break;
    case 7:
      m.path = Path::Swing;
      m.vy = draws.between(6, 30) * unit;
      m.start.y -= m.vy / 2;
      m.amplitude = draws.between(3000, 14000);
      break;
    default:
      m.vx = speed(40);
      m.vy = speed(40);
      break;
  }
  m.phase = draws.below(65536);
  if (m.path == Path::Orbit || m.path == Path::Swing) {
    m.spin = draws.between(2000, 9000) * (draws.chance(128) ? 1 : -1);
  } else if (draws.chance(110)) {
    m.spin = draws.between(-5000, 5000);
  }
  if (draws.chance(70)) m.grow = draws.between(-size / 10, size / 6);
  if (draws.chance(20)) m.pulse = draws.between(20, 90);
  if (draws.chance(40)) m.appears = draws.below(frames);
  if (draws.chance(24)) m.vanishes = draws.between(1, frames);
  if (draws.chance(24)) {
    const std::int32_t step = 256 / std::max(frames - 1, 1);
    m.fade = draws.chance(128) ? step : -step;
    m.start.alpha = m.fade > 0 ? 1 : 256;
  }
  return m;
}

/// A camera: the picture's centre looks at (x, y) of the world; `zoom` Q8.
struct Camera {
  std::int32_t x = 0, y = 0, zoom = 256, angle = 0;
};

/// A placement in the world as the camera sees it in a picture of the given extents, Q8.
inline Placement seen(const Camera& camera, const Placement& world, std::int32_t width, std::int32_t height) {
  const Direction d = direction(camera.angle);
  const std::int64_t dx = world.x - camera.x, dy = world.y - camera.y;
  Placement p = world;
  p.x = width / 2 + static_cast<std::int32_t>((((dx * d.cos - dy * d.sin) >> 12) * camera.zoom) >> 8);
  p.y = height / 2 + static_cast<std::int32_t>((((dx * d.sin + dy * d.cos) >> 12) * camera.zoom) >> 8);
  p.size = static_cast<std::int32_t>((static_cast<std::int64_t>(world.size) * camera.zoom) >> 8);
  p.angle += camera.angle;
  return p;
}

}  // namespace tasks
SEGUE_NAMESPACE_END
