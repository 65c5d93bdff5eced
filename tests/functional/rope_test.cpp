// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#include "segue/functional/rope.hpp"

#include "functional/operators.hpp"
#include "segue/functional/norm.hpp"

using namespace functional_test;

namespace {

template <class Precision>
void rope_as_recorded(const std::string& name) {
  Recorded<Precision> r("ops_norm.safetensors", name);
  const auto x = r.template activation<3>("x");
  const auto weight = r.template weight<1, float>("weight");
  const auto heads = r.template parameter<int>("heads"), head_dim = r.template parameter<int>("head_dim");
  const auto grid = r.template parameter<std::vector<std::int64_t>>("grid");
  const auto rope =
      make_rotary_table(r.exec, {grid[0], grid[1], grid[2]}, head_dim, r.template parameter<double>("theta"));
  for (const auto& [got, part] : {std::pair(rope.cos, "cos"), std::pair(rope.sin, "sin")}) {
    INFO(part);
    CHECK(testing::allclose(got, r.template tensor<2, float>(part), 1e-6, 0).ok);
  }
  const double eps = r.template parameter<double>("eps");
  const auto y = functional::rms_norm_rope(r.ctx, x.var(), weight.var(), rope, heads, eps);
  r.expect(y.value(), "y");
  r.ctx.backward(y, r.template tensor<3>("dy"));
  r.expect_gradient(x, "dx");
  r.expect_gradient(weight, "dweight");
  r.expect(functional::rms_norm_rope(r.ctx, x.value(), weight.value(), {}, heads, eps), "normed");
}

const char* const cases[] = {"rms_norm_rope_d12", "rms_norm_rope_d16", "rms_norm_rope_d64", "rms_norm_rope_d128"};

}  // namespace

TEST_CASE("normalisation and rotation of queries agree with diffusers, and so do the tables") {
  for (const char* name : cases) rope_as_recorded<Fp32>(name);
}

TEST_CASE("queries of narrow types stay close to diffusers") {
  rope_as_recorded<Bf16>("rms_norm_rope_d128");
  rope_as_recorded<Fp16>("rms_norm_rope_d12");
}

TEST_CASE("gradients of normalisation and rotation agree with central differences") {
  const auto check = [](std::int64_t batch, const ops::RopeGrid& grid, int heads, int head_dim) {
    Bench<Fp64> bench;
    auto x = bench.activation<3>({batch, grid.tokens(), heads * head_dim}, 1.5);
    auto weight = bench.weight<1>({heads * head_dim}, 0.4, 1.0);
    const auto rope = make_rotary_table(bench.exec, grid, head_dim);
    check_operator(
        "rotated", bench,
        [&](auto& ctx, const auto& v, const auto& w) {
          return functional::rms_norm_rope(ctx, v, w, rope, heads, 1e-5);
        },
        x, weight);
    check_operator(
        "without a table", bench,
        [&](auto& ctx, const auto& v, const auto& w) { return functional::rms_norm_rope(ctx, v, w, {}, heads, 1e-5); },
        x, weight);
    check_operator(
        "without a weight", bench,
        [&](auto& ctx, const auto& v) {
          return functional::rms_norm_rope(ctx, v, Tensor<double, 1, HostSpace>(), rope, heads, 1e-5);
        },
        x);
  };
  check(2, {2, 1, 3}, 2, 6);
  check(1, {1, 1, 1}, 1, 2);
  check(0, {1, 2, 1}, 1, 4);
  check(3, {5, 5, 1}, 1, 4);
}

TEST_CASE("without a table it is rms_norm") {
  Bench<Fp32> bench;
  const auto x = bench.random<3>({2, 3, 8});
  const auto weight = bench.random<1>({8});
  CHECK(same_bits(functional::rms_norm_rope(bench.ctx, x, weight, {}, 2, 1e-6),
                  functional::rms_norm(bench.ctx, x, weight, 1e-6)));
}

TEST_CASE("a table that does not fit is named") {
  Bench<Fp32> bench;
  const auto x = bench.random<3>({2, 5, 8});
  const Tensor<float, 1, HostSpace> none;
  const auto rope = make_rotary_table(bench.exec, {1, 2, 2}, 4);
  CHECK(contains(message_of<InputError>([&] { (void)functional::rms_norm_rope(bench.ctx, x, none, rope, 2, 1e-6); }),
                 "rows of x is 10, expected a multiple of the table's 4"));
  CHECK(contains(message_of<InputError>([&] { (void)functional::rms_norm_rope(bench.ctx, x, none, rope, 3, 1e-6); }),
                 "heads is 3"));
}
