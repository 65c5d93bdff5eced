// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The parts of io/ that need nlohmann-json and stb. Include this in exactly one .cpp of a program, best a file of its
// own: it defines the functions that json.hpp and image.hpp declare. In none, the linker reports them as undefined;
// in two, as defined twice. Without stb (SEGUE_HAS_STB 0; found by itself where it is not set) the picture functions
// are there and throw.

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <nlohmann/json.hpp>
#include <unordered_set>

#include "segue/core/posix.hpp"
#include "segue/io/decoder_memory.hpp"
#include "segue/io/image.hpp"
#include "segue/io/json.hpp"

#if !defined(SEGUE_HAS_STB)
#if __has_include(<stb/stb_image.h>) && __has_include(<stb/stb_image_write.h>)
#define SEGUE_HAS_STB 1
#elif __has_include(<stb_image.h>) && __has_include(<stb_image_write.h>)
#define SEGUE_HAS_STB 1
#else
#define SEGUE_HAS_STB 0
#endif
#endif

#if SEGUE_HAS_STB
#define STB_IMAGE_STATIC
#define STB_IMAGE_IMPLEMENTATION
#define STBI_ONLY_PNG
#define STBI_ONLY_JPEG
#define STBI_ONLY_BMP
#define STBI_NO_STDIO
// A broken promise inside the decoder must not end the program, nor may it be passed over.
#define STBI_ASSERT(condition) ((condition) ? static_cast<void>(0) : throw ::segue::io::detail::DecoderFault())
#define STBI_MALLOC(size) ::segue::io::detail::DecoderMemory::allocate(size)
#define STBI_REALLOC_SIZED(block, before, size) ::segue::io::detail::DecoderMemory::reallocate(block, before, size)
#define STBI_FREE(block) ::segue::io::detail::DecoderMemory::release(block)
#define STB_IMAGE_WRITE_STATIC
#define STB_IMAGE_WRITE_IMPLEMENTATION
#define STBI_WRITE_NO_STDIO
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wall"
#pragma GCC diagnostic ignored "-Wextra"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wpedantic"
#pragma GCC diagnostic ignored "-Wunused-function"
#if __has_include(<stb/stb_image.h>)
#include <stb/stb_image.h>
#include <stb/stb_image_write.h>
#else
#include <stb_image.h>
#include <stb_image_write.h>
#endif
#pragma GCC diagnostic pop
#undef STB_IMAGE_STATIC
#undef STB_IMAGE_IMPLEMENTATION
#undef STB_IMAGE_WRITE_STATIC
#undef STB_IMAGE_WRITE_IMPLEMENTATION
#undef STBI_ONLY_PNG
#undef STBI_ONLY_JPEG
#undef STBI_ONLY_BMP
#undef STBI_ASSERT
#undef STBI_MALLOC
#undef STBI_REALLOC_SIZED
#undef STBI_FREE
#undef STBI_NO_STDIO
#undef STBI_WRITE_NO_STDIO
#endif

SEGUE_NAMESPACE_BEGIN
namespace io {
namespace detail {

/// Length of the UTF-8 sequence that starts at `i`, or 0 if it is malformed.
inline std::size_t utf8_sequence(std::string_view text, std::size_t i) {
  const auto byte = [&](std::size_t k) { return static_cast<unsigned char>(text[k]); };
  const unsigned first = byte(i);
  if (first < 0x80) return 1;
  const std::size_t length = first >= 0xC2 && first < 0xE0   ? 2
                             : first >= 0xE0 && first < 0xF0 ? 3
                             : first >= 0xF0 && first < 0xF5 ? 4
                                                             : 0;
  if (length == 0 || i + length > text.size()) return 0;
  for (std::size_t k = 1; k < length; ++k) {
    if ((byte(i + k) & 0xC0u) != 0x80u) return 0;
  }
  const unsigned second = byte(i + 1);
  // Overlong forms, surrogates, and what lies beyond U+10FFFF.
  if ((first == 0xE0 && second < 0xA0) || (first == 0xED && second > 0x9F) || (first == 0xF0 && second < 0x90) ||
      (first == 0xF4 && second > 0x8F)) {
    return 0;
  }
  return length;
}

/// A text iterator that tells where the parser is: nlohmann's callbacks do not.
struct CountingIterator {
  using iterator_category = std::forward_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  const char* at = nullptr;
  const char** seen = nullptr;

