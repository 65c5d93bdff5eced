// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "segue/core/error.hpp"
#include "segue/io/image.hpp"
#include "segue/tasks/generate/scene.hpp"
#include "segue/tasks/generate/shape.hpp"
#include "segue/tasks/generate/texture.hpp"
#include "segue/tasks/resample.hpp"

SEGUE_NAMESPACE_BEGIN
namespace tasks {

/// A pixel with premultiplied alpha: red in the lowest byte, alpha in the highest.
using PackedPixel = std::uint32_t;

namespace detail {

constexpr PackedPixel even_bytes = 0x00FF00FFu;

/// Four bytes of a and b at once: (256 - share)/256 of a and share/256 of b.
inline PackedPixel mix_packed(PackedPixel a, PackedPixel b, std::uint32_t share) {
  const std::uint32_t rest = 256 - share;
  constexpr PackedPixel round = 0x00800080u;
  const PackedPixel even = (((a & even_bytes) * rest + (b & even_bytes) * share + round) >> 8) & even_bytes;
  const PackedPixel odd = (((a >> 8) & even_bytes) * rest + ((b >> 8) & even_bytes) * share + round) & ~even_bytes;
  return even | odd;
}

/// `over` laid on `under`, both premultiplied.
inline PackedPixel lay_over(PackedPixel under, PackedPixel over) {
  const std::uint32_t alpha = over >> 24;
  return over + mix_packed(under, 0, alpha + (alpha >> 7));
}

}  // namespace detail

/// Premultiplies a picture of 1, 3 or 4 channels. Raises InputError for another number of them.
inline std::vector<PackedPixel> premultiply(const io::Image& image) {
  const io::Image rgba = io::convert_channels(image, 4);
  std::vector<PackedPixel> out(rgba.pixels.size() / 4);
  for (std::size_t i = 0; i < out.size(); ++i) {
    const std::uint8_t* p = rgba.pixels.data() + 4 * i;
    const std::uint32_t a = p[3];
    const auto scaled = [a](std::uint32_t v) { return (v * a + 127) / 255; };
    out[i] = scaled(p[0]) | scaled(p[1]) << 8 | scaled(p[2]) << 16 | a << 24;
  }
  return out;
}

/// A picture to be drawn at any place, angle and size: premultiplied pixels and their halvings, so that a small copy
/// does not flicker. A local unit is `unit` pixels; the origin, around which it turns, is at (origin_x, origin_y).
class Sprite {
 public:
  /// A halving with a transparent pixel all around, so that interpolation needs no test of bounds.
  struct Level {
    int width = 0, height = 0;  ///< without the margin
    std::vector<PackedPixel> pixels;
    int x0 = 0, y0 = 0, x1 = 0, y1 = 0;  ///< a box, without the margin, that holds all that is not transparent

    int stride() const { return width + 2; }
  };

  Sprite() = default;

  /// @param pixels height * width of them. The unit is half the longer side, the origin the centre.
  /// @param smallest no halving is made whose longer side is shorter.
  Sprite(int width, int height, std::span<const PackedPixel> pixels, int smallest = 8)
      : origin_x(width * 128), origin_y(height * 128), unit(std::max(width, height) * 128) {
    if (width < 1 || height < 1 || width > 1024 || height > 1024 ||
        pixels.size() != static_cast<std::size_t>(width) * static_cast<std::size_t>(height)) {
      throw_input(
          "Sprite", "size",
          std::to_string(width) + "x" + std::to_string(height) + " with " + std::to_string(pixels.size()) + " pixels",
          "1x1 to 1024x1024 with a pixel each");
    }
    Level level;
    level.width = width;
    level.height = height;
    level.pixels.resize(static_cast<std::size_t>(width + 2) * static_cast<std::size_t>(height + 2));
    for (int y = 0; y < height; ++y) {
      std::copy_n(pixels.data() + static_cast<std::ptrdiff_t>(y) * width, width,
                  level.pixels.data() + static_cast<std::ptrdiff_t>(y + 1) * level.stride() + 1);
    }
    find_content(level);
    levels_.push_back(std::move(level));
    while (std::max(levels_.back().width, levels_.back().height) >= 2 * smallest &&
           std::min(levels_.back().width, levels_.back().height) >= 2) {
      levels_.push_back(halved(levels_.back()));
    }
  }

