// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include "segue/core/graph.cuh"
#include "segue/core/launch.cuh"
#include "segue/core/random.hpp"
#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/operands.hpp"

namespace {

using namespace segue;

__global__ void add_one(float* x, int n) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < n) x[i] += 1.0f;
}

__global__ void set_to_one(float* x, int n) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < n) x[i] = 1.0f;
}

__global__ void draw(RandomKey key, std::uint32_t* words, float* normals, int blocks) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i >= blocks) return;
  const auto w = key.resolved().block(static_cast<std::uint64_t>(i));
  const auto z = normals_from_block(w);
  for (int k = 0; k < 4; ++k) {
    words[4 * i + k] = w[static_cast<std::size_t>(k)];
    normals[4 * i + k] = z[static_cast<std::size_t>(k)];
  }
}

template <class To>
__global__ void round_to(const float* x, To* y, float* back, int n) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i >= n) return;
  y[i] = cast<To>(x[i]);
  back[i] = cast<float>(y[i]);
}

__global__ void beyond(float* x) { x[0] = 1.0f; }

}  // namespace

TEST_CASE("random words and normals have the same bits on the device and on the host") {
  Exec<Cuda> exec;
  constexpr int blocks = 100000;
  auto words = exec.empty<std::uint32_t, 1>({4 * blocks});
  auto normals = exec.empty<float, 1>({4 * blocks});
  auto step = support::tensor_of<std::uint32_t>(exec, {77});
  const RandomKey key{.seed = 0x123456789ABCDEFull, .site = 5, .step = 0, .device_step = step.data_handle()};
  launch(exec, "draw", draw, dim3((blocks + 127) / 128), dim3(128), 0, key, words.data_handle(), normals.data_handle(),
         blocks);
  const auto w = to_host(exec, words.view());
  const auto z = to_host(exec, normals.view());
  const RandomKey host{.seed = key.seed, .site = 5, .step = 77};
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < w.size(); ++i) {
    const auto block = host.block(i / 4);
    if (w[i] != block[i % 4]) ++wrong;
    const float expected = normals_from_block(block)[i % 4];
    if (std::memcmp(&z[i], &expected, sizeof(float)) != 0) ++wrong;
  }
  CHECK(wrong == 0);
}

