// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "segue/core/error.hpp"
#include "segue/core/nearest_name.hpp"
#include "segue/io/image.hpp"
#include "segue/tasks/draws.hpp"
#include "segue/tasks/grid.hpp"
#include "segue/tasks/pair.hpp"
#include "segue/tasks/rearrange.hpp"

SEGUE_NAMESPACE_BEGIN
namespace tasks {

/// What of a pair may change without changing what it shows: how a few pairs become many. Each of them is a claim about
/// the task, so none is a default.
///  - mirror: left and right swapped in both pictures.
///  - turns: all eight symmetries of the square (four where width and height differ or a grid is folded).
///  - roll: both moved cyclically by the same distance: whole cells of a grid, whole pixels of a picture.
///  - colours: on grids one permutation of the values 1 … 9 in both (0 is the ground and stays); of pictures the input
///    alone gets another brightness, contrast and balance.
///  - warp: both pictures pass through one affine map near the identity. Not for grids.
struct Augmentation {
  bool mirror = false, turns = false, roll = false, colours = false, warp = false;

  constexpr bool any() const { return mirror || turns || roll || colours || warp; }
  /// Whether variants are drawn; otherwise there are as many as symmetries.
  constexpr bool is_random() const { return roll || colours || warp; }
  friend auto operator<=>(const Augmentation&, const Augmentation&) = default;
};

namespace detail {

inline constexpr std::array<std::pair<std::string_view, bool Augmentation::*>, 5> augmentation_names = {
    {{"mirror", &Augmentation::mirror},
     {"turns", &Augmentation::turns},
     {"roll", &Augmentation::roll},
     {"colours", &Augmentation::colours},
     {"warp", &Augmentation::warp}}};

}  // namespace detail

/// "none", or names joined by '+', as in "turns+colours".
inline std::string name(const Augmentation& kind) {
  std::string text;
  for (const auto& [word, member] : detail::augmentation_names) {
    if (kind.*member) text.append(text.empty() ? "" : "+").append(word);
  }
  return text.empty() ? "none" : text;
}

/// Raises InputError with the nearest name, or all of them.
inline Augmentation augmentation_from_name(std::string_view text) {
  Augmentation out;
  if (text == "none") return out;
  std::array<std::string_view, detail::augmentation_names.size()> names;
  for (std::size_t i = 0; i < names.size(); ++i) names[i] = detail::augmentation_names[i].first;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find('+', begin), text.size());
    const std::string_view word = text.substr(begin, end - begin);
    const auto found = std::find(names.begin(), names.end(), word);
    if (found == names.end()) {
      const std::string near = did_you_mean(word, names);
      throw_input("augmentation",
                  in_quotes(word) + " is no augmentation" +
                      (near.empty() ? "; there are none, mirror, turns, roll, colours and warp, joined by '+'" : near));
    }
    out.*detail::augmentation_names[static_cast<std::size_t>(found - names.begin())].second = true;
    begin = end + 1;
  }
  return out;
}

inline constexpr int square_symmetries = 8;

namespace detail {

/// @param square whether rows and columns may be swapped.
constexpr int symmetries_of(const Augmentation& kind, bool square) {
  return kind.turns ? (square ? square_symmetries : square_symmetries / 2) : kind.mirror ? 2 : 1;
}

}  // namespace detail

/// Variants of a pair that are worth having: 2 of `mirror`, 8 of `turns`, many of what is drawn.
constexpr int useful_variants(const Augmentation& kind) {
  return kind.is_random() ? 64 : detail::symmetries_of(kind, true);
}

namespace detail {

/// One of the symmetries: bit 0 mirrors left to right, bit 1 top to bottom, bit 2 swaps rows and columns first.
struct Symmetry {
  int bits = 0;

