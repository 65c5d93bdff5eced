// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

// A frozen weight that the library does not know: int8 codes with one scale for each block of a row. It is declared
// before the operators are called, and every frozen linear and LoRA layer takes it.
#include "functional/operators.hpp"
#include "segue/adapters/lora.hpp"
#include "segue/functional/lora_linear.hpp"
#include "segue/nn/linear.hpp"

namespace {

struct Int8Weight {
  static constexpr std::int64_t block = 16;
  segue::Tensor<std::int8_t, 2, segue::HostSpace> codes;
  segue::Tensor<float, 2, segue::HostSpace> scales;

  /// The dense weight, made where it is needed and gone afterwards.
  template <class T>
  segue::Tensor<T, 2, segue::HostSpace> dense(segue::Exec<segue::Cpu>& exec) const {
    const auto w = exec.empty<T, 2>(codes.shape());
    for (std::int64_t n = 0; n < w.extent(0); ++n)
      for (std::int64_t k = 0; k < w.extent(1); ++k)
        w(n, k) = segue::cast<T>(static_cast<float>(codes(n, k)) * scales(n, k / block));
    return w;
  }
};

}  // namespace

template <>
struct segue::FrozenOps<Int8Weight> {
  using Dense = Tensor<float, 2, HostSpace>;
  static std::int64_t out_features(const Int8Weight& w) { return w.codes.extent(0); }
  static std::int64_t in_features(const Int8Weight& w) { return w.codes.extent(1); }

  template <class TX, class TY, class TB>
  static void forward(Exec<Cpu>& exec, const Int8Weight& w, View<TX, 2, HostSpace> x, View<TY, 2, HostSpace> y,
                      const ops::Epilogue<TY, TB, HostSpace>& epilogue, ops::GradMode mode = ops::GradMode::overwrite) {
    FrozenOps<Dense>::forward(exec, w.dense<float>(exec), x, y, epilogue, mode);
  }
  template <class TY, class TX>
  static void backward_input(Exec<Cpu>& exec, const Int8Weight& w, View<TY, 2, HostSpace> dy, View<TX, 2, HostSpace> dx,
                             ops::GradMode mode) {
    FrozenOps<Dense>::backward_input(exec, w.dense<float>(exec), dy, dx, mode);
  }
};

using namespace functional_test;

namespace {

using P = Policy<Fp32, Cpu>;
static_assert(FrozenWeight<Int8Weight>);
static_assert(FrozenWeight<Tensor<bfloat16, 2, HostSpace>>);
static_assert(!FrozenWeight<Tensor<float, 3, HostSpace>>);
static_assert(!FrozenWeight<int>);

Int8Weight make_weight(Bench<Fp32>& bench, std::int64_t out, std::int64_t in) {
  Int8Weight w{bench.exec.empty<std::int8_t, 2>({out, in}),
               bench.random<2>({out, ceil_div(in, Int8Weight::block)}, 0.01)};
  for (std::int64_t i = 0; i < w.codes.size(); ++i)
    w.codes.data_handle()[i] = static_cast<std::int8_t>(i * 37 % 251 - 125);
  return w;
}

}  // namespace

TEST_CASE("linear takes a frozen weight of the user's own") {
  Bench<Fp32> bench;
  const auto weight = make_weight(bench, 7, 40);
  const auto dense = weight.dense<float>(bench.exec);
  const auto bias = bench.weight<1>({7});
  const auto x = bench.activation<3>({2, 3, 40});
  const auto seed = bench.random<3>({2, 3, 7});

  const auto y = functional::linear(bench.ctx, x.var(), weight, bias.var(), ops::Activation::gelu_tanh);
  bench.ctx.backward(y, seed);
  const auto dx = x.slot().take();
  const auto dbias = bias.slot().take();
  const auto expected = functional::linear(bench.ctx, x.var(), dense, bias.var(), ops::Activation::gelu_tanh);
  CHECK(same_bits(y.value(), expected.value()));
  bench.ctx.backward(expected, seed);
  CHECK(same_bits(dx, x.slot().grad()));
  CHECK(same_bits(dbias, bias.slot().grad()));

  const auto plain = functional::linear(bench.ctx, x.value(), weight, bias.value(), ops::Activation::gelu_tanh);
  static_assert(is_tensor<std::remove_cvref_t<decltype(plain)>>);
  CHECK(same_bits(plain, y.value()));
}

TEST_CASE("the dense copy of a quantised weight does not outlive the call") {
  Bench<Fp32> bench;
  const auto weight = make_weight(bench, 256, 512);
  const auto x = bench.activation<2>({4, 512});
  const std::size_t before = bench.exec.pool().statistics().current_bytes;
  const auto y = functional::linear(bench.ctx, x.var(), weight, Tensor<float, 1, HostSpace>());
  CHECK(bench.exec.pool().statistics().current_bytes - before == 4 * 256 * sizeof(float));
}

TEST_CASE("modules and LoRA layers take a frozen weight of the user's own") {
  Bench<Fp32> bench;
  const auto weight = make_weight(bench, 7, 40);
  const auto bias = bench.random<1>({7});
  using Quantised = nn::Linear<P, Int8Weight>;
  const Quantised linear(weight, bias);
  CHECK(linear.in_features() == 40);
  CHECK(linear.out_features() == 7);
  const auto x = bench.activation<2>({5, 40});
  CHECK(same_bits(linear(bench.ctx, x.value()), functional::linear(bench.ctx, x.value(), weight, bias)));

  adapters::LoraLinear<P, Quantised> lora(linear);
  adapters::LoraLinear<P> dense(nn::Linear<P>(weight.dense<float>(bench.exec), bias));
  const RandomKey key = bench.exec.random().next();
  const auto run = [&](auto& layer) {
    layer.add(bench.exec, {.rank = 3, .alpha = 6}, key);
    auto& adapter = layer.adapters()[0];
    ops::fill_normal(bench.exec, adapter.b.value().view(), key);
    x.slot().reset();
    const auto y = layer(bench.ctx, x.var(), ops::Activation::silu);
    auto seed = bench.exec.template empty<float, 2>(y.shape());
    ops::fill_normal(bench.exec, seed.view(), key);
    bench.ctx.backward(y, seed);
    return std::tuple(y.value(), x.slot().grad(), adapter.a.slot().grad(), adapter.b.slot().grad());
  };
  const auto got = run(lora), expected = run(dense);
  CHECK(same_bits(std::get<0>(got), std::get<0>(expected)));
  CHECK(same_bits(std::get<1>(got), std::get<1>(expected)));
  CHECK(same_bits(std::get<2>(got), std::get<2>(expected)));
  CHECK(same_bits(std::get<3>(got), std::get<3>(expected)));
}
