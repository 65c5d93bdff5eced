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
inline bool turns_into_mask(const ClipSpec& spec, std::span<std::uint8_t> out) {
  int masks = 0;
  for (int f = 0; f < spec.frames; ++f) {
    const std::span<std::uint8_t> bytes = clip_frame(spec, out, f);
    std::size_t dark = 0, light = 0;
    for (std::size_t i = 0; i < bytes.size(); i += 3) {
      dark += std::max({bytes[i], bytes[i + 1], bytes[i + 2]}) < 48 ? 1 : 0;
      light += std::min({bytes[i], bytes[i + 1], bytes[i + 2]}) > 207 ? 1 : 0;
    }
    masks += dark > 0 && light > 0 && 10 * (dark + light) > 3 * bytes.size() ? 1 : 0;
  }
  return masks > 0 && masks < spec.frames;
}

/// Mirror, reversal, a permutation of the channels, saturation, contrast.
inline void finish_clip(Draws& draws, const ClipSpec& spec, std::span<std::uint8_t> out) {
  const std::size_t pixels = static_cast<std::size_t>(spec.height) * static_cast<std::size_t>(spec.width);
  if (draws.chance(128)) {
    for (std::size_t row = 0; row < static_cast<std::size_t>(spec.frames * spec.height); ++row) {
      std::uint8_t* first = out.data() + row * static_cast<std::size_t>(spec.width) * 3;
      std::uint8_t* last = first + (spec.width - 1) * 3;
      for (; first < last; first += 3, last -= 3) std::swap_ranges(first, first + 3, last);
    }
  }
  if (draws.chance(64)) {
    for (int f = 0; f < spec.frames / 2; ++f) {
      std::swap_ranges(clip_frame(spec, out, f).begin(), clip_frame(spec, out, f).end(),
                       clip_frame(spec, out, spec.frames - 1 - f).begin());
    }
  }
  std::array<std::size_t, 3> order = {0, 1, 2};
  if (draws.chance(77)) draws.shuffle(std::span<std::size_t>(order));
  if (draws.chance(90)) {  // the muted colours of photographs
    const int keep = draws.below(200);
    for (std::size_t i = 0; i < pixels * static_cast<std::size_t>(spec.frames); ++i) {
      std::uint8_t* p = out.data() + 3 * i;
      const int grey = (p[0] * 77 + p[1] * 150 + p[2] * 29) >> 8;
      for (std::size_t c = 0; c < 3; ++c) p[c] = static_cast<std::uint8_t>(grey + (((p[c] - grey) * keep) >> 8));
    }
  }
  const bool contrast = draws.chance(60);
  int low = contrast ? draws.below(80) : 0, high = contrast ? draws.between(176, 255) : 255;
  if (turns_into_mask(spec, out)) {
    low = 64;
    high = 191;
  }
  std::array<std::uint8_t, 256> curve{};
  for (int v = 0; v < 256; ++v) {
    curve[static_cast<std::size_t>(v)] = static_cast<std::uint8_t>(low + v * (high - low) / 255);
  }
  for (std::size_t i = 0; i < pixels * static_cast<std::size_t>(spec.frames); ++i) {
    std::uint8_t* p = out.data() + 3 * i;
    const std::array<std::uint8_t, 3> from = {curve[p[0]], curve[p[1]], curve[p[2]]};
    for (std::size_t c = 0; c < 3; ++c) p[c] = from[order[c]];
  }
}

}  // namespace tasks
SEGUE_NAMESPACE_END
