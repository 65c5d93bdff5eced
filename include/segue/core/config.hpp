// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "segue/core/version.hpp"

// Two versions of the library in one program must not share symbols: everything lives in an inline
// namespace that names the ABI. Device headers add the architecture list to it.
#define SEGUE_ABI_NAMESPACE v0_1

#define SEGUE_NAMESPACE_BEGIN \
  namespace segue {           \
  inline namespace SEGUE_ABI_NAMESPACE {
#define SEGUE_NAMESPACE_END \
  }                         \
  }

// Functions that both host code and kernels call.
#if defined(__CUDACC__)
#define SEGUE_HOST_DEVICE __host__ __device__
#else
#define SEGUE_HOST_DEVICE
#endif

#define SEGUE_FORCE_INLINE inline __attribute__((always_inline))

SEGUE_NAMESPACE_BEGIN
namespace detail {

/// std::bit_cast for kernels too: the standard's is a host function to nvcc.
template <class To, class From>
SEGUE_HOST_DEVICE constexpr To bit_cast(const From& from) {
  static_assert(sizeof(To) == sizeof(From));
  return __builtin_bit_cast(To, from);
}

}  // namespace detail
SEGUE_NAMESPACE_END
