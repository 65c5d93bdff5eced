// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

// Every kind of Wan against diffusers and PEFT, with what make_wan_family.py recorded under tests/golden. Included by
// one source a device, which defines `Device` and includes its kernels.
#include "models/wan_support.hpp"
#include "support/parity_table.hpp"

using namespace segue;
using support::error_against;
using support::GoldenWan;

namespace {

/// Two float32 programs that add in different orders: |difference| / |theirs| in norm.
constexpr double tolerance = 1e-5;

struct Kind {
  const char* folder;
  const char* says;
};
constexpr Kind kinds[] = {{"wan_t2v_tiny", "T2V"},
                          {"wan_i2v_clip", "I2V with an encoded image"},
                          {"wan_flf2v", "FLF2V"},
                          {"wan_ti2v", "TI2V, a timestep for every token"},
                          {"wan_d128", "heads of 128, 45 tokens"}};

void note(const Kind& kind, const std::string& quantity, double error) {
  support::ParityTable::get().add(kind.says, quantity, support::error_text(error), support::error_text(tolerance));
}
void note_beside(const Kind& kind, const std::string& quantity, double error, double theirs,
                 const std::string& allowed) {
  support::ParityTable::get().add(kind.says, quantity,
                                  support::error_text(error) + " (" + support::error_text(theirs) + ")", allowed);
}

struct Gradients {
  double all, worst;  ///< error of all tensors together, and of the worst
};

/// Errors of an adapter's gradients.
template <class G>
Gradients gradient_errors(G& g, const std::string& case_name) {
  double difference = 0, norm = 0, worst = 0;
  std::size_t compared = 0;
  support::for_each_parameter(g.model, [&](const std::string& leaf, const auto& parameter) {
    INFO(leaf);
    REQUIRE(parameter.slot().filled());
    const auto theirs = g.recorded.values(case_name + "." + leaf);
    const auto ours = support::values_of(parameter.slot().grad());
    double d = 0, n = 0;
    for (std::size_t i = 0; i < theirs.size(); ++i) {
      d += (ours[i] - theirs[i]) * (ours[i] - theirs[i]);
      n += theirs[i] * theirs[i];
    }
    difference += d;
    norm += n;
    worst = std::max(worst, std::sqrt(d / n));
    ++compared;
  });
  CHECK(compared == g.recorded.names(case_name + ".").size());
  return {std::sqrt(difference / norm), worst};
}

struct LoraErrors {
  double output, input_gradient;
  Gradients gradients;
};

template <class Precision>
LoraErrors lora_errors(const Kind& kind, const std::string& case_name, Recompute level) {
  using Golden = GoldenWan<Precision, adapters::LoraOnBlocks, Device>;
  using T = typename Golden::T;
  Golden g(kind.folder);
  support::add_golden_lora(g.model, g.exec, g.recorded, case_name + "_weight", case_name);
  Context<typename Golden::P> ctx(g.exec);
  ctx.set_recompute(level);
  const nn::Parameter<T, 5, Device::Space, T, T> input(g.hidden);
  const auto y = g.model(ctx, input.var(), g.time, g.text, g.image);
  ctx.backward(functional::mse(ctx, y, g.target));
  return {error_against(y.value(), g.recorded, case_name + ".y"),
          error_against(input.slot().grad(), g.recorded, case_name + ".dhidden_states"),
          gradient_errors(g, case_name + "_grad")};
}

void check_lora(const Kind& kind, const std::string& case_name, Recompute level) {
  const auto [output, dx, gradients] = lora_errors<Fp32>(kind, case_name, level);
  CHECK(output < tolerance);
  CHECK(dx < tolerance);
  CHECK(gradients.all < tolerance);
  CHECK(gradients.worst < 2 * tolerance);  // where an element is a sum over all tokens the orders differ most
  if (level != Recompute::none) return;
  const std::string of = "LoRA of rank " + case_name.substr(case_name.find("_r") + 2) + ": ";
  note(kind, of + "output", output);
  note(kind, of + "gradient of the input", dx);
  note(kind, of + "gradients of A and B", gradients.all);
}

}  // namespace

