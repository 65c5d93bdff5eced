// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

// Wan over narrow weights and activations: close to float32, and adapters that stay in float32. Included by one source
// a device, which defines `Device` and includes its kernels.

#include "models/wan_support.hpp"

using namespace segue;
using support::error_against;
using support::GoldenWan;

namespace {

/// The golden LoRA run at another precision, with the errors allowed for outputs and gradients.
template <class Precision, class Out>
void check_precision(const std::string& name, double output_error, double gradient_error) {
  using Golden = GoldenWan<Precision, adapters::LoraOnBlocks, Device>;
  Golden g(name);
  support::add_golden_lora(g.model, g.exec, g.recorded, "lora_weight");
  Context<typename Golden::P> ctx(g.exec);
  const auto y = g.model(ctx, g.hidden, g.time, g.text);
  static_assert(std::is_same_v<std::remove_const_t<decltype(y)>, Var<Out, 5, Device::Space>>,
                "adapters do not promote what flows through the trunk");
  const double error = error_against(y.value(), g.recorded, "lora.y");
  CHECK(error < output_error);
  CHECK(error > 1e-5);  // or this is not the precision that it says
  const auto loss = functional::mse(ctx, y, g.target);
  CHECK(std::fabs(to_host(g.exec, loss.value().view())[0] / g.recorded.value("lora.loss") - 1) < output_error);
  ctx.backward(loss);
  double difference = 0, norm = 0;
  support::for_each_parameter(g.model, [&](const std::string& leaf, const auto& parameter) {
    using Leaf = std::remove_cvref_t<decltype(parameter)>;
    static_assert(std::is_same_v<typename Leaf::master_type, float>, "adapters are trained in float32");
    static_assert(std::is_same_v<typename Leaf::grad_type, float>, "and so are their gradients");
    const auto expected = g.recorded.values("lora_grad." + leaf);
    if (!parameter.slot().filled()) return;  // nothing depends on it, and the recorded gradient is rounding noise
    const auto grad = support::values_of(parameter.slot().grad());
    for (std::size_t i = 0; i < expected.size(); ++i) {
      const double d = grad[i] - expected[i];
      difference += d * d;
      norm += expected[i] * expected[i];
    }
  });
  CHECK(std::sqrt(difference / norm) < gradient_error);
  INFO("output " << error << ", gradients " << std::sqrt(difference / norm));
  CHECK(std::sqrt(difference / norm) > 1e-5);
}

}  // namespace

TEST_CASE("bf16 weights and activations") {
  const std::string name = GENERATE(std::string("wan_t2v"), std::string("wan_i2v"));
  check_precision<Bf16, bfloat16>(name, 1.5e-2, 1.5e-2);
}
