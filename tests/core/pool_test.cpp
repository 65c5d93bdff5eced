// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include <memory>
#include <thread>
#include <vector>

#include "segue/core/pool.hpp"
#include "support/catch.hpp"
#include "support/errors.hpp"

using namespace segue;

namespace {

/// Counts what it hands out, and has no more than `limit` bytes.
class CountingAllocator final : public Allocator {
 public:
  explicit CountingAllocator(std::size_t limit = ~std::size_t{0}) : limit_(limit) {}
  void* allocate(std::size_t bytes) noexcept override {
    if (held + bytes > limit_) return nullptr;
    held += bytes;
    ++calls;
    return heap_.allocate(bytes);
  }
  void deallocate(void* pointer, std::size_t bytes) noexcept override {
    held -= bytes;
    heap_.deallocate(pointer, bytes);
  }
  std::size_t held = 0;
  int calls = 0;

 private:
  HostAllocator heap_;
  std::size_t limit_;
};

}  // namespace

TEST_CASE("size classes waste at most an eighth") {
  CHECK(Pool::size_class(0) == 256);
  CHECK(Pool::size_class(1) == 256);
  CHECK(Pool::size_class(256) == 256);
  CHECK(Pool::size_class(257) == 512);
  CHECK(Pool::size_class(4096) == 4096);
  CHECK(Pool::size_class(4097) == 4608);
  std::size_t previous = 0, wrong = 0;
  for (std::size_t bytes = 1; bytes < (1u << 20); bytes += 37) {
    const std::size_t size = Pool::size_class(bytes);
    wrong += size < bytes || size % 256 != 0 || size < previous || Pool::size_class(size) != size;
    wrong += bytes >= 2048 && static_cast<double>(size - bytes) > static_cast<double>(bytes) / 8;
    previous = size;
  }
  CHECK(wrong == 0);
}

TEST_CASE("statistics follow what is held") {
  const auto allocator = std::make_shared<CountingAllocator>();
  Pool pool(allocator);
  Buffer a = pool.allocate(1000);
  CHECK(reinterpret_cast<std::uintptr_t>(a.data()) % 256 == 0);
  CHECK(a.bytes() == 1024);
  Buffer b = pool.allocate(4096);
  CHECK(pool.statistics().current_bytes == 5120);
  b = {};
  CHECK(pool.statistics().current_bytes == 1024);
  CHECK(pool.statistics().peak_bytes == 5120);
  CHECK(pool.statistics().reserved_bytes == 5120);
  CHECK(allocator->held == 5120);
  pool.reset_peak();
  CHECK(pool.statistics().peak_bytes == 1024);
  pool.trim();
  CHECK(pool.statistics().reserved_bytes == 1024);
  CHECK(allocator->held == 1024);
}

TEST_CASE("a freed block serves the next request of its class, and the system is not asked again") {
  Pool pool;
  const auto step = [&] {
    std::vector<Buffer> held;
    std::vector<void*> addresses;
    for (const std::size_t bytes : {100u, 5000u, 5000u, 70000u, 300u}) {
      held.push_back(pool.allocate(bytes));
      addresses.push_back(held.back().data());
    }
    held.erase(held.begin() + 1);
    held.push_back(pool.allocate(4999));
    addresses.push_back(held.back().data());
    CHECK(addresses[5] == addresses[1]);
    return addresses;
  };
  step();
  const auto warm = pool.statistics().system_allocations;
  CHECK(warm == 5);
  const auto second = step();
  CHECK(pool.statistics().system_allocations == warm);
  // Which block is returned depends on the order of calls alone.
  step();
  CHECK(step() == second);
}

TEST_CASE("a pool outlives its handle, and its blocks may be released on any thread") {
  const auto allocator = std::make_shared<CountingAllocator>();
  Buffer kept;
  {
    Pool pool(allocator);
    std::vector<Buffer> blocks;
    for (int i = 0; i < 64; ++i) blocks.push_back(pool.allocate(1 << 12));
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t)
      threads.emplace_back([&, t] {
        for (int i = t; i < 64; i += 4) {
          const Buffer shared = blocks[static_cast<std::size_t>(i)];
          blocks[static_cast<std::size_t>(i)] = {};
        }
      });
    for (std::thread& thread : threads) thread.join();
    CHECK(pool.statistics().current_bytes == 0);
    CHECK(pool.statistics().reserved_bytes == 64u << 12);
    kept = pool.allocate(1 << 12);
    CHECK(pool.statistics().system_allocations == 64);
  }
  CHECK(allocator->held == 64u << 12);
  static_cast<char*>(kept.data())[4095] = 1;
  kept = {};
  CHECK(allocator->held == 0);
}