TEST_CASE("every kind of Wan gives diffusers' outputs, block for block") {
  for (const Kind& kind : kinds) {
    INFO(kind.folder);
    GoldenWan<Fp32, adapters::Frozen, Device> g(kind.folder);
    Context<typename decltype(g)::P> ctx(g.exec);
    double blocks = 0;
    std::size_t count = 0;
    const auto y = g.model.forward(ctx, g.hidden, g.time, g.text, g.image, [&](std::size_t i, const auto& x) {
      blocks = std::max(blocks, error_against(value_of(x), g.recorded, "forward.blocks." + std::to_string(i)));
      ++count;
    });
    CHECK(count == static_cast<std::size_t>(g.folder.config.num_layers));
    CHECK(blocks < tolerance);
    const double output = error_against(y, g.recorded, "forward.y");
    CHECK(output < tolerance);
    note(kind, "worst block's output", blocks);
    note(kind, "output", output);
  }
}

TEST_CASE("every kind of Wan gives PyTorch's gradient of its input") {
  for (const Kind& kind : kinds) {
    INFO(kind.folder);
    GoldenWan<Fp32, adapters::Trainable, Device> g(kind.folder);
    Context<typename decltype(g)::P> ctx(g.exec);
    const nn::Parameter<float, 5, Device::Space> input(g.hidden);
    const auto loss = functional::mse(ctx, g.model(ctx, input.var(), g.time, g.text, g.image), g.target);
    CHECK(std::fabs(to_host(g.exec, loss.value().view())[0] / g.recorded.value("forward.loss") - 1) < tolerance);
    ctx.backward(loss);
    const double dx = error_against(input.slot().grad(), g.recorded, "forward.dhidden_states");
    CHECK(dx < tolerance);
    note(kind, "gradient of the input", dx);
    // Nothing of the model was left out.
    support::for_each_parameter(g.model, [&](const std::string& leaf, const auto& parameter) {
      INFO(leaf);
      CHECK(parameter.slot().filled());
    });
  }
}

TEST_CASE("every kind of Wan gives PEFT's outputs and gradients, whatever the targets and the rank") {
  for (const Kind& kind : kinds) {
    for (const char* case_name : {"lora_r1", "lora_r4", "lora_r16"}) {
      INFO(kind.folder << ", " << case_name);
      check_lora(kind, case_name, Recompute::none);
    }
    check_lora(kind, "lora_r4", Recompute::block);
  }
}

TEST_CASE("bf16 is no farther from float32 than PyTorch's") {
  const auto check = [](const Kind& kind, const std::string& quantity, double ours, double theirs) {
    INFO(kind.folder << ", " << quantity << ": ours " << ours << ", PyTorch's " << theirs);
    CHECK(ours < 1.2 * theirs);
    CHECK(ours > 1e-4);  // or this is not bf16
    note_beside(kind, "bf16: " + quantity, ours, theirs, "1.2x PyTorch's");
  };
  for (const Kind& kind : kinds) {
    GoldenWan<Bf16, adapters::Frozen, Device> g(kind.folder);
    Context<typename decltype(g)::P> ctx(g.exec);
    const auto theirs = [&](const char* case_name, const char* what) {
      return g.recorded.parameters(case_name).template get<double>(what, kind.folder);
    };
    check(kind, "output", error_against(g.model(ctx, g.hidden, g.time, g.text, g.image), g.recorded, "forward.y"),
          theirs("forward", "bf16_error"));
    const LoraErrors lora = lora_errors<Bf16>(kind, "lora_r4", Recompute::none);
    check(kind, "output with LoRA of rank 4", lora.output, theirs("lora_r4", "bf16_error"));
    check(kind, "gradients of A and B", lora.gradients.all, theirs("lora_r4", "bf16_gradient_error"));
  }
}

TEST_CASE("tokens of given frames stand at timestep 0") {
  GoldenWan<Fp32, adapters::Frozen, Device> g("wan_ti2v");
  Context<typename decltype(g)::P> ctx(g.exec);
  const auto values = g.recorded.template tensor<float, 2>(g.exec, "tokens.timestep_of_group");
  const auto of_sample = to_host(g.exec, values.view());
  const auto timesteps = g.exec.template empty<float, 1>({2});
  const float asked[2] = {of_sample[1], of_sample[3]};
  g.exec.upload(asked, timesteps.view());
  const auto time = g.model.given_frames(ctx, timesteps, g.hidden.shape(), 1);
  CHECK(support::values_of(time.timesteps) == support::values_of(g.time.timesteps));
  CHECK(support::values_of(time.group) == support::values_of(g.time.group));
}
