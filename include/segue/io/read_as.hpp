// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "segue/core/config.hpp"
#include "segue/core/dtype.hpp"
#include "segue/core/error.hpp"
#include "segue/core/posix.hpp"
#include "segue/io/safetensors.hpp"

SEGUE_NAMESPACE_BEGIN
namespace io {

namespace detail {

/// The types that tensors of a file can be read into.
template <class T>
inline constexpr bool is_readable = is_floating<T> || std::is_same_v<T, std::int32_t> ||
                                    std::is_same_v<T, std::int64_t> || std::is_same_v<T, std::uint8_t>;

/// False where an integer `To` cannot hold `v` exactly; floating targets round to nearest even.
template <class To, class From>
bool convert_element(From v, To& out) {
  if constexpr (std::is_integral_v<To> && std::is_integral_v<From>) {
    if (!std::in_range<To>(v)) return false;
  } else if constexpr (std::is_integral_v<To>) {
    // 2^digits is exact in double, max() need not be; a NaN fails both comparisons.
    constexpr double limit = 2.0 * static_cast<double>(To{1} << (std::numeric_limits<To>::digits - 1));
    const auto d = cast<double>(v);
    if (!(d >= static_cast<double>(std::numeric_limits<To>::min()) && d < limit)) return false;
    if (static_cast<double>(static_cast<To>(d)) != d) return false;
  }
  out = cast<To>(v);
  return true;
}

/// Calls `f(first, last)` for every piece of `count` elements. Behind each piece the pages of a mapped file are let go:
/// beside what was read one piece is resident, and not the file.
template <class F>
void for_each_piece(const TensorInfo& info, std::size_t count, std::size_t element_bytes, F&& f) {
  constexpr std::size_t piece_bytes = std::size_t{1} << 20;
  const std::size_t step = info.mapping.empty() ? count : piece_bytes / element_bytes;
  for (std::size_t first = 0; first < count; first += step) {
    const std::size_t last = std::min(count, first + step);
    f(first, last);
    release_pages(info.mapping, info.data.subspan(first * element_bytes, (last - first) * element_bytes));
  }
}

template <class From, class T>
void convert_elements(const TensorInfo& info, std::span<T> out) {
  const std::byte* source = info.data.data();
  for_each_piece(info, out.size(), sizeof(From), [&](std::size_t first, std::size_t last) {
    for (std::size_t i = first; i < last; ++i) {
      From v;
      std::memcpy(&v, source + i * sizeof(From), sizeof(From));
      if (!convert_element<T>(v, out[i])) {
        throw_input("tensor " + in_quotes(info.name), "element " + std::to_string(i) + " (" +
                                                          std::string(name(info.dtype)) + ") cannot be held by " +
                                                          std::string(name(dtype_of<T>)) + " without loss");
      }
    }
  });
}

}  // namespace detail

/// Whether `read_as` takes a source of this dtype; the others can only be stored.
constexpr bool converts(DType t) {
  return t != DType::C64 && t != DType::F8_E4M3 && t != DType::F8_E5M2 && t != DType::F8_E8M0 && t != DType::F6_E2M3 &&
         t != DType::F6_E3M2 && t != DType::F4;
}

/// Copies a tensor into `out`, converted to `T`: float, double, bfloat16, float16, int32_t, int64_t or uint8_t.
/// The source may be F64, F32, F16, BF16, BOOL (0 and 1) or any integer type, at any alignment. Floating targets round
/// to nearest even and overflow to infinity; an integer target must hold every value exactly. Of a mapped file no page
/// stays resident: a second reading takes it from the system's cache, if it is still there, or from the file.
/// Raises InputError, naming the tensor: another source dtype (read `info.data` instead), an `out` whose size is not
/// `info.elements()`, a value that an integer target cannot hold.
template <class T>
void read_as(const TensorInfo& info, std::span<T> out) {
  static_assert(detail::is_readable<T>,
                "io::read_as<T>: T must be float, double, bfloat16, float16, int32_t, int64_t or uint8_t");
  if (static_cast<std::int64_t>(out.size()) != info.elements()) {
    throw_input("tensor " + in_quotes(info.name), "its shape " + shape_text(info.shape),
                std::to_string(info.elements()) + " elements", std::to_string(out.size()));
  }
  if (info.dtype == dtype_of<T>) {
    return detail::for_each_piece(info, out.size(), sizeof(T), [&](std::size_t first, std::size_t last) {
      std::memcpy(out.data() + first, info.data.data() + first * sizeof(T), (last - first) * sizeof(T));
    });
  }
  switch (info.dtype) {
    case DType::Bool:
      for (std::size_t i = 0; i < out.size(); ++i) out[i] = cast<T>(info.data[i] == std::byte{0} ? 0 : 1);
      return;
    case DType::U8: return detail::convert_elements<std::uint8_t>(info, out);
    case DType::I8: return detail::convert_elements<std::int8_t>(info, out);
    case DType::U16: return detail::convert_elements<std::uint16_t>(info, out);
    case DType::I16: return detail::convert_elements<std::int16_t>(info, out);
    case DType::U32: return detail::convert_elements<std::uint32_t>(info, out);
    case DType::I32: return detail::convert_elements<std::int32_t>(info, out);
    case DType::U64: return detail::convert_elements<std::uint64_t>(info, out);
    case DType::I64: return detail::convert_elements<std::int64_t>(info, out);
    case DType::F16: return detail::convert_elements<float16>(info, out);
    case DType::BF16: return detail::convert_elements<bfloat16>(info, out);
    case DType::F32: return detail::convert_elements<float>(info, out);
    case DType::F64: return detail::convert_elements<double>(info, out);
    case DType::C64:
    case DType::F8_E4M3:
    case DType::F8_E5M2:
    case DType::F8_E8M0:
    case DType::F6_E2M3:
    case DType::F6_E3M2:
    case DType::F4: break;
  }
  throw_input("tensor " + in_quotes(info.name), "its dtype", std::string(name(info.dtype)),
              "one that converts to " + std::string(name(dtype_of<T>)));
}

/// The same into a fresh vector.
template <class T>
std::vector<T> read_vector(const TensorInfo& info) {
  std::vector<T> values(static_cast<std::size_t>(info.elements()));
  read_as<T>(info, values);
  return values;
}

}  // namespace io
SEGUE_NAMESPACE_END
