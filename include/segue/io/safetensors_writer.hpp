// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "segue/core/config.hpp"
#include "segue/core/dtype.hpp"
#include "segue/core/error.hpp"
#include "segue/core/posix.hpp"
#include "segue/io/json.hpp"
#include "segue/io/safetensors.hpp"

SEGUE_NAMESPACE_BEGIN
namespace io {

namespace detail {

/// Place of a dtype in the official writer's order, "increasing alignment": the largest is written first, so that
/// every tensor is aligned to its element.
constexpr int alignment_rank(DType t) {
  switch (t) {
    case DType::Bool: return 0;
    case DType::F4: return 1;
    case DType::F6_E2M3: return 2;
    case DType::F6_E3M2: return 3;
    case DType::U8: return 4;
    case DType::I8: return 5;
    case DType::F8_E5M2: return 6;
    case DType::F8_E4M3: return 7;
    case DType::F8_E8M0: return 8;
    case DType::I16: return 9;
    case DType::U16: return 10;
    case DType::F16: return 11;
    case DType::BF16: return 12;
    case DType::I32: return 13;
    case DType::U32: return 14;
    case DType::F32: return 15;
    case DType::C64: return 16;
    case DType::F64: return 17;
    case DType::I64: return 18;
    case DType::U64: return 19;
  }
  return -1;
}

}  // namespace detail

/// Collects tensors and writes them as one safetensors file. The bytes depend only on what was added, not on the order:
/// tensors are sorted as the official writer sorts them (dtype, then name), metadata by key.
class SafetensorsWriter {
 public:
  SafetensorsWriter() = default;
  SafetensorsWriter(SafetensorsWriter&&) = default;
  SafetensorsWriter& operator=(SafetensorsWriter&&) = default;

  /// Adds a row-major little-endian tensor. `data` is not copied: it must live until `write`.
  /// Raises InputError: the name "__metadata__" or one that is not UTF-8; a size that does not fit the shape.
  void add(std::string name, DType dtype, std::vector<std::int64_t> shape, std::span<const std::byte> data) {
    if (name == "__metadata__") throw_input("safetensors", "a tensor cannot be named __metadata__");
    if (!is_utf8(name)) throw_input("safetensors", "the name of a tensor is not UTF-8");
    const std::uint64_t bytes = detail::tensor_bytes(dtype, shape, "safetensors", name);
    if (bytes != data.size()) {
      throw_input("safetensors", "the data of tensor " + in_quotes(name), std::to_string(data.size()) + " bytes",
                  std::to_string(bytes) + " for " + std::string(segue::name(dtype)) + " of shape " + shape_text(shape));
    }
    tensors_.push_back({std::move(name), dtype, std::move(shape), data});
  }
  /// Adds a tensor from elements of its own type; not copied either.
  template <class T>
  void add(std::string name, std::vector<std::int64_t> shape, std::span<const T> data) {
    add(std::move(name), dtype_of<T>, std::move(shape), std::as_bytes(data));
  }
  /// Adds a tensor whose bytes the writer keeps.
  void add_owned(std::string name, DType dtype, std::vector<std::int64_t> shape, std::vector<std::byte> data) {
    add(std::move(name), dtype, std::move(shape), std::span<const std::byte>(data));
    owned_.push_back(std::move(data));
  }

  /// Sets a metadata entry. Raises InputError when the text is not UTF-8.
  void metadata(std::string key, std::string value) {
    if (!is_utf8(key) || !is_utf8(value)) throw_input("safetensors", "metadata " + in_quotes(key) + " is not UTF-8");
    metadata_.emplace_back(std::move(key), std::move(value));
  }

  /// The bytes before the data: length word, JSON, spaces up to a multiple of 8.
  /// Raises InputError when a tensor or a metadata key was added twice.
  std::string header() const {
    std::string json = "{";
    Metadata sorted_metadata = metadata_;
    std::sort(sorted_metadata.begin(), sorted_metadata.end());
    for (std::size_t i = 0; i < sorted_metadata.size(); ++i) {
      const auto& [key, value] = sorted_metadata[i];
      if (i > 0 && key == sorted_metadata[i - 1].first) {
        throw_input("safetensors", "metadata " + in_quotes(key) + " is added twice");
      }
      json.append(i == 0 ? "\"__metadata__\":{" : ",").append(json_text(key)).append(":").append(json_text(value));
    }
    if (!sorted_metadata.empty()) json.append("}");
    std::size_t offset = 0;
    for (const TensorInfo* info : sorted()) {
      json.append(json.size() > 1 ? "," : "").append(json_text(info->name));
      json.append(":{\"dtype\":\"").append(segue::name(info->dtype)).append("\",\"shape\":[");
      for (std::size_t i = 0; i < info->shape.size(); ++i) {
        json.append(i ? "," : "").append(std::to_string(info->shape[i]));
      }
      json.append("],\"data_offsets\":[").append(std::to_string(offset)).append(",");
      offset += info->data.size();
      json.append(std::to_string(offset)).append("]}");
    }
    json.push_back('}');
    json.append((8 - json.size() % 8) % 8, ' ');
    const std::uint64_t length = json.size();
    std::string bytes(sizeof length, '\0');
    std::memcpy(bytes.data(), &length, sizeof length);
    return bytes.append(json);
  }

  /// Writes the file: whole or not at all (see AtomicFile). Raises InputError as `header` and AtomicFile do.
  void write(const std::string& path) const {
    const std::string start = header();
    AtomicFile file(path);
    file.write(start);
    for (const TensorInfo* info : sorted()) file.write(info->data);
    file.commit();
  }

 private:
  static std::string json_text(const std::string& text) { return dump_json(Json(text), -1); }

  std::vector<const TensorInfo*> sorted() const {
    std::vector<const TensorInfo*> order;
    order.reserve(tensors_.size());
    for (const TensorInfo& info : tensors_) order.push_back(&info);
    std::sort(order.begin(), order.end(), [](auto* a, auto* b) { return a->name < b->name; });
    for (std::size_t i = 1; i < order.size(); ++i) {
      if (order[i]->name == order[i - 1]->name) {
        throw_input("safetensors", "tensor " + in_quotes(order[i]->name) + " is added twice");
      }
    }
    std::stable_sort(order.begin(), order.end(), [](auto* a, auto* b) {
      return detail::alignment_rank(a->dtype) > detail::alignment_rank(b->dtype);
    });
    return order;
  }

  std::vector<TensorInfo> tensors_;
  std::vector<std::vector<std::byte>> owned_;
  Metadata metadata_;
};

}  // namespace io
SEGUE_NAMESPACE_END
