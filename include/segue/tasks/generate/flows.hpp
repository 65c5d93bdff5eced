// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "segue/core/config.hpp"
#include "segue/tasks/draws.hpp"
#include "segue/tasks/generate/finish.hpp"
#include "segue/tasks/generate/palette.hpp"
#include "segue/tasks/generate/scene.hpp"
#include "segue/tasks/generate/shape.hpp"
#include "segue/tasks/generate/texture.hpp"

SEGUE_NAMESPACE_BEGIN
namespace tasks {

/// A field that moves the surface under the picture: local coordinates in, local coordinates at frame f out (Q12; half
/// the picture's shorter side is 1.0). Noise stirs, a wave rolls through, a swirl turns more the nearer to its centre,
/// and everything drifts and breathes.
struct Flow {
  NoiseLattice stir_u, stir_v;
  std::int32_t stir = 0, stir_scale = 2;        ///< amplitude a frame, Q12; lattice cells in a unit
  std::int32_t wave = 0, wave_length = 2048;    ///< amplitude, Q12; periods in a unit, Q12
  std::int32_t wave_speed = 0, wave_phase = 0;  ///< 1/65536 turns a frame; at frame 0
  Direction wave_heading;
  std::int32_t swirl = 0, swirl_x = 0, swirl_y = 0;  ///< 1/65536 turns a frame at its centre; centre, Q12
  std::int32_t drift_x = 0, drift_y = 0;             ///< a frame, Q12
  std::int32_t breathe = 0;                          ///< growth a frame, Q12

  /// Moves n places. The time is in frames.
  void carry(std::int32_t time, int n, std::int32_t* u, std::int32_t* v) const {
    constexpr int chunk = 64;
    for (; n > chunk; n -= chunk, u += chunk, v += chunk) carry_some(time, chunk, u, v);
    carry_some(time, n, u, v);
  }