  /// A picture of 1, 3 or 4 channels, shrunk so that no side exceeds `longest`.
  explicit Sprite(const io::Image& image, int longest = 1024) : Sprite(shrunk(image, longest)) {}

  int width() const { return levels_.empty() ? 0 : levels_.front().width; }
  int height() const { return levels_.empty() ? 0 : levels_.front().height; }
  const std::vector<Level>& levels() const { return levels_; }

  std::int32_t origin_x = 0, origin_y = 0;  ///< pixels, Q8
  std::int32_t unit = 256;                  ///< pixels in a local unit, Q8

 private:
  struct Packed {
    int width, height;
    std::vector<PackedPixel> pixels;
  };
  explicit Sprite(const Packed& p) : Sprite(p.width, p.height, p.pixels) {}

  /// Colours are premultiplied before they are averaged: what a transparent pixel hides must not shine through.
  static Packed shrunk(const io::Image& image, int longest) {
    const std::vector<PackedPixel> packed = premultiply(image);
    const int side = std::max(image.width, image.height);
    if (side <= longest) return {image.width, image.height, packed};
    io::Image bytes{image.width, image.height, 4, std::vector<std::uint8_t>(4 * packed.size())};
    for (std::size_t i = 0; i < bytes.pixels.size(); ++i) {
      bytes.pixels[i] = static_cast<std::uint8_t>(packed[i / 4] >> (8 * (i % 4)));
    }
    bytes = stretch(bytes, std::max(image.width * longest / side, 1), std::max(image.height * longest / side, 1));
    Packed out{bytes.width, bytes.height, std::vector<PackedPixel>(bytes.pixels.size() / 4)};
    for (std::size_t i = 0; i < bytes.pixels.size(); ++i) {
      out.pixels[i / 4] |= static_cast<PackedPixel>(bytes.pixels[i]) << (8 * (i % 4));
    }
    return out;
  }

  static void find_content(Level& level) {
    std::vector<PackedPixel> columns(static_cast<std::size_t>(level.width));
    level.y0 = level.height;
    for (int y = 0; y < level.height; ++y) {
      const PackedPixel* line = level.pixels.data() + static_cast<std::ptrdiff_t>(y + 1) * level.stride() + 1;
      PackedPixel any = 0;
      for (std::size_t x = 0; x < columns.size(); ++x) {
        columns[x] |= line[x];
        any |= line[x];
      }
      if (any == 0) continue;
      level.y0 = std::min(level.y0, y);
      level.y1 = y + 1;
    }
    const auto seen = [](PackedPixel p) { return p != 0; };
    level.x0 = static_cast<int>(std::find_if(columns.begin(), columns.end(), seen) - columns.begin());
    level.x1 = static_cast<int>(columns.rend() - std::find_if(columns.rbegin(), columns.rend(), seen));
  }

  static Level halved(const Level& from) {
    Level to;
    to.width = (from.width + 1) / 2;
    to.height = (from.height + 1) / 2;
    to.x0 = from.x0 / 2;
    to.y0 = from.y0 / 2;
    to.x1 = (from.x1 + 1) / 2;
    to.y1 = (from.y1 + 1) / 2;
    to.pixels.resize(static_cast<std::size_t>(to.width + 2) * static_cast<std::size_t>(to.height + 2));
    for (int y = 0; y < to.height; ++y) {
      for (int x = 0; x < to.width; ++x) {
        const PackedPixel* p = from.pixels.data() + static_cast<std::ptrdiff_t>(2 * y + 1) * from.stride() + 2 * x + 1;
        const PackedPixel* q = p + from.stride();
        PackedPixel even = 0x00020002u, odd = 0x00020002u;
        for (const PackedPixel v : {p[0], p[1], q[0], q[1]}) {
          even += v & detail::even_bytes;
          odd += (v >> 8) & detail::even_bytes;
        }
        to.pixels[static_cast<std::size_t>((y + 1) * to.stride() + x + 1)] =
            ((even >> 2) & detail::even_bytes) | (((odd >> 2) & detail::even_bytes) << 8);
      }
    }
    return to;
  }