TEST_CASE("planning counts like the real thing and takes no memory") {
  const auto allocator = std::make_shared<CountingAllocator>();
  Pool pool(allocator);
  pool.set_planning(true);
  {
    const Buffer a = pool.allocate(std::size_t{1} << 40);
    const Buffer b = pool.allocate(1000);
    CHECK(a.data() != nullptr);
    CHECK(a.data() != b.data());
    CHECK(pool.statistics().current_bytes == (std::size_t{1} << 40) + 1024);
  }
  CHECK(pool.statistics().current_bytes == 0);
  CHECK(pool.statistics().peak_bytes == (std::size_t{1} << 40) + 1024);
  CHECK(pool.statistics().reserved_bytes == (std::size_t{1} << 40) + 1024);
  {
    // Blocks that were freed serve requests of their own class only, as in the real thing.
    const Buffer again = pool.allocate(1000), larger = pool.allocate(2000);
  }
  CHECK(pool.statistics().reserved_bytes == (std::size_t{1} << 40) + 1024 + 2048);
  // What is given back in between is not needed at the same time.
  pool.trim();
  { const Buffer smaller = pool.allocate(std::size_t{1} << 39); }
  CHECK(pool.statistics().reserved_bytes == (std::size_t{1} << 40) + 1024 + 2048);
  CHECK(allocator->calls == 0);
  pool.set_planning(false);
  CHECK(pool.statistics().reserved_bytes == 0);
  const Buffer real = pool.allocate(1000);
  CHECK(allocator->calls == 1);
  static_cast<char*>(real.data())[999] = 1;
}

TEST_CASE("when memory runs out, cached blocks go first, then the error says what is held") {
  const auto allocator = std::make_shared<CountingAllocator>(10240);
  Pool pool(allocator);
  Buffer held = pool.allocate(2048);
  { const Buffer cached = pool.allocate(8192); }
  CHECK(allocator->held == 10240);
  const Buffer other = pool.allocate(7168);
  CHECK(other.bytes() == 7168);
  CHECK(allocator->held == 9216);
  const std::string message = support::message_of<OutOfMemory>([&] { (void)pool.allocate(4096); });
  CHECK(message == "pool: no memory for 4096 bytes; 9216 bytes are held by live tensors");
  CHECK(pool.statistics().current_bytes == 9216);
  held = {};
  CHECK(pool.allocate(2048).bytes() == 2048);
}

TEST_CASE("freed blocks beyond the limit return to the allocator, planned or not") {
  const auto allocator = std::make_shared<CountingAllocator>();
  Pool pool(allocator);
  { const Buffer a = pool.allocate(4096), b = pool.allocate(8192); }
  CHECK(allocator->held == 4096 + 8192);
  pool.set_cache_limit(0);
  CHECK(allocator->held == 0);
  CHECK(pool.statistics().reserved_bytes == 0);

  pool.set_cache_limit(10'000);
  const auto use = [&] {
    { const Buffer small = pool.allocate(4096); }
    // Kept beside the small one neither would be within the limit, and a bigger one never is.
    { const Buffer other = pool.allocate(8192); }
    { const Buffer big = pool.allocate(16384); }
    const Buffer again = pool.allocate(4096);
    return pool.statistics().reserved_bytes;
  };
  CHECK(use() == 4096);
  CHECK(allocator->held == 4096);
  CHECK(allocator->calls == 5);
  CHECK(pool.statistics().current_bytes == 0);
  pool.trim();
  CHECK(allocator->held == 0);

  pool.set_planning(true);
  CHECK(use() == 4096 + 16384);  // what a plan answers is the most that was taken
  CHECK(allocator->calls == 5);
  pool.set_planning(false);

  pool.set_recording();
  { const Buffer big = pool.allocate(16384); }
  CHECK(allocator->held == 16384);
}

TEST_CASE("memory that work was recorded on stays") {
  const auto allocator = std::make_shared<CountingAllocator>(10240);
  Pool pool(allocator);
  pool.set_recording();
  { const Buffer used = pool.allocate(8192); }
  CHECK(support::message_of<OutOfMemory>([&] { (void)pool.allocate(4096); }) ==
        "pool: no memory for 4096 bytes; 0 bytes are held by live tensors");
  pool.trim();
  CHECK(allocator->held == 8192);
  CHECK(pool.allocate(8192).bytes() == 8192);
  CHECK(pool.statistics().reserved_bytes == 8192);
}

TEST_CASE("a buffer counts its holders") {
  Pool pool;
  Buffer a = pool.allocate(8);
  CHECK(a.unique());
  Buffer b = a;
  CHECK_FALSE(a.unique());
  Buffer c = std::move(b);
  CHECK_FALSE(static_cast<bool>(b));
  a = c;
  const Buffer& same = a;
  a = same;
  c = {};
  CHECK(a.unique());
  CHECK_FALSE(Buffer().unique());
}
