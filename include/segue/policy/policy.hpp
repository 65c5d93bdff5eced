// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "segue/policy/device.hpp"
#include "segue/policy/precision.hpp"

SEGUE_NAMESPACE_BEGIN

/// What a program chooses once: how numbers are kept and where kernels run.
template <class PrecisionT, class DeviceT>
struct Policy {
  static_assert(PrecisionLike<PrecisionT>,
                "Policy<Precision, Device>: Precision must name storage, compute, accum, grad, master and gemm_math; "
                "use segue::Fp32, segue::Bf16 or a struct with these members");
  static_assert(DeviceLike<DeviceT>,
                "Policy<Precision, Device>: Device must name its memory Space; use segue::Cpu or segue::Cuda");
  using Precision = PrecisionT;
  using Device = DeviceT;
  using Space = typename DeviceT::Space;
  using storage = typename PrecisionT::storage;
  using compute = typename PrecisionT::compute;
  using accum = typename PrecisionT::accum;
  using grad = typename PrecisionT::grad;
  using master = typename PrecisionT::master;
};

template <class P>
concept PolicyLike = requires {
  typename P::Precision;
  typename P::Device;
  typename P::Space;
  typename P::storage;
  typename P::compute;
}
&&PrecisionLike<typename P::Precision>&& DeviceLike<typename P::Device>;

SEGUE_NAMESPACE_END
