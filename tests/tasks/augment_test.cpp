// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#include "segue/tasks/augment.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <set>
#include <string>
#include <vector>

#include "segue/tasks/automata.hpp"
#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/pictures.hpp"

using namespace segue;
using io::Image;
using support::noise;
using tasks::Augmentation;
using tasks::augmentation_from_name;
using tasks::Grid;
using tasks::GridPair;
using tasks::GridPalette;

namespace {

Grid grid(int height, int width, std::uint64_t seed, int values = 10) {
  Grid out{height, width, {}};
  tasks::Draws draws(seed);
  for (int i = 0; i < height * width; ++i) out.cells.push_back(static_cast<std::uint8_t>(draws.below(values)));
  return out;
}

std::vector<std::uint8_t> sorted(std::vector<std::uint8_t> bytes) {
  std::sort(bytes.begin(), bytes.end());
  return bytes;
}

}  // namespace

TEST_CASE("augmentations have names that can be joined", "[tasks]") {
  CHECK(!augmentation_from_name("none").any());
  const Augmentation both = augmentation_from_name("colours+turns");
  CHECK(both == Augmentation{.turns = true, .colours = true});
  CHECK(tasks::name(both) == "turns+colours");
  CHECK(tasks::name(Augmentation{}) == "none");
  CHECK(tasks::useful_variants({}) == 1);
  CHECK(tasks::useful_variants({.mirror = true}) == 2);
  CHECK(tasks::useful_variants({.mirror = true, .turns = true}) == 8);
  CHECK(support::message_of<InputError>([] { augmentation_from_name("turn"); }) ==
        "augmentation: 'turn' is no augmentation, did you mean 'turns'?");
  for (const char* bad : {"", "mirror+", "+mirror", "nothing at all"}) {
    INFO(bad);
    CHECK(support::contains(support::message_of<InputError>([&] { augmentation_from_name(bad); }), "joined by '+'"));
  }
}

TEST_CASE("the turns of a square are eight and what they say", "[tasks]") {
  const tasks::Pair pair{"a", noise(6, 6, 1), noise(6, 6, 2)};
  std::set<std::vector<std::uint8_t>> seen;
  for (int v = 0; v < 8; ++v) {
    const tasks::Pair turned = tasks::augment(pair, {.turns = true}, v, 5);
    seen.insert(turned.input.pixels);
    CHECK(sorted(turned.input.pixels) == sorted(pair.input.pixels));
    // Where a pixel of the input went, the target's went too: a target that is the input stays it.
    CHECK(tasks::augment({"a", pair.input, pair.input}, {.turns = true}, v, 5).target == turned.input);
  }
  CHECK(seen.size() == 8);
  CHECK(tasks::augment(pair, {.turns = true}, 8, 5).input == pair.input);
  const tasks::Pair wide{"b", noise(7, 5, 3), noise(7, 5, 4)};
  seen.clear();
  for (int v = 0; v < 8; ++v) seen.insert(tasks::augment(wide, {.turns = true}, v, 5).input.pixels);
  CHECK(seen.size() == 4);
  const tasks::Pair mirrored = tasks::augment(wide, {.mirror = true}, 1, 5);
  for (int y = 0; y < 5; ++y) {
    for (int x = 0; x < 7; ++x) {
      for (int c = 0; c < 3; ++c) {
        const auto place = [&](int from) { return static_cast<std::size_t>((y * 7 + from) * 3 + c); };
        CHECK(mirrored.target.pixels[place(x)] == wide.target.pixels[place(6 - x)]);
      }
    }
  }
}

TEST_CASE("variant 0 is the pair, others depend on seed and number alone", "[tasks]") {
  const Augmentation all{.mirror = true, .turns = true, .roll = true, .colours = true, .warp = true};
  const tasks::Pair pair{"a", noise(16, 16, 1), noise(16, 16, 2)};
  CHECK(tasks::augment(pair, all, 0, 7).input == pair.input);
  CHECK(tasks::augment(pair, all, 3, 7).target == tasks::augment(pair, all, 3, 7).target);
  CHECK(!(tasks::augment(pair, all, 3, 7).target == tasks::augment(pair, all, 11, 7).target));
  CHECK(!(tasks::augment(pair, all, 3, 7).target == tasks::augment(pair, all, 3, 8).target));
  CHECK_THROWS_AS(tasks::augment(tasks::Pair{"a", noise(4, 4, 1), noise(5, 4, 1)}, all, 1, 0), InputError);
}

TEST_CASE("colours change the input of a picture and not its answer", "[tasks]") {
  const tasks::Pair pair{"a", noise(8, 8, 1), noise(8, 8, 2)};
  for (int v = 1; v < 6; ++v) {
    const tasks::Pair other = tasks::augment(pair, {.colours = true}, v, 9);
    CHECK(other.target == pair.target);
    CHECK(!(other.input == pair.input));
    // The order of two values of a channel stays, but for those that are cut off.
    for (std::size_t i = 3; i < pair.input.pixels.size(); i += 3) {
      if (pair.input.pixels[i] > pair.input.pixels[0]) CHECK(other.input.pixels[i] >= other.input.pixels[0]);
    }
  }
}

