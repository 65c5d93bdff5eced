// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "segue/core/config.hpp"
#include "segue/tasks/generate/shape.hpp"
#include "segue/tasks/generate/texture.hpp"

SEGUE_NAMESPACE_BEGIN
namespace tasks {

/// Where a body is in one frame. Positions are pixels, Q8; (0, 0) is the top left corner.
struct Placement {
  std::int32_t x = 0, y = 0;
  std::int32_t angle = 0;      ///< 1/65536 turns
  std::int32_t size = 2560;    ///< pixels in one local unit, Q8
  std::int32_t stretch = 256;  ///< Q8: wider by it and lower by it
  std::int32_t alpha = 256;    ///< 0 … 256
  friend constexpr bool operator==(const Placement&, const Placement&) = default;
};

/// A thing with an outline and a surface. `border` is the width of a line of another colour along the edge, Q8 pixels.
struct Body {
  Outline outline;
  Texture texture;
  std::int32_t border = 0;
  Rgb border_colour;
};

/// A picture in the making: three planes of whole numbers.
class Canvas {
 public:
  Canvas(int width, int height)
      : width_(width),
        height_(height),
        planes_(3 * static_cast<std::size_t>(width) * static_cast<std::size_t>(height)),
        rows_(10 * static_cast<std::size_t>(width)) {}

  int width() const { return width_; }
  int height() const { return height_; }
  /// All three planes, one after the other.
  std::span<std::int32_t> planes() { return planes_; }
  std::span<std::int32_t> plane(int channel) {
    const std::size_t size = static_cast<std::size_t>(width_) * static_cast<std::size_t>(height_);
    return planes().subspan(static_cast<std::size_t>(channel) * size, size);
  }

  /// Covers everything with a surface; the placement says where its origin is and how large a unit.
  void draw_background(const Texture& texture, const Placement& at) {
    const Affine affine(at);
    for (int y = 0; y < height_; ++y) {
      affine.row(y, 0, width_, row(u_row), row(v_row));
      paint(texture, affine.pixel, y, 0, 0, width_, nullptr, at.alpha);
    }
  }

  /// Draws a body over what is there.
  void draw(const Body& body, const Placement& at) { draw(body, body.texture, at); }

  /// Draws a body with another surface than its own.
  void draw(const Body& body, const Texture& texture, const Placement& at) {
    if (at.alpha <= 0) return;
    const Affine affine(at);
    const Box box = bounds(body, at);
    const int n = box.x1 - box.x0;
    if (n <= 0) return;
    std::int32_t *distance = row(distance_row), *cover = row(cover_row);
    for (int y = box.y0; y < box.y1; ++y) {
      affine.row(y, box.x0, n, row(u_row), row(v_row));
      outline_row(body.outline, body.texture.noise, row(u_row), row(v_row), n, at.size, row(scratch_u_row), distance);
      int first = 0, last = n;  // surfaces cost more than outlines: only the covered stretch is painted
      while (first < last && distance[first] >= 128) ++first;
      while (first < last && distance[last - 1] >= 128) --last;
      if (first == last) continue;
      const std::int32_t alpha = std::min(at.alpha, 256);
      for (int i = first; i < last; ++i) cover[i] = (detail::clamp_int(128 - distance[i], 0, 256) * alpha) >> 8;
      if (body.border > 0) {
        paint(body.border_colour, y, box.x0, first, last, cover, 256);
        const std::int32_t inset = 128 - body.border;
        for (int i = first; i < last; ++i) cover[i] = (detail::clamp_int(inset - distance[i], 0, 256) * alpha) >> 8;
      }
      paint(texture, affine.pixel, y, box.x0, first, last, cover, 256);
    }
  }

