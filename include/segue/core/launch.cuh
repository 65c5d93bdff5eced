// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "segue/core/exec.cuh"

SEGUE_NAMESPACE_BEGIN

/// What a kernel needs of the other blocks of its grid: nothing, or that they all run at the same time, which the
/// device refuses if they do not fit it at once.
enum class Grid { any, together };

/// Issues a kernel on the Exec's stream and counts it. `shared` are bytes of dynamic shared memory.
/// @throws CudaError that names `op` if it could not be issued.
template <Grid Kind = Grid::any, class... Parameters>
void launch(Exec<Cuda>& exec, const char* op, void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t shared,
            const std::type_identity_t<Parameters>&... arguments) {
  const void* address = reinterpret_cast<const void*>(kernel);
  // What more than the usual 48 KiB asks for, once a kernel would do; the call is cheap and keeps no state.
  if (shared > (std::size_t{48} << 10))
    detail::cuda_check(
        cudaFuncSetAttribute(address, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared)), op);
  void* list[] = {const_cast<void*>(static_cast<const void*>(&arguments))..., nullptr};
  detail::cuda_check(Kind == Grid::together
                         ? cudaLaunchCooperativeKernel(address, grid, block, list, shared, exec.stream())
                         : cudaLaunchKernel(address, grid, block, list, shared, exec.stream()),
                     op);
  exec.count_launch();
}

namespace detail {

/// Blocks for a kernel that strides over its work: as many as fit at once, no more than there is work.
inline unsigned grid_for(const Exec<Cuda>& exec, std::int64_t blocks_of_work, int blocks_a_multiprocessor) {
  const std::int64_t most = std::int64_t{exec.multiprocessors()} * blocks_a_multiprocessor;
  return static_cast<unsigned>(blocks_of_work < most ? (blocks_of_work > 0 ? blocks_of_work : 1) : most);
}

}  // namespace detail

SEGUE_NAMESPACE_END
