// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

// Included by one source a device, which defines `Device` and includes its kernels.
#include "segue/ops/pixels.hpp"
#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/operands.hpp"

namespace {

using namespace segue;
using support::Values;
using Space = Device::Space;

/// (B, F, H, W, C) bytes, all 256 of them if there is room.
Tensor<std::uint8_t, 5, Space> bytes_of(Exec<Device>& exec, const Shape<5>& shape, std::vector<std::uint8_t>& host) {
  const RandomKey key{.seed = 5};
  host.resize(static_cast<std::size_t>(element_count(shape)));
  for (std::size_t i = 0; i < host.size(); ++i)
    host[i] = i < 256 ? static_cast<std::uint8_t>(i) : static_cast<std::uint8_t>(key.block(i)[0] >> 24);
  auto pixels = exec.empty<std::uint8_t, 5>(shape);
  exec.upload(host.data(), pixels.view());
  return pixels;
}

}  // namespace

TEMPLATE_TEST_CASE("pixels become planes of numbers between -1 and 1", "", float, double, bfloat16, float16) {
  Exec<Device> exec({.threads = 2});
  for (const Shape<5>& s : {Shape<5>{2, 5, 64, 64, 3}, Shape<5>{1, 1, 1, 1, 1}, Shape<5>{3, 2, 7, 129, 3},
                            Shape<5>{0, 2, 3, 4, 3}, Shape<5>{2, 0, 3, 4, 3}, Shape<5>{1, 3, 5, 1000, 4}}) {
    const auto [batch, frames, height, width, channels] = s;
    std::vector<std::uint8_t> host;
    const auto pixels = bytes_of(exec, s, host);
    // Rows lie apart, and channels of another tensor follow.
    const auto whole = support::poisoned<TestType>(exec, Shape<5>{batch, channels + 1, frames, height, width}, 3);
    ops::normalize_pixels(exec, pixels.view(), whole.view().slice(1, 0, channels));
    const Values got = support::values_of(whole);
    for (std::int64_t b = 0; b < batch; ++b)
      for (std::int64_t c = 0; c <= channels; ++c)
        for (std::int64_t f = 0; f < frames; ++f)
          for (std::int64_t p = 0; p < height * width; ++p) {
            const double found =
                got[static_cast<std::size_t>(((b * (channels + 1) + c) * frames + f) * height * width + p)];
            if (c == channels) {
              REQUIRE(std::isnan(found));
              continue;
            }
            const double v = host[static_cast<std::size_t>(((b * frames + f) * height * width + p) * channels + c)];
            REQUIRE(found == cast<double>(cast<TestType>(static_cast<float>((2 * v - 255) / 255))));
          }
  }
}

TEST_CASE("normalize_pixels names what does not fit") {
  Exec<Device> exec;
  const auto pixels = exec.empty<std::uint8_t, 5>({2, 3, 4, 5, 3});
  const auto wrong = exec.empty<float, 5>({2, 3, 3, 5, 4});
  const auto out = exec.empty<float, 5>({2, 3, 3, 4, 4});
  CHECK(support::contains(support::message_of([&] { ops::normalize_pixels(exec, pixels.view(), wrong.view()); }),
                          "normalize_pixels: shape of pixels"));
  CHECK(support::contains(
      support::message_of([&] { ops::normalize_pixels(exec, pixels.view().slice(3, 0, 4), out.view()); }), "gaps"));
}
