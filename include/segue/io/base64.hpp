// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "segue/core/config.hpp"

SEGUE_NAMESPACE_BEGIN
namespace io {

/// Base64 with padding and without line breaks (RFC 4648 section 4), as `data:` URLs want it.
inline std::string base64_encode(std::span<const std::uint8_t> bytes) {
  static constexpr char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const std::size_t left = bytes.size() - i;
    const std::uint32_t word = static_cast<std::uint32_t>(bytes[i]) << 16 |
                               (left > 1 ? static_cast<std::uint32_t>(bytes[i + 1]) << 8 : 0u) |
                               (left > 2 ? static_cast<std::uint32_t>(bytes[i + 2]) : 0u);
    text.push_back(alphabet[word >> 18 & 63u]);
    text.push_back(alphabet[word >> 12 & 63u]);
    text.push_back(left > 1 ? alphabet[word >> 6 & 63u] : '=');
    text.push_back(left > 2 ? alphabet[word & 63u] : '=');
  }
  return text;
}

}  // namespace io
SEGUE_NAMESPACE_END