  reference operator*() const { return *at; }
  CountingIterator& operator++() {
    *seen = ++at;
    return *this;
  }
  CountingIterator operator++(int) {
    CountingIterator old = *this;
    ++*this;
    return old;
  }
  bool operator==(const CountingIterator& other) const { return at == other.at; }
};

/// Builds a Json from the parser's events and enforces the limits that `parse_json` promises.
class JsonBuilder {
 public:
  static constexpr std::size_t max_depth = 64;
  static constexpr std::size_t max_values = std::size_t{1} << 21;
  static constexpr std::size_t max_number = 64;

  JsonBuilder(std::string_view text, std::string_view where) : text_(text), where_(where), seen_(text.data()) {}

  Json parse() {
    const CountingIterator first{text_.data(), &seen_};
    const CountingIterator last{text_.data() + text_.size(), &seen_};
    nlohmann::json::sax_parse(first, last, this);
    return std::move(root_);
  }

  bool null() { return put(Json()); }
  bool boolean(bool value) { return put(Json(value)); }
  bool number_integer(std::int64_t value) { return put(Json(value)); }
  bool number_unsigned(std::uint64_t value) {
    if (!std::in_range<std::int64_t>(value)) fail("the integer " + std::to_string(value) + " exceeds 64 signed bits");
    return put(Json(value));
  }
  bool number_float(double value, const std::string& token) {
    if (token.size() > max_number) fail("a number has " + std::to_string(token.size()) + " characters");
    if (token.find_first_of(".eE") == std::string::npos) fail("the integer " + token + " exceeds 64 signed bits");
    return put(Json(value));
  }
  bool string(std::string& value) { return put(Json(std::move(value))); }
  bool binary(nlohmann::json::binary_t&) { return false; }
  bool start_object(std::size_t) { return open(Json::object()); }
  bool key(std::string& value) {
    if (!used_.back().insert(value).second) fail("key " + in_quotes(value) + " is given twice");
    open_.back().keys_.push_back(std::move(value));
    return true;
  }
  bool end_object() { return close(); }
  bool start_array(std::size_t) { return open(Json::array()); }
  bool end_array() { return close(); }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::json::exception& error) {
    // "[json.exception…] parse error at line 1, column 5: reason": the reason is all that a sentence needs.
    std::string reason = error.what();
    const std::size_t column = reason.find("column ");
    const std::size_t colon = reason.find(": ", column == std::string::npos ? 0 : column);
    if (colon != std::string::npos) reason.erase(0, colon + 2);
    if (reason.size() > 200) reason = reason.substr(0, 200) + "…";
    throw_input(where_, "not valid JSON at byte " + std::to_string(position) + ": " + reason);
  }

 private:
  [[noreturn]] void fail(const std::string& sentence) const {
    throw_input(where_, "not acceptable JSON at byte " + std::to_string(seen_ - text_.data()) + ": " + sentence);
  }
  bool put(Json value) {
    if (++values_ > max_values) fail("more than " + std::to_string(max_values) + " values");
    if (open_.empty()) {
      root_ = std::move(value);
    } else {
      open_.back().items_.push_back(std::move(value));
    }
    return true;
  }
  bool open(Json value) {
    if (open_.size() == max_depth) fail("nesting is deeper than " + std::to_string(max_depth));
    open_.push_back(std::move(value));
    used_.emplace_back();
    return true;
  }
  bool close() {
    Json value = std::move(open_.back());
    open_.pop_back();
    used_.pop_back();
    return put(std::move(value));
  }