  std::vector<Level> levels_;
};

/// How a sprite's colours are changed while it is drawn.
struct SpriteLook {
  std::array<std::int32_t, 3> gain = {256, 256, 256};  ///< factors of the channels, Q8
  Rgb colour;                                          ///< a flat colour instead …
  int share = 0;                                       ///< … for this share, 0 … 256; 256 leaves the silhouette
};

namespace detail {

/// The part [first, last) of n pixels in which start + i * step is in [0, end).
inline void clip_run(std::int64_t start, std::int64_t step, std::int64_t end, int& first, int& last) {
  if (step == 0) {
    if (start < 0 || start >= end) last = first;
    return;
  }
  if (step < 0) {  // the same run, mirrored
    start = end - 1 - start;
    step = -step;
  }
  if (start < 0)
    first = static_cast<int>(std::min<std::int64_t>(std::max<std::int64_t>(first, (step - 1 - start) / step), last));
  if (start >= end) {
    last = first;
  } else {
    last = static_cast<int>(std::max<std::int64_t>(std::min<std::int64_t>(last, (end - 1 - start) / step + 1), first));
  }
}

/// As many pixels as are sampled at once.
inline constexpr int sample_chunk = 128;

/// Of n places of a picture, `sample_chunk` at most, the pixels there (a), to their right (b), below (c) and both (d).
/// What is fetched from scattered places is kept apart from what is computed, so that the latter vectorises.
struct Corners {
  std::array<PackedPixel, 2 * sample_chunk> above, below;

