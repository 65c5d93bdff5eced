// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include "segue/ops/cpu/embedding.hpp"
#include "segue/ops/cuda/embedding.cuh"

namespace {
using Device = segue::Cuda;
}

#include "ops/embedding_test.inl"

TEMPLATE_TEST_CASE("sinusoidal embeddings have the CPU's numbers", "", float, double, bfloat16) {
  Exec<Cuda> exec;
  Exec<Cpu> host;
  Values t;
  for (int i = 0; i <= 1000; ++i) t.push_back(0.999 * i);
  const Shape<1> batch{static_cast<std::int64_t>(t.size())};
  const Shape<2> shape{batch[0], 256};
  const auto out = support::poisoned<TestType>(exec, shape);
  const auto expected = support::poisoned<TestType>(host, shape);
  ops::sinusoidal_embedding(exec, support::operand<float>(exec, batch, t), out.view());
  ops::sinusoidal_embedding(host, support::operand<float>(host, batch, t), expected.view());
  // Two units in the last place: of an exponential in double, of the result.
  CHECK(support::worst_difference(support::values_of(out), support::values_of(expected)) <
        (std::is_same_v<TestType, bfloat16> ? 2 * support::rounding<bfloat16> : 2 * support::rounding<float>));
}
