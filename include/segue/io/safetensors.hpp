// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Reading safetensors files. The header's JSON is parsed by `parse_json`, which "segue/io/impl.hpp" defines.
// Format: https://github.com/huggingface/safetensors#format

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "segue/core/config.hpp"
#include "segue/core/dtype.hpp"
#include "segue/core/error.hpp"
#include "segue/core/nearest_name.hpp"
#include "segue/core/posix.hpp"
#include "segue/io/json.hpp"

SEGUE_NAMESPACE_BEGIN
namespace io {

static_assert(std::endian::native == std::endian::little, "safetensors data is little-endian, and so must the host be");

/// One tensor of a file: row-major, little-endian, at any alignment.
struct TensorInfo {
  std::string name;
  DType dtype = DType::F32;
  std::vector<std::int64_t> shape;
  std::span<const std::byte> data;
  std::span<const std::byte> mapping{};  ///< the whole file that `data` is mapped from; empty where it is in memory

  /// Number of elements; 1 for a scalar (empty shape).
  std::int64_t elements() const {
    std::int64_t n = 1;
    for (const std::int64_t extent : shape) n *= extent;
    return n;
  }
};

/// "(2, 3)": a shape for a sentence.
inline std::string shape_text(std::span<const std::int64_t> shape) {
  std::string text = "(";
  for (std::size_t i = 0; i < shape.size(); ++i) text.append(i ? ", " : "").append(std::to_string(shape[i]));
  return text.append(shape.size() == 1 ? ",)" : ")");
}

/// Text key-value pairs of a file, sorted by key.
using Metadata = std::vector<std::pair<std::string, std::string>>;

/// The value of a key, or nullptr.
inline const std::string* find_metadata(const Metadata& metadata, std::string_view key) {
  for (const auto& [name, value] : metadata) {
    if (name == key) return &value;
  }
  return nullptr;
}

/// What a safetensors file holds: tensors sorted by name, and metadata.
struct SafetensorsContents {
  std::vector<TensorInfo> tensors;
  Metadata metadata;
};

namespace detail {

inline constexpr std::uint64_t max_safetensors_header = 100'000'000;

inline constexpr DType all_dtypes[] = {DType::Bool,    DType::U8,      DType::I8,      DType::U16,     DType::I16,
                                       DType::U32,     DType::I32,     DType::U64,     DType::I64,     DType::F16,
                                       DType::BF16,    DType::F32,     DType::F64,     DType::C64,     DType::F8_E4M3,
                                       DType::F8_E5M2, DType::F8_E8M0, DType::F6_E2M3, DType::F6_E3M2, DType::F4};

/// The dtype with this spelling, or nullptr.
inline const DType* dtype_from_name(std::string_view text) {
  for (const DType& t : all_dtypes) {
    if (name(t) == text) return &t;
  }
  return nullptr;
}

/// Bytes of a dense tensor. Raises InputError on a negative extent, on overflow, and where the elements of a packed
/// type do not fill whole bytes.
inline std::uint64_t tensor_bytes(DType dtype, std::span<const std::int64_t> shape, std::string_view where,
                                  const std::string& tensor) {
  const std::string what = "the shape " + shape_text(shape) + " of tensor " + in_quotes(tensor);
  std::uint64_t bits = static_cast<std::uint64_t>(bit_width(dtype));
  for (const std::int64_t extent : shape) {
    if (extent < 0) throw_input(where, what + " has a negative extent");
    const auto n = static_cast<std::uint64_t>(extent);
    if (n != 0 && bits > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()) / n) {
      throw_input(where, what + " is too large: its size overflows 64 bits");
    }
    bits *= n;
  }
  if (bits % 8 != 0) {
    throw_input(where, what, std::to_string(bits) + " bits of " + std::string(name(dtype)), "a whole number of bytes");
  }
  return bits / 8;
}

inline TensorInfo parse_tensor(const std::string& tensor, const Json& entry, std::span<const std::byte> data,
                               std::string_view where) {
  const std::string context = std::string(where) + ": tensor " + in_quotes(tensor);
  if (!entry.is_object()) throw_input(where, "the entry of tensor " + in_quotes(tensor), entry.describe(), "an object");
  TensorInfo info;
  info.name = tensor;
  const std::string spelling = entry.get<std::string>("dtype", context);
  const DType* dtype = dtype_from_name(spelling);
  if (dtype == nullptr) {
    throw_input(context, "the dtype", in_quotes(spelling), "a safetensors dtype such as F32 or BF16");
  }
  info.dtype = *dtype;
  info.shape = entry.get<std::vector<std::int64_t>>("shape", context);
  const std::uint64_t bytes = tensor_bytes(info.dtype, info.shape, where, tensor);
  const auto offsets = entry.get<std::vector<std::uint64_t>>("data_offsets", context);
  if (offsets.size() != 2) throw_input(context, "data_offsets", std::to_string(offsets.size()) + " numbers", "2");
  const std::string range = "[" + std::to_string(offsets[0]) + ", " + std::to_string(offsets[1]) + "]";
  if (offsets[0] > offsets[1]) throw_input(context, "data_offsets", range, "a begin that is not after the end");
  if (offsets[1] > data.size()) {
    throw_input(context, "data_offsets", range, "an end within the " + std::to_string(data.size()) + " bytes of data");
  }
  if (offsets[1] - offsets[0] != bytes) {
    throw_input(context, "data_offsets", range,
                std::to_string(bytes) + " bytes for " + std::string(spelling) + " of shape " + shape_text(info.shape));
  }
  info.data = data.subspan(static_cast<std::size_t>(offsets[0]), static_cast<std::size_t>(bytes));
  return info;
}

}  // namespace detail

