// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

// A model names its leaves as the checkpoint does, whatever adapter map it is compiled with.

#include <algorithm>
#include <set>

#include "models/wan_support.hpp"

using namespace segue;

namespace {

using P = Policy<Fp32, Cpu>;

template <class M>
std::vector<std::string> names_of(M& model, nn::LeafKind kind) {
  std::vector<std::string> names;
  nn::for_each_leaf(model, [&](const auto& leaf) {
    if (leaf.kind == kind) names.emplace_back(leaf.name);
  });
  return names;
}

template <class Map>
void check_names(const std::string& folder_name) {
  Exec<Cpu> exec({.threads = 1});
  const auto folder = models::open_wan_folder((support::golden_dir() / folder_name).string());
  models::Wan<P, Map> model(exec, folder.config);
  auto names = names_of(model, nn::LeafKind::base);
  CHECK(names.front() == "patch_embedding.weight");
  std::sort(names.begin(), names.end());
  CHECK(names == folder.weights.names());
  CHECK(names_of(model, nn::LeafKind::adapter).empty());
}

}  // namespace

TEST_CASE("the names of Wan's leaves are diffusers' names") {
  const std::string name = GENERATE(std::string("wan_t2v"), std::string("wan_i2v"));
  SECTION("frozen") { check_names<adapters::Frozen>(name); }
  SECTION("trainable") { check_names<adapters::Trainable>(name); }
  SECTION("with adapters on some") { check_names<adapters::LoraOnAttention>(name); }
  SECTION("with adapters on all") { check_names<adapters::LoraOnAll>(name); }
}

TEST_CASE("an adapter's leaves come beside the base, whose names stay") {
  Exec<Cpu> exec({.threads = 1});
  const auto folder = models::open_wan_folder((support::golden_dir() / "wan_t2v").string());
  models::Wan<P, adapters::LoraOnBlocks> model(exec, folder.config);
  adapters::LoraConfig config;
  config.spec.rank = 2;
  config.spec.name = "mine";
  config.targets = {"attn1.to_q", "ffn.net.2"};
  const auto adapted = adapters::add_lora(model, exec, config);
  CHECK(adapted == std::vector<std::string>{"blocks.0.attn1.to_q", "blocks.0.ffn.net.2", "blocks.1.attn1.to_q",
                                            "blocks.1.ffn.net.2"});
  std::vector<std::string> expected;
  for (const std::string& name : adapted)
    for (const char* which : {".lora_A.weight", ".lora_B.weight"}) expected.push_back(name + which);
  CHECK(names_of(model, nn::LeafKind::adapter) == expected);
  nn::for_each_leaf(
      model, [](const auto& leaf) { CHECK(leaf.adapter == (leaf.kind == nn::LeafKind::adapter ? "mine" : "")); });
  auto names = names_of(model, nn::LeafKind::base);
  std::sort(names.begin(), names.end());
  CHECK(names == folder.weights.names());
}

TEST_CASE("modules are visited under the names of their leaves") {
  Exec<Cpu> exec({.threads = 1});
  const auto folder = models::open_wan_folder((support::golden_dir() / "wan_t2v").string());
  models::Wan<P, adapters::LoraOnBlocks> model(exec, folder.config);
  std::set<std::string> linears, blocks;
  nn::for_each_module(model, [&](std::string_view name, auto& module) {
    using M = std::remove_cvref_t<decltype(module)>;
    if constexpr (requires { module.in_features(); }) linears.emplace(name);
    if constexpr (std::is_same_v<M, typename decltype(model)::Block>) blocks.emplace(name);
  });
  CHECK(blocks == std::set<std::string>{"blocks.0", "blocks.1"});
  CHECK(linears.size() == 20 + 7);
  for (const std::string& name : linears) CHECK(folder.weights.contains(name + ".weight"));
}
