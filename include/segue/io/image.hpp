// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Still pictures. The codecs are compiled once a program, in the .cpp that includes "segue/io/impl.hpp"; a program
// without it fails to link and the linker names the function that is missing.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "segue/core/config.hpp"
#include "segue/core/error.hpp"

SEGUE_NAMESPACE_BEGIN
namespace io {

/// A picture of 8-bit samples, row by row from the top, channels interleaved: `pixels[(y * width + x) * channels + c]`.
/// Channels are 1 (grey), 3 (RGB) or 4 (RGBA, alpha not premultiplied).
struct Image {
  int width = 0;
  int height = 0;
  int channels = 0;
  std::vector<std::uint8_t> pixels;

  bool operator==(const Image&) const = default;
};

/// The largest width and height that are read or written.
inline constexpr int max_image_side = 16384;

/// Reads a PNG, JPEG or BMP file.
/// @param channels 1, 3 or 4: the picture is converted; 0: kept (grey with alpha becomes RGBA). Where alpha is dropped,
///   the picture is laid over white. Grey is (19595 R + 38470 G + 7471 B + 32768) >> 16, PIL's weights. 16-bit
///   samples lose their lower byte; colour profiles and JPEG orientation tags are ignored.
/// Raises InputError, one sentence with the path: missing, not an image, truncated, a PNG chunk whose checksum fails,
/// a side beyond `max_image_side`, or a build without stb.
Image load_image(const std::string& path, int channels = 3);

/// The same for a file that is in memory; `where` begins the error sentence.
Image decode_image(std::span<const std::byte> bytes, std::string_view where, int channels = 3);

/// Writes a PNG (see AtomicFile: whole or not at all). The same picture gives the same bytes.
/// Raises InputError when the picture's fields disagree or the path cannot be written.
void save_png(const std::string& path, const Image& image);

/// The bytes of the PNG file that `save_png` writes.
std::vector<std::uint8_t> encode_png(const Image& image);

/// Converts between 1, 3 and 4 channels with the rules of `load_image`; alpha is 255 where there was none.
inline Image convert_channels(const Image& image, int channels) {
  for (const int n : {channels, image.channels}) {
    if (n != 1 && n != 3 && n != 4) throw_input("convert_channels", "channels", std::to_string(n), "1, 3 or 4");
  }
  if (channels == image.channels) return image;
  Image out{image.width, image.height, channels, {}};
  const auto from = static_cast<std::size_t>(image.channels);
  const std::size_t count = image.pixels.size() / from;
  out.pixels.reserve(count * static_cast<std::size_t>(channels));
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint8_t* p = image.pixels.data() + i * from;
    const unsigned alpha = from == 4 ? p[3] : 255u;
    unsigned rgb[3];
    for (std::size_t c = 0; c < 3; ++c) {
      rgb[c] = from == 1 ? p[0] : p[c];
      if (channels != 4) rgb[c] = (rgb[c] * alpha + 255u * (255u - alpha) + 127u) / 255u;
    }
    if (channels == 1) {
      const unsigned grey = (19595u * rgb[0] + 38470u * rgb[1] + 7471u * rgb[2] + 32768u) >> 16;
      out.pixels.push_back(static_cast<std::uint8_t>(grey));
      continue;
    }
    for (const unsigned v : rgb) out.pixels.push_back(static_cast<std::uint8_t>(v));
    if (channels == 4) out.pixels.push_back(static_cast<std::uint8_t>(alpha));
  }
  return out;
}

}  // namespace io
SEGUE_NAMESPACE_END
