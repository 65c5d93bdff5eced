// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#include "segue/functional/lora_linear.hpp"

#include <array>

#include "functional/operators.hpp"
#include "segue/adapters/lora.hpp"
#include "segue/autograd/checkpoint.hpp"

using namespace functional_test;
using ops::Activation;

namespace {

template <class Precision>
void lora_as_recorded(const std::string& name, Activation activation) {
  Recorded<Precision> r("ops_linear.safetensors", name);
  using P = Policy<Precision, Cpu>;
  using Delta = functional::LoraDelta<float, HostSpace, float>;
  const auto x = r.template activation<3>("x");
  const auto weight = r.template tensor<2, typename P::storage>("weight");
  const auto bias = r.template tensor<1, float>("bias");
  const auto a = r.template weight<3, float>("lora_A", {1, r.shape("lora_A")[0], r.shape("lora_A")[1]});
  const auto b = r.template weight<3, float>("lora_B", {1, r.shape("lora_B")[0], r.shape("lora_B")[1]});
  const std::array<Delta, 1> deltas{Delta{a.var(), b.var(), r.template parameter<double>("scale"), 0.0}};
  const auto y = functional::lora_linear(r.ctx, x.var(), weight, bias, std::span<const Delta>(deltas), activation);
  r.expect(y.value(), "y");
  r.ctx.backward(y, r.template tensor<3>("dy"));
  r.expect_gradient(x, "dx");
  r.expect_gradient(a, "dlora_A");
  r.expect_gradient(b, "dlora_B");
}

using Delta64 = functional::LoraDelta<double, HostSpace, double>;
using Delta32 = functional::LoraDelta<float, HostSpace, float>;

}  // namespace

TEST_CASE("LoRA agrees with PEFT") {
  lora_as_recorded<Fp32>("lora_linear_r4", Activation::none);
  lora_as_recorded<Fp32>("lora_linear_r3_rslora_gelu_tanh", Activation::gelu_tanh);
}

TEST_CASE("LoRA over narrow types stays close to PEFT") {
  lora_as_recorded<Bf16>("lora_linear_r3_rslora_gelu_tanh", Activation::gelu_tanh);
  lora_as_recorded<Fp16>("lora_linear_r4", Activation::none);
  lora_as_recorded<Bf16Weights>("lora_linear_r4", Activation::none);
}

TEST_CASE("gradients of LoRA agree with central differences") {
  const auto check = [](const Shape<3>& shape, std::int64_t out, std::int64_t rank, Activation activation, int slots,
                        const std::vector<std::int32_t>& samples, double dropout) {
    Bench<Fp64> bench;
    const auto weight = bench.random<2>({out, shape[2]}, 0.5);
    const auto bias = bench.random<1>({out});
    auto x = bench.activation<3>(shape);
    auto a = bench.weight<3>({slots, rank, shape[2]}, 0.5);
    auto b = bench.weight<3>({slots, out, rank}, 0.5);
    auto a2 = bench.weight<3>({slots, 1, shape[2]}, 0.5);
    auto b2 = bench.weight<3>({slots, out, 1}, 0.5);
    check_operator<false>(
        "two updates", bench,
        [&](auto& ctx, const auto& xv, const auto& av, const auto& bv, const auto& a2v, const auto& b2v) {
          const std::array<Delta64, 2> deltas{Delta64{av, bv, 1.5, dropout}, Delta64{a2v, b2v, -0.5, dropout / 2}};
          return functional::lora_linear(ctx, xv, weight, bias, std::span<const Delta64>(deltas), activation, samples);
        },
        x, a, b, a2, b2);
    check_operator<false>(
        "one update of a constant", bench,
        [&](auto& ctx, const auto& av, const auto& bv) {
          const std::array<Delta64, 1> deltas{Delta64{av, bv, 2.0, dropout}};
          return functional::lora_linear(ctx, x.value(), weight, Tensor<double, 1, HostSpace>(),
                                         std::span<const Delta64>(deltas), activation, samples);
        },
        a, b);
  };
  check({2, 3, 5}, 7, 2, Activation::none, 1, {}, 0.0);
  check({2, 3, 5}, 7, 3, Activation::gelu_tanh, 1, {}, 0.4);
  check({4, 3, 5}, 6, 2, Activation::silu, 3, {2, 0, 0, 2}, 0.0);
  check({3, 2, 5}, 4, 2, Activation::none, 2, {1, 0, 1}, 0.5);
  check({1, 1, 1}, 1, 1, Activation::none, 1, {}, 0.0);
  check({0, 3, 5}, 2, 2, Activation::none, 2, {}, 0.3);
}

TEST_CASE("no update is the frozen linear") {
  Bench<Fp32> bench;
  const auto weight = bench.random<2>({4, 6});
  const auto bias = bench.random<1>({4});
  const auto x = bench.activation<2>({5, 6});
  const auto y =
      functional::lora_linear(bench.ctx, x.var(), weight, bias, std::span<const Delta32>(), Activation::gelu_tanh);
  const auto dense = functional::linear(bench.ctx, x.value(), weight, bias, Activation::gelu_tanh);
  CHECK(same_bits(y.value(), dense));
  bench.ctx.backward(y, bench.random<2>({5, 4}));
  CHECK(x.slot().filled());
}

