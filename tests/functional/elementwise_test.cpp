// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#include "segue/functional/elementwise.hpp"

#include "functional/operators.hpp"
#include "segue/functional/embedding.hpp"

using namespace functional_test;

namespace {

const char* const file = "ops_elementwise.safetensors";

template <class Precision, class F>
void unary_as_recorded(const std::string& name, F&& f) {
  Recorded<Precision> r(file, "elementwise_" + name);
  const auto x = r.template activation<3>("x");
  const auto y = f(r, x.var());
  r.expect(y.value(), "y");
  r.ctx.backward(y, r.template tensor<3>("dy"));
  r.expect_gradient(x, "dx");
}

template <class Precision, class F>
void binary_as_recorded(const std::string& name, F&& f) {
  Recorded<Precision> r(file, "elementwise_" + name);
  const auto x = r.template activation<3>("x");
  const auto z = r.template activation<3>("z");
  const auto y = f(r.ctx, x.var(), z.var());
  r.expect(y.value(), "y");
  r.ctx.backward(y, r.template tensor<3>("dy"));
  r.expect_gradient(x, "dx");
  r.expect_gradient(z, "dz");
}

template <class Precision>
void all_as_recorded() {
  unary_as_recorded<Precision>("silu", [](auto& r, const auto& x) { return functional::silu(r.ctx, x); });
  unary_as_recorded<Precision>(
      "gelu_tanh", [](auto& r, const auto& x) { return functional::activation(r.ctx, ops::Activation::gelu_tanh, x); });
  unary_as_recorded<Precision>(
      "gelu_exact", [](auto& r, const auto& x) { return functional::activation(r.ctx, ops::Activation::gelu, x); });
  unary_as_recorded<Precision>("scale", [](auto& r, const auto& x) {
    return functional::scale(r.ctx, x, r.template parameter<double>("factor"));
  });
  binary_as_recorded<Precision>("add",
                                [](auto& ctx, const auto& x, const auto& z) { return functional::add(ctx, x, z); });
  binary_as_recorded<Precision>(
      "mul", [](auto& ctx, const auto& x, const auto& z) { return functional::multiply(ctx, x, z); });
}

}  // namespace

TEST_CASE("pointwise operators agree with PyTorch, far from zero too") { all_as_recorded<Fp32>(); }

TEST_CASE("pointwise operators of narrow types stay close to PyTorch") {
  all_as_recorded<Bf16>();
  all_as_recorded<Fp16>();
}

TEST_CASE("gradients of pointwise operators agree with central differences") {
  const auto check = [](const Shape<2>& shape) {
    Bench<Fp64> bench;
    auto x = bench.activation<2>(shape, 1.5);
    auto z = bench.activation<2>(shape);
    for (const auto kind :
         {ops::Activation::gelu_tanh, ops::Activation::gelu, ops::Activation::silu, ops::Activation::none})
      check_operator(
          "activation " + std::to_string(static_cast<int>(kind)), bench,
          [&](auto& ctx, const auto& v) { return functional::activation(ctx, kind, v); }, x);
    check_operator(
        "add", bench, [](auto& ctx, const auto& a, const auto& b) { return functional::add(ctx, a, b); }, x, z);
    check_operator(
        "scale", bench, [](auto& ctx, const auto& a) { return functional::scale(ctx, a, -1.5); }, x);
    check_operator(
        "multiply", bench, [](auto& ctx, const auto& a, const auto& b) { return functional::multiply(ctx, a, b); }, x,
        z);
    check_operator(
        "square", bench, [](auto& ctx, const auto& a) { return functional::multiply(ctx, a, a); }, x);
    check_operator(
        "dropout", bench, [](auto& ctx, const auto& a) { return functional::dropout(ctx, a, 0.3); }, x);
    check_operator(
        "chain of recipes", bench,
        [](auto& ctx, const auto& a) { return functional::silu(ctx, functional::silu(ctx, functional::silu(ctx, a))); },
        x);
  };
  check({3, 7});
  check({1, 1});
  check({0, 4});
}

TEST_CASE("dropout zeroes the share it is asked for and scales the rest") {
  Bench<Fp32> bench;
  auto ones = bench.exec.empty<float, 2>({100, 100});
  ops::fill(bench.exec, 1.0, ones.view());
  const Activated<float, 2> x(ones);
  const auto y = functional::dropout(bench.ctx, x.var(), 0.25);
  int dropped = 0;
  for (std::int64_t i = 0; i < ones.size(); ++i) {
    const float v = y.value().data_handle()[i];
    CHECK((v == 0.0f || v == 1.0f / 0.75f));
    dropped += v == 0.0f ? 1 : 0;
  }
  CHECK(dropped > 2300);
  CHECK(dropped < 2700);
  // The backward drops what the forward dropped.
  bench.ctx.backward(y);
  CHECK(same_bits(x.slot().grad(), y.value()));
  CHECK(functional::dropout(bench.ctx, ones, 0.0).data_handle() == ones.data_handle());
  CHECK_FALSE(same_bits(functional::dropout(bench.ctx, ones, 0.25), y.value()));
}

