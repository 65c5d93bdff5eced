// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// What the fuzzers share. A target reads hostile bytes: it may refuse them in a sentence, and must do nothing else that
// is wrong.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string_view>

#include "segue/core/error.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace fuzz {

inline std::span<const std::byte> bytes(const std::uint8_t* data, std::size_t size) {
  return std::as_bytes(std::span(data, size));
}
inline std::string_view text(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

/// A property that must hold.
inline void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "broken: %s\n", what);
  std::abort();
}

/// Runs f; a refusal must be one sentence that begins with what was read.
template <class F>
void read(const char* where, F&& f) {
  try {
    f();
  } catch (const segue::InputError& error) {
    const std::string_view sentence = error.what();
    if (sentence.find(where) != 0) std::fprintf(stderr, "%s\n", error.what());
    require(sentence.find(where) == 0, "a refusal that does not begin with what was read");
    require(sentence.size() < 4096, "a refusal that is no sentence");
    require(sentence.find('\n') == std::string_view::npos, "a refusal of several lines");
  }
}

}  // namespace fuzz
