// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "segue/core/error.hpp"
#include "segue/tasks/draws.hpp"
#include "segue/tasks/generate/palette.hpp"
#include "segue/tasks/generate/scene.hpp"
#include "segue/tasks/pair.hpp"

SEGUE_NAMESPACE_BEGIN
namespace tasks {

/// A generated task on pictures.
struct PictureTask {
  std::string name;
  std::vector<Pair> train, test;
};

/// What surrounds the object. `Camouflage`: only its own two colours and mixtures of them, so that a pixel's colour
/// does not tell the object from the rest, the pattern does. `Muted`: greyish colours, so that colour helps, and one
/// large object not far from the centre.
enum class Clutter : std::uint8_t { Camouflage, Muted };

/// Extents of the pictures; the objects scale with them.
struct TexturedObjectSpec {
  int height = 64, width = 64;
  Clutter clutter = Clutter::Camouflage;
};

namespace detail {

/// What all items of one task share: the two colours of the wanted surface and its pattern.
struct TexturedFamily {
  Rgb a, b;
  Pattern pattern = Pattern::Checker;
  std::int32_t period = 0;  // Q8, in 64ths of the picture's shorter side

  explicit TexturedFamily(std::uint64_t seed) {
    Draws draws(seed, std::uint64_t{1} << 62);
    std::array<std::int32_t, 3> c = {draws.between(215, 255), draws.between(0, 40), draws.between(60, 200)};
    draws.shuffle(std::span<std::int32_t>(c));
    a = {c[0], c[1], c[2]};
    b = {255 - a.r, 255 - a.g, 255 - a.b};
    pattern = draws.chance(128) ? Pattern::Checker : Pattern::Stripes;
    period = draws.between(1600, 1900);
  }
};

inline Rgb near_colour(Draws& draws, const Rgb& c, int reach) {
  const auto move = [&](std::int32_t v) { return std::clamp(v + draws.between(-reach, reach), 0, 255); };
  return {move(c.r), move(c.g), move(c.b)};
}

/// A colour of any brightness and little saturation.
inline Rgb muted_colour(Draws& draws) {
  const std::int32_t grey = draws.between(30, 225);
  return near_colour(draws, {grey, grey, grey}, 35);
}

/// A solid outline: thin shapes would be lost at 64 pixels.
inline Outline solid_outline(Draws& draws) {
  Outline o;
  Part p;
  switch (draws.below(5)) {
    case 0:
      p.half_y = draws.between(2600, 4096);
      o.add(p);
      break;
    case 1:
      p.kind = PartKind::Box;
      p.half_x = 3500;
      p.half_y = draws.between(2300, 3500);
      o.add(p);
      break;
    case 2: o.add(random_polygon(draws)); break;
    case 3:
      p.kind = PartKind::Box;
      p.half_x = 3900;
      p.half_y = draws.between(1500, 2000);
      o.add(p);
      p.turn = direction(16384);
      o.add(p);
      break;
    default:
      for (int k = 0; k < 3; ++k) {
        p.x = draws.between(-1700, 1700);
        p.y = draws.between(-1700, 1700);
        p.half_x = p.half_y = draws.between(1900, 2500);
        o.add(p);
      }
      break;
  }
  return o;
}

}  // namespace detail

/// One item of the task that `seed` names: a picture with one or two objects of the task's surface (a checkered or
/// striped pattern of two opposite colours, in any direction, on any outline) among other objects, over clouds; the
/// target is white on black. See `Clutter` for the colours of the rest. Items are independent: item i is the same in
/// every set that holds it.
inline Pair make_textured_object(std::uint64_t seed, std::uint64_t item, const TexturedObjectSpec& spec = {}) {
  if (spec.height < 16 || spec.width < 16 || spec.height > 512 || spec.width > 512) {
    throw_input("textured_object", "size", std::to_string(spec.width) + "x" + std::to_string(spec.height),
                "16x16 to 512x512");
  }
  const detail::TexturedFamily family(seed);
  Draws draws(seed, item);
  Canvas canvas(spec.width, spec.height);
  const std::int32_t width = spec.width * 256, height = spec.height * 256, unit = std::min(width, height) / 64;
  Texture ground;
  ground.noise = NoiseLattice(draws);
  ground.pattern = Pattern::Clouds;
  ground.frequency = draws.between(900, 2400);
  const bool muted = spec.clutter == Clutter::Muted;
  if (muted) {
    ground.a = detail::muted_colour(draws);
    ground.b = detail::muted_colour(draws);
  } else {
    const int share = draws.between(84, 172);
    ground.a =
        detail::near_colour(draws, mix(family.a, family.b, std::clamp(share - draws.between(20, 60), 0, 256)), 30);
    ground.b =
        detail::near_colour(draws, mix(family.a, family.b, std::clamp(share + draws.between(20, 60), 0, 256)), 30);
  }
  ground.shade = draws.between(40, 120);
  ground.phase_u = draws.below(65536);
  canvas.draw_background(ground, {width / 2, height / 2, draws.below(65536), std::min(width, height) / 2, 256, 256});

  const auto placement = [&](int smallest, int largest, int margin) {
    Placement p;
    p.x = width * draws.between(margin, 64 - margin) / 64;
    p.y = height * draws.between(margin, 64 - margin) / 64;
    p.angle = draws.below(65536);
    p.size = draws.between(smallest * 4, largest * 4) * unit / 4;
    return p;
  };
  const int others = draws.between(3, 4);
  for (int k = 0; k < others; ++k) {
    Body body;
    body.outline = detail::solid_outline(draws);
    body.texture.noise = NoiseLattice(draws);
    // The first two are plain in the two colours of the pattern, the rest a mixture or a slow change between them.
    const int how = k < 2 ? k : draws.between(2, 3);
    if (muted) {
      body.texture.pattern = how < 2 ? Pattern::Flat : Pattern::Gradient;
      body.texture.frequency = 256;
      body.texture.a = detail::muted_colour(draws);
      body.texture.b = detail::muted_colour(draws);
    } else if (how < 2) {
      body.texture.a = detail::near_colour(draws, how == 0 ? family.a : family.b, 24);
    } else if (how == 2) {
      body.texture.a = detail::near_colour(draws, mix(family.a, family.b, draws.below(257)), 24);
    } else {
      body.texture.pattern = Pattern::Gradient;
      body.texture.frequency = 256;
      body.texture.a = detail::near_colour(draws, family.a, 24);
      body.texture.b = detail::near_colour(draws, family.b, 24);
    }
    body.texture.shade = draws.between(20, 70);
    canvas.draw(body, placement(7, 12, 4));
  }

  std::vector<std::int32_t> cover(static_cast<std::size_t>(spec.width) * static_cast<std::size_t>(spec.height));
  const int objects = !muted && draws.chance(80) ? 2 : 1;
  for (int k = 0; k < objects; ++k) {
    const Placement at = muted ? placement(17, 23, 20) : objects == 1 ? placement(15, 21, 16) : placement(11, 15, 13);
    Body body;
    body.outline = detail::solid_outline(draws);
    body.texture.noise = NoiseLattice(draws);
    body.texture.pattern = family.pattern;
    body.texture.a = detail::near_colour(draws, family.a, 16);
    body.texture.b = detail::near_colour(draws, family.b, 16);
    body.texture.frequency = static_cast<std::int32_t>((static_cast<std::int64_t>(at.size) << 16) /
                                                       (static_cast<std::int64_t>(family.period) * unit));
    body.texture.phase_u = draws.below(4096);
    body.texture.phase_v = draws.below(4096);
    body.texture.shade = draws.between(10, 50);
    canvas.draw(body, at);
    canvas.add_coverage(body, at, cover);
  }

  Pair pair;
  pair.name = std::to_string(item);
  pair.input.width = pair.target.width = spec.width;
  pair.input.height = pair.target.height = spec.height;
  pair.input.channels = pair.target.channels = 3;
  pair.input.pixels.resize(cover.size() * 3);
  canvas.write(pair.input.pixels);
  pair.target.pixels.reserve(cover.size() * 3);
  for (const std::int32_t c : cover) pair.target.pixels.insert(pair.target.pixels.end(), 3, c >= 128 ? 255 : 0);
  return pair;
}

/// The first `train` items for training and `test` others for testing.
inline PictureTask make_textured_object_task(std::uint64_t seed, int train, int test,
                                             const TexturedObjectSpec& spec = {}) {
  PictureTask task;
  task.name = "textured_object";
  for (int i = 0; i < train; ++i) task.train.push_back(make_textured_object(seed, static_cast<std::uint64_t>(i), spec));
  for (int i = 0; i < test; ++i) {
    // Streams of their own, so that no number of training items reaches a test item.
    task.test.push_back(make_textured_object(seed, (std::uint64_t{1} << 32) + static_cast<std::uint64_t>(i), spec));
  }
  return task;
}

}  // namespace tasks
SEGUE_NAMESPACE_END
