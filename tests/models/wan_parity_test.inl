// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

// Wan against diffusers, with what it recorded under tests/golden: outputs and gradients. Included by one source a
// device, which defines `Device` and includes its kernels.
#include "models/wan_support.hpp"

using namespace segue;
using support::error_against;
using support::GoldenWan;

namespace {

// Two float32 programs that add in different orders.
constexpr double tolerance = 1e-5;

/// Where every element of a parameter's gradient is a sum over all tokens the orders differ most.
constexpr double tolerance_sum = 2e-5;

void check_forward(const std::string& name) {
  using Golden = GoldenWan<Fp32, adapters::Frozen, Device>;
  Golden g(name);
  Context<Golden::P> ctx(g.exec);
  std::vector<double> block_errors;
  const auto y = g.model.forward(ctx, g.hidden, g.time, g.text, {}, [&](std::size_t i, const auto& x) {
    block_errors.push_back(error_against(value_of(x), g.recorded, "forward.blocks." + std::to_string(i)));
  });
  static_assert(is_tensor<std::remove_const_t<decltype(y)>>, "a frozen model is compiled without autograd");
  REQUIRE(block_errors.size() == 2);
  CHECK(block_errors[0] < tolerance);
  CHECK(block_errors[1] < tolerance);
  CHECK(error_against(y, g.recorded, "forward.y") < tolerance);
  const auto loss = functional::mse(ctx, y, g.target);
  CHECK(std::fabs(to_host(g.exec, loss.view())[0] / g.recorded.value("forward.loss") - 1) < tolerance);
  CHECK(ctx.tape().size() == 0);
}

void check_gradients(const std::string& name, const std::string& case_name, const std::string& grad_case,
                     bool per_token) {
  using Golden = GoldenWan<Fp32, adapters::Trainable, Device>;
  Golden g(name);
  Context<Golden::P> ctx(g.exec);
  const auto time = per_token ? g.token_time("per_token") : g.time;
  const nn::Parameter<float, 5, Device::Space> input(g.hidden);
  const auto y = g.model(ctx, input.var(), time, g.text);
  CHECK(error_against(y.value(), g.recorded, case_name + ".y") < tolerance);
  const auto loss = functional::mse(ctx, y, g.target);
  CHECK(std::fabs(to_host(g.exec, loss.value().view())[0] / g.recorded.value(case_name + ".loss") - 1) < tolerance);
  ctx.backward(loss);
  REQUIRE(input.slot().filled());
  CHECK(error_against(input.slot().grad(), g.recorded, case_name + ".dhidden_states") < tolerance);
  int compared = 0;
  support::for_each_parameter(g.model, [&](const std::string& leaf, const auto& parameter) {
    INFO(leaf);
    REQUIRE(parameter.slot().filled());
    if (!g.recorded.contains(grad_case + "." + leaf)) return;
    ++compared;
    CHECK(error_against(parameter.slot().grad(), g.recorded, grad_case + "." + leaf) < tolerance_sum);
  });
  CHECK(compared == static_cast<int>(g.recorded.names(grad_case + ".").size()));
  CHECK(compared > 0);
}

template <class Precision>
void check_lora(const std::string& name) {
  using Golden = GoldenWan<Precision, adapters::LoraOnBlocks, Device>;
  using T = typename Golden::T;
  Golden g(name);
  support::add_golden_lora(g.model, g.exec, g.recorded, "lora_weight");
  Context<typename Golden::P> ctx(g.exec);
  const nn::Parameter<T, 5, Device::Space, T, T> input(g.hidden);
  const auto y = g.model(ctx, input.var(), g.time, g.text);
  CHECK(error_against(y.value(), g.recorded, "lora.y") < tolerance);
  const auto loss = functional::mse(ctx, y, g.target);
  CHECK(std::fabs(to_host(g.exec, loss.value().view())[0] / g.recorded.value("lora.loss") - 1) < tolerance);
  ctx.backward(loss);
  CHECK(error_against(input.slot().grad(), g.recorded, "lora.dhidden_states") < tolerance);
  int compared = 0;
  support::for_each_parameter(g.model, [&](const std::string& leaf, const auto& parameter) {
    INFO(leaf);
    ++compared;
    // With one text token nothing depends on attn2's q and k: no gradient here, and rounding noise there.
    if (name == "wan_i2v" && (support::contains(leaf, "attn2.to_q") || support::contains(leaf, "attn2.to_k"))) {
      CHECK_FALSE(parameter.slot().filled());
      for (const double g_i : g.recorded.values("lora_grad." + leaf)) CHECK(std::fabs(g_i) < 1e-6);
    } else {
      REQUIRE(parameter.slot().filled());
      CHECK(error_against(parameter.slot().grad(), g.recorded, "lora_grad." + leaf) < tolerance_sum);
    }
  });
  CHECK(compared == static_cast<int>(g.recorded.names("lora_grad.").size()));
}

}  // namespace

TEST_CASE("outputs are those of diffusers") {
  const std::string name = GENERATE(std::string("wan_t2v"), std::string("wan_i2v"));
  INFO(name);
  check_forward(name);
}

TEST_CASE("gradients of every weight are those of PyTorch") {
  check_gradients("wan_t2v", "forward", "full_grad", false);
}

TEST_CASE("timesteps may differ from token to token") {
  check_gradients("wan_t2v", "per_token", "per_token_grad", true);
}

TEST_CASE("LoRA gives PEFT's outputs and gradients") {
  const std::string name = GENERATE(std::string("wan_t2v"), std::string("wan_i2v"));
  INFO(name);
  check_lora<Fp32>(name);
  // The exact run is a matter of the CPU's.
  if constexpr (std::is_same_v<Device, Cpu>) check_lora<Fp64>(name);
}
