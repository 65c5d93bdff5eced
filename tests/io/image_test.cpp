// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#include "segue/io/image.hpp"

#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "io/files.hpp"
#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/paths.hpp"

using namespace segue;
using io::Image;
using support::contains;
using support::message_of;

namespace {

Image noise(int width, int height, int channels) {
  Image image{width, height, channels, {}};
  std::uint32_t state = 7;
  for (int i = 0; i < width * height * channels; ++i) {
    state = state * 1664525u + 1013904223u;
    image.pixels.push_back(static_cast<std::uint8_t>(state >> 24));
  }
  return image;
}

Image decode(const std::string& bytes, int channels = 0) { return io::decode_image(as_span(bytes), "p.png", channels); }

std::string error_of(const std::string& bytes) {
  return message_of<InputError>([&] { decode(bytes, 3); });
}

std::string big_endian(std::uint32_t v) {
  return {static_cast<char>(v >> 24), static_cast<char>(v >> 16), static_cast<char>(v >> 8), static_cast<char>(v)};
}

std::string chunk(const std::string& type, const std::string& data) {
  std::uint32_t crc = 0xFFFFFFFFu;
  for (const char c : type + data) {
    crc ^= static_cast<unsigned char>(c);
    for (int k = 0; k < 8; ++k) crc = (crc >> 1) ^ ((crc & 1u) != 0 ? 0xEDB88320u : 0u);
  }
  return big_endian(static_cast<std::uint32_t>(data.size())) + type + data + big_endian(~crc);
}

/// A PNG made without our encoder: scanlines (each with its filter byte) in one stored deflate block.
std::string hand_png(std::uint32_t width, std::uint32_t height, char depth, char colour, const std::string& scanlines,
                     const std::string& before_data = "") {
  const auto size = static_cast<unsigned>(scanlines.size());
  std::uint32_t a = 1;
  std::uint32_t b = 0;
  for (const char c : scanlines) {
    a = (a + static_cast<unsigned char>(c)) % 65521u;
    b = (b + a) % 65521u;
  }
  const std::string block = std::string("\x78\x01\x01") + static_cast<char>(size) + static_cast<char>(size >> 8) +
                            static_cast<char>(~size) + static_cast<char>(~size >> 8) + scanlines +
                            big_endian(b << 16 | a);
  return "\x89PNG\r\n\x1A\n" +
         chunk("IHDR", big_endian(width) + big_endian(height) + depth + colour + std::string(3, '\0')) + before_data +
         chunk("IDAT", block) + chunk("IEND", "");
}

std::string little_endian(std::uint32_t v, int bytes) {
  std::string text;
  for (int i = 0; i < bytes; ++i) text.push_back(static_cast<char>(v >> (8 * i)));
  return text;
}

/// A bottom-up BMP of 24 bits a pixel; `rows` are BGR and padded to 4 bytes.
std::string hand_bmp(std::uint32_t width, std::uint32_t height, const std::string& rows) {
  return "BM" + little_endian(54 + static_cast<std::uint32_t>(rows.size()), 4) + little_endian(0, 4) +
         little_endian(54, 4) + little_endian(40, 4) + little_endian(width, 4) + little_endian(height, 4) +
         little_endian(1, 2) + little_endian(24, 2) + std::string(24, '\0') + rows;
}

/// A baseline JPEG by Pillow: 9x5 pixels of RGB (200, 100, 50).
std::string pillow_jpeg() {
  const std::string hex =
      "ffd8ffe000104a46494600010100000100010000ffdb004300100b0c0e0c0a100e0d0e1211101318281a181616183123251d283a333d3c39"
      "33383740485c4e404457453738506d51575f626768673e4d71797064785c656763ffdb0043011112121815182f1a1a2f6342384263636363"
      "6363636363636363636363636363636363636363636363636363636363636363636363636363636363636363636363636363ffc000110800"
      "05000903012200021101031101ffc4001500010100000000000000000000000000000002ffc4001410010000000000000000000000000000"
      "00"
      "00ffc40014010100000000000000000000000000000005ffc40014110100000000000000000000000000000000ffda000c03010002110311"
      "00"
      "3f009005997fffd9";
  std::string bytes;
  for (std::size_t i = 0; i < hex.size(); i += 2) {
    bytes.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}

}  // namespace

TEST_CASE("A written PNG reads back the same", "[io]") {
  const support::TempDir dir;
  const std::string path = (dir / "x.png").string();
  const int channels = GENERATE(1, 3, 4);
  for (const auto& [width, height] : std::vector<std::pair<int, int>>{{1, 1}, {7, 5}, {64, 64}, {1, 300}, {300, 1}}) {
    const Image image = noise(width, height, channels);
    io::save_png(path, image);
    CHECK(io::load_image(path, 0) == image);
    CHECK(io::load_image(path, channels) == image);
    CHECK(io::encode_png(image) == io::encode_png(image));
    const std::string bytes = read_text_file(path);
    CHECK(std::vector<std::uint8_t>(bytes.begin(), bytes.end()) == io::encode_png(image));
  }
  CHECK(list_directory(dir.path().string()) == std::vector<std::string>{"x.png"});
}

TEST_CASE("PNGs of other makers are read", "[io]") {
  SECTION("one bit, filter none") {
    CHECK(decode(hand_png(3, 2, 1, 0, std::string("\0\xA0\0\x40", 4))) == Image{3, 2, 1, {255, 0, 255, 0, 255, 0}});
  }
  SECTION("palette with transparency") {
    const std::string tables = chunk("PLTE", "\x01\x02\x03\x0A\x14\x1E") + chunk("tRNS", "\xFF\x80");
    CHECK(decode(hand_png(2, 1, 8, 3, std::string("\0\x01\0", 3), tables)) ==
          Image{2, 1, 4, {10, 20, 30, 128, 1, 2, 3, 255}});
  }
  SECTION("palette") {
    CHECK(decode(hand_png(2, 1, 8, 3, std::string("\0\x01\0", 3), chunk("PLTE", "\x01\x02\x03\x0A\x14\x1E"))) ==
          Image{2, 1, 3, {10, 20, 30, 1, 2, 3}});
  }
  SECTION("sixteen bits keep the upper byte") {
    CHECK(decode(hand_png(2, 1, 16, 0, std::string("\0\x12\xFF\xFE\x01", 5))) == Image{2, 1, 1, {0x12, 0xFE}});
  }
  SECTION("grey with alpha becomes RGBA") {
    CHECK(decode(hand_png(1, 1, 8, 4, std::string("\0\x40\x80", 3))) == Image{1, 1, 4, {64, 64, 64, 128}});
  }
  SECTION("filters up, left, average and Paeth") {
    const std::string rows =
        std::string("\0\x0A\x14", 3) + "\x02\x01\x01" + "\x01\x05\x05" + "\x03\x02\x02" + "\x04\x01\x01";
    CHECK(decode(hand_png(2, 5, 8, 0, rows)) == Image{2, 5, 1, {10, 20, 11, 21, 5, 10, 4, 9, 5, 10}});
  }
  SECTION("a chunk that nobody knows is skipped, even if damaged") {
    std::string text = chunk("tEXt", "Comment");
    text.back() = static_cast<char>(text.back() ^ 1);
    CHECK(decode(hand_png(1, 1, 8, 0, std::string("\0\x09", 2), text)) == Image{1, 1, 1, {9}});
  }
}

TEST_CASE("BMP and JPEG files are read", "[io]") {
  const std::string bmp = hand_bmp(1, 2, std::string("\x01\x02\x03\0\x0A\x14\x1E\0", 8));
  CHECK(decode(bmp) == Image{1, 2, 3, {30, 20, 10, 3, 2, 1}});
  CHECK(contains(error_of(bmp.substr(0, bmp.size() - 1)), "p.png: the BMP is truncated"));
  CHECK(contains(error_of(bmp.substr(0, 20)), "p.png: the BMP is truncated"));
  CHECK(
      contains(error_of(hand_bmp(70000, 1, "")), "p.png: the image's size is 70000x1, expected sides from 1 to 16384"));

  const Image jpeg = decode(pillow_jpeg());
  REQUIRE(jpeg.width == 9);
  REQUIRE(jpeg.height == 5);
  REQUIRE(jpeg.channels == 3);
  const int expected[3] = {200, 100, 50};
  for (std::size_t i = 0; i < jpeg.pixels.size(); ++i) CHECK(std::abs(jpeg.pixels[i] - expected[i % 3]) <= 4);
  for (std::size_t n = 3; n < pillow_jpeg().size(); ++n) {
    INFO(n);
    CHECK(contains(error_of(pillow_jpeg().substr(0, n)), "p.png: the JPEG is truncated"));
  }
  CHECK(decode(pillow_jpeg() + "trailing bytes") == jpeg);
}

TEST_CASE("Channels are converted by stated rules", "[io]") {
  const Image rgba{2, 1, 4, {10, 20, 30, 128, 1, 2, 3, 0}};
  CHECK(io::convert_channels(rgba, 3) == Image{2, 1, 3, {132, 137, 142, 255, 255, 255}});
  CHECK(io::convert_channels(Image{1, 1, 4, {10, 20, 30, 255}}, 3) == Image{1, 1, 3, {10, 20, 30}});
  CHECK(io::convert_channels(Image{2, 1, 1, {7, 250}}, 3) == Image{2, 1, 3, {7, 7, 7, 250, 250, 250}});
  CHECK(io::convert_channels(Image{1, 1, 1, {7}}, 4) == Image{1, 1, 4, {7, 7, 7, 255}});
  CHECK(io::convert_channels(Image{1, 1, 3, {1, 2, 3}}, 4) == Image{1, 1, 4, {1, 2, 3, 255}});
  CHECK(io::convert_channels(Image{4, 1, 3, {255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 255}}, 1) ==
        Image{4, 1, 1, {76, 150, 29, 255}});
  CHECK(io::convert_channels(rgba, 4) == rgba);
  CHECK_THROWS_AS(io::convert_channels(rgba, 2), InputError);
  CHECK_THROWS_AS(io::convert_channels(Image{}, 3), InputError);
  const std::string file = hand_png(1, 1, 8, 4, std::string("\0\x40\x80", 3));
  CHECK(decode(file, 3) == Image{1, 1, 3, {159, 159, 159}});
  CHECK(decode(file, 1) == Image{1, 1, 1, {159}});
  CHECK_THROWS_AS(decode(file, 2), InputError);
}

TEST_CASE("Damaged pictures are refused with one sentence", "[io]") {
  const std::vector<std::uint8_t> encoded = io::encode_png(noise(9, 4, 3));
  const std::string good(encoded.begin(), encoded.end());
  REQUIRE(error_of(good) == "(nothing was thrown)");
  for (std::size_t n = 0; n < good.size(); ++n) {
    INFO(n);
    const std::string message = error_of(good.substr(0, n));
    CHECK(contains(message, n < 8 ? "p.png: is not a PNG, JPEG or BMP image" : "p.png: the PNG is truncated"));
  }
  for (std::size_t n = 0; n < good.size(); ++n) {
    INFO(n);
    std::string broken = good;
    broken[n] = static_cast<char>(broken[n] ^ 0x10);
    CHECK(error_of(broken).starts_with("p.png: "));
  }
  CHECK(error_of("hello") == "p.png: is not a PNG, JPEG or BMP image");
  CHECK(
      contains(error_of(hand_png(20000, 1, 8, 0, "")), "the image's size is 20000x1, expected sides from 1 to 16384"));
  CHECK(contains(error_of(hand_png(0, 1, 8, 0, "")), "corrupt"));
  CHECK(contains(error_of(hand_png(4, 4, 8, 2, std::string("\0\1", 2))), "p.png: the image is corrupt"));
  CHECK(contains(error_of(hand_png(4, 4, 5, 2, std::string(52, '\0'))), "p.png: the image is corrupt"));
  CHECK(contains(error_of(hand_png(1, 1, 8, 3, std::string("\0\5", 2))), "p.png: the image is corrupt"));

  const support::TempDir dir;
  const std::string path = (dir / "x.png").string();
  CHECK(contains(message_of<InputError>([&] { io::load_image(path); }), "x.png: cannot be read: No such file"));
  write_file_atomically(path, "");
  CHECK(message_of<InputError>([&] { io::load_image(path); }) == path + ": is empty");
  CHECK(contains(message_of<InputError>([&] { io::load_image(dir.path().string()); }), "is a folder, expected a file"));
}

TEST_CASE("Random damage behind correct checksums does no harm", "[io]") {
  // The sanitizers judge: whatever comes out, no access may leave its buffer.
  std::uint32_t state = 3;
  const auto damaged = [&](std::string bytes, std::size_t from) {
    for (int k = 0; k < 3; ++k) {
      state = state * 1664525u + 1013904223u;
      bytes[from + (state >> 8) % (bytes.size() - from)] = static_cast<char>(state >> 24);
    }
    return bytes;
  };
  const std::vector<std::uint8_t> encoded = io::encode_png(noise(12, 9, 3));
  const std::string png(encoded.begin(), encoded.end());
  const std::string compressed = png.substr(41, png.size() - 41 - 16);
  const std::string bmp = hand_bmp(3, 3, std::string(36, '\x55'));
  int decoded = 0;
  for (int i = 0; i < 1500; ++i) {
    const std::string inputs[] = {
        png.substr(0, 33) + chunk("IDAT", damaged(compressed, 0)) + png.substr(png.size() - 12),
        damaged(pillow_jpeg(), 20), damaged(bmp, 10)};
    for (const std::string& input : inputs) {
      try {
        const Image image = decode(input, 3);
        CHECK(image.pixels.size() ==
              static_cast<std::size_t>(image.width) * static_cast<std::size_t>(image.height) * 3);
        ++decoded;
      } catch (const InputError&) {
      }
    }
  }
  CHECK(decoded > 0);
}

TEST_CASE("A picture whose fields disagree is not written", "[io]") {
  const support::TempDir dir;
  const std::string path = (dir / "x.png").string();
  const auto error = [&](const Image& image) { return message_of<InputError>([&] { io::save_png(path, image); }); };
  CHECK(contains(error({2, 2, 3, std::vector<std::uint8_t>(11)}), "the number of samples is 11, expected 12"));
  CHECK(contains(error({0, 2, 3, {}}), "the image's size is 0x2x3"));
  CHECK(contains(error({1, 1, 2, {0, 0}}), "1, 3 or 4 channels"));
  CHECK(contains(error({-1, 1, 1, {}}), "the image's size is -1x1x1"));
  CHECK(contains(error({20000, 1, 1, std::vector<std::uint8_t>(20000)}), "sides from 1 to 16384"));
  CHECK(list_directory(dir.path().string()).empty());
  write_file_atomically((dir / "file").string(), "");
  const std::string below = (dir / "file").string() + "/x.png";
  CHECK(contains(message_of<InputError>([&] { io::save_png(below, noise(2, 2, 3)); }), "cannot be written: Not a dir"));
}