  /// Raises `cover` (0 … 256 a pixel, row by row) to the body's coverage where that is more.
  void add_coverage(const Body& body, const Placement& at, std::span<std::int32_t> cover) {
    const Affine affine(at);
    const Box box = bounds(body, at);
    const int n = box.x1 - box.x0;
    if (n <= 0) return;
    std::int32_t* distance = row(distance_row);
    for (int y = box.y0; y < box.y1; ++y) {
      affine.row(y, box.x0, n, row(u_row), row(v_row));
      outline_row(body.outline, body.texture.noise, row(u_row), row(v_row), n, at.size, row(scratch_u_row), distance);
      std::int32_t* to = cover.data() + static_cast<std::ptrdiff_t>(y) * width_ + box.x0;
      for (int i = 0; i < n; ++i) to[i] = std::max(to[i], detail::clamp_int(128 - distance[i], 0, 256));
    }
  }

  /// Bytes, (H, W, 3).
  void write(std::span<std::uint8_t> out) {
    const std::size_t size = static_cast<std::size_t>(width_) * static_cast<std::size_t>(height_);
    detail::interleave(planes_.data(), size, out.data());
  }

 private:
  enum RowName { u_row, v_row, distance_row, cover_row, scratch_u_row, scratch_v_row, share_row, r_row, g_row, b_row };

  struct Box {
    int x0 = 0, y0 = 0, x1 = 0, y1 = 0;
  };

  /// Pixels to local coordinates.
  struct Affine {
    std::int32_t x, y;
    std::int64_t ux, uy, vx, vy;  // local units a pixel, Q20
    std::int32_t pixel;           // size of a pixel, Q12

    explicit Affine(const Placement& at) : x(at.x), y(at.y) {
      const Direction d = direction(at.angle);
      const std::int64_t size = std::max(at.size, 256);
      const std::int64_t stretch = std::max(at.stretch, 32);
      ux = (static_cast<std::int64_t>(d.cos) << 24) / (size * stretch);
      uy = (static_cast<std::int64_t>(d.sin) << 24) / (size * stretch);
      vx = -((static_cast<std::int64_t>(d.sin) << 8) * stretch) / size;
      vy = ((static_cast<std::int64_t>(d.cos) << 8) * stretch) / size;
      pixel = static_cast<std::int32_t>((std::int64_t{1} << 20) / size);
    }

    void row(int line, int x0, int n, std::int32_t* u, std::int32_t* v) const {
      const std::int64_t dx = x0 * 256 + 128 - x, dy = line * 256 + 128 - y;
      const auto u0 = static_cast<std::int32_t>((dx * ux + dy * uy) >> 16);
      const auto v0 = static_cast<std::int32_t>((dx * vx + dy * vy) >> 16);
      const auto du = static_cast<std::int32_t>(ux), dv = static_cast<std::int32_t>(vx);
      for (int i = 0; i < n; ++i) {
        u[i] = u0 + ((i * du) >> 8);
        v[i] = v0 + ((i * dv) >> 8);
      }
    }
  };

  Box bounds(const Body& body, const Placement& at) const {
    std::int64_t reach = (static_cast<std::int64_t>(body.outline.bound()) * at.size) >> 12;
    const std::int64_t stretch = std::max(at.stretch, 65536 / std::max(at.stretch, 32));
    reach = ((reach * stretch) >> 8) + 512;
    const auto clip = [](std::int64_t v, int high) { return static_cast<int>(std::clamp<std::int64_t>(v, 0, high)); };
    return {clip((at.x - reach) >> 8, width_), clip((at.y - reach) >> 8, height_),
            clip(((at.x + reach) >> 8) + 1, width_), clip(((at.y + reach) >> 8) + 1, height_)};
  }