  std::string_view text_;
  std::string_view where_;
  const char* seen_;
  std::size_t values_ = 0;
  Json root_;
  std::vector<Json> open_;
  std::vector<std::unordered_set<std::string>> used_;
};

inline void dump_string(std::string_view text, std::string& out) {
  static constexpr char hex[] = "0123456789abcdef";
  out.push_back('"');
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t length = utf8_sequence(text, i);
    const char c = text[i];
    if (length == 0) {
      out.append("\xEF\xBF\xBD");
    } else if (length > 1) {
      out.append(text.substr(i, length));
    } else if (c == '"' || c == '\\') {
      out.push_back('\\');
      out.push_back(c);
    } else if (static_cast<unsigned char>(c) >= 0x20) {
      out.push_back(c);
    } else if (const char* short_form = std::strchr("\bb\ff\nn\rr\tt", c); c != '\0' && short_form != nullptr) {
      out.push_back('\\');
      out.push_back(short_form[1]);
    } else {
      out.append("\\u00");
      out.push_back(hex[c >> 4 & 15]);
      out.push_back(hex[c & 15]);
    }
    i += length == 0 ? 1 : length;
  }
  out.push_back('"');
}

inline void dump_value(const Json& json, int indent, int depth, std::string& out) {
  const auto new_line = [&](int level) {
    if (indent < 0) return;
    out.push_back('\n');
    out.append(static_cast<std::size_t>(indent * level), ' ');
  };
  switch (json.kind()) {
    case Json::Kind::null: out.append("null"); return;
    case Json::Kind::boolean: out.append(json.as<bool>("JSON") ? "true" : "false"); return;
    case Json::Kind::integer: out.append(std::to_string(json.as<std::int64_t>("JSON"))); return;
    case Json::Kind::real: {
      const double value = json.as<double>("JSON");
      if (!std::isfinite(value)) {
        out.append("null");
        return;
      }
      char digits[32];
      const char* end = std::to_chars(digits, digits + sizeof digits, value).ptr;
      const std::string_view text(digits, static_cast<std::size_t>(end - digits));
      out.append(text);
      if (text.find_first_of(".e") == std::string_view::npos) out.append(".0");
      return;
    }
    case Json::Kind::string: dump_string(json.as<std::string>("JSON"), out); return;
    case Json::Kind::array:
    case Json::Kind::object: break;
  }
  const bool object = json.is_object();
  out.push_back(object ? '{' : '[');
  for (std::size_t i = 0; i < json.size(); ++i) {
    if (i > 0) out.push_back(',');
    new_line(depth + 1);
    if (object) {
      dump_string(json.keys()[i], out);
      out.append(indent < 0 ? ":" : ": ");
    }
    dump_value(json.items()[i], indent, depth + 1, out);
  }
  if (json.size() > 0) new_line(depth);
  out.push_back(object ? '}' : ']');
}

}  // namespace detail

Json parse_json(std::string_view text, std::string_view where) { return detail::JsonBuilder(text, where).parse(); }

std::string dump_json(const Json& json, int indent) {
  std::string text;
  detail::dump_value(json, indent, 0, text);
  return text;
}

bool is_utf8(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t length = detail::utf8_sequence(text, i);
    if (length == 0) return false;
    i += length;
  }
  return true;
}

namespace detail {

using Bytes = std::span<const std::byte>;

inline std::uint32_t big_endian(Bytes b, std::size_t at, std::size_t count) {
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < count; ++i) value = value << 8 | std::to_integer<std::uint32_t>(b[at + i]);
  return value;
}
inline std::uint32_t little_endian(Bytes b, std::size_t at, std::size_t count) {
  std::uint32_t value = 0;
  for (std::size_t i = count; i-- > 0;) value = value << 8 | std::to_integer<std::uint32_t>(b[at + i]);
  return value;
}

inline std::uint32_t crc32(Bytes bytes) {
  std::uint32_t table[256];
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t c = i;
    for (int k = 0; k < 8; ++k) c = (c & 1u) != 0 ? 0xEDB88320u ^ (c >> 1) : c >> 1;
    table[i] = c;
  }
  std::uint32_t crc = 0xFFFFFFFFu;
  for (const std::byte b : bytes) crc = table[(crc ^ std::to_integer<std::uint32_t>(b)) & 0xFFu] ^ (crc >> 8);
  return ~crc;
}

// stb decodes what it can: it ignores checksums and reads zeros past the end. The three checks below find the damage
// that it would pass over.

