// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "segue/core/error.hpp"
#include "segue/core/nearest_name.hpp"
#include "segue/io/checkpoint.hpp"
#include "segue/nn/leaf_io.hpp"
#include "segue/nn/visit.hpp"

SEGUE_NAMESPACE_BEGIN
namespace adapters {
namespace detail {

/// Whose names a file gives the modules: the model's own; its authors' (`original_name`); these with underscores for
/// dots.
enum class LoraModules { own, original, flat };

/// How a kind of file spells the tensors of an adapter: `<prefix><module><a>`, `<prefix><module><b>`.
struct LoraLayout {
  std::string_view prefix;
  LoraModules modules = LoraModules::own;
  std::string_view a = ".lora_A.weight";
  std::string_view b = ".lora_B.weight";

  /// The scale is said by a tensor `.alpha` beside A and B; else by PEFT's LoraConfig somewhere else.
  bool has_alpha() const { return modules != LoraModules::own; }
};

inline constexpr LoraLayout bare_layout{""};
inline constexpr LoraLayout diffusers_layout{"transformer."};
inline constexpr LoraLayout peft_layout{"base_model.model."};
inline constexpr LoraLayout comfyui_layout{"diffusion_model.", LoraModules::original};
inline constexpr LoraLayout kohya_layout{"lora_unet_", LoraModules::flat, ".lora_down.weight", ".lora_up.weight"};

/// Names of all linears of a model, whether they can carry an adapter or not.
template <class M>
std::vector<std::string> linear_names(M& model) {
  std::vector<std::string> names;
  nn::for_each_module(model, [&](std::string_view name, auto& module) {
    if constexpr (requires { module.in_features(); }) names.emplace_back(name);
  });
  return names;
}

/// What files of a layout call a module of the model; nullopt if its authors have no name for it.
template <class M>
std::optional<std::string> module_in_files(const M& model, const LoraLayout& layout, std::string_view module) {
  if (layout.modules == LoraModules::own) return std::string(module);
  std::optional<std::string> name = nn::original_name(model, module);
  if (name && layout.modules == LoraModules::flat) std::replace(name->begin(), name->end(), '.', '_');
  return name;
}

/// The linears of the model by their names in files of a layout.
/// @throws InputError if one name stands for two.
template <class M>
std::map<std::string, std::string, std::less<>> modules_in_files(M& model, const LoraLayout& layout,
                                                                 std::string_view where) {
  std::map<std::string, std::string, std::less<>> modules;
  for (const std::string& linear : linear_names(model))
    if (const auto name = module_in_files(model, layout, linear))
      if (const auto [it, fresh] = modules.emplace(*name, linear); !fresh)
        throw_input(where, "the name " + in_quotes(*name) + " of this layout stands for two linears of the model, " +
                               in_quotes(it->second) + " and " + in_quotes(linear));
  return modules;
}

/// The tensors of one module's adapter in a file.
struct LoraTensors {
  const io::TensorInfo* a = nullptr;
  const io::TensorInfo* b = nullptr;
  const io::TensorInfo* alpha = nullptr;
};

/// The layout that a file is in, by what its names begin with.
inline LoraLayout layout_of(const io::Checkpoint& file) {
  for (const LoraLayout& layout : {diffusers_layout, peft_layout, comfyui_layout, kohya_layout})
    if (std::any_of(file.names().begin(), file.names().end(),
                    [&](const std::string& name) { return name.starts_with(layout.prefix); }))
      return layout;
  return bare_layout;
}

/// The tensors by the names that the file gives the modules. Where alpha is a tensor, A and B may have either spelling.
/// @throws InputError for a name that is none of a LoRA's, a half of an adapter and a half that is there twice.
inline std::map<std::string, LoraTensors, std::less<>> lora_tensors(const io::Checkpoint& file,
                                                                    const LoraLayout& layout) {
  // No struct of its own: what nvcc makes of a member that points to members, g++ warns about.
  using Ending = std::pair<std::string_view, const io::TensorInfo * LoraTensors::*>;
  std::vector<Ending> endings = {{".lora_A.weight", &LoraTensors::a}, {".lora_B.weight", &LoraTensors::b}};
  if (layout.has_alpha()) {
    endings.push_back({".lora_down.weight", &LoraTensors::a});
    endings.push_back({".lora_up.weight", &LoraTensors::b});
    endings.push_back({".alpha", &LoraTensors::alpha});
  }
  std::map<std::string, LoraTensors, std::less<>> modules;
  for (const std::string& name : file.names()) {
    const auto ending =
        std::find_if(endings.begin(), endings.end(), [&](const Ending& e) { return name.ends_with(e.first); });
    if (!name.starts_with(layout.prefix) || ending == endings.end() ||
        name.size() < layout.prefix.size() + ending->first.size()) {
      std::string expected = std::string(layout.prefix).append("<module>").append(layout.a);
      expected.append(layout.has_alpha() ? ", " : " or ").append(layout.b);
      if (layout.has_alpha()) expected.append(" or .alpha");
      throw_input(file.path(), "tensor " + in_quotes(name) + " has a name that is not read, expected " + expected);
    }
    const std::size_t prefix = layout.prefix.size();
    LoraTensors& tensors = modules[name.substr(prefix, name.size() - prefix - ending->first.size())];
    if (const io::TensorInfo* before = tensors.*(ending->second))
      throw_input(file.path(), "tensors " + in_quotes(before->name) + " and " + in_quotes(name) +
                                   " are the same part of one adapter, expected one of them");
    tensors.*(ending->second) = &file.at(name);
  }
  if (modules.empty()) throw_input(file.path(), "holds no tensors, expected those of a LoRA");
  for (const auto& [module, tensors] : modules)
    if (!tensors.a || !tensors.b)
      throw_input(file.path(),
                  "tensor " +
                      in_quotes(std::string(layout.prefix).append(module).append(tensors.a ? layout.b : layout.a)) +
                      " is missing beside the others of its module");
  return modules;
}

}  // namespace detail
}  // namespace adapters
SEGUE_NAMESPACE_END
