// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstring>
#include <optional>

#include "segue/core/cuda_config.cuh"
#include "segue/core/pool.hpp"

SEGUE_NAMESPACE_BEGIN

namespace detail {

/// What a call that asks for memory brought: null if there was none.
/// @throws CudaError for whatever else is wrong, such as a kernel that failed before.
inline void* asked_memory(cudaError_t status, void* pointer, const char* where) {
  if (status != cudaErrorMemoryAllocation) cuda_check(status, where);
  if (status == cudaSuccess) return pointer;
  (void)cudaGetLastError();
  return nullptr;
}

}  // namespace detail

/// Memory of one CUDA device.
class CudaAllocator final : public Allocator {
 public:
  explicit CudaAllocator(int device) : device_(device) {}

  void* allocate(std::size_t bytes) override {
    detail::cuda_check(cudaSetDevice(device_), "pool: choosing the device");
    void* pointer = nullptr;
    const cudaError_t status = cudaMalloc(&pointer, bytes);
    return detail::asked_memory(status, pointer, "pool: asking for memory");
  }
  void deallocate(void* pointer, std::size_t) noexcept override { (void)cudaFree(pointer); }
  std::optional<std::size_t> free_bytes() const noexcept override {
    std::size_t free = 0, total = 0;
    if (cudaSetDevice(device_) != cudaSuccess || cudaMemGetInfo(&free, &total) != cudaSuccess) return std::nullopt;
    return free;
  }

 private:
  int device_;
};

/// Page-locked host memory, which a device copies from and to without a detour.
class PinnedAllocator final : public Allocator {
 public:
  void* allocate(std::size_t bytes) override {
    void* pointer = nullptr;
    const cudaError_t status = cudaMallocHost(&pointer, bytes);
    return detail::asked_memory(status, pointer, "pool: asking for page-locked memory");
  }
  void deallocate(void* pointer, std::size_t) noexcept override { (void)cudaFreeHost(pointer); }
};

namespace detail {

/// Page-locked buffers that host data waits in until the device has fetched it. They are used in turn, so that a
/// caller waits only when all of them are still on their way.
class StagingRing {
 public:
  StagingRing() : pool_(std::make_shared<PinnedAllocator>()) {}
  StagingRing(const StagingRing&) = delete;
  StagingRing& operator=(const StagingRing&) = delete;
  ~StagingRing() {
    for (Slot& slot : slots_)
      if (slot.fetched) (void)cudaEventDestroy(slot.fetched);
  }

  void copy_to_device(void* target, const void* source, std::size_t bytes, cudaStream_t stream, const char* where) {
    const auto* from = static_cast<const std::byte*>(source);
    auto* to = static_cast<std::byte*>(target);
    for (std::size_t done = 0; done < bytes; done += largest) {
      const std::size_t n = bytes - done < largest ? bytes - done : largest;
      Slot& slot = slots_[next_++ % slots_.size()];
      if (slot.fetched)
        cuda_check(cudaEventSynchronize(slot.fetched), where);
      else
        cuda_check(cudaEventCreateWithFlags(&slot.fetched, cudaEventDisableTiming), where);
      if (slot.buffer.bytes() < n) slot.buffer = pool_.allocate(n);
      std::memcpy(slot.buffer.data(), from + done, n);
      cuda_check(cudaMemcpyAsync(to + done, slot.buffer.data(), n, cudaMemcpyHostToDevice, stream), where);
      cuda_check(cudaEventRecord(slot.fetched, stream), where);
    }
  }

 private:
  struct Slot {
    Buffer buffer;
    cudaEvent_t fetched = nullptr;
  };
  static constexpr std::size_t largest = std::size_t{8} << 20;

  Pool pool_;
  std::array<Slot, 8> slots_{};
  std::size_t next_ = 0;
};

}  // namespace detail

SEGUE_NAMESPACE_END