  void fetch(const PackedPixel* pixels, int stride, const std::int32_t* place, int n) {
    for (std::size_t i = 0; i < static_cast<std::size_t>(n); ++i) {
      const PackedPixel* p = pixels + place[i];
      std::copy_n(p, 2, above.data() + 2 * i);
      std::copy_n(p + stride, 2, below.data() + 2 * i);
    }
  }
  PackedPixel a(std::size_t i) const { return above[2 * i]; }
  PackedPixel b(std::size_t i) const { return above[2 * i + 1]; }
  PackedPixel c(std::size_t i) const { return below[2 * i]; }
  PackedPixel d(std::size_t i) const { return below[2 * i + 1]; }
};

/// n interpolated pixels of a level, at most `sample_chunk`; (u, v) are Q16 places in its padded pixels.
inline void sample_row(const PackedPixel* pixels, int stride, std::int32_t u, std::int32_t v, std::int32_t du,
                       std::int32_t dv, int n, PackedPixel* out) {
  std::array<std::int32_t, sample_chunk> place;
  for (int i = 0; i < n; ++i) {
    place[static_cast<std::size_t>(i)] = ((v + i * dv) >> 16) * stride + ((u + i * du) >> 16);
  }
  Corners at;
  at.fetch(pixels, stride, place.data(), n);
  for (int i = 0; i < n; ++i) {
    const auto k = static_cast<std::size_t>(i);
    const auto fx = static_cast<std::uint32_t>(((u + i * du) >> 8) & 255);
    const auto fy = static_cast<std::uint32_t>(((v + i * dv) >> 8) & 255);
    out[i] = mix_packed(mix_packed(at.a(k), at.b(k), fx), mix_packed(at.c(k), at.d(k), fx), fy);
  }
}

/// Lays a row of premultiplied pixels over a channel of a canvas. @param shift of the channel in a pixel.
inline void lay_row(const PackedPixel* row, int n, int shift, std::int32_t gain, std::int32_t flat, std::int32_t share,
                    std::int32_t fade, std::int32_t* to) {
  const auto cover = [](PackedPixel p) {
    const auto alpha = static_cast<std::int32_t>(p >> 24);
    return alpha + (alpha >> 7);
  };
  const auto value = [shift](PackedPixel p) { return static_cast<std::int32_t>((p >> shift) & 255u); };
  if (gain == 256 && share == 0 && fade == 256) {  // as it is: most are
    for (int i = 0; i < n; ++i) to[i] = ((to[i] * (256 - cover(row[i]))) >> 8) + value(row[i]);
    return;
  }
  for (int i = 0; i < n; ++i) {
    std::int32_t v = (value(row[i]) * gain) >> 8;
    v += (((flat * cover(row[i])) >> 8) - v) * share >> 8;
    to[i] = ((to[i] * (65536 - cover(row[i]) * fade)) >> 16) + ((v * fade) >> 8);
  }
}

}  // namespace detail

/// Draws a sprite over what is there: bilinear, from the halving whose pixels are nearest in size to the canvas's.
/// The placement's alpha fades it.
inline void draw_sprite(Canvas& canvas, const Sprite& sprite, const Placement& at, const SpriteLook& look = {}) {
  if (at.alpha <= 0 || sprite.levels().empty()) return;
  const Direction d = direction(at.angle);
  const std::int64_t size = std::max(at.size, 64), stretch = std::clamp(at.stretch, 32, 2048), unit = sprite.unit;
  // Sprite pixels a canvas pixel, Q16.
  std::int64_t ux = d.cos * unit * 4096 / (size * stretch), uy = d.sin * unit * 4096 / (size * stretch);
  std::int64_t vx = -d.sin * unit * stretch / (16 * size), vy = d.cos * unit * stretch / (16 * size);
  const std::int64_t pace = std::max(std::max(std::abs(ux), std::abs(uy)), std::max(std::abs(vx), std::abs(vy)));
  if (pace > (std::int64_t{64} << 16)) return;
  std::size_t which = 0;
  while (which + 1 < sprite.levels().size() && (pace >> which) > 92000) ++which;
  const Sprite::Level& level = sprite.levels()[which];
  // Corners, to know which rows are met.
  const std::int64_t px = size * stretch, py = size * 65536 / stretch;  // canvas Q16 pixels a local unit
  std::int64_t low = std::int64_t{1} << 40, high = -low;
  for (const int corner : {0, 1, 2, 3}) {
    const std::int64_t u = ((corner & 1 ? sprite.width() * 256 : 0) - sprite.origin_x) * std::int64_t{256} / unit;
    const std::int64_t v = ((corner & 2 ? sprite.height() * 256 : 0) - sprite.origin_y) * std::int64_t{256} / unit;
    const std::int64_t y = ((u * px * d.sin + v * py * d.cos) >> 28) + at.y;  // Q8: 8 of u, 16 of px, 12 of d
    low = std::min(low, y);
    high = std::max(high, y);
  }
  const int slack = 2 << which;
  const auto y0 = static_cast<int>(std::clamp<std::int64_t>((low >> 8) - slack, 0, canvas.height()));
  const auto y1 = static_cast<int>(std::clamp<std::int64_t>((high >> 8) + slack + 1, 0, canvas.height()));
  const std::int64_t dx = 128 - at.x, margin = 65536;
  // Places that see nothing but transparent pixels leave the canvas as it is.
  if (level.x1 <= level.x0 || level.y1 <= level.y0) return;
  const std::int64_t begin_u = static_cast<std::int64_t>(level.x0) << 16;
  const std::int64_t begin_v = static_cast<std::int64_t>(level.y0) << 16;
  const std::int64_t extent_u = (static_cast<std::int64_t>(level.x1 - level.x0) + 1) << 16;
  const std::int64_t extent_v = (static_cast<std::int64_t>(level.y1 - level.y0) + 1) << 16;
  const std::int64_t half = 32768;  // pixel centres
  ux >>= which, uy >>= which, vx >>= which, vy >>= which;
  const std::int32_t fade = std::min(at.alpha, 256);
  const std::int32_t flat[3] = {look.colour.r, look.colour.g, look.colour.b};
  constexpr int chunk = detail::sample_chunk;
  std::array<PackedPixel, chunk> row;
  for (int y = y0; y < y1; ++y) {
    const std::int64_t dy = y * 256 + 128 - at.y;
    const std::int64_t u0 =
        ((dx * ux + dy * uy) >> 8) + ((static_cast<std::int64_t>(sprite.origin_x) << 8) >> which) + margin - half;
    const std::int64_t v0 =
        ((dx * vx + dy * vy) >> 8) + ((static_cast<std::int64_t>(sprite.origin_y) << 8) >> which) + margin - half;
    int first = 0, last = canvas.width();
    detail::clip_run(u0 - begin_u, ux, extent_u, first, last);
    detail::clip_run(v0 - begin_v, vx, extent_v, first, last);
    for (int x = first; x < last; x += chunk) {
      const int n = std::min(chunk, last - x);
      detail::sample_row(level.pixels.data(), level.stride(), static_cast<std::int32_t>(u0 + x * ux),
                         static_cast<std::int32_t>(v0 + x * vx), static_cast<std::int32_t>(ux),
                         static_cast<std::int32_t>(vx), n, row.data());
      for (int c = 0; c < 3; ++c) {
        detail::lay_row(row.data(), n, 8 * c, look.gain[static_cast<std::size_t>(c)], flat[c], look.share, fade,
                        canvas.plane(c).data() + static_cast<std::ptrdiff_t>(y) * canvas.width() + x);
      }
    }
  }
}

}  // namespace tasks
SEGUE_NAMESPACE_END
