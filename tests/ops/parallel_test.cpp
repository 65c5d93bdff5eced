// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#include "segue/ops/cpu/parallel.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <stdexcept>
#include <thread>
#include <vector>

#include "support/catch.hpp"

using namespace segue;

namespace {

constexpr auto nothing = [](std::int64_t) {};

Exec<Cpu> with_threads(int threads) { return Exec<Cpu>({.threads = threads}); }

}  // namespace

TEST_CASE("shared pieces cover everything once, and none is larger than asked for") {
  for (const int threads : {1, 2, 3, 7})
    for (const std::int64_t count : {0, 1, 2, 5, 16, 17, 341, 1000})
      for (const std::int64_t piece : {1, 3, 16, 5000}) {
        CAPTURE(threads, count, piece);
        const Exec<Cpu> exec = with_threads(threads);
        std::vector<std::atomic<int>> times(static_cast<std::size_t>(count));
        std::atomic<bool> fits = true;
        std::vector<std::atomic<int>> starts(static_cast<std::size_t>(threads));
        detail::parallel_shared_for(
            exec, count, piece, threads, [&](std::int64_t range) { ++starts[static_cast<std::size_t>(range)]; },
            [&](std::int64_t begin, std::int64_t end, std::int64_t range) {
              if (begin >= end || end - begin > std::max(piece, threads == 1 ? count : 0)) fits = false;
              if (starts[static_cast<std::size_t>(range)] != 1) fits = false;
              for (std::int64_t i = begin; i < end; ++i) ++times[static_cast<std::size_t>(i)];
            });
        CHECK(fits);
        CHECK(std::all_of(times.begin(), times.end(), [](const auto& n) { return n == 1; }));
      }
}

#if defined(_OPENMP)
TEST_CASE("who is through takes what a slow thread has left") {
  int team = 0;
#pragma omp parallel num_threads(2)
#pragma omp single
  team = omp_get_num_threads();
  if (team < 2) {
    WARN("skipped: OpenMP gives one thread only");
    return;
  }
  const Exec<Cpu> exec = with_threads(2);
  constexpr std::int64_t count = 64;
  std::atomic<std::int64_t> done = 0;
  std::atomic<bool> slow_began = false, in_time = true;
  std::vector<std::int64_t> by(2);
  const auto late = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  const auto wait_for = [&](const auto& that) {
    while (!that() && in_time) {
      std::this_thread::yield();
      if (std::chrono::steady_clock::now() > late) in_time = false;
    }
  };
  detail::parallel_shared_for(exec, count, 1, 2, nothing, [&](std::int64_t, std::int64_t, std::int64_t range) {
    ++by[static_cast<std::size_t>(range)];
    // The first thread's first piece lasts until nothing else is left, and the second thread's until it has begun.
    if (range == 1) wait_for([&] { return slow_began.load(); });
    if (range == 0 && !slow_began.exchange(true)) wait_for([&] { return done == count - 1; });
    ++done;
  });
  CHECK(in_time);
  CHECK(by == std::vector<std::int64_t>{1, count - 1});
}
#endif

TEST_CASE("an exception in a shared piece reaches the caller") {
  const Exec<Cpu> exec = with_threads(2);
  CHECK_THROWS_AS(detail::parallel_shared_for(exec, 10, 1, 2, nothing,
                                              [](std::int64_t begin, std::int64_t, std::int64_t) {
                                                if (begin == 7) throw std::runtime_error("seven");
                                              }),
                  std::runtime_error);
}
