// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <set>
#include <vector>

#include "ahead_upload.hpp"
#include "segue/core/exec.cuh"

namespace pretrain {

/// Copies on a stream of its own, into two buffers by turns. The host's memory is locked in place the first time it
/// comes.
template <>
class AheadUpload<segue::Cuda> {
 public:
  using Pixels = segue::Tensor<std::uint8_t, 5, segue::CudaSpace>;

  AheadUpload() = default;
  AheadUpload(const AheadUpload&) = delete;
  AheadUpload& operator=(const AheadUpload&) = delete;
  ~AheadUpload() {
    release();
    if (arrived_ != nullptr) (void)cudaEventDestroy(arrived_);
    if (stream_ != nullptr) (void)cudaStreamDestroy(stream_);
  }

  void begin(segue::Exec<segue::Cuda>& exec, const std::vector<std::uint8_t>& host, const segue::Shape<5>& shape) {
    using segue::detail::cuda_check;
    cuda_check(cudaSetDevice(exec.device()), "AheadUpload");  // whichever thread this is
    if (stream_ == nullptr) {
      cuda_check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "AheadUpload");
      cuda_check(cudaEventCreateWithFlags(&arrived_, cudaEventDisableTiming), "AheadUpload");
      for (Pixels& buffer : buffers_) buffer = exec.empty<std::uint8_t, 5>(shape);
      // Their memory may still be read by what the Exec issued before.
      exec.synchronize();
    }
    if (locked_.insert(host.data()).second)
      cuda_check(cudaHostRegister(const_cast<std::uint8_t*>(host.data()), host.size(), cudaHostRegisterDefault),
                 "AheadUpload");
    turn_ = 1 - turn_;
    cuda_check(
        cudaMemcpyAsync(buffers_[turn_].data_handle(), host.data(), host.size(), cudaMemcpyHostToDevice, stream_),
        "AheadUpload");
    cuda_check(cudaEventRecord(arrived_, stream_), "AheadUpload");
  }

  segue::View<const std::uint8_t, 5, segue::CudaSpace> wait(segue::Exec<segue::Cuda>& exec) const {
    segue::detail::cuda_check(cudaStreamWaitEvent(exec.stream(), arrived_), "AheadUpload");
    return buffers_[turn_].cview();
  }

  void finish() const {
    if (stream_ != nullptr) segue::detail::cuda_check(cudaStreamSynchronize(stream_), "AheadUpload");
  }

  void release() {
    if (stream_ != nullptr) (void)cudaStreamSynchronize(stream_);
    for (const void* memory : locked_) (void)cudaHostUnregister(const_cast<void*>(memory));
    locked_.clear();
  }

 private:
  cudaStream_t stream_ = nullptr;
  cudaEvent_t arrived_ = nullptr;
  Pixels buffers_[2];
  int turn_ = 0;
  std::set<const void*> locked_;
};

}  // namespace pretrain