  /// The number-th of those that `kind` has, round and round. @param square whether rows and columns may be swapped.
  static constexpr Symmetry of(const Augmentation& kind, int number, bool square) {
    return {number % symmetries_of(kind, square)};
  }
  constexpr bool swaps() const { return (bits & 4) != 0; }
  /// Where in the original (width x height) place (x, y) of the result comes from.
  constexpr std::pair<int, int> source(int x, int y, int width, int height) const {
    if (swaps()) std::swap(x, y);
    if ((bits & 1) != 0) x = width - 1 - x;
    if ((bits & 2) != 0) y = height - 1 - y;
    return {x, y};
  }
};

template <class Place>
Grid rearrange_grid(const Grid& grid, bool swaps, const Place& place) {
  Grid out{swaps ? grid.width : grid.height, swaps ? grid.height : grid.width, grid.cells};
  for (int y = 0; y < out.height; ++y) {
    for (int x = 0; x < out.width; ++x) {
      const auto [from_x, from_y] = place(x, y);
      out.at(y, x) = grid.at(from_y, from_x);
    }
  }
  return out;
}

/// An affine map of a picture's places, near the identity: in 1/65536, about the middle.
struct Warp {
  std::array<std::int64_t, 4> matrix{1 << 16, 0, 0, 1 << 16};
  std::array<std::int64_t, 2> shift{0, 0};

  /// Each coefficient up to .15 from the identity's, shifts up to a twelfth of the picture.
  static Warp draw(Draws& draws, int width, int height) {
    constexpr int reach = 9830;
    Warp out;
    for (std::int64_t& m : out.matrix) m += draws.between(-reach, reach);
    const std::array<int, 2> size{width, height};
    for (std::size_t axis = 0; axis < 2; ++axis) {
      out.shift[axis] = std::int64_t{draws.between(-1000, 1000)} * size[axis] * 65536 / 12000;
    }
    return out;
  }
};

/// Bilinear; what lies outside is the picture's border.
inline io::Image warp(const io::Image& image, const Warp& map) {
  io::Image out = image;
  const std::int64_t middle_x = std::int64_t{image.width - 1} * 32768,
                     middle_y = std::int64_t{image.height - 1} * 32768;
  const auto pixel = [&](std::int64_t x, std::int64_t y, int c) {
    x = std::clamp<std::int64_t>(x, 0, image.width - 1);
    y = std::clamp<std::int64_t>(y, 0, image.height - 1);
    return std::int64_t{image.pixels[static_cast<std::size_t>((y * image.width + x) * image.channels + c)]};
  };
  std::uint8_t* target = out.pixels.data();
  for (int y = 0; y < image.height; ++y) {
    for (int x = 0; x < image.width; ++x) {
      const std::int64_t dx = std::int64_t{x} * 65536 - middle_x, dy = std::int64_t{y} * 65536 - middle_y;
      const std::int64_t u = ((map.matrix[0] * dx + map.matrix[1] * dy) >> 16) + middle_x + map.shift[0];
      const std::int64_t v = ((map.matrix[2] * dx + map.matrix[3] * dy) >> 16) + middle_y + map.shift[1];
      const std::int64_t x0 = u >> 16, y0 = v >> 16, fx = (u >> 8) & 255, fy = (v >> 8) & 255;
      for (int c = 0; c < image.channels; ++c) {
        const std::int64_t above = pixel(x0, y0, c) * (256 - fx) + pixel(x0 + 1, y0, c) * fx;
        const std::int64_t below = pixel(x0, y0 + 1, c) * (256 - fx) + pixel(x0 + 1, y0 + 1, c) * fx;
        *target++ = static_cast<std::uint8_t>((above * (256 - fy) + below * fy + 32768) >> 16);
      }
    }
  }
  return out;
}

/// Contrast from 3/4 to 5/4 about the middle grey and up to 24 steps of brightness, each channel a third as much more.
inline void recolour(io::Image& image, Draws& draws) {
  const int contrast = draws.between(192, 320), brightness = draws.between(-24, 24);
  for (int c = 0; c < image.channels; ++c) {
    const int gain = contrast + draws.between(-21, 21), offset = brightness + draws.between(-8, 8);
    for (std::size_t i = static_cast<std::size_t>(c); i < image.pixels.size();
         i += static_cast<std::size_t>(image.channels)) {
      image.pixels[i] =
          static_cast<std::uint8_t>(std::clamp((image.pixels[i] - 128) * gain / 256 + 128 + offset, 0, 255));
    }
  }
}

inline Draws variant_draws(std::uint64_t seed, int number) {
  return Draws(seed, 0xA0601u + (static_cast<std::uint64_t>(number) << 20));
}

}  // namespace detail

