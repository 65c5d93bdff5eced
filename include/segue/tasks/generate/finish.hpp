// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "segue/core/error.hpp"
#include "segue/tasks/draws.hpp"
#include "segue/tasks/generate/palette.hpp"
#include "segue/tasks/generate/texture.hpp"

// What all generated clips share: extents, checks, and the changes that end a clip.
SEGUE_NAMESPACE_BEGIN
namespace tasks {

/// Extents of generated clips, 3 channels.
struct ClipSpec {
  int frames = 5, height = 64, width = 64;
  constexpr std::size_t size() const {
    return static_cast<std::size_t>(frames) * static_cast<std::size_t>(height) * static_cast<std::size_t>(width) * 3;
  }
};

/// Frame f of a clip, (H, W, 3) bytes.
inline std::span<std::uint8_t> clip_frame(const ClipSpec& spec, std::span<std::uint8_t> clip, int f) {
  const std::size_t size = spec.size() / static_cast<std::size_t>(spec.frames);
  return clip.subspan(static_cast<std::size_t>(f) * size, size);
}

/// Raises InputError, which begins with `where`, for extents that no generator draws or an `out` of another size.
inline void check_clip(const ClipSpec& spec, std::span<const std::uint8_t> out, std::string_view where) {
  if (spec.frames < 1 || spec.height < 8 || spec.width < 8 || spec.height > 512 || spec.width > 512) {
    throw_input(
        where, "spec",
        std::to_string(spec.frames) + " frames of " + std::to_string(spec.width) + "x" + std::to_string(spec.height),
        "1 frame or more of 8x8 to 512x512");
  }
  if (out.size() != spec.size()) {
    throw_input(where, "out", std::to_string(out.size()) + " bytes", std::to_string(spec.size()));
  }
}

/// The frames that a cut leaves as they were: the first half, without the middle one.
constexpr int frames_before_cut(const ClipSpec& spec) { return spec.frames / 2; }

/// Plain grounds of changed scenes are neither near black nor near white: light shapes on black, or the reverse,
/// would be the masks of a segmentation task, and no clip may be an example of one.
inline Rgb plain_ground(Draws& draws) {
  for (;;) {
    const Rgb c = random_colour(draws);
    const std::int32_t low = std::min({c.r, c.g, c.b}), high = std::max({c.r, c.g, c.b});
    if (high >= 100 && low <= 155) return c;
  }
}

/// Any ground of a picture; its unit is half the picture's shorter side.
inline Texture random_ground(Draws& draws) {
  Texture t = random_texture(draws, 40);
  // A ground's unit is half the picture, an object's its radius: the same frequencies give coarser patterns.
  if (t.pattern != Pattern::Flat && t.pattern != Pattern::Gradient && draws.chance(128)) t.frequency *= 2;
  if (draws.chance(90)) {
    t.pattern = Pattern::Clouds;
    t.frequency = draws.between(200, 2400);
    t.shade = draws.between(0, 100);
  }
  return t;
}

/// How a scene becomes another: half of the time by a cut, of which half come after `frames_before_cut`; else by a
/// blend, a wipe or tiles.
struct SceneChange {
  int style = 0, last = 0, cut = 0;
  bool along_x = false;
  std::array<std::uint8_t, 16> tile{};

  SceneChange(Draws& draws, const ClipSpec& spec)
      : style(draws.below(8)), last(spec.frames - 1), cut(draws.between(1, std::max(last, 1))) {
    if (style < 2) cut = frames_before_cut(spec);
    along_x = draws.chance(128);
    for (std::uint8_t& t : tile) t = static_cast<std::uint8_t>(draws.below(256));
  }

