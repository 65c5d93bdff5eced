// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <map>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "segue/adapters/inject.hpp"
#include "segue/adapters/lora_layout.hpp"
#include "segue/io/json.hpp"
#include "segue/nn/leaf_io.hpp"

SEGUE_NAMESPACE_BEGIN
namespace adapters {

/// What the writers of adapter files take.
struct AdapterFileOptions {
  std::string adapter = "default";  ///< its name in the model; the files do not hold it
  DType dtype = DType::F32;         ///< F32, BF16, F16 or F64
  int slot = -1;                    ///< which of stacked adapters; -1: there is only one
};

namespace detail {

/// What PEFT's LoraConfig says of a whole adapter; module by module where patterns name one.
struct LoraFileConfig {
  int rank = 8;
  double alpha = 8;
  std::vector<std::pair<std::string, int>> rank_pattern{};
  std::vector<std::pair<std::string, double>> alpha_pattern{};
  LoraScaling scaling = LoraScaling::standard;
  LoraInit init = LoraInit::kaiming;
  double dropout = 0.0;
  std::vector<std::string> targets{};
};

/// A whole number as one: LoraConfig declares alpha an int.
inline io::Json number(double value) {
  if (value == std::floor(value) && std::fabs(value) < 1e15) return io::Json(static_cast<std::int64_t>(value));
  return io::Json(value);
}

/// The keys of LoraConfig that every PEFT since 0.8 knows, in order; each begins with `prefix`.
inline io::Json write_lora_config(const LoraFileConfig& c, std::string_view prefix, bool inference) {
  io::Json alphas = io::Json::object(), ranks = io::Json::object();
  for (const auto& [name, alpha] : c.alpha_pattern) alphas[name] = number(alpha);
  for (const auto& [name, rank] : c.rank_pattern) ranks[name] = rank;
  io::Json json = io::Json::object();
  const auto put = [&](std::string_view key, io::Json value) {
    json[std::string(prefix).append(key)] = std::move(value);
  };
  put("alpha_pattern", std::move(alphas));
  put("auto_mapping", nullptr);
  put("base_model_name_or_path", nullptr);
  put("bias", "none");
  put("fan_in_fan_out", false);
  put("inference_mode", inference);
  put("init_lora_weights", c.init == LoraInit::gaussian ? io::Json("gaussian") : io::Json(true));
  put("layers_pattern", nullptr);
  put("layers_to_transform", nullptr);
  put("lora_alpha", number(c.alpha));
  put("lora_dropout", c.dropout);
  put("modules_to_save", nullptr);
  put("peft_type", "LORA");
  put("r", c.rank);
  put("rank_pattern", std::move(ranks));
  put("revision", nullptr);
  put("target_modules", c.targets);
  put("task_type", nullptr);
  put("use_dora", false);
  put("use_rslora", c.scaling == LoraScaling::rank_stabilised);
  return json;
}

/// A key of a pattern as the end of a module's name. PEFT takes regular expressions; only plain names are read here.
inline std::string plain_pattern(const std::string& key, std::string_view what, std::string_view where) {
  std::string plain;
  for (std::size_t i = key.starts_with('^') ? 1 : 0; i < key.size(); ++i) {
    const bool escaped = key[i] == '\\' && i + 1 < key.size() && key[i + 1] == '.';
    if (escaped) ++i;
    if (!escaped && std::string_view("\\*+?[](){}|^$").find(key[i]) != std::string_view::npos)
      throw_input(where, "the key '" + key + "' of " + std::string(what), "a regular expression",
                  "the end of a module's name");
    plain += key[i];
  }
  return plain;
}

/// Reads the same keys. Whatever else would change what the adapter computes must be off.
/// @throws InputError that names `where` and the key.
inline LoraFileConfig read_lora_config(const io::Json& json, std::string_view prefix, std::string_view where) {
  const auto key = [&](std::string_view name) { return std::string(prefix).append(name); };
  if (const auto type = json.get_or<std::string>(key("peft_type"), "LORA", where); type != "LORA")
    throw_input(where, "key '" + key("peft_type") + "'", "\"" + type + "\"", "\"LORA\"");
  for (const char* name :
       {"use_dora", "use_qalora", "use_bdlora", "lora_bias", "fan_in_fan_out", "layer_replication", "modules_to_save",
        "target_parameters", "trainable_token_indices", "alora_invocation_tokens"})
    if (const io::Json* value = json.find(key(name));
        value && !value->is_null() && *value != io::Json(false) && !(value->is_array() && value->size() == 0))
      throw_input(where, "key '" + key(name) + "'", value->describe(), "null or false: only plain LoRA is read");
  if (const auto bias = json.get_or<std::string>(key("bias"), "none", where); bias != "none")
    throw_input(where, "key '" + key("bias") + "'", "\"" + bias + "\"", "\"none\"");
  LoraFileConfig c;
  if (const io::Json* init = json.find(key("init_lora_weights")); init && init->is_string()) {
    const auto kind = init->as<std::string>(where);
    if (kind == "gaussian")
      c.init = LoraInit::gaussian;
    else if (kind != "eva" && kind != "orthogonal")
      throw_input(where, "key '" + key("init_lora_weights") + "'", "\"" + kind + "\"",
                  "an initialisation that leaves the base weights as they are");
  }
  c.rank = json.get_or<int>(key("r"), c.rank, where);
  c.alpha = json.get_or<double>(key("lora_alpha"), c.alpha, where);
  c.dropout = json.get_or<double>(key("lora_dropout"), c.dropout, where);
  if (json.get_or<bool>(key("use_rslora"), false, where)) c.scaling = LoraScaling::rank_stabilised;
  const auto each = [&](std::string_view name, auto&& put) {
    const io::Json* pattern = json.find(key(name));
    if (!pattern || pattern->is_null()) return;
    if (!pattern->is_object()) throw_input(where, "key '" + key(name) + "'", pattern->describe(), "an object");
    for (std::size_t i = 0; i < pattern->size(); ++i)
      put(plain_pattern(pattern->keys()[i], key(name), where), pattern->items()[i],
          "'" + pattern->keys()[i] + "' of key '" + key(name) + "'");
  };
  each("rank_pattern", [&](std::string name, const io::Json& value, const std::string& what) {
    c.rank_pattern.emplace_back(std::move(name), value.as<int>(where, what));
  });
  each("alpha_pattern", [&](std::string name, const io::Json& value, const std::string& what) {
    c.alpha_pattern.emplace_back(std::move(name), value.as<double>(where, what));
  });
  return c;
}

/// What a pattern says of a module, or the general value. As in PEFT the first key that fits counts.
template <class T>
T pattern_value(const std::vector<std::pair<std::string, T>>& pattern, std::string_view module, T general) {
  for (const auto& [name, value] : pattern)
    if (name_matches(module, name)) return value;
  return general;
}

/// The shortest end of a module's name that fits adapted linears only: a target of LoraConfig. It does not begin with a
/// number nor right after one, since "0" or "proj" would say little.
inline std::string shortest_target(std::string_view module, const std::vector<std::string>& linears,
                                   const std::set<std::string, std::less<>>& adapted) {
  const auto is_number = [](std::string_view part) {
    return !part.empty() && part.find_first_not_of("0123456789") == std::string_view::npos;
  };
  const auto start_of = [&](std::size_t end) {  // of the part that ends before `end`
    const std::size_t dot = end == 0 ? std::string_view::npos : module.rfind('.', end - 1);
    return dot == std::string_view::npos ? 0 : dot + 1;
  };
  for (std::size_t start = start_of(module.size()); start > 0; start = start_of(start - 1)) {
    const std::string_view target = module.substr(start);
    const std::size_t before = start_of(start - 1);
    if (is_number(target.substr(0, target.find('.'))) || is_number(module.substr(before, start - 1 - before))) continue;
    bool exact = true;
    for (const std::string& linear : linears)
      exact = exact && (!name_matches(linear, target) || adapted.contains(linear));
    if (exact) return std::string(target);
  }
  return std::string(module);
}

/// The value that most entries have; the first of those in order.
template <class T>
T most_frequent(const std::map<std::string, T>& values) {
  std::map<T, int> counts;
  for (const auto& [name, value] : values) ++counts[value];
  auto best = counts.begin();
  for (auto it = counts.begin(); it != counts.end(); ++it)
    if (it->second > best->second) best = it;
  return best->first;
}

/// The alpha that gives the same scale by another rule.
inline double alpha_by(LoraScaling rule, const LoraSpec& spec) {
  if (spec.scaling == rule) return spec.alpha;
  const double root = std::sqrt(static_cast<double>(spec.rank));
  return rule == LoraScaling::standard ? spec.alpha * root : spec.alpha / root;
}

/// Adds the tensors of an adapter to a file: A, (rank, in), B, (out, rank), and, where the layout has one, the alpha
/// of standard scaling, (). Returns what the adapter is on, by the model's names.
/// @throws InputError if no linear has this adapter, it is a stack and no slot is named, or the layout has no name of
/// its own for a linear.
template <class M, class Device>
std::map<std::string, LoraSpec> write_lora_tensors(M& model, Exec<Device>& exec, io::SafetensorsWriter& writer,
                                                   const AdapterFileOptions& options, const LoraLayout& layout) {
  const std::string where = "adapter '" + options.adapter + "'";
  modules_in_files(model, layout, where);
  std::map<std::string, LoraSpec> specs;
  for_each_lora(model, [&](std::string_view name, auto& linear) {
    const auto* adapter = linear.find(options.adapter);
    if (!adapter) return;
    const LoraSpec& spec = adapter->spec;
    if (options.slot < 0 && spec.slots != 1)
      throw_input(where, "the number of slots in " + in_quotes(name), std::to_string(spec.slots),
                  "1: a file holds one, so name the slot to write");
    if (options.slot >= spec.slots)
      throw_input(where, "slot", std::to_string(options.slot),
                  "below " + std::to_string(spec.slots) + ", the number of slots in " + in_quotes(name));
    const auto module = module_in_files(model, layout, name);
    if (!module)
      throw_input(where, "the model's authors have no name for its linear " + in_quotes(name) +
                             ", and this layout has no other");
    const std::int64_t slot = options.slot < 0 ? 0 : options.slot;
    // A convolution's adapter is a convolution: A has its kernel, B a kernel of ones.
    auto weight =
        nn::shape_in_files(model, std::string(name) + ".weight", Shape<2>{linear.out_features(), linear.in_features()});
    std::vector<std::int64_t> a_shape = weight, b_shape(weight.size(), 1);
    a_shape[0] = b_shape[1] = spec.rank;
    b_shape[0] = weight[0];
    const std::string base = std::string(layout.prefix).append(*module);
    nn::write_elements(exec, writer, std::string(base).append(layout.a), a_shape, adapter->a.master().cview()[slot],
                       options.dtype);
    nn::write_elements(exec, writer, std::string(base).append(layout.b), b_shape, adapter->b.master().cview()[slot],
                       options.dtype);
    if (layout.has_alpha()) {
      const double alpha = alpha_by(LoraScaling::standard, spec);
      const std::span<const double> value(&alpha, 1);
      // Sixteen bits would round the scale of the whole module.
      if (options.dtype == DType::F64)
        writer.add_owned(base + ".alpha", DType::F64, {}, nn::detail::converted<double>(value));
      else
        writer.add_owned(base + ".alpha", DType::F32, {}, nn::detail::converted<float>(value));
    }
    specs.emplace(name, spec);
  });
  if (specs.empty()) throw_input(where, "no linear of the model carries it, so there is nothing to write");
  return specs;
}

/// The LoraConfig that says the same as the specs of the adapted linears.
template <class M>
LoraFileConfig lora_file_config(M& model, const std::map<std::string, LoraSpec>& specs) {
  LoraFileConfig config;
  std::map<std::string, int> ranks;
  std::map<std::string, double> alphas;
  std::map<std::string, LoraScaling> scalings;
  for (const auto& [module, spec] : specs) {
    ranks[module] = spec.rank;
    scalings[module] = spec.scaling;
    config.init = spec.init;
    config.dropout = spec.dropout;
  }
  config.scaling = most_frequent(scalings);
  for (const auto& [module, spec] : specs) alphas[module] = alpha_by(config.scaling, spec);
  config.rank = most_frequent(ranks);
  config.alpha = most_frequent(alphas);
  std::set<std::string, std::less<>> adapted, targets;
  for (const auto& [module, rank] : ranks) {
    adapted.insert(module);
    if (rank != config.rank) config.rank_pattern.emplace_back(module, rank);
    if (alphas[module] != config.alpha) config.alpha_pattern.emplace_back(module, alphas[module]);
  }
  const auto linears = linear_names(model);
  for (const std::string& module : adapted) targets.insert(shortest_target(module, linears, adapted));
  config.targets.assign(targets.begin(), targets.end());
  return config;
}

}  // namespace detail
}  // namespace adapters
SEGUE_NAMESPACE_END
