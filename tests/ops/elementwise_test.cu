// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include "segue/ops/cpu/elementwise.hpp"
#include "segue/ops/cuda/elementwise.cuh"

namespace {
using Device = segue::Cuda;
}

#include "ops/elementwise_test.inl"

TEST_CASE("views may have more elements than 32 bits of index arithmetic reach", "[large]") {
  Exec<Cuda> exec;
  constexpr std::int64_t side = 32769, pitch = side + 1;  // odd rows that lie apart: one element is one item
  const auto x = exec.empty<std::uint8_t, 2>({side, pitch});
  ops::fill(exec, 0, x.view());
  const auto inner = x.slice(1, 0, side);
  ops::fill(exec, 7, inner.view());
  const auto row = [&](const auto& of, std::int64_t r) { return to_host(exec, of.slice(0, r, r + 1).view()); };
  std::vector<std::uint8_t> expected(pitch, 7);
  expected.back() = 0;
  constexpr std::int64_t some[] = {0, 16384, 32767, 32768};
  for (const std::int64_t r : some) CHECK(row(x, r) == expected);

  // The transpose of some rows of other values.
  for (const std::int64_t r : some) ops::fill(exec, static_cast<double>(r % 251), inner.slice(0, r, r + 1).view());
  const auto y = exec.empty<std::uint8_t, 2>({side, side});
  ops::copy(exec, View<std::uint8_t, 2, CudaSpace>(x.data_handle(), {side, side}, {1, pitch}), y.view());
  std::vector<std::uint8_t> turned(side, 7);
  for (const std::int64_t r : some) turned[static_cast<std::size_t>(r)] = static_cast<std::uint8_t>(r % 251);
  for (const std::int64_t r : some) CHECK(row(y, r) == turned);
}