 private:
  /// The same for 64 places at most.
  void carry_some(std::int32_t time, int n, std::int32_t* u, std::int32_t* v) const {
    std::array<std::int32_t, 64> row_a, row_b;
    std::int32_t *a = row_a.data(), *b = row_b.data();
    if (swirl != 0) {
      const std::int32_t cx = swirl_x, cy = swirl_y;
      // Whole numbers below 2^53 are divided exactly by doubles, once what is behind the point is cut off.
      const double most = static_cast<double>(swirl) * time * 4096;
      for (int i = 0; i < n; ++i) {
        const std::int64_t x = u[i] - cx, y = v[i] - cy;
        a[i] = static_cast<std::int32_t>(most / static_cast<double>(4096 + 4 * ((x * x + y * y) >> 12)));
      }
      for (int i = 0; i < n; ++i) {
        const Direction d = direction(a[i]);
        a[i] = d.cos;
        b[i] = d.sin;
      }
      for (int i = 0; i < n; ++i) {
        const std::int64_t x = u[i] - cx, y = v[i] - cy, cos = a[i], sin = b[i];
        u[i] = cx + static_cast<std::int32_t>((x * cos - y * sin) >> 12);
        v[i] = cy + static_cast<std::int32_t>((x * sin + y * cos) >> 12);
      }
    }
    if (stir != 0) {
      const std::int32_t depth = stir;
      noise_row(stir_u, u, v, n, stir_scale, 9000, 31000, a);
      noise_row(stir_v, u, v, n, stir_scale, 9000, 31000, b);
      for (int i = 0; i < n; ++i) {
        u[i] += ((a[i] - 128) * depth * time) >> 7;
        v[i] += ((b[i] - 128) * depth * time) >> 7;
      }
    }
    if (wave != 0) {
      const std::int32_t cos = wave_heading.cos, sin = wave_heading.sin, length = wave_length, height = wave;
      const std::int32_t phase = wave_phase + wave_speed * time;
      for (int i = 0; i < n; ++i) a[i] = ((((u[i] * cos + v[i] * sin) >> 12) * length) >> 8) + phase;
      for (int i = 0; i < n; ++i) a[i] = (direction(a[i]).sin * height) >> 12;
      for (int i = 0; i < n; ++i) {
        u[i] += (a[i] * cos) >> 12;
        v[i] += (a[i] * sin) >> 12;
      }
    }
    const std::int64_t grow = 4096 - breathe * time;
    const std::int32_t away_x = drift_x * time, away_y = drift_y * time;
    for (int i = 0; i < n; ++i) {
      u[i] = static_cast<std::int32_t>((u[i] * grow) >> 12) - away_x;
      v[i] = static_cast<std::int32_t>((v[i] * grow) >> 12) - away_y;
    }
  }
};

/// The local coordinates of `count` pixels beside each other or one below the other, Q12: half of `side` is 1.0.
inline std::vector<std::int32_t> flow_places(int count, int side) {
  std::vector<std::int32_t> places;
  for (int k = 0; k < count; ++k) places.push_back((2 * k + 1 - count) * 4096 / side);
  return places;
}

/// Any flow that moves visibly in `frames` frames and shows no surface at twice its size.
inline Flow random_flow(Draws& draws, int frames) {
  Flow flow;
  flow.stir_u = NoiseLattice(draws);
  flow.stir_v = NoiseLattice(draws);
  const int parts = draws.between(1, 7);
  const int last = std::max(frames - 1, 1);
  if (parts & 1) {
    flow.stir = draws.between(600, 2600) / last;
    flow.stir_scale = draws.between(1, 4);
  }
  if (parts & 2) {
    flow.wave = draws.between(100, 500);
    flow.wave_length = draws.between(1500, 9000);
    flow.wave_speed = draws.between(2500, 11000) * (draws.chance(128) ? 1 : -1);
    flow.wave_phase = draws.below(65536);
    flow.wave_heading = direction(draws.below(65536));
  }
  if ((parts & 4) && draws.chance(128)) {
    flow.swirl = draws.between(4000, 20000) / last * (draws.chance(128) ? 1 : -1);
    flow.swirl_x = draws.between(-3000, 3000);
    flow.swirl_y = draws.between(-3000, 3000);
  } else if (parts & 4) {
    flow.drift_x = draws.between(-3500, 3500) / last;
    flow.drift_y = draws.between(-3500, 3500) / last;
  }
  if (draws.chance(60)) flow.breathe = draws.between(-1200, 1200) / last;
  return flow;
}

/// Draws a clip of surfaces that flow, (F, H, W, 3) bytes: a pattern carried by a field, sometimes with a second one of
/// clouds that drifts over it on its own.
/// Raises InputError for a bad spec or an `out` of another size.
inline void draw_flow(Draws& draws, const ClipSpec& spec, std::span<std::uint8_t> out) {
  check_clip(spec, out, "draw_flow");
  struct Layer {
    Texture texture;
    Flow flow;
  };
  std::vector<Layer> layers;
  const int count = draws.chance(90) ? 2 : 1;
  for (int k = 0; k < count; ++k) {
    Layer layer{random_texture(draws, 0), random_flow(draws, spec.frames)};
    Texture& t = layer.texture;
    if (k > 0 || draws.chance(110)) {
      t.pattern = Pattern::Clouds;
      t.frequency = draws.between(250, 1600);
    }
    if (t.pattern != Pattern::Gradient && t.pattern != Pattern::Rings && draws.chance(90)) t.frequency *= 2;
    t.phase_u = t.phase_v = 0;
    layers.push_back(layer);
  }
  const std::int32_t veil = draws.between(90, 190);
  const auto n = static_cast<std::size_t>(spec.width);
  std::vector<std::int32_t> rows(8 * n);
  std::vector<std::int32_t> under(3 * n);
  const auto row = [&](std::size_t k) { return rows.data() + k * n; };
  const int side = std::min(spec.width, spec.height);
  const std::int32_t pixel = 8192 / side;
  const std::vector<std::int32_t> across = flow_places(spec.width, side), down = flow_places(spec.height, side);
  for (int f = 0; f < spec.frames; ++f) {
    const std::span<std::uint8_t> frame = clip_frame(spec, out, f);
    for (int y = 0; y < spec.height; ++y) {
      for (std::size_t k = 0; k < layers.size(); ++k) {
        std::copy(across.begin(), across.end(), row(0));
        std::fill_n(row(1), n, down[static_cast<std::size_t>(y)]);
        layers[k].flow.carry(f, spec.width, row(0), row(1));
        texture_row(layers[k].texture, row(0), row(1), spec.width, pixel, row(2), row(3), row(4), row(5), row(6),
                    row(7));
        for (std::size_t c = 0; c < 3; ++c) {
          const std::int32_t* from = row(5 + c);
          std::int32_t* to = under.data() + c * n;
          if (k == 0) {
            std::copy_n(from, n, to);
          } else {
            for (std::size_t x = 0; x < n; ++x) to[x] += ((from[x] - to[x]) * veil) >> 8;
          }
        }
      }
      detail::interleave(under.data(), n, frame.data() + static_cast<std::size_t>(y) * n * 3);
    }
  }
}

}  // namespace tasks
SEGUE_NAMESPACE_END
