// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <limits>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "segue/core/error.hpp"
#include "segue/core/posix.hpp"
#include "segue/tasks/draws.hpp"

namespace pretrain {

struct ClipStreamOptions {
  std::uint64_t seed = 0;
  int batch = 32;                ///< clips
  std::uint64_t first_step = 0;  ///< of the first batch: where a run goes on
  int threads = 0;               ///< that draw; 0: all of the machine
  int ahead = 4;                 ///< batches that may wait, 1 or more
  /// How often each clip is used on average, 1 or more. Above 1, a batch draws its clips from the `pool` newest ones,
  /// of which batch / reuse are new: the chance that a clip is never used is e^-reuse.
  double reuse = 1;
  int pool = 0;  ///< clips; 0: 16 batches
};

/// Batches of clips that threads draw ahead of their use. Batch k of a seed is always the same, whatever the threads
/// and wherever the stream began: without reuse its clips are k * batch and the following.
///
/// `Source` has `spec()` and `clip(seed, index, pixels) const`, which several threads call at once; it must outlive the
/// stream. Memory: (pool if reused, and) ahead + 2 batches.
template <class Source>
class ClipStream {
 public:
  /// Starts the threads. Raises InputError for options out of range.
  ClipStream(const Source& source, const ClipStreamOptions& options)
      : source_(source), options_(checked(options)), clip_size_(source.spec().size()), step_(options.first_step) {
    const auto batch = static_cast<std::uint64_t>(options_.batch);
    window_ = options_.reuse > 1 ? static_cast<std::uint64_t>(options_.pool) : batch;
    capacity_ = window_ + static_cast<std::uint64_t>(options_.ahead) * batch;
    next_clip_ = finished_ = oldest_ = end_of(step_) - window_;
    ring_.resize(static_cast<std::size_t>(capacity_) * clip_size_);
    done_.assign(static_cast<std::size_t>(capacity_), std::numeric_limits<std::uint64_t>::max());
    out_.resize(static_cast<std::size_t>(batch) * clip_size_);
    for (int t = 0; t < options_.threads; ++t) threads_.emplace_back([this] { work(); });
  }
  ClipStream(const ClipStream&) = delete;
  ClipStream& operator=(const ClipStream&) = delete;
  /// Waits for the clips that are being drawn, not for those that were still to come.
  ~ClipStream() {
    {
      const std::scoped_lock lock(mutex_);
      stop_ = true;
    }
    room_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

  /// The next batch, (B, F, H, W, 3) bytes, which stays until the next call. Waits for it where it must.
  /// What a thread threw is thrown here.
  const std::vector<std::uint8_t>& next() {
    const std::uint64_t end = end_of(step_), first = end - window_;
    {
      const double began = segue::monotonic_seconds();
      std::unique_lock lock(mutex_);
      ready_.wait(lock, [&] { return error_ != nullptr || finished_ >= end; });
      if (error_ != nullptr) std::rethrow_exception(error_);
      waited_ += segue::monotonic_seconds() - began;
    }
    segue::tasks::Draws draws(options_.seed ^ 0xD1B54A32D192ED03u, step_);
    for (std::size_t i = 0; i < static_cast<std::size_t>(options_.batch); ++i) {
      const std::uint64_t clip =
          first + (options_.reuse > 1 ? static_cast<std::uint64_t>(draws.below(options_.pool)) : i);
      const std::span<const std::uint8_t> from = place(clip);
      std::copy(from.begin(), from.end(), out_.begin() + static_cast<std::ptrdiff_t>(i * clip_size_));
    }
    ++step_;
    {
      const std::scoped_lock lock(mutex_);
      oldest_ = end_of(step_) - window_;
    }
    room_.notify_all();
    return out_;
  }

  /// The step whose batch comes next.
  std::uint64_t step() const { return step_; }
  /// Seconds that `next` had to wait so far: near 0 if drawing keeps up.
  double waited() const { return waited_; }

 private:
  static ClipStreamOptions checked(ClipStreamOptions o) {
    const auto expect = [](const char* what, auto value, bool holds, const char* expected) {
      if (!holds) segue::throw_input("ClipStream", what, std::to_string(value), expected);
    };
    expect("batch", o.batch, o.batch >= 1 && o.batch <= 65536, "1 to 65536");
    expect("threads", o.threads, o.threads >= 0 && o.threads <= 4096, "0 to 4096");
    expect("ahead", o.ahead, o.ahead >= 1 && o.ahead <= 1024, "1 to 1024");
    expect("reuse", o.reuse, o.reuse >= 1 && o.reuse <= 1000, "1 to 1000");
    if (o.threads == 0) o.threads = static_cast<int>(std::max(std::thread::hardware_concurrency(), 1u));
    if (o.pool == 0) o.pool = 16 * o.batch;
    expect("pool", o.pool, o.pool >= o.batch && o.pool <= (1 << 24), "the batch or more, at most 2^24");
    return o;
  }

  /// One behind the newest clip that the batch of a step may use.
  std::uint64_t end_of(std::uint64_t step) const {
    const auto batch = static_cast<std::uint64_t>(options_.batch);
    if (options_.reuse > 1) {
      return window_ + static_cast<std::uint64_t>(static_cast<double>(step * batch) / options_.reuse);
    }
    return (step + 1) * batch;
  }

  std::span<std::uint8_t> place(std::uint64_t clip) {
    return std::span<std::uint8_t>(ring_).subspan(static_cast<std::size_t>(clip % capacity_) * clip_size_, clip_size_);
  }

  void work() {
    for (;;) {
      std::uint64_t clip = 0;
      {
        std::unique_lock lock(mutex_);
        room_.wait(lock, [&] { return stop_ || error_ != nullptr || next_clip_ < oldest_ + capacity_; });
        if (stop_ || error_ != nullptr) return;
        clip = next_clip_++;
      }
      try {
        source_.clip(options_.seed, clip, place(clip));
      } catch (...) {
        const std::scoped_lock lock(mutex_);
        if (error_ == nullptr) error_ = std::current_exception();
        ready_.notify_all();
        room_.notify_all();
        return;
      }
      const std::scoped_lock lock(mutex_);
      done_[static_cast<std::size_t>(clip % capacity_)] = clip;
      const std::uint64_t before = finished_;
      while (done_[static_cast<std::size_t>(finished_ % capacity_)] == finished_) ++finished_;
      if (finished_ != before) ready_.notify_all();
    }
  }

  const Source& source_;
  ClipStreamOptions options_;
  std::size_t clip_size_;
  std::uint64_t step_;
  std::uint64_t window_ = 0, capacity_ = 0;  // clips
  std::vector<std::uint8_t> ring_, out_;
  double waited_ = 0;

  std::mutex mutex_;
  std::condition_variable room_, ready_;
  std::vector<std::uint64_t> done_;  // which clip a place of the ring holds
  std::uint64_t next_clip_ = 0;      // to be drawn
  std::uint64_t finished_ = 0;       // all clips before it are drawn
  std::uint64_t oldest_ = 0;         // that a batch still needs
  bool stop_ = false;
  std::exception_ptr error_;
  std::vector<std::thread> threads_;
};

}  // namespace pretrain
