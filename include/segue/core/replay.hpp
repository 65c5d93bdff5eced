// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <utility>

#include "segue/core/exec.hpp"

SEGUE_NAMESPACE_BEGIN

/// Work that repeats on other data. A device that can record work does so once it is told that the work is warm: that
/// it ran before on these very tensors, so that nothing is set up any more. The others run it each time.
/// Recorded work sees the arguments that it was recorded with: what changes must lie in device memory.
template <class Device>
class Replay {
  static_assert(!sizeof(Device),
                "Replay<Device>: this device has no Replay in this translation unit; include segue/cuda.cuh for Cuda");
};

template <>
class Replay<Cpu> {
 public:
  template <class F>
  void run(Exec<Cpu>&, bool, F&& f) {
    std::forward<F>(f)();
  }
  /// Forgets what was recorded.
  void reset() {}
  bool recorded() const { return false; }
  /// Kernels, copies and fills that were recorded.
  std::size_t nodes() const { return 0; }
  /// Bytes that the recorded work holds for itself.
  PoolStatistics memory() const { return {}; }
};

SEGUE_NAMESPACE_END
