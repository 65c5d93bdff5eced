// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "segue/core/config.hpp"

SEGUE_NAMESPACE_BEGIN

/// Memory that host code may index.
struct HostSpace {
  static constexpr bool host_accessible = true;
  static constexpr const char* name = "host";
};

/// Memory of a CUDA device: host code that indexes it does not compile.
struct CudaSpace {
  static constexpr bool host_accessible = false;
  static constexpr const char* name = "cuda";
};

/// Device policies: a tag names where kernels run and where their operands live.
struct Cpu {
  using Space = HostSpace;
  static constexpr const char* name = "Cpu";
};

struct Cuda {
  using Space = CudaSpace;
  static constexpr const char* name = "Cuda";
};

/// The device whose kernels work on a memory space; a new device brings a space of its own.
template <class Space>
struct DeviceOf;
template <>
struct DeviceOf<HostSpace> {
  using type = Cpu;
};
template <>
struct DeviceOf<CudaSpace> {
  using type = Cuda;
};

template <class D>
concept DeviceLike = requires {
  typename D::Space;
  D::name;
};

SEGUE_NAMESPACE_END