TEST_CASE("a cast rounds once on the way there and hands the gradient back") {
  Bench<Fp32> bench;
  const auto x = bench.activation<2>({5, 9});
  const auto y = functional::cast<bfloat16>(bench.ctx, x.var());
  static_assert(std::is_same_v<std::remove_cvref_t<decltype(y)>, Var<bfloat16, 2, HostSpace>>);
  for (std::int64_t i = 0; i < 45; ++i)
    CHECK(y.value().data_handle()[i].bits == bfloat16(x.value().data_handle()[i]).bits);
  const auto seed = bench.random<2, bfloat16>({5, 9});
  bench.ctx.backward(y, seed);
  for (std::int64_t i = 0; i < 45; ++i)
    CHECK(x.slot().grad().data_handle()[i] == static_cast<float>(seed.data_handle()[i]));
  CHECK(functional::cast<float>(bench.ctx, x.value()).data_handle() == x.value().data_handle());
  static_assert(is_tensor<std::remove_cvref_t<decltype(functional::cast<float16>(bench.ctx, x.value()))>>);

  const auto gradient = [&](Recompute level) {
    x.slot().reset();
    bench.ctx.set_recompute(level);
    const auto narrow = functional::cast<bfloat16>(bench.ctx, x.var());
    bench.ctx.backward(functional::multiply(bench.ctx, narrow, narrow), seed);
    return x.slot().grad();
  };
  CHECK(same_bits(gradient(Recompute::none), gradient(Recompute::cheap)));
}

TEST_CASE("the activation of a value that is kept anyway costs no memory in the backward") {
  Bench<Fp32> bench;
  const auto x = bench.activation<2>({64, 256});
  const auto other = bench.random<2>({64, 256});
  const std::size_t one = 64 * 256 * sizeof(float);
  for (const Recompute level : {Recompute::none, Recompute::cheap}) {
    bench.ctx.set_recompute(level);
    const std::size_t before = bench.exec.pool().statistics().current_bytes;
    {
      const auto y = functional::multiply(bench.ctx, functional::silu(bench.ctx, x.var()), other);
      CHECK(bench.exec.pool().statistics().current_bytes - before == (level == Recompute::none ? 2 * one : one));
      bench.ctx.backward(y);
    }
    x.slot().reset();
    CHECK(bench.exec.pool().statistics().current_bytes == before);
  }
}

TEST_CASE("sinusoids of timesteps agree with diffusers") {
  for (const char* name : {"timestep_embedding_256", "timestep_embedding_20"}) {
    Recorded<Fp32> r(file, name);
    const auto t = r.tensor<1>("t");
    const auto dim = r.parameter<std::int64_t>("dim");
    const auto y = functional::sinusoidal_embedding<float>(r.ctx, t, dim);
    static_assert(is_tensor<std::remove_cvref_t<decltype(y)>>);
    // One unit in the last place of a frequency, times t = 1000; PyTorch's exponential may be off by one.
    r.atol = 6.5e-5;
    r.expect(y, "y");
    r.expect(y, "y_exact");
    const auto narrow = functional::sinusoidal_embedding<bfloat16>(r.ctx, t, dim);
    for (std::int64_t i = 0; i < y.size(); ++i)
      CHECK(narrow.data_handle()[i].bits == bfloat16(y.data_handle()[i]).bits);
  }
}

TEST_CASE("pointwise operators name what does not fit") {
  Bench<Fp32> bench;
  const auto x = bench.random<2>({3, 4});
  CHECK(message_of<InputError>([&] {
          (void)functional::add(bench.ctx, x, bench.random<2>({3, 5}));
        }) == "add: shape of b is (3, 5), expected (3, 4)");
  CHECK(message_of<InputError>([&] {
          (void)functional::multiply(bench.ctx, x, bench.random<2>({4, 4}));
        }) == "multiply: shape of b is (4, 4), expected (3, 4)");
  CHECK(contains(message_of<InputError>([&] { (void)functional::dropout(bench.ctx, x, 1.0); }),
                 "expected a number in [0, 1)"));
}
