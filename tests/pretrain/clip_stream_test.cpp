// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#include "pretrain/clip_stream.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <map>
#include <set>
#include <stdexcept>
#include <vector>

#include "segue/tasks/generate/finish.hpp"
#include "support/catch.hpp"
#include "support/errors.hpp"

namespace {

/// Clips that only say their seed and index, drawn in an unfair time.
struct Numbered {
  mutable std::atomic<int> drawn{0};
  std::uint64_t bad = ~std::uint64_t{0};

  segue::tasks::ClipSpec spec() const { return {1, 8, 8}; }
  void clip(std::uint64_t seed, std::uint64_t index, std::span<std::uint8_t> pixels) const {
    if (index == bad) throw std::runtime_error("clip " + std::to_string(index) + " is bad");
    if (index % 3 == 0) std::this_thread::sleep_for(std::chrono::microseconds(50));
    std::fill(pixels.begin(), pixels.end(), static_cast<std::uint8_t>(seed));
    for (std::size_t k = 0; k < 4; ++k) pixels[k] = static_cast<std::uint8_t>(index >> (8 * k));
    ++drawn;
  }
};

std::vector<std::uint64_t> numbers(const std::vector<std::uint8_t>& batch) {
  std::vector<std::uint64_t> out;
  for (std::size_t at = 0; at < batch.size(); at += 192) {
    std::uint64_t index = 0;
    for (std::size_t k = 0; k < 4; ++k) index |= std::uint64_t{batch[at + k]} << (8 * k);
    out.push_back(index);
  }
  return out;
}

}  // namespace

TEST_CASE("a stream hands over clips in their order, whatever the threads", "[pretrain]") {
  const int threads = GENERATE(1, 3, 7);
  const Numbered source;
  pretrain::ClipStream stream(source, {.seed = 9, .batch = 5, .threads = threads, .ahead = 2});
  for (std::uint64_t step = 0; step < 60; ++step) {
    CHECK(stream.step() == step);
    const auto& batch = stream.next();
    CHECK(batch[100] == 9);
    std::vector<std::uint64_t> expected;
    for (std::uint64_t i = 0; i < 5; ++i) expected.push_back(5 * step + i);
    CHECK(numbers(batch) == expected);
  }
}

TEST_CASE("a stream draws no further ahead than its memory", "[pretrain]") {
  const Numbered source;
  pretrain::ClipStream stream(source, {.batch = 4, .threads = 2, .ahead = 3});
  stream.next();
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  CHECK(source.drawn == 4 + 4 + 3 * 4);  // used; the next batch; ahead
}

TEST_CASE("reused clips depend on seed and step alone", "[pretrain]") {
  const pretrain::ClipStreamOptions options{.seed = 3, .batch = 8, .threads = 2, .ahead = 2, .reuse = 4, .pool = 40};
  const Numbered source;
  std::vector<std::vector<std::uint64_t>> whole;
  std::map<std::uint64_t, int> uses;
  {
    pretrain::ClipStream stream(source, options);
    for (std::uint64_t step = 0; step < 400; ++step) {
      whole.push_back(numbers(stream.next()));
      for (const std::uint64_t clip : whole.back()) {
        // The pool of 40 moves on by 2 clips a step.
        CHECK(clip >= 2 * step);
        CHECK(clip < 40 + 2 * step);
        ++uses[clip];
      }
    }
  }
  // Clips that were in the pool from their first step to their last: 4 uses on average.
  double sum = 0;
  for (std::uint64_t clip = 100; clip < 700; ++clip) sum += uses[clip];
  CHECK(std::abs(sum / 600 - 4) < 0.3);
  for (const std::uint64_t first : {std::uint64_t{1}, std::uint64_t{57}, std::uint64_t{399}}) {
    pretrain::ClipStreamOptions later = options;
    later.first_step = first;
    later.threads = 3;
    pretrain::ClipStream stream(source, later);
    for (std::uint64_t step = first; step < std::min<std::uint64_t>(first + 20, 400); ++step) {
      CHECK(numbers(stream.next()) == whole[step]);
    }
  }
  // The order of the draws is another for another seed.
  pretrain::ClipStreamOptions other = options;
  other.seed = 4;
  pretrain::ClipStream stream(source, other);
  CHECK(numbers(stream.next()) != whole[0]);
}

TEST_CASE("what a drawing thread throws reaches who waits", "[pretrain]") {
  Numbered source;
  source.bad = 23;
  pretrain::ClipStream stream(source, {.batch = 5, .threads = 3, .ahead = 1});
  const auto use_all = [&] {
    for (int k = 0; k < 10; ++k) stream.next();
  };
  CHECK(support::message_of<std::runtime_error>(use_all) == "clip 23 is bad");
  CHECK(support::message_of<std::runtime_error>(use_all) == "clip 23 is bad");
}

TEST_CASE("streams refuse options out of range", "[pretrain]") {
  const Numbered source;
  const auto message = [&](const pretrain::ClipStreamOptions& options) {
    return support::message_of<segue::InputError>([&] { pretrain::ClipStream stream(source, options); });
  };
  CHECK(message({.batch = 0}) == "ClipStream: batch is 0, expected 1 to 65536");
  CHECK(message({.reuse = 0.5}) == "ClipStream: reuse is 0.500000, expected 1 to 1000");
  CHECK(message({.batch = 8, .reuse = 2, .pool = 4}) ==
        "ClipStream: pool is 4, expected the batch or more, at most 2^24");
}
