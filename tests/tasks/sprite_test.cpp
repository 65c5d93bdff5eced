// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#include "segue/tasks/generate/sprite.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <numbers>
#include <vector>

#include "segue/tasks/draws.hpp"
#include "support/catch.hpp"
#include "support/errors.hpp"

using namespace segue;
using tasks::PackedPixel;

namespace {

std::vector<PackedPixel> opaque_noise(int count) {
  tasks::Draws draws(5);
  std::vector<PackedPixel> pixels(static_cast<std::size_t>(count));
  for (PackedPixel& p : pixels) p = draws.word() | 0xFF000000u;
  return pixels;
}

std::vector<std::uint8_t> drawn(const tasks::Sprite& sprite, const tasks::Placement& at, int width, int height,
                                const tasks::SpriteLook& look = {}, std::int32_t ground = 0) {
  tasks::Canvas canvas(width, height);
  for (int c = 0; c < 3; ++c) std::fill(canvas.plane(c).begin(), canvas.plane(c).end(), ground);
  tasks::draw_sprite(canvas, sprite, at, look);
  std::vector<std::uint8_t> bytes(static_cast<std::size_t>(3 * width * height));
  canvas.write(bytes);
  return bytes;
}

int channel(PackedPixel p, int c) { return static_cast<int>((p >> (8 * c)) & 255u); }

}  // namespace

TEST_CASE("a sprite at its own size is copied pixel by pixel", "[tasks]") {
  const auto pixels = opaque_noise(8 * 6);
  const tasks::Sprite sprite(8, 6, pixels);
  tasks::Placement at;
  at.x = 9 * 256;
  at.y = 7 * 256;
  at.size = sprite.unit;
  const auto bytes = drawn(sprite, at, 16, 16, {}, 50);
  for (int y = 0; y < 16; ++y) {
    for (int x = 0; x < 16; ++x) {
      const int sx = x - 5, sy = y - 4;
      const bool in = sx >= 0 && sx < 8 && sy >= 0 && sy < 6;
      for (int c = 0; c < 3; ++c) {
        const int expected = in ? channel(pixels[static_cast<std::size_t>(sy * 8 + sx)], c) : 50;
        REQUIRE(bytes[static_cast<std::size_t>((y * 16 + x) * 3 + c)] == expected);
      }
    }
  }
  // A quarter turn: what pointed right points down.
  at.angle = 16384;
  const auto turned = drawn(sprite, at, 16, 16);
  for (int y = 0; y < 6; ++y) {
    for (int x = 0; x < 8; ++x) {
      const int tx = 9 - (y - 3) - 1, ty = 7 + (x - 4);
      for (int c = 0; c < 3; ++c) {
        const int found = turned[static_cast<std::size_t>((ty * 16 + tx) * 3 + c)];
        REQUIRE(std::abs(found - channel(pixels[static_cast<std::size_t>(y * 8 + x)], c)) <= 2);
      }
    }
  }
}

