// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

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

/// Copies a file's tensor into the contiguous memory of a leaf, converted to its element type; while planning there is
/// no memory to copy into. The extents need not agree, the number of elements must.
/// @throws InputError as `io::read_as`.
template <class T, int Rank>
void read_elements(const Exec<Cpu>& exec, const io::TensorInfo& info, const View<T, Rank, HostSpace>& out) {
  if (exec.planning()) return;
  io::read_as<T>(info, std::span<T>(out.data_handle(), static_cast<std::size_t>(out.size())));
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

/// Adds contiguous elements to a file as F32, F64, BF16 or F16, rounded to nearest even. Elements that have the dtype
/// already are not copied: they must live until the writer wrote.
/// @throws InputError for another dtype.
template <class T, int Rank>
void write_elements(io::SafetensorsWriter& writer, std::string name, std::vector<std::int64_t> shape,
                    const View<const T, Rank, HostSpace>& in, DType dtype) {
  const std::span<const T> values(in.data_handle(), static_cast<std::size_t>(in.size()));
  if (dtype == dtype_of<T>) return writer.add(std::move(name), dtype, std::move(shape), std::as_bytes(values));
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

/// The same for a leaf: its master copy where there is one.
template <class T, int Rank>
void write_leaf(io::SafetensorsWriter& writer, std::string name, std::vector<std::int64_t> shape,
                const Tensor<T, Rank, HostSpace>& leaf, DType dtype) {
  write_elements(writer, std::move(name), std::move(shape), leaf.cview(), dtype);
}
template <class T, int Rank, class Grad, class Master>
void write_leaf(io::SafetensorsWriter& writer, std::string name, std::vector<std::int64_t> shape,
                const Parameter<T, Rank, HostSpace, Grad, Master>& leaf, DType dtype) {
  if (leaf.master())
    write_elements(writer, std::move(name), std::move(shape), leaf.master().cview(), dtype);
  else
    write_elements(writer, std::move(name), std::move(shape), leaf.value().cview(), dtype);
}

}  // namespace nn
SEGUE_NAMESPACE_END
