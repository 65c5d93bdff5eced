// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#include "segue/functional/linear.hpp"

#include "functional/operators.hpp"
#include "segue/nn/linear.hpp"

using namespace functional_test;

namespace {

ops::Activation activation_called(const std::string& name) {
  if (name == "gelu_tanh") return ops::Activation::gelu_tanh;
  if (name == "gelu_exact") return ops::Activation::gelu;
  if (name == "silu") return ops::Activation::silu;
  REQUIRE(name == "none");
  return ops::Activation::none;
}

template <class Precision>
void linear_as_recorded(const std::string& name) {
  Recorded<Precision> r("ops_linear.safetensors", name);
  using T = typename Precision::compute;
  const auto activation = activation_called(r.template parameter<std::string>("activation"));
  const auto x = r.template activation<3>("x");
  const auto weight = r.template weight<2, typename Precision::storage>("weight");
  const auto bias = r.template weight<1, typename Precision::accum>("bias");
  const auto y = functional::linear(r.ctx, x.var(), weight.var(), bias.var(), activation);
  static_assert(std::is_same_v<typename std::remove_cvref_t<decltype(y)>::value_type, T>);
  r.expect(y.value(), "y");
  r.ctx.backward(y, r.template tensor<3>("dy"));
  r.expect_gradient(x, "dx");
  r.expect_gradient(weight, "dweight");
  if (bias) r.expect_gradient(bias, "dbias");

  // The same with a frozen weight.
  x.slot().reset();
  const auto frozen = functional::linear(r.ctx, x.var(), weight.value(), bias.value(), activation);
  CHECK(same_bits(frozen.value(), y.value()));
  r.ctx.backward(frozen, r.template tensor<3>("dy"));
  r.expect_gradient(x, "dx");
}

}  // namespace

TEST_CASE("linear agrees with PyTorch") {
  const testing::Golden golden((support::golden_dir() / "ops_linear.safetensors").string());
  int cases = 0;
  for (const auto& tensor : golden.names()) {
    if (!tensor.starts_with("linear") || !tensor.ends_with(".dx")) continue;
    linear_as_recorded<Fp32>(tensor.substr(0, tensor.size() - 3));
    ++cases;
  }
  CHECK(cases == 11);
}

TEST_CASE("linear in narrow types stays close to PyTorch") {
  linear_as_recorded<Bf16>("linear_bias_gelu_tanh");
  linear_as_recorded<Fp16>("linear_bias_long_k_gelu_tanh");
  linear_as_recorded<Bf16Weights>("linear_bias_silu");
}

TEST_CASE("gradients of linear agree with central differences") {
  using ops::Activation;
  const auto check = [](const Shape<3>& shape, std::int64_t out, Activation activation) {
    Bench<Fp64> bench;
    auto x = bench.activation<3>(shape);
    auto weight = bench.weight<2>({out, shape[2]}, 0.5);
    auto bias = bench.weight<1>({out}, 0.5);
    check_operator(
        "with a bias", bench,
        [&](auto& ctx, const auto& xv, const auto& w, const auto& b) {
          return functional::linear(ctx, xv, w, b, activation);
        },
        x, weight, bias);
    check_operator(
        "without a bias", bench,
        [&](auto& ctx, const auto& xv, const auto& w) {
          return functional::linear(ctx, xv, w, Tensor<double, 1, HostSpace>(), activation);
        },
        x, weight);
  };
  check({2, 3, 5}, 7, Activation::none);
  check({2, 3, 5}, 7, Activation::gelu_tanh);
  check({1, 3, 5}, 1, Activation::gelu);
  check({3, 1, 1}, 4, Activation::silu);
  check({0, 3, 5}, 2, Activation::silu);
  check({1, 67, 9}, 3, Activation::none);
}

TEST_CASE("a linear over no rows has a weight gradient of zero") {
  Bench<Fp32> bench;
  const auto x = bench.activation<2>({0, 3});
  const auto weight = bench.weight<2>({4, 3});
  const auto bias = bench.weight<1>({4});
  const auto y = functional::linear(bench.ctx, x.var(), weight.var(), bias.var());
  bench.ctx.backward(y, bench.exec.empty<float, 2>({0, 4}));
  for (int n = 0; n < 4; ++n) {
    CHECK(bias.slot().grad()(n) == 0.0f);
    for (int k = 0; k < 3; ++k) CHECK(weight.slot().grad()(n, k) == 0.0f);
  }
}

TEST_CASE("a frozen linear does not keep its input") {
  Bench<Fp32> bench;
  const auto weight = bench.weight<2>({64, 1024}, 0.1);
  const auto input = bench.activation<2>({256, 1024});
  const auto bytes_kept = [&](const auto& w) {
    const std::size_t before = bench.exec.pool().statistics().current_bytes;
    std::size_t held = 0;
    {
      // The activation between two operators: only a consumer that keeps it makes it live on.
      const auto y = functional::linear(bench.ctx, functional::scale(bench.ctx, input.var(), 2.0), w,
                                        Tensor<float, 1, HostSpace>());
      held = bench.exec.pool().statistics().current_bytes - before;
      CHECK(y.requires_grad());
    }
    bench.ctx.tape().clear();
    return held;
  };
  const std::size_t activation_bytes = 256 * 1024 * sizeof(float), output_bytes = 256 * 64 * sizeof(float);
  CHECK(bytes_kept(weight.value()) == output_bytes);
  CHECK(bytes_kept(weight.var()) == activation_bytes + output_bytes);
  auto off = bench.weight<2>({64, 1024});
  off.set_trains(false);
  CHECK(bytes_kept(off.var()) == output_bytes);
}

TEST_CASE("linear names what does not fit") {
  Bench<Fp32> bench;
  const auto x = bench.random<2>({3, 5});
  const Tensor<float, 1, HostSpace> none;
  CHECK(message_of<InputError>([&] {
          (void)functional::linear(bench.ctx, x, bench.random<2>({4, 6}), none);
        }) == "linear: last extent of x is 5, expected 6");
  CHECK(contains(message_of<InputError>([&] {
                   (void)functional::linear(bench.ctx, x, bench.random<2>({4, 5}), bench.random<1>({3}));
                 }),
                 "bias"));
}

TEST_CASE("the linear modules call the operator") {
  Bench<Fp32> bench;
  using P = Policy<Fp32, Cpu>;
  const nn::Linear<P> frozen(bench.random<2>({4, 5}), bench.random<1>({4}));
  const auto x = bench.activation<2>({3, 5});
  const auto y = frozen(bench.ctx, x.value(), ops::Activation::silu);
  static_assert(is_tensor<std::remove_cvref_t<decltype(y)>>);
  CHECK(same_bits(y, functional::linear(bench.ctx, x.value(), frozen.weight(), frozen.bias(), ops::Activation::silu)));
  CHECK(frozen.in_features() == 5);
  CHECK(frozen.out_features() == 4);

  nn::TrainableLinear<P> trains(bench.exec, 5, 4);
  trains.visit([&](std::string_view, auto& leaf) { ops::fill(bench.exec, 0.5, leaf.value().view()); });
  bench.ctx.backward(trains(bench.ctx, x.var()), bench.random<2>({3, 4}));
  int filled = 0;
  trains.visit([&](std::string_view, auto& leaf) { filled += leaf.slot().filled() ? 1 : 0; });
  CHECK(filled == 2);
  CHECK(x.slot().filled());
}