TEST_CASE("every sample uses its own slot, with the bits it would have alone") {
  Bench<Fp32> bench;
  const auto weight = bench.random<2>({4, 6});
  const auto bias = bench.random<1>({4});
  const auto x = bench.random<3>({3, 5, 6});
  const auto a = bench.weight<3>({2, 3, 6});
  const auto b = bench.weight<3>({2, 4, 3});
  const std::array<Delta32, 1> stacked{Delta32{a.var(), b.var(), 2.0, 0.0}};
  const std::vector<std::int32_t> slots{1, 0, 1};
  const auto y =
      functional::lora_linear(bench.ctx, x, weight, bias, std::span<const Delta32>(stacked), Activation::silu, slots);
  bench.ctx.tape().clear();
  for (std::int64_t i = 0; i < 3; ++i) {
    const std::int64_t slot = slots[static_cast<std::size_t>(i)];
    const nn::Parameter<float, 3, HostSpace> ai(a.value().slice(0, slot, slot + 1)),
        bi(b.value().slice(0, slot, slot + 1));
    const std::array<Delta32, 1> one{Delta32{ai.var(), bi.var(), 2.0, 0.0}};
    const auto alone = functional::lora_linear(bench.ctx, x.slice(0, i, i + 1), weight, bias,
                                               std::span<const Delta32>(one), Activation::silu);
    CHECK(same_bits(y.value().slice(0, i, i + 1), alone.value()));
    bench.ctx.tape().clear();
  }
}

TEST_CASE("slots that do not fit are named") {
  Bench<Fp32> bench;
  const auto weight = bench.random<2>({4, 6});
  const Tensor<float, 1, HostSpace> none;
  const auto x = bench.random<3>({3, 5, 6});
  const auto a = bench.weight<3>({2, 3, 6});
  const auto b = bench.weight<3>({2, 4, 3});
  const std::array<Delta32, 1> deltas{Delta32{a.var(), b.var(), 2.0, 0.0}};
  const auto error = [&](const std::vector<std::int32_t>& slots) {
    return message_of<InputError>([&] {
      (void)functional::lora_linear(bench.ctx, x, weight, none, std::span<const Delta32>(deltas), Activation::none,
                                    slots);
    });
  };
  CHECK(error({0, 2, 1}) == "lora_linear: an entry of sample_slots is 2, expected 0 to 1");
  CHECK(error({0, 1}) == "lora_linear: length of sample_slots is 2, expected a divisor of the first extent of x, 3");
}

TEST_CASE("a LoRA whose A is frozen does not keep its input") {
  Bench<Fp32> bench;
  const auto weight = bench.random<2>({64, 1024});
  const Tensor<float, 1, HostSpace> none;
  const auto input = bench.activation<2>({256, 1024});
  auto a = bench.weight<3>({1, 4, 1024});
  const auto b = bench.weight<3>({1, 64, 4});
  const auto bytes_kept = [&] {
    const std::array<Delta32, 1> deltas{Delta32{a.var(), b.var(), 1.0, 0.0}};
    const std::size_t before = bench.exec.pool().statistics().current_bytes;
    std::size_t held = 0;
    {
      const auto y = functional::lora_linear(bench.ctx, functional::scale(bench.ctx, input.var(), 2.0), weight, none,
                                             std::span<const Delta32>(deltas), Activation::none);
      held = bench.exec.pool().statistics().current_bytes - before;
      CHECK(y.requires_grad());
    }
    bench.ctx.tape().clear();
    return held;
  };
  const std::size_t projected = 256 * 4 * sizeof(float), output = 256 * 64 * sizeof(float);
  CHECK(bytes_kept() == projected + output + 256 * 1024 * sizeof(float));
  a.set_trains(false);
  CHECK(bytes_kept() == projected + output);
}

TEST_CASE("a LoRA layer draws the same dropout when its block is checkpointed") {
  Bench<Fp32> bench;
  using P = Policy<Fp32, Cpu>;
  adapters::LoraLinear<P> layer(bench.exec, 24, 16);
  nn::for_each_leaf(layer, [&](auto leaf) {
    if (leaf.kind == nn::LeafKind::base)
      ops::fill_normal(bench.exec, nn::tensor_of(leaf.tensor).view(), bench.exec.random().next());
  });
  layer.add(bench.exec, {.name = "a", .rank = 4, .alpha = 8, .dropout = 0.5}, bench.exec.random().next());
  ops::fill_normal(bench.exec, layer.adapters()[0].b.value().view(), bench.exec.random().next());
  const auto x = bench.activation<2>({9, 24});
  const auto seed = bench.random<2>({9, 16});
  const auto block = [&](Context<P>& c, const Var<float, 2, HostSpace>& v) { return layer(c, v, Activation::silu); };
  const auto run = [&](bool checkpointed) {
    x.slot().reset();
    layer.adapters()[0].a.slot().reset();
    layer.adapters()[0].b.slot().reset();
    bench.exec.random() = {.seed = 3, .site = 5, .step = 1};
    const auto y = checkpointed ? checkpoint(bench.ctx, block, x.var()) : block(bench.ctx, x.var());
    const auto value = y.value();
    bench.ctx.backward(y, seed);
    return std::tuple(value, x.slot().grad(), layer.adapters()[0].a.slot().grad(), layer.adapters()[0].b.slot().grad(),
                      bench.exec.random());
  };
  const auto plain = run(false), checkpointed = run(true);
  CHECK(same_bits(std::get<0>(plain), std::get<0>(checkpointed)));
  CHECK(same_bits(std::get<1>(plain), std::get<1>(checkpointed)));
  CHECK(same_bits(std::get<2>(plain), std::get<2>(checkpointed)));
  CHECK(same_bits(std::get<3>(plain), std::get<3>(checkpointed)));
  CHECK(std::get<4>(plain) == std::get<4>(checkpointed));

  // Without gradients there is no dropout and no draw.
  const NoGrad<P> off(bench.ctx);
  bench.exec.random() = {.seed = 3};
  const auto once = layer(bench.ctx, x.value()).value();
  bench.exec.random().step = 7;
  CHECK(same_bits(once, layer(bench.ctx, x.value()).value()));
  CHECK(bench.exec.random().site == 0);
}