inline void check_png(Bytes bytes, std::string_view where) {
  for (std::size_t at = 8;;) {
    if (bytes.size() - at < 12) throw_input(where, "the PNG is truncated");
    const std::uint32_t length = big_endian(bytes, at, 4);
    if (length > bytes.size() - at - 12) throw_input(where, "the PNG is truncated");
    const std::string type(reinterpret_cast<const char*>(bytes.data()) + at + 4, 4);
    // A capital letter marks a chunk that the picture depends on.
    const bool critical = type[0] >= 'A' && type[0] <= 'Z';
    if (critical && crc32(bytes.subspan(at + 4, length + 4)) != big_endian(bytes, at + 8 + length, 4)) {
      throw_input(where, "the PNG is corrupt: a chunk fails its checksum");
    }
    if (type == "IEND") return;
    at += std::size_t{12} + length;
  }
}

/// Refuses a Huffman table of more symbols than there are bytes: older decoders write past their own table. `at` is the
/// position of the segment's length. Like the decoder, this reads a table to its end even beyond the segment's.
inline void check_huffman_tables(Bytes bytes, std::size_t at, std::string_view where) {
  const std::size_t end = at + big_endian(bytes, at, 2);
  for (at += 2; at < end && at < bytes.size();) {
    std::size_t symbols = 0;
    for (const std::byte count : bytes.subspan(at + 1, std::min<std::size_t>(16, bytes.size() - at - 1))) {
      symbols += std::to_integer<std::size_t>(count);
    }
    if (symbols > 256) throw_input(where, "the JPEG is corrupt: a Huffman table has too many symbols");
    at += 17 + symbols;
  }
}

inline void check_jpeg(Bytes bytes, std::string_view where) {
  const auto byte = [&](std::size_t at) { return std::to_integer<unsigned>(bytes[at]); };
  // Segments up to the first scan are skipped whole: they may hold a thumbnail with markers of its own.
  std::size_t at = 2;
  for (;;) {
    while (at + 1 < bytes.size() && !(byte(at) == 0xFF && byte(at + 1) != 0xFF)) ++at;
    if (bytes.size() - at < 4) throw_input(where, "the JPEG is truncated");
    const unsigned marker = byte(at + 1);
    if (marker == 0xDA) break;
    if (marker == 0xC4) check_huffman_tables(bytes, at + 2, where);
    const std::size_t length = big_endian(bytes, at + 2, 2);
    if (length > bytes.size() - at - 2) throw_input(where, "the JPEG is truncated");
    at += 2 + length;
  }
  // Inside a scan a marker cannot be mistaken: 0xFF in the data is followed by 0.
  bool ended = false;
  for (; at + 1 < bytes.size(); ++at) {
    if (byte(at) != 0xFF) continue;
    if (byte(at + 1) == 0xC4 && at + 4 <= bytes.size()) check_huffman_tables(bytes, at + 2, where);
    ended = ended || byte(at + 1) == 0xD9;
  }
  if (!ended) throw_input(where, "the JPEG is truncated");
}

inline void check_bmp(Bytes bytes, std::string_view where) {
  if (bytes.size() < 30) throw_input(where, "the BMP is truncated");
  const bool old = little_endian(bytes, 14, 4) == 12;
  const std::uint64_t width = little_endian(bytes, 18, old ? 2 : 4);
  const auto signed_height = static_cast<std::int32_t>(little_endian(bytes, old ? 20 : 22, old ? 2 : 4));
  const auto height = static_cast<std::uint64_t>(std::abs(static_cast<std::int64_t>(signed_height)));
  const std::uint64_t bits = little_endian(bytes, old ? 24 : 28, 2);
  const std::uint64_t offset = little_endian(bytes, 10, 4);
  if (width > max_image_side || height > max_image_side) return;  // reported with its size by the caller
  if (offset + (width * bits + 31) / 32 * 4 * height > bytes.size()) throw_input(where, "the BMP is truncated");
}

}  // namespace detail

#if SEGUE_HAS_STB

