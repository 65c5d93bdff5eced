// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include <cmath>
#include <cstdint>

#include "segue/core/random.hpp"
#include "support/catch.hpp"

using namespace segue;

using Block = segue::Words<std::uint32_t, 4>;

TEST_CASE("Philox4x32-10 gives the vectors that Random123 publishes") {
  // kat_vectors of github.com/DEShawResearch/random123.
  constexpr std::uint32_t ones = 0xffffffffu;
  CHECK(philox4x32({0, 0, 0, 0}, {0, 0}) == Block{0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u});
  CHECK(philox4x32({ones, ones, ones, ones}, {ones, ones}) ==
        Block{0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu});
  CHECK(philox4x32({0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u}, {0xa4093822u, 0x299f31d0u}) ==
        Block{0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u});
  static_assert(philox4x32({0, 0, 0, 0}, {0, 0})[0] == 0x6627e8d5u);
}

TEST_CASE("a key spreads seed, site and step over key and counter") {
  const RandomKey key{.seed = 1234567890123u, .site = 7, .step = 42};
  CHECK(key.block(0) == Block{0x9df7eaeeu, 0x77659076u, 0xbe036c63u, 0xd8ef242du});
  CHECK(key.block(1) == Block{0xa821fea7u, 0x594abcf1u, 0x2b154befu, 0xb368c931u});
  // Beyond 32 bits of the block number.
  CHECK(key.block(std::uint64_t{1} << 32) == Block{0xc7881390u, 0xdf1c4f88u, 0x464b902bu, 0x7babc184u});
}

TEST_CASE("uniforms are multiples of 2^-24 below one") {
  CHECK(uniform_from_bits(0) == 0.0f);
  CHECK(uniform_from_bits(0x80000000u) == 0.5f);
  CHECK(uniform_from_bits(0xffffffffu) == 1.0f - 0x1p-24f);
  CHECK(uniform_from_bits(0x000001ffu) == 0x1p-24f);
}

TEST_CASE("normals have the bits they always had") {
  // Equal at any optimisation level, with and without fma instructions, under g++ and clang++.
  const RandomKey key{.seed = 1234567890123u, .site = 7, .step = 42};
  const auto bits = [&](std::uint64_t block) { return std::bit_cast<Block>(normals_from_block(key.block(block))); };
  CHECK(bits(0) == Block{0xbf75f769u, 0x3e52e497u, 0x3ee31bb7u, 0xbf21ca12u});
  CHECK(bits(1) == Block{0xbf088a58u, 0x3f3ef391u, 0xbf12fbd4u, 0xbfe633bau});
  CHECK(bits(std::uint64_t{1} << 32) == Block{0x3ef9f3e5u, 0xbf028e2fu, 0xbfcca28cu, 0x3e2e99a3u});
}

TEST_CASE("the polynomials are as good as the library's functions") {
  double worst_log = 0, worst_angle = 0;
  for (std::uint32_t i = 0; i < (1u << 24); i += 97) {
    const float u = static_cast<float>(i + 1) * 0x1p-24f;
    const double exact = std::log(static_cast<double>(u));
    worst_log = std::max(worst_log, std::abs(detail::log_portable(u) - exact) / std::max(1e-3, std::abs(exact)));
    const float turn = static_cast<float>(i) * 0x1p-24f;
    const auto [s, c] = detail::sincos_turns(turn);
    const double angle = 2 * M_PI * static_cast<double>(turn);
    worst_angle = std::max({worst_angle, std::abs(s - std::sin(angle)), std::abs(c - std::cos(angle))});
  }
  CHECK(worst_log < 2e-7);
  CHECK(worst_angle < 1.5e-7);
  CHECK(detail::log_portable(1.0f) == 0.0f);
}

TEST_CASE("normals have the moments of normals") {
  const RandomKey key{.seed = 3};
  constexpr int blocks = 100000;
  double sum = 0, squares = 0, cubes = 0, fourths = 0, neighbours = 0, tails = 0, largest = 0;
  for (int b = 0; b < blocks; ++b) {
    const auto z = normals_from_block(key.block(static_cast<std::uint64_t>(b)));
    for (const double v : z) {
      sum += v;
      squares += v * v;
      cubes += v * v * v;
      fourths += v * v * v * v;
      tails += std::abs(v) > 2;
      largest = std::max(largest, std::abs(v));
    }
    neighbours += static_cast<double>(z[0]) * static_cast<double>(z[1]);
  }
  const double n = 4.0 * blocks;
  // Five standard errors.
  CHECK(std::abs(sum / n) < 5 / std::sqrt(n));
  CHECK(std::abs(squares / n - 1) < 5 * std::sqrt(2 / n));
  CHECK(std::abs(cubes / n) < 5 * std::sqrt(15 / n));
  CHECK(std::abs(fourths / n - 3) < 5 * std::sqrt(96 / n));
  CHECK(std::abs(neighbours / blocks) < 5 / std::sqrt(static_cast<double>(blocks)));
  CHECK(std::abs(tails / n - 0.0455003) < 5 * std::sqrt(0.0455 / n));
  CHECK(largest > 4);
  CHECK(largest < 6);
}

TEST_CASE("the state counts sites and restores") {
  RandomState state{.seed = 5};
  CHECK(state.next().site == 0);
  const RandomState kept = state;
  const RandomKey first = state.next();
  CHECK(first.site == 1);
  CHECK(first.seed == 5);
  CHECK_FALSE(state == kept);
  state = kept;
  CHECK(state.next().block(9) == first.block(9));
  state.begin_step(8);
  const RandomKey next = state.next();
  CHECK(next.site == 0);
  CHECK(next.step == 8);
  CHECK(next.block(0) != RandomKey{.seed = 5, .site = 0, .step = 7}.block(0));
}
