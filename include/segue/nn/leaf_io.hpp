// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "segue/core/posix.hpp"
#include "segue/io/read_as.hpp"
#include "segue/io/safetensors_writer.hpp"
#include "segue/nn/parameter.hpp"

SEGUE_NAMESPACE_BEGIN
namespace nn {

/// The extents that checkpoints give a tensor of `model`: its own, unless the model says otherwise (a Conv3d that is
/// kept as a linear).
template <class M>
std::vector<std::int64_t> shape_in_files(const M& model, std::string_view name, std::vector<std::int64_t> shape) {
  if constexpr (requires { model.checkpoint_shape(name, shape); })
    return model.checkpoint_shape(name, std::move(shape));
  else
    return shape;
}
template <class M, std::size_t Rank>
std::vector<std::int64_t> shape_in_files(const M& model, std::string_view name,
                                         const std::array<std::int64_t, Rank>& shape) {
  return shape_in_files(model, name, std::vector<std::int64_t>(shape.begin(), shape.end()));
}

/// What the model's authors call a module or a leaf of `model`, where its own names are a library's: nullopt if it is
/// no part of their model. A model that does not say is taken at its own names.
template <class M>
std::optional<std::string> original_name(const M& model, std::string_view name) {
  if constexpr (requires { model.original_name(name); })
    return model.original_name(name);
  else
    return std::string(name);
}

/// Whether checkpoints of `model` may hold this tensor although the model has no use for it.
template <class M>
bool unused_in_files(const M& model, std::string_view name) {
  if constexpr (requires { model.unused_in_files(name); })
    return model.unused_in_files(name);
  else
    return false;
}

/// Copies a file's tensor into a view, converted to its element type; while planning there is no memory to copy into.
/// The extents need not agree, the number of elements must.
/// @throws InputError as `io::read_as`.
template <class Device, class T, int Rank>
void read_elements(Exec<Device>& exec, const io::TensorInfo& info, const View<T, Rank, typename Device::Space>& out) {
  if (exec.planning()) return;
  if (!out.is_contiguous()) {
    const auto packed = exec.template empty<T, Rank>(out.shape());
    read_elements(exec, info, packed.view());
    return ops::copy(exec, packed.cview(), out);
  }
  if constexpr (Device::Space::host_accessible) {
    io::read_as<T>(info, std::span<T>(out.data_handle(), static_cast<std::size_t>(out.size())));
  } else if (info.dtype == dtype_of<T> && info.elements() == out.size()) {
    exec.upload(info.data.data(),
                View<std::byte, 1, typename Device::Space>(reinterpret_cast<std::byte*>(out.data_handle()),
                                                           {static_cast<std::int64_t>(info.data.size())}));
    release_pages(info.mapping, info.data);
  } else {
    std::vector<T> host(static_cast<std::size_t>(out.size()));
    io::read_as<T>(info, std::span<T>(host));
    exec.upload(host.data(), out);
  }
}

/// The same into a leaf: into its master copy where its types differ, so that nothing is rounded away.
template <class Device, class T, int Rank>
void read_leaf(Exec<Device>& exec, const io::TensorInfo& info, Tensor<T, Rank, typename Device::Space>& leaf) {
  read_elements(exec, info, leaf.view());
}
template <class Device, class T, int Rank, class Grad, class Master>
void read_leaf(Exec<Device>& exec, const io::TensorInfo& info,
               Parameter<T, Rank, typename Device::Space, Grad, Master>& leaf) {
  leaf.set(exec, [&](const auto& view) { read_elements(exec, info, view); });
}

namespace detail {

template <class To, class T>
std::vector<std::byte> converted(std::span<const T> from) {
  std::vector<std::byte> bytes(from.size() * sizeof(To));
  for (std::size_t i = 0; i < from.size(); ++i) {
    const To value = cast<To>(from[i]);
    std::memcpy(bytes.data() + i * sizeof(To), &value, sizeof(To));
  }
  return bytes;
}

}  // namespace detail

/// Adds the elements of a view to a file as F32, F64, BF16 or F16, rounded to nearest even. Elements on the host that
/// have the dtype already are not copied: they must live until the writer wrote.
/// @throws InputError for another dtype.
template <class Device, class T, int Rank>
void write_elements(Exec<Device>& exec, io::SafetensorsWriter& writer, std::string name,
                    std::vector<std::int64_t> shape, const View<const T, Rank, typename Device::Space>& in,
                    DType dtype) {
  std::vector<T> fetched;
  std::span<const T> values;
  if (Device::Space::host_accessible && in.is_contiguous()) {
    values = {in.data_handle(), static_cast<std::size_t>(in.size())};
    if (dtype == dtype_of<T>) return writer.add(std::move(name), dtype, std::move(shape), std::as_bytes(values));
  } else {
    fetched = to_host(exec, in);
    values = fetched;
  }
  std::vector<std::byte> bytes;
  switch (dtype) {
    case DType::F32: bytes = detail::converted<float>(values); break;
    case DType::F64: bytes = detail::converted<double>(values); break;
    case DType::BF16: bytes = detail::converted<bfloat16>(values); break;
    case DType::F16: bytes = detail::converted<float16>(values); break;
    default:
      throw_input("tensor '" + name + "'", "the dtype to write", std::string(segue::name(dtype)),
                  "F32, BF16, F16 or F64");
  }
  writer.add_owned(std::move(name), dtype, std::move(shape), std::move(bytes));
}

/// What a leaf holds in full precision: its master copy where there is one.
template <class T, int Rank, class Space>
void with_full_precision(const Tensor<T, Rank, Space>& leaf, auto&& f) {
  f(leaf.cview());
}
template <class T, int Rank, class Space, class Grad, class Master>
void with_full_precision(const Parameter<T, Rank, Space, Grad, Master>& leaf, auto&& f) {
  if (leaf.master())
    f(leaf.master().cview());
  else
    f(leaf.value().cview());
}

/// `write_elements` of a leaf, in full precision before it is rounded to `dtype`.
template <class Device, class Leaf>
void write_leaf(Exec<Device>& exec, io::SafetensorsWriter& writer, std::string name, std::vector<std::int64_t> shape,
                const Leaf& leaf, DType dtype) {
  with_full_precision(
      leaf, [&](const auto& view) { write_elements(exec, writer, std::move(name), std::move(shape), view, dtype); });
}

}  // namespace nn
SEGUE_NAMESPACE_END
