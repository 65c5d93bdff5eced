// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "segue/core/random.hpp"

SEGUE_NAMESPACE_BEGIN
namespace tasks {

/// A stream of integers for host code that draws as it goes (generators, shuffles): the words of Philox blocks
/// 0, 1, 2, … of the key (seed, site, step). Integers only, so that a generated item is the same with every compiler.
class Draws {
 public:
  /// @param stream which of the 2^64 independent streams of the seed, e.g. the index of an item.
  explicit constexpr Draws(std::uint64_t seed, std::uint64_t stream = 0)
      : key_{seed, static_cast<std::uint32_t>(stream), static_cast<std::uint32_t>(stream >> 32)} {}

  constexpr std::uint32_t word() {
    if (used_ == 4) {
      words_ = key_.block(block_++);
      used_ = 0;
    }
    return words_[used_++];
  }

  /// An integer in [0, count), count > 0. The bias is below count / 2^32.
  constexpr int below(int count) {
    return static_cast<int>((static_cast<std::uint64_t>(word()) * static_cast<std::uint64_t>(count)) >> 32);
  }

  /// An integer in [low, high], both ends included.
  constexpr int between(int low, int high) { return low + below(high - low + 1); }

  /// True in `parts` of 256 cases.
  constexpr bool chance(int parts) { return below(256) < parts; }

  template <class T>
  constexpr void shuffle(std::span<T> items) {
    for (std::size_t i = items.size(); i > 1; --i) {
      std::swap(items[i - 1], items[static_cast<std::size_t>(below(static_cast<int>(i)))]);
    }
  }

 private:
  RandomKey key_;
  std::uint64_t block_ = 0;
  Words<std::uint32_t, 4> words_{};
  std::size_t used_ = 4;
};

}  // namespace tasks
SEGUE_NAMESPACE_END