TEST_CASE("a warp moves input and answer alike, and not far", "[tasks]") {
  // A ramp: each pixel tells its place.
  Image ramp{64, 64, 3, {}};
  for (int y = 0; y < 64; ++y) {
    for (int x = 0; x < 64; ++x) {
      ramp.pixels.insert(ramp.pixels.end(), {static_cast<std::uint8_t>(3 * x), static_cast<std::uint8_t>(3 * y), 0});
    }
  }
  const tasks::Pair pair{"a", ramp, ramp};
  int moved = 0;
  for (int v = 1; v < 9; ++v) {
    const tasks::Pair warped = tasks::augment(pair, {.warp = true}, v, 3);
    CHECK(warped.input == warped.target);
    moved += warped.input == pair.input ? 0 : 1;
    const auto* middle = &warped.input.pixels[static_cast<std::size_t>((32 * 64 + 32) * 3)];
    CHECK(std::abs(middle[0] - 96) <= 3 * 7);
    CHECK(std::abs(middle[1] - 96) <= 3 * 7);
  }
  CHECK(moved == 8);
}

TEST_CASE("a rule that does not mind keeps holding for the variants of its grids", "[tasks]") {
  tasks::LifeTaskSpec spec;
  spec.rule = "B3/S23";
  const tasks::GridTask task = tasks::make_life_task(spec, 4, 1, 1);
  const tasks::LifeRule rule = tasks::parse_life_rule("B3/S23");
  const Augmentation kind{.turns = true, .roll = true};
  std::set<std::vector<std::uint8_t>> seen;
  for (const GridPair& pair : task.train) {
    for (int v = 0; v < 16; ++v) {
      const GridPair other = tasks::augment(pair, kind, task.palette, true, v, 2);
      CHECK(tasks::step_life(rule, other.input) == other.output);
      seen.insert(other.input.cells);
    }
  }
  CHECK(seen.size() > 48);
}

TEST_CASE("grids are permuted alike, keep their ground, and turn with their sides", "[tasks]") {
  const GridPair pair{"a", grid(3, 5, 1), grid(2, 5, 2)};
  const GridPair other = tasks::augment(pair, {.turns = true, .colours = true}, GridPalette::Arc, true, 4, 1);
  CHECK(other.input.height == 5);
  CHECK(other.input.width == 3);
  CHECK(other.output.height == 5);
  CHECK(other.output.width == 2);
  std::vector<int> to(10, -1);
  for (int row = 0; row < 3; ++row) {
    for (int column = 0; column < 5; ++column) {
      int& value = to[pair.input.at(row, column)];
      if (value < 0) value = other.input.at(column, row);
      CHECK(value == other.input.at(column, row));
    }
  }
  for (int row = 0; row < 2; ++row) {
    for (int column = 0; column < 5; ++column) {
      const int value = to[pair.output.at(row, column)];
      if (value >= 0) CHECK(value == other.output.at(column, row));
    }
  }
  if (to[0] >= 0) CHECK(to[0] == 0);
  // A folded row is only ever mirrored.
  const GridPair row{"r", grid(1, 7, 1), grid(1, 7, 2)};
  std::set<std::vector<std::uint8_t>> seen;
  for (int v = 0; v < 8; ++v) {
    const GridPair turned = tasks::augment(row, {.turns = true}, GridPalette::Arc, false, v, 1);
    CHECK(turned.input.height == 1);
    seen.insert(turned.input.cells);
  }
  CHECK(seen.size() == 2);
}

TEST_CASE("moves of a rectangle that is turned go round its own sides", "[tasks]") {
  const GridPair pair{"a", grid(3, 5, 1), grid(3, 5, 1)};
  std::set<std::vector<std::uint8_t>> tall, wide;
  for (int v = 0; v < 64; ++v) {
    const GridPair other = tasks::augment(pair, {.turns = true, .roll = true}, GridPalette::Arc, true, v, 1);
    CHECK(other.input == other.output);
    CHECK(sorted(other.input.cells) == sorted(pair.input.cells));
    CHECK((other.input.height == 5) == ((v & 4) != 0));
    (other.input.height == 5 ? tall : wide).insert(other.input.cells);
  }
  CHECK(tall.size() > 20);
  CHECK(wide.size() > 20);
}

TEST_CASE("augmentations that cannot be are refused", "[tasks]") {
  const GridPair pair{"a", grid(3, 3, 1, 5), grid(3, 4, 2, 5)};
  const auto refusal = [&](const Augmentation& kind, GridPalette palette) {
    return support::message_of<InputError>([&] { tasks::augment(pair, kind, palette, true, 0, 0); });
  };
  CHECK(support::contains(refusal({.warp = true}, GridPalette::Arc), "'warp' is for pictures, and a is of grids"));
  CHECK(support::contains(refusal({.colours = true}, GridPalette::Maze), "those of a have one"));
  CHECK(support::contains(refusal({.roll = true}, GridPalette::Arc), "those of a do not"));
}