  /// Paints places [first, last) of the coordinate rows, which begin at column x0.
  void paint(const Texture& texture, std::int32_t pixel, int y, int x0, int first, int last, const std::int32_t* cover,
             std::int32_t alpha) {
    if (texture.pattern == Pattern::Flat && texture.shade <= 0 && texture.light == 0) {
      return paint(texture.a, y, x0, first, last, cover, alpha);
    }
    const int n = last - first;
    std::int32_t *r = row(r_row), *g = row(g_row), *b = row(b_row);
    texture_row(texture, row(u_row) + first, row(v_row) + first, n, pixel, row(scratch_u_row), row(scratch_v_row),
                row(share_row), r, g, b);
    const std::int32_t* colours[3] = {r, g, b};
    for (int c = 0; c < 3; ++c) {
      std::int32_t* to = plane(c).data() + static_cast<std::ptrdiff_t>(y) * width_ + x0 + first;
      const std::int32_t* from = colours[c];
      if (cover == nullptr) {
        for (int i = 0; i < n; ++i) to[i] += ((detail::clamp_int(from[i], 0, 255) - to[i]) * alpha) >> 8;
      } else {
        for (int i = 0; i < n; ++i) to[i] += ((detail::clamp_int(from[i], 0, 255) - to[i]) * cover[first + i]) >> 8;
      }
    }
  }

  /// The same with one colour.
  void paint(const Rgb& colour, int y, int x0, int first, int last, const std::int32_t* cover, std::int32_t alpha) {
    const std::int32_t values[3] = {colour.r, colour.g, colour.b};
    for (int c = 0; c < 3; ++c) {
      std::int32_t* to = plane(c).data() + static_cast<std::ptrdiff_t>(y) * width_ + x0;
      const std::int32_t v = detail::clamp_int(values[c], 0, 255);
      if (cover == nullptr) {
        for (int i = first; i < last; ++i) to[i] += ((v - to[i]) * alpha) >> 8;
      } else {
        for (int i = first; i < last; ++i) to[i] += ((v - to[i]) * cover[i]) >> 8;
      }
    }
  }

  std::int32_t* row(RowName name) { return rows_.data() + static_cast<std::ptrdiff_t>(name) * width_; }

  int width_, height_;
  std::vector<std::int32_t> planes_, rows_;
};

/// What a frame shows: something, which an address tells from others, and where it is.
struct Shown {
  const void* what = nullptr;
  Placement at;
  friend constexpr bool operator==(const Shown&, const Shown&) = default;
};

/// Frames of one stage, one after the other. What is as in the frame before is not drawn again: a ground costs more
/// than most of what is in front of it, and many scenes stand still until they change.
class Takes {
 public:
  explicit Takes(Canvas& canvas) : canvas_(canvas) {}

  /// Leaves the ground alone on the canvas. @param draw void(): draws it there.
  template <class Draw>
  void ground(const Shown& shown, Draw&& draw) {
    if (has_ground_ && shown == ground_) {
      std::copy(planes_.begin(), planes_.end(), canvas_.planes().begin());
      return;
    }
    draw();
    moves_ = moves_ || has_ground_;
    has_ground_ = !moves_;
    if (moves_) return;
    ground_ = shown;
    planes_.assign(canvas_.planes().begin(), canvas_.planes().end());
  }

  /// A frame, (H, W, 3) bytes. @param shown the ground, and then what is in front of it. @param draw_ground,
  /// draw_things void(): draw them on the canvas.
  template <class DrawGround, class DrawThings>
  void take(const std::vector<Shown>& shown, DrawGround&& draw_ground, DrawThings&& draw_things,
            std::span<std::uint8_t> out) {
    if (shown != shown_) {
      ground(shown.front(), draw_ground);
      draw_things();
      bytes_.resize(out.size());
      canvas_.write(bytes_);
      shown_ = shown;
    }
    std::copy(bytes_.begin(), bytes_.end(), out.begin());
  }

 private:
  Canvas& canvas_;
  bool has_ground_ = false, moves_ = false;
  Shown ground_;
  std::vector<std::int32_t> planes_;
  std::vector<Shown> shown_;
  std::vector<std::uint8_t> bytes_;
};

}  // namespace tasks
SEGUE_NAMESPACE_END
