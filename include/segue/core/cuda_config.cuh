// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#if !defined(__CUDACC__)
#error \
    "segue: a .cuh header was included by a compiler that is not nvcc; compile this file as CUDA, or include segue/cpu.hpp instead"
#endif

#include <string>

#include <cuda_runtime.h>

#include "segue/core/error.hpp"

// Kernels of two architecture lists in one program must not share symbols: they live in an inline namespace that names
// the list, as in sm_800_900.
#define SEGUE_ARCH_JOIN_(a, b, c, d, e, f, ...) sm_##a##_##b##_##c##_##d##_##e##_##f
#define SEGUE_ARCH_JOIN(...) SEGUE_ARCH_JOIN_(__VA_ARGS__)
#if defined(__CUDA_ARCH_LIST__)
#define SEGUE_ARCH_NAMESPACE SEGUE_ARCH_JOIN(__CUDA_ARCH_LIST__, 0, 0, 0, 0, 0, 0)
#else
#define SEGUE_ARCH_NAMESPACE sm_any
#endif

#define SEGUE_KERNELS_BEGIN                 \
  SEGUE_NAMESPACE_BEGIN namespace kernels { \
    inline namespace SEGUE_ARCH_NAMESPACE {
#define SEGUE_KERNELS_END \
  }                       \
  }                       \
  SEGUE_NAMESPACE_END

SEGUE_NAMESPACE_BEGIN

/// A call of the CUDA runtime, or of a library on it, failed.
class CudaError : public Error {
 public:
  using Error::Error;
};

namespace detail {

/// @throws CudaError("<where>: <CUDA's sentence>").
inline void cuda_check(cudaError_t status, const char* where) {
  if (status == cudaSuccess) return;
  (void)cudaGetLastError();  // an error that is not sticky must not be met again by the next call
  throw CudaError(std::string(where) + ": " + cudaGetErrorString(status) + " (" + cudaGetErrorName(status) + ")");
}

}  // namespace detail

SEGUE_NAMESPACE_END
