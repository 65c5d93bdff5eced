// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <unordered_set>
#include <utility>

#include "segue/core/config.hpp"

SEGUE_NAMESPACE_BEGIN
namespace io::detail {

/// What an image decoder in C holds while it runs. All of it is freed when this goes out of scope, also where an
/// exception left the decoder in the middle. Memory is zeroed: some versions of stb read tables that a hostile JPEG
/// never filled. One at a time in a thread.
class DecoderMemory {
 public:
  DecoderMemory() : outer_(std::exchange(current_, this)) {}
  DecoderMemory(const DecoderMemory&) = delete;
  DecoderMemory& operator=(const DecoderMemory&) = delete;
  ~DecoderMemory() {
    for (void* block : blocks_) std::free(block);
    current_ = outer_;
  }

  static void* allocate(std::size_t bytes) {
    void* block = std::calloc(1, bytes);
    if (block) current_->blocks_.insert(block);
    return block;
  }
  static void* reallocate(void* block, std::size_t before, std::size_t bytes) {
    void* moved = allocate(bytes);
    if (!moved || !block) return moved;
    std::memcpy(moved, block, std::min(before, bytes));
    release(block);
    return moved;
  }
  static void release(void* block) {
    if (block && current_->blocks_.erase(block) > 0) std::free(block);
  }

 private:
  static inline thread_local DecoderMemory* current_ = nullptr;

  DecoderMemory* outer_;
  std::unordered_set<void*> blocks_;
};

/// A promise that was broken inside the decoder.
struct DecoderFault {};

}  // namespace io::detail
SEGUE_NAMESPACE_END