TEMPLATE_TEST_CASE("kernels round to narrow types as the host does", "", bfloat16, float16) {
  Exec<Cuda> exec;
  // Every upper half of a float, with lower halves below, at and above the middle.
  std::vector<float> values;
  for (std::uint32_t high = 0; high < 0x10000u; ++high)
    for (const std::uint32_t low : {0u, 0x1000u, 0x7FFFu, 0x8000u, 0x8001u, 0xFFFFu})
      values.push_back(detail::bit_cast<float>((high << 16) | low));
  const auto n = static_cast<int>(values.size());
  const auto x = support::tensor_of(exec, values);
  auto y = exec.empty<TestType, 1>({n});
  auto back = exec.empty<float, 1>({n});
  launch(exec, "round_to", round_to<TestType>, dim3(static_cast<unsigned>((n + 255) / 256)), dim3(256), 0,
         x.data_handle(), y.data_handle(), back.data_handle(), n);
  const auto got = to_host(exec, y.view());
  const auto wide = to_host(exec, back.view());
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const TestType expected = cast<TestType>(values[i]);
    if (values[i] != values[i]) {
      if (wide[i] == wide[i]) ++wrong;
    } else if (got[i].bits != expected.bits || wide[i] != cast<float>(expected)) {
      ++wrong;
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("what is uploaded comes back, in more pieces than there are staging buffers") {
  Exec<Cuda> exec;
  std::vector<float> values(30u << 20);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 8191);
  auto x = exec.empty<float, 1>({static_cast<std::int64_t>(values.size())});
  exec.upload(values.data(), x.view());
  std::vector<float> before = values;
  values.assign(values.size(), -1.0f);  // the Exec holds its own copy by now
  CHECK(to_host(exec, x.view()) == before);
}

TEST_CASE("a graph repeats its work on memory of its own") {
  Exec<Cuda> exec;
  auto total = support::tensor_of(exec, std::vector<float>(1000, 0.0f));
  const auto before = exec.pool().statistics();
  std::uint64_t launched = exec.launches();
  const auto work = [&] {
    auto scratch = exec.empty<float, 1>({1000});
    launch(exec, "set_to_one", set_to_one, dim3(8), dim3(128), 0, scratch.data_handle(), 1000);
    launch(exec, "add_one", add_one, dim3(8), dim3(128), 0, total.data_handle(), 1000);
  };
  const Graph graph = Graph::capture(exec, work);
  CHECK(exec.launches() == launched + 2);
  CHECK(graph.nodes() == 2);
  CHECK(graph.memory().reserved_bytes >= 4000);
  CHECK(exec.pool().statistics().reserved_bytes == before.reserved_bytes);
  CHECK(to_host(exec, total.view()).front() == 0.0f);
  for (int i = 0; i < 5; ++i) graph.replay(exec);
  CHECK(to_host(exec, total.view()) == std::vector<float>(1000, 5.0f));

  const float one = 1;
  CHECK(support::message_of<Error>([&] {
          Graph::capture(exec, [&] { exec.upload(&one, total.view().slice(0, 0, 1)); });
        }) == "upload: host data was handed over while a graph is captured; copy it before");
  CHECK_FALSE(exec.capturing());
  work();
  CHECK(to_host(exec, total.view()).front() == 6.0f);
}

TEST_CASE("memory that ends is one sentence, and the Exec lives on") {
  Exec<Cuda> exec;
  auto held = exec.empty<float, 1>({1 << 20});
  const std::string message = support::message_of<OutOfMemory>([&] { exec.empty<float, 1>({std::int64_t{1} << 45}); });
  CHECK(message.find("no memory for") != std::string::npos);
  CHECK(message.find("bytes are held by live tensors") != std::string::npos);
  CHECK(message.find("bytes are free") != std::string::npos);
  launch(exec, "set_to_one", set_to_one, dim3(1), dim3(32), 0, held.data_handle(), 32);
  exec.synchronize();
}

TEST_CASE("memory that cannot be asked for is not taken for memory that ended") {
  Pool pool(std::make_shared<CudaAllocator>(99));
  CHECK(support::contains(support::message_of<CudaError>([&] { pool.allocate(1024); }),
                          "pool: choosing the device: invalid device ordinal"));
  CHECK(pool.statistics().current_bytes == 0);
}

TEST_CASE("a launch that cannot be names its operator") {
  Exec<Cuda> exec;
  const std::string message = support::message_of<CudaError>(
      [&] { launch(exec, "my_operator", beyond, dim3(1), dim3(4096), 0, static_cast<float*>(nullptr)); });
  CHECK(message.find("my_operator: ") == 0);
}

TEST_CASE("an Exec works on the caller's stream and from the caller's memory") {
  struct Counting final : Allocator {
    explicit Counting(int device) : base(device) {}
    void* allocate(std::size_t bytes) noexcept override {
      ++count;
      return base.allocate(bytes);
    }
    void deallocate(void* p, std::size_t bytes) noexcept override { base.deallocate(p, bytes); }
    CudaAllocator base;
    int count = 0;
  };
  cudaStream_t stream = nullptr;
  REQUIRE(cudaStreamCreate(&stream) == cudaSuccess);
  {
    const auto allocator = std::make_shared<Counting>(0);
    Exec<Cuda> exec({.allocator = allocator, .stream = stream, .device = 0});
    CHECK(exec.stream() == stream);
    for (int i = 0; i < 3; ++i) exec.empty<float, 1>({100});
    CHECK(allocator->count == 1);
  }
  CHECK(cudaStreamDestroy(stream) == cudaSuccess);
  CHECK(support::message_of<CudaError>([] { Exec<Cuda>({.device = 99}); }).find("device 99 was asked for") !=
        std::string::npos);
}

TEST_CASE("CUDA's default stream works too, but cannot be recorded") {
  Exec<Cuda> exec({.stream = cudaStream_t{}});
  CHECK(exec.stream() == nullptr);
  const auto x = support::tensor_of(exec, std::vector<float>(64, 1.0f));
  launch(exec, "add_one", add_one, dim3(1), dim3(64), 0, x.data_handle(), 64);
  CHECK(to_host(exec, x.view()) == std::vector<float>(64, 2.0f));
  exec.aside([&] { launch(exec, "add_one", add_one, dim3(1), dim3(64), 0, x.data_handle(), 64); },
             std::array{x.buffer()});
  CHECK(exec.stream() == nullptr);
  exec.settle(x.buffer());
  CHECK_FALSE(exec.holds(x.buffer()));
  CHECK(to_host(exec, x.view()) == std::vector<float>(64, 3.0f));
  CHECK(support::contains(support::message_of<Error>([&] { Graph::capture(exec, [] {}); }),
                          "Graph::capture: CUDA's default stream cannot be captured"));
}

TEST_CASE("rows that lie apart come to the host packed") {
  Exec<Cuda> exec;
  const support::Values values{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
  const auto x = support::operand<float>(exec, Shape<3>{2, 2, 3}, values, 5);
  const auto got = to_host(exec, x.view());
  CHECK(support::Values(got.begin(), got.end()) == values);
  const View<float, 2, CudaSpace> columns(x.data_handle(), {3, 2}, {1, 8});
  CHECK(support::message_of<InputError>([&] { to_host(exec, columns); }) ==
        "download: last-axis stride is 8, expected 1");
}

TEST_CASE("what is put aside runs after what came before, keeps its memory, and is waited for at a join") {
  Exec<Cuda> exec;
  constexpr int n = 1 << 22;
  const auto add = [&](const Tensor<float, 1, CudaSpace>& x) {
    launch(exec, "add_one", add_one, dim3(n / 256), dim3(256), 0, x.data_handle(), n);
  };
  const auto total = exec.empty<float, 1>({n});
  const auto work = [&] {
    detail::cuda_check(cudaMemsetAsync(total.data_handle(), 0, n * sizeof(float), exec.stream()), "test");
    const void* held = nullptr;
    {
      const auto x = exec.empty<float, 1>({n});
      held = x.data_handle();
      exec.aside(
          [&] {
            CHECK(exec.beside());
            for (int i = 0; i < 20; ++i) add(total);
            // Inside, it is one stream.
            exec.aside([&] { add(total); }, std::array{total.buffer()});
            CHECK(support::contains(support::message_of<Error>([&] { exec.join(); }), "cannot wait for itself"));
          },
          std::array{total.buffer()}, x);
      CHECK_FALSE(exec.beside());
      CHECK(exec.holds(x.buffer()));
    }
    CHECK(exec.empty<float, 1>({n}).data_handle() != held);
    exec.join();
    CHECK_FALSE(exec.holds(total.buffer()));
    add(total);
  };
  for (int i = 0; i < 10; ++i) {
    work();
    const auto got = to_host(exec, total.view());
    CHECK(std::count(got.begin(), got.end(), 22.0f) == n);
  }
  const Graph graph = Graph::capture(exec, work);
  for (int i = 0; i < 10; ++i) graph.replay(exec);
  const auto got = to_host(exec, total.view());
  CHECK(std::count(got.begin(), got.end(), 22.0f) == n);
  // A capture that breaks off while something is aside leaves an Exec that works.
  CHECK(support::message_of<Error>([&] {
          Graph::capture(exec, [&] {
            exec.aside([&] { add(total); }, std::array{total.buffer()});
            throw Error("stop");
          });
        }) == "stop");
  work();
  CHECK(to_host(exec, total.view()).front() == 22.0f);
}
