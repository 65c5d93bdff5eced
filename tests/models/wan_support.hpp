// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <vector>

#include "segue/adapters/inject.hpp"
#include "segue/adapters/maps.hpp"
#include "segue/cpu.hpp"
#include "segue/functional/loss.hpp"
#include "segue/models/wan.hpp"
#include "segue/models/wan_folder.hpp"
#include "segue/models/wan_init.hpp"
#include "segue/testing/golden.hpp"
#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/operands.hpp"
#include "support/paths.hpp"

namespace support {

using namespace segue;

/// A golden Wan: its folder loaded into a model of this policy and map, and the recorded inputs.
template <class Precision, class Adapters, class Device = Cpu>
struct GoldenWan {
  using P = Policy<Precision, Device>;
  using Space = typename P::Space;
  using Model = models::Wan<P, Adapters>;
  using T = typename P::compute;

  explicit GoldenWan(const std::string& name, int threads = 2)
      : exec({.threads = threads}),
        recorded((golden_dir() / (name + ".safetensors")).string()),
        folder(models::open_wan_folder((golden_dir() / name).string())),
        model(exec, folder.config) {
    models::load_weights(model, exec, folder.weights);
    hidden = recorded.template tensor<T, 5>(exec, "forward.hidden_states");
    target = recorded.template tensor<T, 5>(exec, "forward.target");
    text = recorded.template tensor<T, 3>(exec, "forward.encoder_hidden_states");
    if (recorded.contains("forward.encoder_hidden_states_image"))
      image = recorded.template tensor<T, 3>(exec, "forward.encoder_hidden_states_image");
    if (recorded.contains("tokens.group"))
      time = token_time("tokens");
    else
      time.timesteps = recorded.template tensor<float, 1>(exec, "forward.timestep");
  }

  /// Tokens of the first frame at timestep 0, as recorded: a row of the modulation for each sample and group.
  typename Model::Time token_time(const std::string& case_name) {
    const auto of_group = recorded.template tensor<float, 2>(exec, case_name + ".timestep_of_group");
    const auto group = recorded.template tensor<std::int32_t, 2>(exec, case_name + ".group");
    auto of_sample = to_host(exec, group.view());
    for (std::size_t i = 0; i < of_sample.size(); ++i)
      of_sample[i] += static_cast<std::int32_t>(static_cast<std::int64_t>(i) / group.extent(1) * of_group.extent(1));
    exec.upload(of_sample.data(), group.view());
    return {of_group.template reshape<1>({of_group.size()}), group.template reshape<1>({group.size()})};
  }

  Exec<Device> exec;
  testing::Golden recorded;
  models::WanFolder folder;
  Model model;
  Tensor<T, 5, Space> hidden, target;
  Tensor<T, 3, Space> text, image;
  typename Model::Time time;
};

/// All weights, one after the other.
template <class M>
std::vector<float> weights_of(M& model) {
  std::vector<float> all;
  nn::for_each_leaf(model, [&](const auto& leaf) {
    if (leaf.kind != nn::LeafKind::base) return;
    const auto& t = nn::tensor_of(leaf.tensor);
    for (std::int64_t i = 0; i < t.size(); ++i) all.push_back(cast<float>(t.data_handle()[i]));
  });
  return all;
}

/// Calls `f(name, parameter)` for everything that trains, adapters under their names in files.
template <class M, class F>
void for_each_parameter(M& model, F&& f) {
  nn::for_each_leaf(model, [&](const auto& leaf) {
    if constexpr (nn::is_parameter<std::remove_cvref_t<decltype(leaf.tensor)>>) f(std::string(leaf.name), leaf.tensor);
  });
}

/// The gradients of everything that trains and was reached, one after the other, by name.
template <class M>
std::map<std::string, std::vector<double>> gradients_of(M& model) {
  std::map<std::string, std::vector<double>> all;
  for_each_parameter(model, [&](const std::string& name, const auto& parameter) {
    if (!parameter.slot().filled()) return;
    auto& values = all[name];
    const auto& grad = parameter.slot().grad();
    for (std::int64_t i = 0; i < grad.size(); ++i) values.push_back(cast<double>(grad.data_handle()[i]));
  });
  return all;
}

template <class M>
void clear_gradients(M& model) {
  for_each_parameter(model, [](const std::string&, const auto& parameter) { parameter.slot().reset(); });
}

/// Rank, alpha and targets of a recorded case.
inline adapters::LoraConfig golden_lora_config(const testing::Golden& recorded, const std::string& case_name) {
  const io::Json parameters = recorded.parameters(case_name);
  adapters::LoraConfig config;
  config.spec.rank = parameters.template get<int>("r", case_name);
  config.spec.alpha = parameters.template get<double>("alpha", case_name);
  if (parameters.find("targets")) config.targets = parameters.get<std::vector<std::string>>("targets", case_name);
  return config;
}

/// Sets a LoRA's A and B to the tensors `<case>.<module>.lora_A.weight` of a golden file; its configuration is that of
/// the case `described_by`.
template <class M, class Device>
void add_golden_lora(M& model, Exec<Device>& exec, const testing::Golden& recorded, const std::string& case_name,
                     const std::string& described_by = "lora") {
  adapters::add_lora(model, exec, golden_lora_config(recorded, described_by));
  adapters::for_each_lora(model, [&](std::string_view name, auto& linear) {
    auto* adapter = linear.find("default");
    if (!adapter) return;
    const auto fill = [&](auto& leaf, const char* which) {
      const std::string full = case_name + "." + std::string(name) + which;
      nn::read_leaf(exec, recorded.info(full), leaf);
    };
    fill(adapter->a, ".lora_A.weight");
    fill(adapter->b, ".lora_B.weight");
  });
}

/// ‖a − b‖/‖b‖ with `b` a recorded tensor of the same elements in the same order.
template <class T, int Rank, class Space>
double error_against(const Tensor<T, Rank, Space>& a, const testing::Golden& recorded, const std::string& name) {
  const std::vector<double> b = recorded.values(name);
  REQUIRE(static_cast<std::int64_t>(b.size()) == a.size());
  REQUIRE(a.view().is_contiguous());
  const Values got = values_of(a);
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < b.size(); ++i) {
    const double d = got[i] - b[i];
    difference += d * d;
    norm += b[i] * b[i];
  }
  return norm > 0 ? std::sqrt(difference / norm) : std::sqrt(difference);
}

/// Two runs gave the same bits.
template <class T, int Rank>
bool same_bits(const Tensor<T, Rank, HostSpace>& a, const Tensor<T, Rank, HostSpace>& b) {
  if (a.shape() != b.shape()) return false;
  return std::memcmp(a.data_handle(), b.data_handle(), static_cast<std::size_t>(a.size()) * sizeof(T)) == 0;
}

}  // namespace support
