// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "segue/adapters/lora.hpp"

SEGUE_NAMESPACE_BEGIN
namespace adapters {

/// Which linears of a model get an adapter, as PEFT's LoraConfig says it.
struct LoraConfig {
  LoraSpec spec{};
  /// A module matches if its name is a target or ends with ".target"; empty: every linear that can carry one.
  std::vector<std::string> targets{};
  /// Block numbers, the first number in a module's name; empty: all. Modules outside blocks are not restricted.
  std::set<int> layers{};
  /// Other ranks and alphas for names that end so; rank 0 leaves the module out.
  std::map<std::string, int> rank_pattern{};
  std::map<std::string, double> alpha_pattern{};
  std::uint64_t seed = 0;
};

namespace detail {

inline bool name_matches(std::string_view name, std::string_view target) {
  if (name == target) return true;
  return name.size() > target.size() && name.ends_with(target) && name[name.size() - target.size() - 1] == '.';
}

/// The first all-digit part of a dotted name; -1 if there is none.
inline int layer_of(std::string_view name) {
  while (!name.empty()) {
    const std::size_t dot = name.find('.');
    const std::string_view part = name.substr(0, dot);
    if (!part.empty() && part.size() < 9 && part.find_first_not_of("0123456789") == std::string_view::npos) {
      int n = 0;
      for (const char c : part) n = 10 * n + (c - '0');
      return n;
    }
    if (dot == std::string_view::npos) break;
    name.remove_prefix(dot + 1);
  }
  return -1;
}

template <class M>
inline constexpr bool is_lora = requires {
  std::remove_const_t<M>::is_lora;
};

}  // namespace detail

/// Calls `f(name, lora_linear)` for every linear of the model that can carry an adapter.
template <class M, class F>
void for_each_lora(M& model, F&& f) {
  nn::for_each_module(model, [&](std::string_view name, auto& module) {
    if constexpr (detail::is_lora<std::remove_reference_t<decltype(module)>>) f(name, module);
  });
}

/// Puts an adapter on every linear that the config names. The draws of A depend on the seed and on the order of the
/// linears that are adapted, nothing else.
/// @returns the names of the adapted linears.
/// @throws InputError if a target or the whole config matches nothing.
template <class M, class Device>
std::vector<std::string> add_lora(M& model, Exec<Device>& exec, const LoraConfig& config) {
  std::vector<std::string> adapted;
  std::set<std::string> used;
  std::uint32_t site = 0;
  for_each_lora(model, [&](std::string_view name, auto& linear) {
    bool hit = config.targets.empty();
    for (const std::string& target : config.targets)
      if (detail::name_matches(name, target)) {
        hit = true;
        used.insert(target);
      }
    const int layer = detail::layer_of(name);
    if (!hit || (!config.layers.empty() && layer >= 0 && !config.layers.contains(layer))) return;
    LoraSpec spec = config.spec;
    for (const auto& [pattern, rank] : config.rank_pattern)
      if (detail::name_matches(name, pattern)) spec.rank = rank;
    for (const auto& [pattern, alpha] : config.alpha_pattern)
      if (detail::name_matches(name, pattern)) spec.alpha = alpha;
    if (spec.rank == 0) return;
    // Step 2^32 - 1 never occurs in a run: these draws meet no other.
    linear.add(exec, spec, RandomKey{config.seed, site++, 0xFFFFFFFFu});
    adapted.emplace_back(name);
  });
  for (const std::string& target : config.targets)
    if (!used.contains(target))
      throw_input("add_lora", "target", target, "the end of the name of a linear that can carry an adapter");
  if (adapted.empty() && config.spec.rank != 0)
    throw_input("add_lora", "no linear of the model matches the targets and layers");
  // Weights may have moved into one buffer with their adapter.
  exec.pool().trim();
  return adapted;
}

/// Switches an adapter on or off everywhere.
template <class M>
void set_adapter_enabled(M& model, std::string_view name, bool enabled) {
  for_each_lora(model, [&](std::string_view, auto& linear) {
    if (auto* adapter = linear.find(name)) adapter->enabled = enabled;
  });
}

template <class M, class Device>
void merge(M& model, Exec<Device>& exec) {
  for_each_lora(model, [&](std::string_view, auto& linear) { linear.merge(exec); });
}

template <class M>
void unmerge(M& model) {
  for_each_lora(model, [](std::string_view, auto& linear) { linear.unmerge(); });
}

}  // namespace adapters
SEGUE_NAMESPACE_END
