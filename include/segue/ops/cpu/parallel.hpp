// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <exception>

#include "segue/core/exec.hpp"

#if defined(_OPENMP)
#include <omp.h>
#endif

SEGUE_NAMESPACE_BEGIN
namespace detail {

/// How many ranges `parallel_for` cuts [0, count) into; at most `exec.threads()`. Scratch per range is sized by it.
inline std::int64_t parallel_ranges(const Exec<Cpu>& exec, std::int64_t count, std::int64_t grain = 1) {
#if defined(_OPENMP)
  if (omp_in_parallel()) return 1;
  return std::clamp<std::int64_t>(ceil_div(count, std::max<std::int64_t>(grain, 1)), 1, exec.threads());
#else
  (void)exec, (void)count, (void)grain;
  return 1;
#endif
}

/// Calls `f(begin, end, range)` for ranges that cover [0, count) in order; all cuts are multiples of `grain`, and
/// `range` counts from 0 to `parallel_ranges(...) - 1`. Where the cuts fall depends on the thread count: `f` must
/// give the same bits wherever they fall. The first exception thrown inside is thrown to the caller.
template <class F>
void parallel_ranges_for(const Exec<Cpu>& exec, std::int64_t count, F&& f, std::int64_t grain = 1) {
  if (count <= 0) return;
  const std::int64_t ranges = parallel_ranges(exec, count, grain);
  if (ranges == 1) {
    f(std::int64_t{0}, count, std::int64_t{0});
    return;
  }
#if defined(_OPENMP)
  grain = std::max<std::int64_t>(grain, 1);
  const std::int64_t grains = ceil_div(count, grain);
  std::exception_ptr error;
#pragma omp parallel for schedule(static, 1) num_threads(static_cast <int>(ranges))
  for (std::int64_t range = 0; range < ranges; ++range) {
    const std::int64_t begin = grains * range / ranges * grain;
    const std::int64_t end = std::min(count, grains * (range + 1) / ranges * grain);
    try {
      if (begin < end) f(begin, end, range);
    } catch (...) {
#pragma omp critical(segue_parallel_error)
      if (!error) error = std::current_exception();
    }
  }
  if (error) std::rethrow_exception(error);
#endif
}

/// Calls `f(begin, end)` for ranges that cover [0, count): one a thread, cut at multiples of `grain`.
/// Pass as `grain` what is worth waking a thread for; results must not depend on where the cuts fall.
template <class F>
void parallel_for(const Exec<Cpu>& exec, std::int64_t count, F&& f, std::int64_t grain = 1) {
  parallel_ranges_for(
      exec, count, [&](std::int64_t begin, std::int64_t end, std::int64_t) { f(begin, end); }, grain);
}

}  // namespace detail
SEGUE_NAMESPACE_END
