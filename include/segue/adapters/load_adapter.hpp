// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
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

/// LoraConfig beside the tensors, if the layout has one: PEFT's folder must, diffusers' metadata may.
inline std::optional<LoraFileConfig> find_lora_config(const io::Checkpoint& file, const LoraLayout& layout) {
  if (layout.prefix == peft_layout.prefix) {
    const std::size_t slash = file.path().rfind('/');
    const std::string path =
        slash == std::string::npos ? "adapter_config.json" : file.path().substr(0, slash + 1) + "adapter_config.json";
    return read_lora_config(io::parse_json(read_text_file(path), path), {}, path);
  }
  if (layout.has_alpha()) return std::nullopt;
  const std::string* text = io::find_metadata(file.metadata(), "lora_adapter_metadata");
  if (!text) return std::nullopt;
  const std::string where = file.path() + ": lora_adapter_metadata";
  return read_lora_config(io::parse_json(*text, where), layout.prefix, where);
}

/// @throws InputError unless the tensor has these extents and a dtype that can be read.
inline void check_lora_tensor(const io::Checkpoint& file, const io::TensorInfo& info,
                              const std::vector<std::int64_t>& expected) {
  if (info.shape != expected)
    throw_input(file.path(), "the shape of tensor " + in_quotes(info.name), io::shape_text(info.shape),
                io::shape_text(expected));
  if (!io::converts(info.dtype))
    throw_input(file.path(), "the dtype of tensor " + in_quotes(info.name), std::string(segue::name(info.dtype)),
                "one that converts to floating point");
}

inline double read_alpha(const io::Checkpoint& file, const io::TensorInfo& info) {
  if (info.elements() != 1)
    throw_input(file.path(), "the shape of tensor " + in_quotes(info.name), io::shape_text(info.shape), "one number");
  check_lora_tensor(file, info, info.shape);
  const double alpha = io::read_vector<double>(info)[0];
  if (!std::isfinite(alpha))
    throw_input(file.path(), "tensor " + in_quotes(info.name), std::to_string(alpha), "a finite number");
  return alpha;
}

}  // namespace detail

/// Puts an adapter from a file on the model under `name`. `path` is the safetensors file or its folder; what the names
/// of the tensors begin with says the layout:
///   `transformer.`, or nothing known   diffusers' `save_lora_weights`, `save_lora_adapter`
///   `base_model.model.`                PEFT's folder
///   `diffusion_model.`                 ComfyUI's, A and B as lora_A, lora_B or lora_down, lora_up
///   `lora_unet_`                       kohya's and musubi-tuner's
/// In the last two modules have the names that the model's authors gave them, in kohya's with underscores for dots.
/// Ranks come from the tensors, alpha and rsLoRA from the metadata, adapter_config.json or the tensors `.alpha`; where
/// nothing is said alpha is the rank, that is scale 1, as diffusers has it. Nothing is added unless everything fits.
/// @returns the names of the adapted linears.
/// @throws InputError, naming the file, the module and the nearest name: a module that the model does not have or that
/// cannot carry an adapter in this map or carries one of this name already, shapes or ranks that disagree, a tensor or
/// a key of the configuration that would change the result and is not read, a dtype that does not convert, an alpha
/// that is no finite number.
template <class M, class Device>
std::vector<std::string> load_adapter(M& model, Exec<Device>& exec, const std::string& path,
                                      const std::string& name = "default") {
  const io::Checkpoint file(path);
  const detail::LoraLayout layout = detail::layout_of(file);
  const auto tensors = detail::lora_tensors(file, layout);
  const auto config = detail::find_lora_config(file, layout);
  const auto linears = detail::modules_in_files(model, layout, file.path());
  const auto tensors_of = [&](std::string_view module) {
    const auto in_file = detail::module_in_files(model, layout, module);
    return in_file ? tensors.find(*in_file) : tensors.end();
  };
  std::map<std::string, LoraSpec, std::less<>> specs;
  for_each_lora(model, [&](std::string_view module, auto& linear) {
    const auto found = tensors_of(module);
    if (found == tensors.end()) return;
    if (linear.find(name))
      throw_input(file.path(),
                  "module '" + std::string(module) + "' of the model carries an adapter named '" + name + "' already");
    if (linear.merged())
      throw_input(file.path(), "module '" + std::string(module) + "' of the model is merged; unmerge it first");
    const io::TensorInfo *a = found->second.a, *b = found->second.b;
    const std::int64_t rank = a->shape.empty() ? 0 : a->shape[0];
    if (rank <= 0 || rank > (1 << 20))
      throw_input(file.path(), "the shape of tensor " + in_quotes(a->name), io::shape_text(a->shape), "(rank, in)");
    if (b->shape.size() < 2 || b->shape[1] != rank)
      throw_input(file.path(), "the shape of tensor " + in_quotes(b->name), io::shape_text(b->shape),
                  "(out, " + std::to_string(rank) + "), whose second extent is the rank of its A");
    auto a_shape = nn::shape_in_files(model, std::string(module) + ".weight",
                                      Shape<2>{linear.out_features(), linear.in_features()});
    std::vector<std::int64_t> b_shape(a_shape.size(), 1);
    b_shape[0] = a_shape[0];
    a_shape[0] = b_shape[1] = rank;
    detail::check_lora_tensor(file, *a, a_shape);
    detail::check_lora_tensor(file, *b, b_shape);
    LoraSpec spec;
    spec.name = name;
    spec.rank = static_cast<int>(rank);
    spec.alpha = static_cast<double>(rank);
    if (found->second.alpha) {
      spec.alpha = detail::read_alpha(file, *found->second.alpha);
    } else if (layout.has_alpha() && io::find_metadata(file.metadata(), "lora_adapter_metadata")) {
      throw_input(file.path(), "module " + in_quotes(found->first) +
                                   " has no alpha, and lora_adapter_metadata is not read in this layout");
    } else if (config) {
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
  for (const auto& [module, found] : tensors) {
    const auto linear = linears.find(module);
    if (linear == linears.end()) {
      std::vector<std::string_view> names;
      for (const auto& [in_file, in_model] : linears) names.push_back(in_file);
      throw_input(file.path(),
                  "module " + in_quotes(module) + " is no linear of the model" + did_you_mean(module, names));
    }
    if (!specs.contains(linear->second))
      throw_input(file.path(), "module " + in_quotes(module) + " cannot carry an adapter in this model's adapter map");
  }
  std::vector<std::string> adapted;
  for_each_lora(model, [&](std::string_view module, auto& linear) {
    const auto spec = specs.find(module);
    if (spec == specs.end()) return;
    linear.add(exec, spec->second, RandomKey{});
    const detail::LoraTensors& found = tensors_of(module)->second;
    auto* adapter = linear.find(name);
    nn::read_leaf(exec, *found.a, adapter->a);
    nn::read_leaf(exec, *found.b, adapter->b);
    adapted.emplace_back(module);
  });
  // As after `add_lora`.
  exec.pool().trim();
  return adapted;
}

}  // namespace adapters
SEGUE_NAMESPACE_END
