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

/// Throws unless the file holds exactly the tensors of the model, or of the part of it that `prefix` names.
inline void check_names(std::vector<std::string> model_names, const io::Checkpoint& file, std::string_view prefix) {
  std::sort(model_names.begin(), model_names.end());
  const std::string start = name_under(prefix, "");
  std::vector<std::string> file_names, missing, extra;
  std::copy_if(file.names().begin(), file.names().end(), std::back_inserter(file_names),
               [&](const std::string& name) { return name.starts_with(start); });
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

}  // namespace detail

/// Compares the weights of a model, or of a part of one, with a checkpoint: all are there, no others are, and each has
/// its shape and a dtype that converts. Reads the headers of the files that hold them, no data. A model that was made
/// while its Exec plans is enough, so that a checkpoint is checked without the memory for its weights.
/// @param prefix where the part stands in the model, "blocks.0"; what the file holds elsewhere is not looked at.
/// @throws InputError, naming the file and the tensor: one that is missing or superfluous, with the nearest name that
/// is known; a shape that differs, with the nearest name whose shape it is; a dtype other than F32, BF16, F16 and F64.
template <class M>
void check_weights(M& model, const io::Checkpoint& file, std::string_view prefix = {}) {
  std::vector<detail::ExpectedTensor> expected;
  std::vector<std::string> names;
  nn::for_each_leaf(model, [&](const auto& leaf) {
    if (leaf.kind != nn::LeafKind::base) return;
    names.push_back(detail::name_under(prefix, leaf.name));
    expected.push_back({names.back(), nn::shape_in_files(model, leaf.name, leaf.tensor.shape())});
  });
  detail::check_names(std::move(names), file, prefix);
  detail::check_tensors(expected, file);
}

/// Fills every weight of a model from a checkpoint that holds exactly these: the file's names are the model's, its
/// dtypes may be others (rounded to nearest even). Master copies follow; adapters and buffers stay as they are.
/// Of the files no more than a few MiB are resident at a time.
/// @param prefix loads a part of a model alone, as in `check_weights`: a WanBlock from "blocks.0".
/// @throws InputError as `check_weights` and Error if adapters are merged into the weights; then nothing was written.
template <class M, class Device>
void load_weights(M& model, Exec<Device>& exec, const io::Checkpoint& file, std::string_view prefix = {}) {
  check_weights(model, file, prefix);
  nn::for_each_module(model, [](std::string_view name, auto& module) {
    if constexpr (requires { module.merged(); })
      if (module.merged())
        throw Error("load_weights: adapters are merged into '" + std::string(name) + "'; unmerge them first");
  });
  nn::for_each_leaf(model, [&](const auto& leaf) {
    if (leaf.kind != nn::LeafKind::base) return;
    nn::read_leaf(exec, file.at(detail::name_under(prefix, leaf.name)), leaf.tensor);
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
