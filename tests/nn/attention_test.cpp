// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#include "segue/nn/attention.hpp"

#include <cmath>

#include "segue/adapters/maps.hpp"
#include "segue/cpu.hpp"
#include "support/catch.hpp"

using namespace segue;

namespace {
using P = Policy<Fp64, Cpu>;
}

TEST_CASE("attention to one key is the answer for all queries, and asks for no other gradients") {
  Exec<Cpu> exec({.threads = 1});
  Context<P> ctx(exec);
  nn::Attention<P, adapters::Trainable> attention(exec, 8, 2, 1e-6);
  std::uint32_t site = 0;
  const auto draw = [&](const auto& view) { ops::fill_normal(exec, view, RandomKey{3, site++, 0}, 0.0, 0.5); };
  nn::for_each_leaf(attention, [&](const auto& leaf) { draw(nn::tensor_of(leaf.tensor).view()); });
  const auto x = exec.empty<double, 3>({2, 5, 8});
  const auto one = exec.empty<double, 3>({2, 1, 8}), two = exec.empty<double, 3>({2, 2, 8});
  draw(x.view());
  draw(one.view());
  draw(two.view());

  CHECK(attention.is_same_for_all(one));
  CHECK_FALSE(attention.is_same_for_all(two));
  const auto asked = attention(ctx, x, one, RotaryTable<HostSpace>{});
  const auto told = attention.answer_for_all(ctx, one);
  REQUIRE(told.value().shape() == Shape<3>{2, 1, 8});
  for (int b = 0; b < 2; ++b)
    for (int t = 0; t < 5; ++t)
      for (int c = 0; c < 8; ++c) CHECK(std::abs(asked.value()(b, t, c) - told.value()(b, 0, c)) < 1e-12);

  ctx.tape().clear();
  const auto again = attention.answer_for_all(ctx, one);
  const auto dy = exec.empty<double, 3>({2, 1, 8});
  draw(dy.view());
  ctx.backward(again, dy);
  attention.visit([&](std::string_view name, auto& part) {
    if constexpr (requires { part.visit([](std::string_view, auto&) {}); })
      part.visit([&](std::string_view, auto& leaf) {
        if constexpr (requires { leaf.slot(); }) CHECK(leaf.slot().filled() == (name == "to_v" || name == "to_out.0"));
      });
  });
}
