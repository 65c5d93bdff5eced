// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>
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

/// The name in a file of what a part of a model calls `name`.
inline std::string name_under(std::string_view prefix, std::string_view name) {
  return prefix.empty() ? std::string(name) : std::string(prefix).append(".").append(name);
}

/// A tensor as files must hold it.
struct ExpectedTensor {
  std::string name;
  std::vector<std::int64_t> shape;
};

/// introduction + "'the nearest name'", or nothing where none is near.
template <class Names>
std::string nearest_in(const Names& names, const std::string& name, const char* introduction) {
  const std::string_view nearest = nearest_name(name, names);
  return nearest.empty() ? std::string() : std::string(introduction).append(in_quotes(nearest));
}

/// Throws unless what the file holds under names that begin with `start` are exactly the tensors of the model, or of a
/// part of it, and ones that `unused(name)` allows.
template <class Unused>
void check_names(std::vector<std::string> model_names, const io::Checkpoint& file, const std::string& start,
                 const Unused& unused) {
  std::sort(model_names.begin(), model_names.end());
  std::vector<std::string> file_names, missing, extra;
  std::copy_if(file.names().begin(), file.names().end(), std::back_inserter(file_names),
               [&](const std::string& name) { return name.starts_with(start) && !unused(name); });
  std::set_difference(model_names.begin(), model_names.end(), file_names.begin(), file_names.end(),
                      std::back_inserter(missing));
  std::set_difference(file_names.begin(), file_names.end(), model_names.begin(), model_names.end(),
                      std::back_inserter(extra));
  if (!missing.empty()) {
    std::string hint = did_you_mean(missing[0], extra);
    if (hint.empty()) hint = nearest_in(file.names(), missing[0], ", the nearest name in the file is ");
    throw_input(file.path(), "tensor '" + missing[0] + "' is missing" + and_more(missing.size()) + hint);
  }
  if (!extra.empty())
    throw_input(file.path(), "tensor '" + extra[0] + "' is no part of the model" + and_more(extra.size()) +
                                 nearest_in(model_names, extra[0], ", whose nearest name is "));
}

/// Throws unless every tensor has its shape in the file, and elements that are floating-point numbers.
inline void check_tensors(const std::vector<ExpectedTensor>& expected, const io::Checkpoint& file) {
  for (const auto& [tensor, shape] : expected) {
    const io::TensorInfo& info = file.at(tensor);
    if (info.shape != shape) {
      std::vector<std::string_view> of_that_shape;
      for (const ExpectedTensor& other : expected)
        if (other.shape == info.shape) of_that_shape.push_back(other.name);
      throw_input(file.path(), "the shape of tensor '" + tensor + "'",
                  io::shape_text(info.shape).append(nearest_in(of_that_shape, tensor, ", that of ")),
                  io::shape_text(shape));
    }
    if (info.dtype != DType::F32 && info.dtype != DType::BF16 && info.dtype != DType::F16 && info.dtype != DType::F64)
      throw_input(file.path(), "the dtype of tensor '" + tensor + "'", std::string(name(info.dtype)),
                  "F32, BF16, F16 or F64");
  }
}

/// What programs that keep several models in one file put before the names of this one.
inline std::string_view program_prefix(const io::Checkpoint& file) {
  for (const std::string_view known : {"model.diffusion_model.", "diffusion_model."})
    if (std::any_of(file.names().begin(), file.names().end(),
                    [&](const std::string& name) { return name.starts_with(known); }))
      return known;
  return {};
}

/// What a file calls the leaves of a model, in their order: the model's own names or its authors', whichever finds more
/// tensors.
template <class M>
std::vector<std::string> names_in_file(const M& model, const std::vector<std::string>& leaves,
                                       const io::Checkpoint& file, std::string_view prefix) {
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

/// Compares the weights of a model, or of a part of one, with a checkpoint: all are there, no others are, and each has
/// its shape and a dtype that converts. They may stand under the model's own names or those that its authors use
/// (`original_name`), all of them behind `model.diffusion_model.` or `diffusion_model.`, or none. Reads the headers of
/// the files that hold them, no data. A model that was made while its Exec plans is enough, so that a checkpoint is
/// checked without the memory for its weights.
/// @param prefix where the part stands in the model, "blocks.0"; what the file holds elsewhere is not looked at.
/// @returns what the file calls the leaves, in the order of the model.
/// @throws InputError, naming the file and the tensor: one that is missing or superfluous, with the nearest name that
/// is known; a shape that differs, with the nearest name whose shape it is; a dtype other than F32, BF16, F16 and F64.
template <class M>
std::vector<std::string> check_weights(M& model, const io::Checkpoint& file, std::string_view prefix = {}) {
  std::vector<std::string> leaves;
  std::vector<std::vector<std::int64_t>> shapes;
  nn::for_each_leaf(model, [&](const auto& leaf) {
    if (leaf.kind != nn::LeafKind::base) return;
    leaves.push_back(detail::name_under(prefix, leaf.name));
    shapes.push_back(nn::shape_in_files(model, leaf.name, leaf.tensor.shape()));
  });
  const std::string_view program = detail::program_prefix(file);
  const std::vector<std::string> names = detail::names_in_file(model, leaves, file, program);
  detail::check_names(names, file, std::string(program).append(detail::name_under(prefix, "")),
                      [&](std::string_view name) { return nn::unused_in_files(model, name); });
  std::vector<detail::ExpectedTensor> expected;
  for (std::size_t i = 0; i < names.size(); ++i) expected.push_back({names[i], shapes[i]});
  detail::check_tensors(expected, file);
  return names;
}

/// Fills every weight of a model from a checkpoint that holds exactly these, under names that `check_weights` knows.
/// Dtypes may differ (rounded to nearest even). Master copies follow; adapters and buffers stay as they are.
/// Of the files no more than a few MiB are resident at a time.
/// @param prefix loads a part of a model alone, as in `check_weights`: a WanBlock from "blocks.0".
/// @throws InputError as `check_weights` and Error if adapters are merged into the weights; then nothing was written.
template <class M, class Device>
void load_weights(M& model, Exec<Device>& exec, const io::Checkpoint& file, std::string_view prefix = {}) {
  const std::vector<std::string> names = check_weights(model, file, prefix);
  nn::for_each_module(model, [](std::string_view name, auto& module) {
    if constexpr (requires { module.merged(); })
      if (module.merged())
        throw Error("load_weights: adapters are merged into '" + std::string(name) + "'; unmerge them first");
  });
  std::size_t next = 0;
  nn::for_each_leaf(model, [&](const auto& leaf) {
    if (leaf.kind != nn::LeafKind::base) return;
    nn::read_leaf(exec, file.at(names[next++]), leaf.tensor);
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