  bool cuts() const { return style < 4; }
  /// Of a cut: whether frame f shows the other scene.
  bool is_after(int f) const { return f >= cut; }
  /// Of the rest: puts what frame f has of the other scene, (H, W, 3) bytes, into the frame.
  void mix_into(const ClipSpec& spec, int f, std::span<std::uint8_t> to, std::span<const std::uint8_t> other) const {
    const int share = last > 0 ? 256 * f / last : 0;
    for (int y = 0; y < spec.height; ++y) {
      for (int x = 0; x < spec.width; ++x) {
        int k = share;
        if (style == 6) k = (along_x ? 256 * x / spec.width : 256 * y / spec.height) < share ? 256 : 0;
        if (style == 7) {
          const int place = 4 * y / spec.height * 4 + 4 * x / spec.width;
          k = tile[static_cast<std::size_t>(place)] < share ? 256 : 0;
        }
        const std::size_t at =
            3 * (static_cast<std::size_t>(y) * static_cast<std::size_t>(spec.width) + static_cast<std::size_t>(x));
        for (std::size_t c = at; c < at + 3; ++c) {
          to[c] = static_cast<std::uint8_t>(to[c] + (((other[c] - to[c]) * k) >> 8));
        }
      }
    }
  }
};

/// Whether a frame is nothing but near black and near white, some of each, and another is not: a picture and its
/// mask. Such clips lose their contrast.
inline bool turns_into_mask(const ClipSpec& spec, std::span<const std::uint8_t> out) {
  const auto width = static_cast<std::size_t>(spec.width);
  const std::size_t pixels = static_cast<std::size_t>(spec.height) * width;
  int masks = 0;
  for (int f = 0; f < spec.frames; ++f) {
    const std::uint8_t* p = out.data() + 3 * pixels * static_cast<std::size_t>(f);
    std::size_t dark = 0, light = 0, others = 0;
    // A tenth of other pixels settles it, which most pictures have in their first rows.
    for (std::size_t row = width; row <= pixels && 10 * others < pixels; row += width, p += 3 * width) {
      unsigned row_dark = 0, row_light = 0;
      for (std::size_t i = 0; i < 3 * width; i += 3) {
        row_dark += std::max({p[i], p[i + 1], p[i + 2]}) < 48 ? 1u : 0u;
        row_light += std::min({p[i], p[i + 1], p[i + 2]}) > 207 ? 1u : 0u;
      }
      dark += row_dark;
      light += row_light;
      others = row - dark - light;
    }
    masks += dark > 0 && light > 0 && 10 * others < pixels ? 1 : 0;
  }
  return masks > 0 && masks < spec.frames;
}

/// Mirror, reversal, a permutation of the channels, saturation, contrast.
inline void finish_clip(Draws& draws, const ClipSpec& spec, std::span<std::uint8_t> out) {
  const auto width = static_cast<std::size_t>(spec.width);
  const std::size_t rows = static_cast<std::size_t>(spec.frames) * static_cast<std::size_t>(spec.height);
  const bool mirrors = draws.chance(128);
  if (draws.chance(64)) {
    for (int f = 0; f < spec.frames / 2; ++f) {
      std::swap_ranges(clip_frame(spec, out, f).begin(), clip_frame(spec, out, f).end(),
                       clip_frame(spec, out, spec.frames - 1 - f).begin());
    }
  }
  std::array<std::size_t, 3> order = {0, 1, 2};
  if (draws.chance(77)) draws.shuffle(std::span<std::size_t>(order));
  if (draws.chance(90)) {  // the muted colours of photographs
    // Sixteen bits hold 256 times a byte.
    const auto keep = static_cast<std::uint16_t>(draws.below(200)), rest = static_cast<std::uint16_t>(256 - keep);
    std::uint8_t* p = out.data();
    for (std::size_t i = 0; i < rows * width; ++i, p += 3) {
      const auto grey = static_cast<std::uint16_t>(static_cast<std::uint16_t>(p[0] * 77 + p[1] * 150 + p[2] * 29) >> 8);
      const auto muted = [=](std::uint8_t v) {
        return static_cast<std::uint8_t>(static_cast<std::uint16_t>(grey * rest + v * keep) >> 8);
      };
      p[0] = muted(p[0]);
      p[1] = muted(p[1]);
      p[2] = muted(p[2]);
    }
  }
  const bool contrast = draws.chance(60);
  int low = contrast ? draws.below(80) : 0, high = contrast ? draws.between(176, 255) : 255;
  if (turns_into_mask(spec, out)) {
    low = 64;
    high = 191;
  }
  const auto span = static_cast<std::uint16_t>(high - low);
  if (span < 255) {
    for (std::uint8_t& v : out) {
      // A product of two bytes divided by 255, in sixteen bits.
      const auto product = static_cast<std::uint16_t>(v * span);
      const auto share = static_cast<std::uint16_t>(static_cast<std::uint16_t>(product + 1 + (product >> 8)) >> 8);
      v = static_cast<std::uint8_t>(low + share);
    }
  }
  if (!mirrors && order == std::array<std::size_t, 3>{0, 1, 2}) return;
  std::vector<std::uint8_t> planes(3 * width);
  const std::array<std::uint8_t*, 3> plane = {planes.data(), planes.data() + width, planes.data() + 2 * width};
  const std::uint8_t *r = plane[order[0]], *g = plane[order[1]], *b = plane[order[2]];
  std::uint8_t* row = out.data();
  for (std::size_t k = 0; k < rows; ++k, row += 3 * width) {
    for (std::size_t x = 0; x < width; ++x) {
      plane[0][x] = row[3 * x];
      plane[1][x] = row[3 * x + 1];
      plane[2][x] = row[3 * x + 2];
    }
    if (mirrors) {
      for (std::uint8_t* line : plane) std::reverse(line, line + width);
    }
    for (std::size_t x = 0; x < width; ++x) {
      row[3 * x] = r[x];
      row[3 * x + 1] = g[x];
      row[3 * x + 2] = b[x];
    }
  }
}

}  // namespace tasks
SEGUE_NAMESPACE_END
