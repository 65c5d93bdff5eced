// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include "segue/core/error.hpp"
#include "segue/core/nearest_name.hpp"
#include "segue/io/image.hpp"
#include "segue/tasks/clip.hpp"
#include "segue/tasks/draws.hpp"

SEGUE_NAMESPACE_BEGIN
namespace tasks {

/// How an input picture x becomes a target picture y over F frames, f = 0 … F-1 (Acuaviva et al., arXiv 2506.07280
/// and 2510.24448). The first frame is x and the last is y in all of them.
///  - Discrete: the first floor(F/2) frames are x, the others y.
///  - Convex: (1-a) x + a y with a = f/(F-1).
///  - Quadratic: as Convex with a squared.
///  - SquareRoot: as Convex with the root of a.
///  - Tiles: a 4x4 grid of rectangles of floor(H/4) x floor(W/4), in one random order for the clip; frame f shows the
///    first floor(16 f/(F-1)) of them from y and the rest from x (what the rectangles do not reach stays x until the
///    last frame).
enum class Transition : std::uint8_t { Discrete, Convex, Quadratic, SquareRoot, Tiles };

inline constexpr std::array<Transition, 5> all_transitions = {
    Transition::Discrete, Transition::Convex, Transition::Quadratic, Transition::SquareRoot, Transition::Tiles};

/// "discrete", "convex", "quadratic", "square_root", "tiles".
constexpr std::string_view name(Transition kind) {
  switch (kind) {
    case Transition::Discrete: return "discrete";
    case Transition::Convex: return "convex";
    case Transition::Quadratic: return "quadratic";
    case Transition::SquareRoot: return "square_root";
    case Transition::Tiles: return "tiles";
  }
  return "?";
}

/// Raises InputError that lists the names.
inline Transition transition_from_name(std::string_view text) {
  for (const Transition kind : all_transitions) {
    if (name(kind) == text) return kind;
  }
  throw_input("transition", "kind", in_quotes(text), "discrete, convex, quadratic, square_root or tiles");
}

namespace detail {

/// The share of the target in frame f of a blending kind.
inline float blend_share(Transition kind, int f, int frames) {
  const float a = static_cast<float>(f) / static_cast<float>(frames - 1);
  if (kind == Transition::Quadratic) return a * a;
  if (kind == Transition::SquareRoot) return std::sqrt(a);
  return a;
}

/// x + a (y - x): fused on purpose, so that no compiler has a choice. Bytes are rounded to nearest, halves up.
template <class T>
T blend(T x, T y, float a) {
  const auto from = static_cast<float>(x);
  const float mixed = std::fma(a, static_cast<float>(y) - from, from);
  if constexpr (std::is_same_v<T, std::uint8_t>) {
    return static_cast<std::uint8_t>(mixed + 0.5f);
  } else {
    return mixed;
  }
}

inline std::array<int, 16> tile_order(std::uint64_t seed) {
  std::array<int, 16> order{};
  for (int i = 0; i < 16; ++i) order[static_cast<std::size_t>(i)] = i;
  Draws draws(seed);
  draws.shuffle(std::span<int>(order));
  return order;
}

}  // namespace detail

/// Builds the clip of a pair. input, target: (H, W, C); out: (F, H, W, C); all bytes or all floats.
/// @param seed decides the order of the tiles; the other kinds draw nothing.
/// Raises InputError for fewer than two frames or extents that do not match.
template <class T>
  requires std::same_as<T, std::uint8_t> || std::same_as<T, float>
void build_transition(Transition kind, std::span<const T> input, std::span<const T> target, const ClipShape& shape,
                      std::span<T> out, std::uint64_t seed = 0) {
  if (shape.frames < 2) throw_input("transition", "frames", std::to_string(shape.frames), "2 or more");
  const std::size_t size = shape.frame_size();
  detail::check_clip_extents("transition", "input", input.size(), size);
  detail::check_clip_extents("transition", "target", target.size(), size);
  detail::check_clip_extents("transition", "out", out.size(), shape.size());
  const auto copy = [size](std::span<const T> from, std::span<T> to) {
    std::memcpy(to.data(), from.data(), size * sizeof(T));
  };
  const std::array<int, 16> order = detail::tile_order(seed);
  for (int f = 0; f < shape.frames; ++f) {
    const std::span<T> frame = out.subspan(static_cast<std::size_t>(f) * size, size);
    const bool is_last = f == shape.frames - 1;
    if (kind == Transition::Discrete) {
      copy(f < shape.frames / 2 ? input : target, frame);
    } else if (f == 0 || is_last) {
      copy(is_last ? target : input, frame);
    } else if (kind == Transition::Tiles) {
      copy(input, frame);
      const int high = shape.height / 4, wide = shape.width / 4, shown = 16 * f / (shape.frames - 1);
      const auto row_bytes = static_cast<std::size_t>(wide) * static_cast<std::size_t>(shape.channels) * sizeof(T);
      for (int k = 0; k < shown; ++k) {
        const int tile = order[static_cast<std::size_t>(k)];
        for (int y = tile / 4 * high; y < (tile / 4 + 1) * high; ++y) {
          const auto at = (static_cast<std::size_t>(y) * static_cast<std::size_t>(shape.width) +
                           static_cast<std::size_t>(tile % 4 * wide)) *
                          static_cast<std::size_t>(shape.channels);
          if (row_bytes > 0) std::memcpy(frame.data() + at, target.data() + at, row_bytes);
        }
      }
    } else {
      const float a = detail::blend_share(kind, f, shape.frames);
      for (std::size_t i = 0; i < size; ++i) frame[i] = detail::blend(input[i], target[i], a);
    }
  }
}

/// The clip of a pair of pictures. Raises InputError if they differ in size or channels.
inline Clip make_transition(Transition kind, const io::Image& input, const io::Image& target, int frames,
                            std::uint64_t seed = 0) {
  const auto words = [](const io::Image& image) {
    return std::to_string(image.width) + "x" + std::to_string(image.height) + "x" + std::to_string(image.channels);
  };
  if (input.width != target.width || input.height != target.height || input.channels != target.channels) {
    throw_input("transition", "target", words(target), words(input) + " like its input");
  }
  if (frames < 2) throw_input("transition", "frames", std::to_string(frames), "2 or more");
  Clip clip = make_blank_clip({frames, input.height, input.width, input.channels});
  build_transition<std::uint8_t>(kind, input.pixels, target.pixels, clip.shape(), clip.pixels, seed);
  return clip;
}

}  // namespace tasks
SEGUE_NAMESPACE_END
