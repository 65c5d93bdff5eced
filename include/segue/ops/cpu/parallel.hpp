// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <exception>
#include <optional>

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

/// What is left of a range of pieces: who owns it takes them from its beginning, others from its end.
class alignas(64) SharedRange {
 public:
  void set(std::int64_t begin, std::int64_t end) {
    rest_.store({static_cast<std::uint32_t>(begin), static_cast<std::uint32_t>(end)}, std::memory_order_relaxed);
  }
  std::optional<std::int64_t> take_first() {
    return take([](Rest& rest) { return rest.begin++; });
  }
  std::optional<std::int64_t> take_last() {
    return take([](Rest& rest) { return --rest.end; });
  }

 private:
  struct Rest {
    std::uint32_t begin = 0, end = 0;
  };
  template <class F>
  std::optional<std::int64_t> take(const F& one) {
    Rest rest = rest_.load(std::memory_order_relaxed);
    while (rest.begin < rest.end) {
      Rest left = rest;
      const std::int64_t taken = one(left);
      if (rest_.compare_exchange_weak(rest, left, std::memory_order_relaxed)) return taken;
    }
    return std::nullopt;
  }

  std::atomic<Rest> rest_{};
  static_assert(std::atomic<Rest>::is_always_lock_free);
};

/// Calls `f(begin, end)` for ranges that cover [0, count): one a thread, cut at multiples of `grain`.
/// Pass as `grain` what is worth waking a thread for; results must not depend on where the cuts fall.
template <class F>
void parallel_for(const Exec<Cpu>& exec, std::int64_t count, F&& f, std::int64_t grain = 1) {
  parallel_ranges_for(
      exec, count, [&](std::int64_t begin, std::int64_t end, std::int64_t) { f(begin, end); }, grain);
}

/// Calls `f(begin, end, worker)` for pieces of [0, count) of at most `piece` each, or for all of it if there is one
/// worker. Every worker has an equal range of pieces, and who is through takes from the ends of others' ranges: a core
/// that another program uses too is slower. Workers, at most `threads`, the Exec's threads and 128, are numbered from
/// 0, so scratch can be sized for each; `start(worker)` comes before a worker's first piece. Results must not depend on
/// who takes what. The first exception thrown inside is thrown to the caller.
template <class Start, class F>
void parallel_shared_for(const Exec<Cpu>& exec, std::int64_t count, std::int64_t piece, std::int64_t threads,
                         const Start& start, const F& f) {
  constexpr std::int64_t most = 128;  // threads: their ranges are on the stack
  const std::int64_t workers = std::min({threads, count, std::int64_t{exec.threads()}, most});
  if (workers <= 0) return;
  if (workers == 1) {
    start(std::int64_t{0});
    f(std::int64_t{0}, count, std::int64_t{0});
    return;
  }
  std::array<SharedRange, static_cast<std::size_t>(most)> ranges;
  const std::int64_t each = ceil_div(ceil_div(count, workers), piece), pieces = workers * each;
  for (std::int64_t i = 0; i < workers; ++i) ranges[static_cast<std::size_t>(i)].set(i * each, (i + 1) * each);
  parallel_ranges_for(exec, workers, [&](std::int64_t first, std::int64_t last, std::int64_t worker) {
    bool started = false;
    const auto work = [&](std::optional<std::int64_t> taken) {
      if (!taken) return false;
      if (!started) start(worker);
      started = true;
      const std::int64_t begin = count * *taken / pieces, end = count * (*taken + 1) / pieces;
      if (begin < end) f(begin, end, worker);
      return true;
    };
    for (std::int64_t mine = first; mine < last; ++mine)
      while (work(ranges[static_cast<std::size_t>(mine)].take_first())) {
      }
    for (std::int64_t i = 1; i < workers; ++i)
      while (work(ranges[static_cast<std::size_t>((worker + i) % workers)].take_last())) {
      }
  });
}

}  // namespace detail
SEGUE_NAMESPACE_END