Image decode_image(std::span<const std::byte> bytes, std::string_view where, int channels) {
  if (channels != 0 && channels != 1 && channels != 3 && channels != 4) {
    throw_input(where, "channels", std::to_string(channels), "0 (keep), 1, 3 or 4");
  }
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (bytes.size() > (std::size_t{1} << 30)) throw_input(where, "the image file is larger than 1 GiB");
  if (text.starts_with("\x89PNG\r\n\x1A\n")) {
    detail::check_png(bytes, where);
  } else if (text.starts_with("\xFF\xD8\xFF")) {
    detail::check_jpeg(bytes, where);
  } else if (text.starts_with("BM")) {
    detail::check_bmp(bytes, where);
  } else {
    throw_input(where, "is not a PNG, JPEG or BMP image");
  }
  const detail::DecoderMemory memory;
  const auto* data = reinterpret_cast<const stbi_uc*>(bytes.data());
  const int size = static_cast<int>(bytes.size());
  const auto fail = [&] {
    const char* reason = stbi_failure_reason();
    // It may hold bytes of the file.
    std::string sentence = "the image is corrupt or of an unsupported kind: ";
    throw_input(where, sentence.append(printable(reason ? reason : "?")));
  };
  Image image;
  int stored = 0;
  try {
    if (stbi_info_from_memory(data, size, &image.width, &image.height, &stored) == 0) fail();
    if (image.width > max_image_side || image.height > max_image_side || image.width < 1 || image.height < 1) {
      throw_input(where, "the image's size", std::to_string(image.width) + "x" + std::to_string(image.height),
                  "sides from 1 to " + std::to_string(max_image_side));
    }
    image.channels = stored == 2 ? 4 : stored;
    const stbi_uc* pixels = stbi_load_from_memory(data, size, &image.width, &image.height, &stored, image.channels);
    if (pixels == nullptr) fail();
    const std::size_t count = static_cast<std::size_t>(image.width) * static_cast<std::size_t>(image.height) *
                              static_cast<std::size_t>(image.channels);
    image.pixels.assign(pixels, pixels + count);
  } catch (const detail::DecoderFault&) {
    throw_input(where, "the image is corrupt: the decoder met a state that it does not expect");
  }
  return channels == 0 || channels == image.channels ? image : convert_channels(image, channels);
}

std::vector<std::uint8_t> encode_png(const Image& image) {
  const std::string size =
      std::to_string(image.width) + "x" + std::to_string(image.height) + "x" + std::to_string(image.channels);
  if (image.width < 1 || image.height < 1 || image.width > max_image_side || image.height > max_image_side ||
      (image.channels != 1 && image.channels != 3 && image.channels != 4)) {
    throw_input("encode_png", "the image's size", size, "sides from 1 to 16384 and 1, 3 or 4 channels");
  }
  const std::size_t count = static_cast<std::size_t>(image.width) * static_cast<std::size_t>(image.height) *
                            static_cast<std::size_t>(image.channels);
  if (image.pixels.size() != count) {
    throw_input("encode_png", "the number of samples", std::to_string(image.pixels.size()),
                std::to_string(count) + " for an image of " + size);
  }
  // The encoder counts in int.
  if (count > (std::size_t{1} << 30)) throw_input("encode_png", "the image's size", size, "at most 2^30 samples");
  int length = 0;
  unsigned char* encoded = stbi_write_png_to_mem(image.pixels.data(), image.width * image.channels, image.width,
                                                 image.height, image.channels, &length);
  if (encoded == nullptr) throw OutOfMemory("encode_png: no memory for an image of " + size);
  std::vector<std::uint8_t> bytes(encoded, encoded + length);
  std::free(encoded);
  return bytes;
}

#else

Image decode_image(std::span<const std::byte>, std::string_view where, int) {
  throw_input(where, "cannot be decoded: this program was built without stb");
}

std::vector<std::uint8_t> encode_png(const Image&) {
  throw_input("encode_png", "pictures cannot be encoded: this program was built without stb");
}

#endif

Image load_image(const std::string& path, int channels) {
  const MappedFile file(path);
  return decode_image(file.bytes(), path, channels);
}

void save_png(const std::string& path, const Image& image) {
  const std::vector<std::uint8_t> bytes = encode_png(image);
  AtomicFile file(path);
  file.write(std::as_bytes(std::span<const std::uint8_t>(bytes)));
  file.commit();
}

}  // namespace io
SEGUE_NAMESPACE_END
