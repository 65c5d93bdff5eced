// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include "segue/ops/cpu/flow.hpp"

namespace {
using Device = segue::Cpu;
}

#include "ops/flow_test.inl"

TEST_CASE("a noised batch does not depend on threads") {
  std::vector<std::vector<float>> results;
  for (const int threads : {1, 2, 7}) {
    Exec<Cpu> exec({.threads = threads});
    const Shape<5> shape{3, 5, 3, 33, 31};
    const auto clips = support::operand<float>(exec, shape, support::random_values<float>(element_count(shape), 1));
    const auto state = support::poisoned<float>(exec, shape), target = support::poisoned<float>(exec, shape);
    const auto times = support::poisoned<float>(exec, Shape<1>{3});
    ops::noise_batch(exec, clips.cview(), support::tensor_of(exec, draws_of(3)).cview(), state.view(), target.view(),
                     times.view(), {});
    results.push_back(memory(exec, state));
    CHECK(same_bits(results.front(), results.back()));
  }
}
