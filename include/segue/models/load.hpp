// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "segue/core/nearest_name.hpp"
#include "segue/io/checkpoint.hpp"
#include "segue/nn/leaf_io.hpp"
#include "segue/nn/visit.hpp"

SEGUE_NAMESPACE_BEGIN
namespace models {
namespace detail {

/// " (and 3 more)" after the first of several.
inline std::string and_more(std::size_t count) {
  return count < 2 ? std::string() : " (and " + std::to_string(count - 1) + " more)";
}

/// Throws unless the file holds exactly the tensors of the model.
inline void check_names(std::vector<std::string> model_names, const io::Checkpoint& file) {
  std::sort(model_names.begin(), model_names.end());
  const std::vector<std::string>& file_names = file.names();
  std::vector<std::string> missing, extra;
  std::set_difference(model_names.begin(), model_names.end(), file_names.begin(), file_names.end(),
                      std::back_inserter(missing));
  std::set_difference(file_names.begin(), file_names.end(), model_names.begin(), model_names.end(),
                      std::back_inserter(extra));
  if (!missing.empty())
    throw_input(file.path(),
                "tensor '" + missing[0] + "' is missing" + and_more(missing.size()) + did_you_mean(missing[0], extra));
  if (!extra.empty()) {
    const std::string_view nearest = nearest_name(extra[0], model_names);
    throw_input(file.path(), "tensor '" + extra[0] + "' is no part of the model" + and_more(extra.size()) +
                                 (nearest.empty() ? "" : ", whose nearest name is '" + std::string(nearest) + "'"));
  }
}

/// What a file calls the leaves of a model, in their order: the model's own names or its authors', whichever finds more
/// tensors, behind what programs that keep several models in one file put before them.
template <class M>
std::vector<std::string> names_in_file(const M& model, const std::vector<std::string>& leaves,
                                       const io::Checkpoint& file) {
  std::string_view prefix;
  for (const std::string_view known : {"model.diffusion_model.", "diffusion_model."})
    if (std::any_of(file.names().begin(), file.names().end(),
                    [&](const std::string& name) { return name.starts_with(known); }))
      prefix = known;
  std::vector<std::string> own, original;
  for (const std::string& leaf : leaves) {
    own.push_back(std::string(prefix).append(leaf));
    original.push_back(std::string(prefix).append(nn::original_name(model, leaf).value_or(leaf)));
  }
  const auto held = [&](const std::vector<std::string>& names) {
    return std::count_if(names.begin(), names.end(), [&](const std::string& name) { return file.contains(name); });
  };
  return held(original) > held(own) ? original : own;
}

}  // namespace detail

/// Fills every weight of a model from a checkpoint that holds exactly these: under the model's own names or those that
/// its authors use (`original_name`), all of them behind `model.diffusion_model.` or `diffusion_model.`, or none.
/// Dtypes may differ (rounded to nearest even). Master copies follow; adapters and buffers stay as they are.
/// @throws InputError, naming the file and the tensor, if one is missing, superfluous or mis-shaped (then nothing was
/// written), or of a dtype that does not convert; Error if adapters are merged into the weights.
template <class M, class Device>
void load_weights(M& model, Exec<Device>& exec, const io::Checkpoint& file) {
  std::vector<std::string> leaves;
  nn::for_each_leaf(model, [&](const auto& leaf) {
    if (leaf.kind == nn::LeafKind::base) leaves.emplace_back(leaf.name);
  });
  const std::vector<std::string> names = detail::names_in_file(model, leaves, file);
  detail::check_names(names, file);
  nn::for_each_module(model, [](std::string_view name, auto& module) {
    if constexpr (requires { module.merged(); })
      if (module.merged())
        throw Error("load_weights: adapters are merged into '" + std::string(name) + "'; unmerge them first");
  });
  std::size_t next = 0;
  nn::for_each_leaf(model, [&](const auto& leaf) {
    if (leaf.kind != nn::LeafKind::base) return;
    const io::TensorInfo& info = file.at(names[next++]);
    const auto expected = nn::shape_in_files(model, leaf.name, leaf.tensor.shape());
    if (info.shape != expected)
      throw_input(file.path(), "the shape of tensor '" + info.name + "'", io::shape_text(info.shape),
                  io::shape_text(expected));
  });
  next = 0;
  nn::for_each_leaf(model, [&](const auto& leaf) {
    if (leaf.kind == nn::LeafKind::base) nn::read_leaf(exec, file.at(names[next++]), leaf.tensor);
  });
}

/// Writes every weight of a model, under its checkpoint's names and shapes, into one safetensors file: whole or not at
/// all. Masters are written where there are some; merged adapters are part of the weights.
/// @param dtype F32, BF16, F16 or F64. @param metadata beside "format": "pt", which transformers asks for.
/// @throws InputError if the file cannot be written or dtype is another.
template <class M, class Device>
void write_weights(M& model, Exec<Device>& exec, const std::string& path, DType dtype = DType::F32,
                   const io::Metadata& metadata = {}) {
  io::SafetensorsWriter writer;
  if (!io::find_metadata(metadata, "format")) writer.metadata("format", "pt");
  for (const auto& [key, value] : metadata) writer.metadata(key, value);
  nn::for_each_leaf(model, [&](const auto& leaf) {
    if (leaf.kind == nn::LeafKind::base)
      nn::write_leaf(exec, writer, std::string(leaf.name), nn::shape_in_files(model, leaf.name, leaf.tensor.shape()),
                     leaf.tensor, dtype);
  });
  writer.write(path);
}

}  // namespace models
SEGUE_NAMESPACE_END
