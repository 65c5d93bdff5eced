// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "segue/core/exec.hpp"

namespace pretrain {

/// Brings bytes of the host to where a device reads them, while it works. On the CPU they are there.
template <class Device>
class AheadUpload {
 public:
  /// Begins a copy; the host's memory must not change before `finish` nor go before `release`. What was read of the
  /// copy before the last must be over.
  void begin(segue::Exec<Device>&, const std::vector<std::uint8_t>& host, const segue::Shape<5>& shape) {
    view_ = {host.data(), shape};
  }
  /// What was copied last; what the Exec does from now on waits for it.
  segue::View<const std::uint8_t, 5, typename Device::Space> wait(segue::Exec<Device>&) const { return view_; }
  /// Waits until the host's memory is no longer read.
  void finish() const {}
  /// Forgets all of the host's memory.
  void release() { view_ = {}; }

 private:
  segue::View<const std::uint8_t, 5, typename Device::Space> view_{};
};

}  // namespace pretrain
