// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "segue/core/error.hpp"
#include "segue/core/posix.hpp"

SEGUE_NAMESPACE_BEGIN

/// Where a pool gets its memory from. Implement it to hand the library memory of your own.
class Allocator {
 public:
  virtual ~Allocator() = default;
  /// At least `bytes` bytes, aligned to 256. Returns null when there is no memory; throws if it cannot be asked for.
  virtual void* allocate(std::size_t bytes) = 0;
  /// Work that uses the block may still be queued on the Exec's stream: memory of a device is freed behind it, as
  /// cudaFree does.
  virtual void deallocate(void* pointer, std::size_t bytes) noexcept = 0;
  /// What it could still hand out, for messages; nothing where that is not known.
  virtual std::optional<std::size_t> free_bytes() const noexcept { return std::nullopt; }
};

/// The system's heap, and pages of the system for what is large: a heap keeps some of what it is given back.
class HostAllocator final : public Allocator {
 public:
  void* allocate(std::size_t bytes) noexcept override {
    if (bytes >= large) return map_memory(bytes);
    return ::operator new (bytes, std::align_val_t{256}, std::nothrow);
  }
  void deallocate(void* pointer, std::size_t bytes) noexcept override {
    if (bytes >= large) return unmap_memory(pointer, bytes);
    ::operator delete (pointer, std::align_val_t{256});
  }

 private:
  static constexpr std::size_t large = std::size_t{1} << 20;
};

struct PoolStatistics {
  std::size_t current_bytes = 0;         ///< held by live buffers
  std::size_t peak_bytes = 0;            ///< highest `current_bytes` since the last `reset_peak`
  std::size_t reserved_bytes = 0;        ///< taken from the allocator, in use or cached; while planning at most
  std::uint64_t system_allocations = 0;  ///< calls of `Allocator::allocate`
};

namespace detail {

/// Shared by the pool and its buffers, so that it outlives the last of them.
struct PoolState {
  std::mutex mutex;
  std::shared_ptr<Allocator> allocator;
  std::map<std::size_t, std::vector<void*>> cached;
  std::size_t cached_bytes = 0;
  std::size_t cache_limit = std::numeric_limits<std::size_t>::max();
  PoolStatistics statistics;
  std::map<std::size_t, std::size_t> planned_cached;  // how many blocks of a size class a plan left
  std::size_t planned_cached_bytes = 0;
  std::size_t planned_bytes = 0, planned_peak_bytes = 0;  // that the plan would have taken
  std::uintptr_t next_planned_address = 4096;
  bool planning = false;
  bool recording = false;

  ~PoolState() { give_back(); }

  void give_back() {
    if (planning) {
      planned_bytes -= planned_cached_bytes;
      planned_cached.clear();
      planned_cached_bytes = 0;
      return;
    }
    for (auto& [bytes, pointers] : cached)
      for (void* p : pointers) allocator->deallocate(p, bytes);
    statistics.reserved_bytes -= cached_bytes;
    cached.clear();
    cached_bytes = 0;
  }

  /// Takes a block back from its last holder.
  void release(void* pointer, std::size_t bytes, bool planned) {
    statistics.current_bytes -= bytes;
    std::size_t& held = planned ? planned_cached_bytes : cached_bytes;
    const bool keeps = recording || (bytes <= cache_limit && held <= cache_limit - bytes);
    if (keeps) held += bytes;
    if (planned) {
      if (keeps)
        ++planned_cached[bytes];
      else
        planned_bytes -= bytes;
    } else if (keeps) {
      cached[bytes].push_back(pointer);
    } else {
      allocator->deallocate(pointer, bytes);
      statistics.reserved_bytes -= bytes;
    }
  }
};

struct BufferNode {
  std::atomic<std::uint32_t> references{1};
  void* pointer = nullptr;
  std::size_t bytes = 0;
  bool planned = false;
  std::shared_ptr<PoolState> pool;
};

}  // namespace detail

/// A counted handle to a block of pool memory. Copies share the block; the last one returns it, on any thread.
class Buffer {
 public:
  Buffer() = default;
  Buffer(const Buffer& other) noexcept : node_(other.node_) {
    if (node_) node_->references.fetch_add(1, std::memory_order_relaxed);
  }
  Buffer(Buffer&& other) noexcept : node_(std::exchange(other.node_, nullptr)) {}
  Buffer& operator=(Buffer other) noexcept {
    std::swap(node_, other.node_);
    return *this;
  }
  ~Buffer() { release(); }

  void* data() const { return node_ ? node_->pointer : nullptr; }
  std::size_t bytes() const { return node_ ? node_->bytes : 0; }
  explicit operator bool() const { return node_ != nullptr; }
  /// True for an address without memory, which a plan handed out.
  bool planned() const { return node_ && node_->planned; }
  /// True when no other handle shares the block: only then may it be written in place.
  bool unique() const { return node_ && node_->references.load(std::memory_order_acquire) == 1; }

 private:
  friend class Pool;
  explicit Buffer(detail::BufferNode* node) : node_(node) {}

