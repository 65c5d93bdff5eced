// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#include "segue/functional/attention.hpp"

#include "functional/operators.hpp"

using namespace functional_test;

namespace {

template <class Precision>
void attention_as_recorded(const std::string& name) {
  Recorded<Precision> r("ops_attention.safetensors", name);
  const auto q_shape = r.shape("q"), k_shape = r.shape("k");
  const int heads = static_cast<int>(q_shape[2]);
  const Shape<3> q3{q_shape[0], q_shape[1], q_shape[2] * q_shape[3]}, k3{k_shape[0], k_shape[1], q3[2]};
  const auto q = r.template activation<3>("q", q3);
  const auto k = r.template activation<3>("k", k3);
  const auto v = r.template activation<3>("v", k3);
  Tensor<std::uint8_t, 2, HostSpace> mask;
  if (r.has("mask")) mask = r.template tensor<2, std::uint8_t>("mask");
  const auto y = functional::attention(r.ctx, q.var(), k.var(), v.var(), heads, mask);
  r.atol = 2e-5;
  if (name.ends_with("large_scores")) r.atol = 2e-4;
  r.expect(y.value(), "y");
  r.ctx.backward(y, r.template tensor<3>("dy", q3));
  r.expect_gradient(q, "dq");
  r.expect_gradient(k, "dk");
  r.expect_gradient(v, "dv");
}

}  // namespace

TEST_CASE("attention agrees with PyTorch") {
  const testing::Golden golden((support::golden_dir() / "ops_attention.safetensors").string());
  int cases = 0;
  for (const auto& tensor : golden.names())
    if (tensor.ends_with(".dq")) {
      attention_as_recorded<Fp32>(tensor.substr(0, tensor.size() - 3));
      ++cases;
    }
  CHECK(cases == 9);
}

TEST_CASE("attention of narrow types stays close to PyTorch") {
  attention_as_recorded<Bf16>("attention_cross_masked");
  attention_as_recorded<Fp16>("attention_self_d64");
}

TEST_CASE("gradients of attention agree with central differences") {
  const auto check = [](std::int64_t batch, std::int64_t tq, std::int64_t tk, int heads, std::int64_t head_dim) {
    Bench<Fp64> bench;
    auto q = bench.activation<3>({batch, tq, heads * head_dim});
    auto k = bench.activation<3>({batch, tk, heads * head_dim});
    auto v = bench.activation<3>({batch, tk, heads * head_dim});
    auto mask = bench.exec.empty<std::uint8_t, 2>({batch, tk});
    for (std::int64_t i = 0; i < mask.size(); ++i) mask.data_handle()[i] = i % 3 == 1 ? 0 : 1;
    check_operator(
        "all keys", bench,
        [&](auto& ctx, const auto& a, const auto& b, const auto& c) {
          return functional::attention(ctx, a, b, c, heads);
        },
        q, k, v);
    check_operator(
        "masked", bench,
        [&](auto& ctx, const auto& a, const auto& b, const auto& c) {
          return functional::attention(ctx, a, b, c, heads, mask);
        },
        q, k, v);
  };
  check(2, 3, 5, 2, 4);
  check(1, 1, 1, 1, 1);
  check(2, 3, 1, 1, 3);
  check(1, 4, 67, 1, 2);
  check(0, 2, 2, 1, 2);
}

TEST_CASE("one value may be query, key and value at once") {
  Bench<Fp64> bench;
  auto x = bench.activation<3>({2, 4, 6});
  check_operator(
      "self", bench, [](auto& ctx, const auto& a) { return functional::attention(ctx, a, a, a, 3); }, x);
}

TEST_CASE("a sample without any key to attend to is zero and passes no gradient on") {
  Bench<Fp32> bench;
  const auto q = bench.activation<3>({2, 3, 4});
  const auto k = bench.activation<3>({2, 5, 4});
  const auto v = bench.activation<3>({2, 5, 4});
  auto mask = bench.exec.empty<std::uint8_t, 2>({2, 5});
  ops::fill(bench.exec, 1.0, mask.view());
  ops::fill(bench.exec, 0.0, mask.slice(0, 1, 2).view());
  const auto y = functional::attention(bench.ctx, q.var(), k.var(), v.var(), 2, mask);
  bench.ctx.backward(y, bench.random<3>({2, 3, 4}));
  const auto zero = [](const Tensor<float, 3, HostSpace>& t) {
    const auto second = t.slice(0, 1, 2);
    bool all = true;
    for (std::int64_t i = 0; i < second.size(); ++i) all = all && second.data_handle()[i] == 0.0f;
    return all;
  };
  CHECK(zero(y.value()));
  CHECK(zero(q.slot().grad()));
  CHECK(zero(k.slot().grad()));
  CHECK(zero(v.slot().grad()));
  CHECK_FALSE(y.value()(0, 0, 0) == 0.0f);
}

TEST_CASE("attention never holds the scores") {
  Bench<Fp32> bench;
  const auto q = bench.activation<3>({1, 1024, 8});
  const std::size_t before = bench.exec.pool().statistics().current_bytes;
  bench.exec.pool().reset_peak();
  const auto y = functional::attention(bench.ctx, q.var(), q.value(), q.value(), 1);
  bench.ctx.backward(y);
  CHECK(bench.exec.pool().statistics().peak_bytes - before < 1024 * 1024 * sizeof(float) / 2);
}

TEST_CASE("attention names what does not fit") {
  Bench<Fp32> bench;
  const auto q = bench.random<3>({2, 3, 6});
  CHECK(message_of<InputError>([&] { (void)functional::attention(bench.ctx, q, q, q, 4); }) ==
        "attention: heads is 4, expected a divisor of 6");
  CHECK(message_of<InputError>([&] {
          (void)functional::attention(bench.ctx, q, bench.random<3>({1, 5, 6}), q, 2);
        }) != "(nothing was thrown)");
  CHECK(message_of<InputError>([&] {
          (void)functional::attention(bench.ctx, q, bench.random<3>({2, 3, 8}), q, 2);
        }) != "(nothing was thrown)");
}
