// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "segue/core/posix.hpp"
#include "segue/nn/leaf_io.hpp"
#include "segue/train/dataset.hpp"

SEGUE_NAMESPACE_BEGIN
namespace train {

// A folder of clips and texts that were encoded already: one `NAME.safetensors` an item, read in byte order, with
//   latents    (C, F, H, W)
//   condition  (Cc, F, H, W), optional: what the model takes after the noisy channels
//   text       (L, D)
// in any floating type. Other files in the folder are an error only if they end in .safetensors and lack these tensors.

namespace detail {

template <PolicyLike P, int Rank>
Tensor<typename P::compute, Rank, typename P::Space> read_item(Exec<typename P::Device>& exec,
                                                               const io::SafetensorsFile& file, std::string_view name) {
  const io::TensorInfo* info = file.find(name);
  if (info == nullptr) throw_input(file.path(), "tensor '" + std::string(name) + "' is missing");
  if (info->shape.size() != static_cast<std::size_t>(Rank))
    throw_input(file.path(), "shape of tensor '" + std::string(name) + "'", io::shape_text(info->shape),
                std::to_string(Rank) + " axes");
  Shape<Rank> shape{};
  for (std::size_t i = 0; i < shape.size(); ++i) {
    shape[i] = info->shape[i];
    if (shape[i] < 1)
      throw_input(file.path(), "shape of tensor '" + std::string(name) + "'", io::shape_text(info->shape),
                  "positive extents");
  }
  auto tensor = exec.template empty<typename P::compute, Rank>(shape);
  nn::read_elements(exec, *info, tensor.view());
  return tensor;
}

}  // namespace detail

/// Reads a folder of latents into memory.
/// @throws InputError naming the file: no item, a missing tensor, a wrong rank, shapes that differ between items.
template <PolicyLike P>
InMemoryDataset<P> read_latent_folder(Exec<typename P::Device>& exec, const std::string& folder,
                                      std::int64_t batch_size, std::uint64_t seed) {
  InMemoryDataset<P> data(batch_size, seed);
  for (const std::string& name : list_directory(folder)) {
    if (!name.ends_with(".safetensors")) continue;
    const io::SafetensorsFile file(join_path(folder, name));
    auto latents = detail::read_item<P, 4>(exec, file, "latents");
    auto text = detail::read_item<P, 2>(exec, file, "text");
    Tensor<typename P::compute, 4, typename P::Space> condition;
    if (file.find("condition") != nullptr) condition = detail::read_item<P, 4>(exec, file, "condition");
    data.add(std::move(latents), std::move(condition), std::move(text), file.path());
  }
  if (data.size() == 0) throw_input(folder, "holds no .safetensors file");
  return data;
}

/// Writes one item; an empty condition is left out. All tensors must be contiguous.
template <class Device, class T, class Space>
void write_latent_item(Exec<Device>& exec, const std::string& path, const Tensor<T, 4, Space>& latents,
                       const Tensor<T, 4, Space>& condition, const Tensor<T, 2, Space>& text) {
  io::SafetensorsWriter writer;
  const auto add = [&](const char* name, const auto& x) {
    if (!x) return;
    if (!x.view().is_contiguous()) throw_input(path, std::string("tensor '") + name + "' is not contiguous");
    nn::write_elements(exec, writer, name, std::vector<std::int64_t>(x.shape().begin(), x.shape().end()), x.cview(),
                       dtype_of<T>);
  };
  add("latents", latents);
  add("condition", condition);
  add("text", text);
  writer.write(path);
}

}  // namespace train
SEGUE_NAMESPACE_END