  void release() noexcept {
    if (!node_ || node_->references.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
    {
      const std::lock_guard lock(node_->pool->mutex);
      node_->pool->release(node_->pointer, node_->bytes, node_->planned);
    }
    delete node_;
  }

  detail::BufferNode* node_ = nullptr;
};

/// A caching allocator: freed blocks are kept by size class and handed out again, so that after a warm-up step
/// nothing is asked from the system. Which block is returned depends only on the order of calls.
/// While planning it hands out addresses without memory and keeps the same statistics.
class Pool {
 public:
  explicit Pool(std::shared_ptr<Allocator> allocator = std::make_shared<HostAllocator>())
      : state_(std::make_shared<detail::PoolState>()) {
    state_->allocator = std::move(allocator);
  }

  /// @throws OutOfMemory with what was asked, held and free.
  Buffer allocate(std::size_t bytes) {
    const std::size_t size = size_class(bytes);
    auto node = std::make_unique<detail::BufferNode>();
    detail::PoolState& s = *state_;
    const std::lock_guard lock(s.mutex);
    if (s.planning) {
      node->pointer = reinterpret_cast<void*>(s.next_planned_address);
      s.next_planned_address += size;
      node->planned = true;
      if (std::size_t& left = s.planned_cached[size]; left > 0) {
        --left;
        s.planned_cached_bytes -= size;
      } else {
        s.planned_peak_bytes = std::max(s.planned_peak_bytes, s.planned_bytes += size);
      }
    } else {
      node->pointer = take(s, size);
    }
    node->bytes = size;
    node->pool = state_;
    s.statistics.current_bytes += size;
    if (s.statistics.current_bytes > s.statistics.peak_bytes) s.statistics.peak_bytes = s.statistics.current_bytes;
    return Buffer(node.release());
  }

  /// Where its memory comes from.
  const std::shared_ptr<Allocator>& allocator() const { return state_->allocator; }

  PoolStatistics statistics() const {
    const std::lock_guard lock(state_->mutex);
    PoolStatistics out = state_->statistics;
    out.reserved_bytes += state_->planned_peak_bytes;
    return out;
  }
  void reset_peak() {
    const std::lock_guard lock(state_->mutex);
    state_->statistics.peak_bytes = state_->statistics.current_bytes;
  }
  /// Returns cached blocks to the allocator; while recording they stay, while planning it is the plan's.
  void trim() {
    const std::lock_guard lock(state_->mutex);
    if (!state_->recording) state_->give_back();
  }
  /// The most that freed blocks may hold while they wait to be handed out again; beyond it they return to the
  /// allocator. 0 keeps little more than what lives, where memory is short, and asks the system for every tensor. No
  /// limit at first; while recording there is none.
  void set_cache_limit(std::size_t bytes) {
    const std::lock_guard lock(state_->mutex);
    state_->cache_limit = bytes;
    if (!state_->recording && state_->cached_bytes > bytes) state_->give_back();
  }
  /// A plan begins without cached blocks and forgets its own when it ends.
  void set_planning(bool on) {
    const std::lock_guard lock(state_->mutex);
    if (state_->planning == on) return;
    state_->planning = on;
    state_->planned_cached.clear();
    state_->planned_cached_bytes = state_->planned_bytes = state_->planned_peak_bytes = 0;
  }
  bool planning() const { return state_->planning; }
  /// What is recorded on this memory will run on it again: from now on no block returns to the allocator before the
  /// pool ends.
  void set_recording() {
    const std::lock_guard lock(state_->mutex);
    state_->recording = true;
  }

  /// What a request really occupies: steps of an eighth of its power of two, at least 256 bytes and at most 2 MiB.
  static constexpr std::size_t size_class(std::size_t bytes) {
    if (bytes <= 256) return 256;
    const std::size_t step = std::clamp<std::size_t>(std::bit_floor(bytes) / 8, 256, std::size_t{2} << 20);
    return (bytes + step - 1) / step * step;
  }

 private:
  static void* take(detail::PoolState& s, std::size_t size) {
    if (const auto found = s.cached.find(size); found != s.cached.end() && !found->second.empty()) {
      void* pointer = found->second.back();
      found->second.pop_back();
      s.cached_bytes -= size;
      return pointer;
    }
    void* pointer = s.allocator->allocate(size);
    ++s.statistics.system_allocations;
    if (!pointer && !s.recording) {
      // Blocks cached in other size classes may be what is missing.
      s.give_back();
      pointer = s.allocator->allocate(size);
      ++s.statistics.system_allocations;
    }
    if (!pointer) {
      std::string message = "pool: no memory for " + std::to_string(size) + " bytes; " +
                            std::to_string(s.statistics.current_bytes) + " bytes are held by live tensors";
      if (const auto left = s.allocator->free_bytes()) message += ", " + std::to_string(*left) + " bytes are free";
      throw OutOfMemory(message);
    }
    s.statistics.reserved_bytes += size;
    return pointer;
  }

  std::shared_ptr<detail::PoolState> state_;
};

SEGUE_NAMESPACE_END