TEST_CASE("sprites are drawn as a slow bilinear sampler draws them", "[tasks]") {
  const int w = 20, h = 14;
  const auto pixels = opaque_noise(w * h);
  const tasks::Sprite sprite(w, h, pixels, 1024);  // no halvings
  tasks::Draws draws(2);
  for (int trial = 0; trial < 40; ++trial) {
    tasks::Placement at;
    at.x = draws.between(-1000, 32 * 256);
    at.y = draws.between(-1000, 24 * 256);
    at.angle = draws.below(65536);
    at.size = draws.between(9 * 256, 30 * 256);
    at.stretch = draws.between(180, 360);
    at.alpha = draws.chance(128) ? 256 : draws.between(1, 255);
    const auto bytes = drawn(sprite, at, 32, 24, {}, 90);
    const double angle = at.angle * 2 * std::numbers::pi / 65536, c = std::cos(angle), s = std::sin(angle);
    const double px = at.size / 256.0 * at.stretch / 256.0, py = at.size / 256.0 / (at.stretch / 256.0);
    double error = 0;
    for (int y = 0; y < 24; ++y) {
      for (int x = 0; x < 32; ++x) {
        const double dx = x + 0.5 - at.x / 256.0, dy = y + 0.5 - at.y / 256.0;
        const double u = (dx * c + dy * s) / px * 10 + 10 - 0.5, v = (dy * c - dx * s) / py * 10 + 7 - 0.5;
        double sum[4] = {};
        for (int k = 0; k < 4; ++k) {
          const double iu = std::floor(u) + k % 2, iv = std::floor(v) + k / 2;
          const double share = (1 - std::abs(u - iu)) * (1 - std::abs(v - iv));
          if (iu < 0 || iv < 0 || iu >= w || iv >= h) continue;
          const PackedPixel p = pixels[static_cast<std::size_t>(iv) * w + static_cast<std::size_t>(iu)];
          for (int ch = 0; ch < 4; ++ch) sum[ch] += share * channel(p, ch);
        }
        const double alpha = at.alpha / 256.0;
        for (int ch = 0; ch < 3; ++ch) {
          const double expected = 90 * (1 - sum[3] / 255 * alpha) + sum[ch] * alpha;
          error += std::abs(bytes[static_cast<std::size_t>((y * 32 + x) * 3 + ch)] - expected);
        }
      }
    }
    INFO("trial " << trial);
    CHECK(error / (32 * 24 * 3) < 1.5);
  }
}

TEST_CASE("a small copy is an average, and what is transparent does not shine through", "[tasks]") {
  std::vector<PackedPixel> board(64 * 64);
  for (std::size_t i = 0; i < board.size(); ++i) board[i] = (i + i / 64) % 2 == 0 ? 0xFFFFFFFFu : 0xFF000000u;
  tasks::Placement at;
  at.x = at.y = 8 * 256;
  at.size = 5 * 256;
  const auto bytes = drawn(tasks::Sprite(64, 64, board), at, 16, 16);
  for (int k = 6; k < 10; ++k) CHECK(std::abs(bytes[static_cast<std::size_t>((k * 16 + k) * 3)] - 127) <= 4);

  io::Image image{120, 120, 4, std::vector<std::uint8_t>(4 * 120 * 120)};
  for (std::size_t i = 0; i < image.pixels.size(); i += 4) {
    image.pixels[i] = 255;   // red where it is transparent
    if (i / 4 % 120 < 60) {  // opaque green on the left
      image.pixels[i] = 0;
      image.pixels[i + 1] = image.pixels[i + 3] = 255;
    }
  }
  const tasks::Sprite sprite(image, 33);
  CHECK(sprite.width() == 33);
  for (const auto& level : sprite.levels()) {
    for (const PackedPixel p : level.pixels) CHECK(channel(p, 0) <= 1);
  }
}

TEST_CASE("looks change colours and keep the outline", "[tasks]") {
  const std::vector<PackedPixel> pixels = {0xFF204060u, 0, 0, 0xFF204060u};
  const tasks::Sprite sprite(2, 2, pixels);
  tasks::Placement at;
  at.x = at.y = 256;
  at.size = sprite.unit;
  tasks::SpriteLook look;
  look.colour = {200, 10, 90};
  look.share = 256;
  const auto flat = drawn(sprite, at, 2, 2, look, 7);
  CHECK(std::vector<std::uint8_t>(flat.begin(), flat.begin() + 6) == std::vector<std::uint8_t>{200, 10, 90, 7, 7, 7});
  look = {};
  look.gain = {128, 256, 512};
  const auto tinted = drawn(sprite, at, 2, 2, look, 7);
  CHECK(std::vector<std::uint8_t>(tinted.begin(), tinted.begin() + 3) == std::vector<std::uint8_t>{0x30, 0x40, 0x40});
}

TEST_CASE("sprites refuse pictures without pixels", "[tasks]") {
  CHECK(support::message_of([] { tasks::Sprite(0, 4, {}); }) ==
        "Sprite: size is 0x4 with 0 pixels, expected 1x1 to 1024x1024 with a pixel each");
}
