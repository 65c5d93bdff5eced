// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <tuple>
#include <utility>
#include <vector>

#include "segue/autograd/grad_slot.hpp"

SEGUE_NAMESPACE_BEGIN

namespace detail {

struct Node {
  virtual ~Node() = default;
  /// `exec` is the Exec<Device> the node was recorded with.
  virtual void run(void* exec) = 0;
};

/// Memory for nodes: grows in blocks, is rewound when the tape is cleared and never returned while it lives.
class NodeArena {
 public:
  void* allocate(std::size_t bytes, std::size_t alignment) {
    for (;;) {
      if (block_ < blocks_.size()) {
        const std::size_t begin = (offset_ + alignment - 1) / alignment * alignment;
        if (begin + bytes <= blocks_[block_].size) {
          offset_ = begin + bytes;
          return blocks_[block_].memory.get() + begin;
        }
        ++block_;
        offset_ = 0;
        continue;
      }
      const std::size_t size = bytes + alignment > kBlock ? bytes + alignment : kBlock;
      blocks_.push_back({std::make_unique<std::byte[]>(size), size});
    }
  }
  void rewind() { block_ = offset_ = 0; }

 private:
  static constexpr std::size_t kBlock = 64 * 1024;
  struct Block {
    std::unique_ptr<std::byte[]> memory;
    std::size_t size;
  };
  std::vector<Block> blocks_;
  std::size_t block_ = 0;
  std::size_t offset_ = 0;
};

/// One recorded operator: its outputs' slots and its backward, called as
/// `backward(exec, const GradSlot&...)`. Skipped when no output received a gradient.
template <class E, class F, class... Slots>
struct OpNode final : Node {
  explicit OpNode(F f) : backward(std::move(f)) {}
  void run(void* exec) override {
    const bool any = std::apply([](const auto&... slot) { return (slot.filled() || ...); }, outputs);
    if (!any) return;
    std::apply([&](auto&... slot) { backward(*static_cast<E*>(exec), slot...); }, outputs);
  }
  std::tuple<Slots...> outputs;
  F backward;
};

}  // namespace detail

/// The record of one forward. Nodes run in reverse order and are destroyed as soon as they ran.
class Tape {
 public:
  Tape() : id_(next_id()) {}
  Tape(const Tape&) = delete;
  Tape& operator=(const Tape&) = delete;
  ~Tape() { clear(); }

  /// Identifies this recording; changes when the tape is cleared.
  std::uint64_t id() const { return id_; }
  std::size_t size() const { return nodes_.size(); }

  template <class N, class... Args>
  N* emplace(Args&&... args) {
    void* memory = arena_.allocate(sizeof(N), alignof(N));
    N* node = ::new (memory) N(std::forward<Args>(args)...);
    nodes_.push_back(node);
    return node;
  }

  /// Runs every node from the last to the first, then clears.
  void run_backward(void* exec) {
    struct Cleanup {
      Tape& tape;
      ~Cleanup() { tape.clear(); }
    } cleanup{*this};
    while (!nodes_.empty()) {
      detail::Node* node = nodes_.back();
      node->run(exec);
      nodes_.pop_back();
      node->~Node();
    }
  }

  void clear() {
    while (!nodes_.empty()) {
      nodes_.back()->~Node();
      nodes_.pop_back();
    }
    arena_.rewind();
    id_ = next_id();
  }

 private:
  // Unique among the tapes of all threads: a value of one recording is never taken for one of another.
  static std::uint64_t next_id() {
    static std::atomic<std::uint64_t> counter{1};
    return counter.fetch_add(1, std::memory_order_relaxed);
  }

  detail::NodeArena arena_;
  std::vector<detail::Node*> nodes_;
  std::uint64_t id_;
};

SEGUE_NAMESPACE_END
