// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "segue/core/dtype.hpp"
#include "segue/core/exec.hpp"
#include "segue/core/random.hpp"

namespace support {

/// Values of a host reference: row-major, in double.
using Values = std::vector<double>;

/// Uniform in [-1, 1), rounded to T, so that the operator and its reference see the same numbers.
template <class T>
Values random_values(std::int64_t count, std::uint64_t seed, double scale = 1) {
  const segue::RandomKey key{.seed = seed};
  Values out(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < out.size(); ++i) {
    const double u = 2.0 * segue::uniform_from_bits(key.block(i / 4)[i % 4]) - 1.0;
    out[i] = segue::cast<double>(segue::cast<T>(scale * u));
  }
  return out;
}

/// A tensor whose rows lie `padding` elements apart; the gaps hold NaN. Without values it is NaN throughout: what an
/// operator must not read.
template <class T, class Device, std::size_t Rank>
auto operand(segue::Exec<Device>& exec, const std::array<std::int64_t, Rank>& shape, const Values& values,
             std::int64_t padding = 0) {
  std::array<std::int64_t, Rank> outer = shape;
  outer[Rank - 1] += padding;
  segue::Tensor<T, static_cast<int>(Rank), typename Device::Space> whole =
      exec.template empty<T, static_cast<int>(Rank)>(outer);
  std::vector<T> host(static_cast<std::size_t>(whole.size()), segue::cast<T>(std::numeric_limits<double>::quiet_NaN()));
  for (std::int64_t i = 0; i < static_cast<std::int64_t>(values.size()); ++i)
    host[static_cast<std::size_t>(i / shape[Rank - 1] * outer[Rank - 1] + i % shape[Rank - 1])] =
        segue::cast<T>(values[static_cast<std::size_t>(i)]);
  exec.upload(host.data(), whole.view());
  return padding == 0 ? whole : whole.slice(static_cast<int>(Rank) - 1, 0, shape[Rank - 1]);
}
template <class T, class Device, std::size_t Rank>
auto poisoned(segue::Exec<Device>& exec, const std::array<std::int64_t, Rank>& shape, std::int64_t padding = 0) {
  return operand<T>(exec, shape, {}, padding);
}

/// A tensor of these elements, whatever their type.
template <class T, class Device>
auto tensor_of(segue::Exec<Device>& exec, const std::vector<T>& values) {
  auto out = exec.template empty<T, 1>({static_cast<std::int64_t>(values.size())});
  exec.upload(values.data(), out.view());
  return out;
}

/// `count` neighbouring elements as they lie in memory, on the host.
template <class Space, class T>
std::vector<T> memory_of(const T* data, std::int64_t count) {
  std::vector<T> out(static_cast<std::size_t>(count));
  if (count == 0) return out;
  if constexpr (Space::host_accessible) {
    std::memcpy(out.data(), data, out.size() * sizeof(T));
  } else {
#if defined(__CUDACC__)
    if (cudaDeviceSynchronize() != cudaSuccess ||
        cudaMemcpy(out.data(), data, out.size() * sizeof(T), cudaMemcpyDeviceToHost) != cudaSuccess)
      throw std::runtime_error(std::string("memory_of: ") + cudaGetErrorString(cudaGetLastError()));
#endif
  }
  return out;
}

/// The elements of a tensor made by `operand`, without the gaps.
template <class Tensor>
Values values_of(const Tensor& x) {
  const std::int64_t columns = x.extent(Tensor::rank() - 1);
  const std::int64_t outer = Tensor::rank() > 1 ? x.stride(Tensor::rank() > 1 ? Tensor::rank() - 2 : 0) : columns;
  Values out(static_cast<std::size_t>(x.size()));
  if (out.empty()) return out;
  const auto memory = memory_of<typename Tensor::space, typename Tensor::value_type>(
      x.data_handle(), (x.size() / columns - 1) * outer + columns);
  for (std::int64_t i = 0; i < x.size(); ++i)
    out[static_cast<std::size_t>(i)] =
        segue::cast<double>(memory[static_cast<std::size_t>(i / columns * outer + i % columns)]);
  return out;
}

template <class Device>
auto scratch_of(segue::Exec<Device>& exec, std::size_t bytes) {
  return exec.template empty<std::byte, 1>({static_cast<std::int64_t>(bytes)});
}

/// Largest |a - b| / (1 + |b|); infinite where one is NaN or infinite and the other is not the same.
inline double worst_difference(const Values& a, const Values& b) {
  if (a.size() != b.size()) return std::numeric_limits<double>::infinity();
  double worst = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (a[i] == b[i]) continue;
    const double d = std::abs(a[i] - b[i]) / (1 + std::abs(b[i]));
    if (!(d < std::numeric_limits<double>::infinity())) return std::numeric_limits<double>::infinity();
    worst = std::max(worst, d);
  }
  return worst;
}

/// Half a unit in the last place of T, relative: what one rounding may cost.
template <class T>
constexpr double rounding = std::is_same_v<T, double>            ? 1.2e-16
                            : std::is_same_v<T, float>           ? 6e-8
                            : std::is_same_v<T, segue::bfloat16> ? 3.95e-3
                                                                 : 4.9e-4;

}  // namespace support
