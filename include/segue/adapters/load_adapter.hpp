// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "segue/adapters/lora_file_config.hpp"
#include "segue/core/nearest_name.hpp"
#include "segue/core/posix.hpp"
#include "segue/io/checkpoint.hpp"

SEGUE_NAMESPACE_BEGIN
namespace adapters {
namespace detail {

/// The tensors of one module's adapter in a file.
struct LoraPair {
  const io::TensorInfo* a = nullptr;
  const io::TensorInfo* b = nullptr;
};

/// What stands before the modules' names: the layout.
inline std::string_view lora_prefix(const io::Checkpoint& file) {
  for (const std::string_view prefix : {"transformer.", "base_model.model."})
    if (!file.names().empty() && file.names()[0].starts_with(prefix)) return prefix;
  return {};
}

inline std::map<std::string, LoraPair, std::less<>> lora_pairs(const io::Checkpoint& file, std::string_view prefix) {
  std::map<std::string, LoraPair, std::less<>> pairs;
  for (const std::string& name : file.names()) {
    const bool is_a = name.ends_with(".lora_A.weight"), is_b = name.ends_with(".lora_B.weight");
    if (!name.starts_with(prefix) || !(is_a || is_b))
      throw_input(file.path(), "tensor '" + name + "' has a name that is not read, expected " + std::string(prefix) +
                                   "<module>.lora_A.weight or .lora_B.weight");
    const std::string_view tail = ".lora_A.weight";
    LoraPair& pair = pairs[name.substr(prefix.size(), name.size() - prefix.size() - tail.size())];
    (is_a ? pair.a : pair.b) = &file.at(name);
  }
  if (pairs.empty()) throw_input(file.path(), "holds no tensors, expected those of a LoRA");
  for (const auto& [module, pair] : pairs)
    if (!pair.a || !pair.b)
      throw_input(file.path(),
                  "module '" + module + "' has lora_" + (pair.a ? "A" : "B") + " and no lora_" + (pair.a ? "B" : "A"));
  return pairs;
}

/// LoraConfig beside the tensors, if the layout has one: PEFT's folder must, diffusers' metadata may.
inline std::optional<LoraFileConfig> find_lora_config(const io::Checkpoint& file, std::string_view prefix) {
  if (prefix == "base_model.model.") {
    const std::size_t slash = file.path().rfind('/');
    const std::string path =
        slash == std::string::npos ? "adapter_config.json" : file.path().substr(0, slash + 1) + "adapter_config.json";
    return read_lora_config(io::parse_json(read_text_file(path), path), {}, path);
  }
  const std::string* text = io::find_metadata(file.metadata(), "lora_adapter_metadata");
  if (!text) return std::nullopt;
  const std::string where = file.path() + ": lora_adapter_metadata";
  return read_lora_config(io::parse_json(*text, where), prefix, where);
}

inline void check_lora_shape(const io::Checkpoint& file, const io::TensorInfo& info,
                             const std::vector<std::int64_t>& expected) {
  if (info.shape != expected)
    throw_input(file.path(), "the shape of tensor '" + info.name + "'", io::shape_text(info.shape),
                io::shape_text(expected));
}

}  // namespace detail

/// Puts an adapter from a file on the model under `name`: diffusers' layout (`transformer.<module>.lora_A.weight`, or
/// no prefix, as `save_lora_adapter` writes it) or PEFT's folder. `path` is the safetensors file or its folder. Ranks
/// come from the tensors, alpha and rsLoRA from the metadata or adapter_config.json; without metadata alpha is the
/// rank, that is scale 1, as diffusers has it. Nothing is added unless everything fits.
/// @returns the names of the adapted linears.
/// @throws InputError, naming the file, the module and the nearest name: a module that the model does not have or that
/// cannot carry an adapter in this map or carries one of this name already, shapes or ranks that disagree, a tensor or
/// a key of the configuration that would change the result and is not read.
template <class M, class Device>
std::vector<std::string> load_adapter(M& model, Exec<Device>& exec, const std::string& path,
                                      const std::string& name = "default") {
  const io::Checkpoint file(path);
  const std::string_view prefix = detail::lora_prefix(file);
  const auto pairs = detail::lora_pairs(file, prefix);
  const auto config = detail::find_lora_config(file, prefix);
  std::map<std::string, LoraSpec, std::less<>> specs;
  for_each_lora(model, [&](std::string_view module, auto& linear) {
    const auto found = pairs.find(module);
    if (found == pairs.end()) return;
    if (linear.find(name))
      throw_input(file.path(),
                  "module '" + std::string(module) + "' of the model carries an adapter named '" + name + "' already");
    if (linear.merged())
      throw_input(file.path(), "module '" + std::string(module) + "' of the model is merged; unmerge it first");
    const auto& [a, b] = found->second;
    const std::int64_t rank = a->shape.empty() ? 0 : a->shape[0];
    if (rank <= 0 || rank > (1 << 20))
      throw_input(file.path(), "the shape of tensor '" + a->name + "'", io::shape_text(a->shape), "(rank, in)");
    if (b->shape.size() < 2 || b->shape[1] != rank)
      throw_input(file.path(), "the shape of tensor '" + b->name + "'", io::shape_text(b->shape),
                  "(out, " + std::to_string(rank) + "), whose last extent is the rank of its lora_A");
    auto a_shape = nn::shape_in_files(model, std::string(module) + ".weight",
                                      Shape<2>{linear.out_features(), linear.in_features()});
    std::vector<std::int64_t> b_shape(a_shape.size(), 1);
    b_shape[0] = a_shape[0];
    a_shape[0] = b_shape[1] = rank;
    detail::check_lora_shape(file, *a, a_shape);
    detail::check_lora_shape(file, *b, b_shape);
    LoraSpec spec;
    spec.name = name;
    spec.rank = static_cast<int>(rank);
    spec.alpha = static_cast<double>(rank);
    if (config) {
      if (const int said = detail::pattern_value(config->rank_pattern, module, config->rank); said != spec.rank)
        throw_input(file.path(), "the rank of module '" + std::string(module) + "'", std::to_string(rank),
                    std::to_string(said) + " as its configuration says");
      spec.alpha = detail::pattern_value(config->alpha_pattern, module, config->alpha);
      spec.scaling = config->scaling;
      spec.init = config->init;
      spec.dropout = config->dropout;
    }
    specs.emplace(module, spec);
  });
  if (specs.size() != pairs.size()) {
    const auto linears = detail::linear_names(model);
    for (const auto& [module, pair] : pairs) {
      if (specs.contains(module)) continue;
      for (const std::string& linear : linears)
        if (linear == module)
          throw_input(file.path(), "module '" + module + "' cannot carry an adapter in this model's adapter map");
      throw_input(file.path(), "module '" + module + "' is no linear of the model" + did_you_mean(module, linears));
    }
  }
  std::vector<std::string> adapted;
  for_each_lora(model, [&](std::string_view module, auto& linear) {
    const auto spec = specs.find(module);
    if (spec == specs.end()) return;
    linear.add(exec, spec->second, RandomKey{});
    const auto& pair = pairs.find(module)->second;
    auto* adapter = linear.find(name);
    nn::read_leaf(exec, *pair.a, adapter->a);
    nn::read_leaf(exec, *pair.b, adapter->b);
    adapted.emplace_back(module);
  });
  // As after `add_lora`.
  exec.pool().trim();
  return adapted;
}

}  // namespace adapters
SEGUE_NAMESPACE_END