/// Variant `number` of a pair of pictures of one size; number 0 is the pair itself. The symmetry goes by the number,
/// the rest is drawn from (seed, number): the same with every compiler.
inline Pair augment(const Pair& pair, const Augmentation& kind, int number, std::uint64_t seed) {
  if (number == 0 || !kind.any()) return pair;
  if (pair.input.width != pair.target.width || pair.input.height != pair.target.height) {
    throw_input("augment", "size of the target of " + pair.name,
                std::to_string(pair.target.width) + "x" + std::to_string(pair.target.height),
                std::to_string(pair.input.width) + "x" + std::to_string(pair.input.height) + ", the input's");
  }
  Draws draws = detail::variant_draws(seed, number);
  const int width = pair.input.width, height = pair.input.height;
  const auto symmetry = detail::Symmetry::of(kind, number, width == height);
  const int dx = kind.roll ? draws.below(width) : 0, dy = kind.roll ? draws.below(height) : 0;
  const detail::Warp map = kind.warp ? detail::Warp::draw(draws, width, height) : detail::Warp{};
  Pair out = pair;
  for (io::Image* picture : {&out.input, &out.target}) {
    if (kind.warp) *picture = detail::warp(*picture, map);
    *picture = detail::rearrange(
        *picture, [&](int x, int y) { return symmetry.source((x + dx) % width, (y + dy) % height, width, height); });
  }
  if (kind.colours) detail::recolour(out.input, draws);
  return out;
}

/// The same of grids. @param transposable whether rows and columns may be swapped: not where rows are folded.
/// Raises InputError for `warp`, for `colours` of a palette whose values have meanings of their own, and for `roll`
/// where input and output differ in size.
inline GridPair augment(const GridPair& pair, const Augmentation& kind, GridPalette palette, bool transposable,
                        int number, std::uint64_t seed) {
  if (kind.warp) throw_input("augmentation", "'warp' is for pictures, and " + pair.name + " is of grids");
  if (kind.colours && palette != GridPalette::Arc) {
    throw_input("augmentation", "'colours' is for values without a meaning, and those of " + pair.name + " have one");
  }
  if (kind.roll && (pair.input.width != pair.output.width || pair.input.height != pair.output.height)) {
    throw_input("augmentation", "'roll' is for grids that keep their size, and those of " + pair.name + " do not");
  }
  if (number == 0 || !kind.any()) return pair;
  Draws draws = detail::variant_draws(seed, number);
  const auto symmetry = detail::Symmetry::of(kind, number, transposable);
  const bool swaps = symmetry.swaps();
  const int dx = kind.roll ? draws.below(swaps ? pair.input.height : pair.input.width) : 0;
  const int dy = kind.roll ? draws.below(swaps ? pair.input.width : pair.input.height) : 0;
  std::array<std::uint8_t, 10> values{};
  std::iota(values.begin(), values.end(), std::uint8_t{0});
  if (kind.colours) draws.shuffle(std::span<std::uint8_t>(values).subspan(1));
  const auto place = [&](const Grid& from) {
    const int width = swaps ? from.height : from.width, height = swaps ? from.width : from.height;
    Grid to = detail::rearrange_grid(from, swaps, [&](int x, int y) {
      return symmetry.source((x + dx) % width, (y + dy) % height, from.width, from.height);
    });
    for (std::uint8_t& cell : to.cells) cell = values[cell];
    return to;
  };
  return {pair.name, place(pair.input), place(pair.output)};
}

}  // namespace tasks
SEGUE_NAMESPACE_END