/// Parses and checks a whole safetensors file that is in memory; the result points into `file`. `where` begins every
/// error sentence. The header may be 100 MB at most. Errors (InputError): a header that is truncated, too long, no
/// JSON object, or has a key twice; an entry without dtype, shape or data_offsets or with a dtype that is not known; a
/// size that overflows or that differs from the offsets; data that overlaps, has gaps, or does not fill the file;
/// metadata whose values are no strings.
inline SafetensorsContents parse_safetensors(std::span<const std::byte> file, std::string_view where) {
  if (file.size() < 8) {
    throw_input(where, "the file", std::to_string(file.size()) + " bytes long", "at least the 8 of a header length");
  }
  std::uint64_t length = 0;
  std::memcpy(&length, file.data(), sizeof length);
  if (length > detail::max_safetensors_header) {
    throw_input(where, "the header length", std::to_string(length), "at most 100000000 bytes: no safetensors file?");
  }
  if (length > file.size() - 8) {
    throw_input(where, "the header length", std::to_string(length),
                "at most the " + std::to_string(file.size() - 8) + " bytes that follow: the file is truncated");
  }
  const auto header_size = static_cast<std::size_t>(length);
  const std::string_view header(reinterpret_cast<const char*>(file.data()) + 8, header_size);
  if (header.empty() || header.front() != '{') throw_input(where, "the header does not start with '{'");
  const std::span<const std::byte> data = file.subspan(8 + header_size);
  const Json json = parse_json(header, where);

  SafetensorsContents contents;
  contents.tensors.reserve(json.size());
  for (std::size_t i = 0; i < json.size(); ++i) {
    const Json& value = json.items()[i];
    if (json.keys()[i] != "__metadata__") {
      contents.tensors.push_back(detail::parse_tensor(json.keys()[i], value, data, where));
      continue;
    }
    if (!value.is_object()) throw_input(where, "__metadata__", value.describe(), "an object of strings");
    for (std::size_t k = 0; k < value.size(); ++k) {
      const std::string what = "__metadata__ key " + in_quotes(value.keys()[k]);
      contents.metadata.emplace_back(value.keys()[k], value.items()[k].as<std::string>(where, what));
    }
  }
  std::sort(contents.metadata.begin(), contents.metadata.end());

  // Every byte of the data belongs to exactly one tensor; an empty tensor may stand at any seam.
  std::sort(contents.tensors.begin(), contents.tensors.end(), [](const TensorInfo& a, const TensorInfo& b) {
    return std::pair(a.data.data(), a.data.size()) < std::pair(b.data.data(), b.data.size());
  });
  std::size_t end = 0;
  const std::string* previous = nullptr;
  for (const TensorInfo& info : contents.tensors) {
    const auto begin = static_cast<std::size_t>(info.data.data() - data.data());
    if (begin < end) {
      throw_input(where, "tensor " + in_quotes(info.name) + " begins at byte " + std::to_string(begin) +
                             " of the data and overlaps tensor " + in_quotes(*previous) + ", which ends at " +
                             std::to_string(end));
    }
    if (begin > end) {
      throw_input(where, "tensor " + in_quotes(info.name) + " begins at byte " + std::to_string(begin) +
                             " of the data and leaves a gap, expected " + std::to_string(end));
    }
    end = begin + info.data.size();
    previous = &info.name;
  }
  if (end != data.size()) {
    throw_input(where, "the data", std::to_string(data.size()) + " bytes long",
                std::to_string(end) + ", where the last tensor ends");
  }
  std::sort(contents.tensors.begin(), contents.tensors.end(),
            [](const TensorInfo& a, const TensorInfo& b) { return a.name < b.name; });
  return contents;
}

/// A safetensors file, mapped read-only and checked as a whole when it is opened (see `parse_safetensors`).
class SafetensorsFile {
 public:
  explicit SafetensorsFile(std::string path) : file_(std::move(path)) {
    contents_ = parse_safetensors(file_.bytes(), file_.path());
    for (TensorInfo& info : contents_.tensors) info.mapping = file_.bytes();
  }

  /// All tensors, sorted by name.
  const std::vector<TensorInfo>& tensors() const { return contents_.tensors; }
  const Metadata& metadata() const { return contents_.metadata; }
  const std::string& path() const { return file_.path(); }
  const MappedFile& mapping() const { return file_; }

  /// The tensor with this name, or nullptr.
  const TensorInfo* find(std::string_view tensor) const {
    const auto it = std::lower_bound(tensors().begin(), tensors().end(), tensor,
                                     [](const TensorInfo& info, std::string_view key) { return info.name < key; });
    return it != tensors().end() && it->name == tensor ? &*it : nullptr;
  }

 private:
  MappedFile file_;
  SafetensorsContents contents_;
};

}  // namespace io
SEGUE_NAMESPACE_END
