// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cmath>
#include <cstdio>
#include <string>

#include "segue/core/dtype.hpp"
#include "segue/core/tensor.hpp"

SEGUE_NAMESPACE_BEGIN
namespace testing {

/// The answer of `allclose`: whether all is close, and if not a sentence with the worst element.
struct AllClose {
  bool ok = true;
  std::string message;
  explicit operator bool() const { return ok; }
};

namespace detail {

/// "0.1" rather than "0.100000": what tells two doubles apart, for messages.
inline std::string number_string(double v) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.9g", v);
  return text.data();
}

/// Elements in row-major order, whatever the strides: the index that follows; false after the last.
template <std::size_t Rank>
bool next_index(std::array<std::int64_t, Rank>& index, const std::array<std::int64_t, Rank>& shape) {
  for (std::size_t axis = Rank; axis-- > 0;) {
    if (++index[axis] < shape[axis]) return true;
    index[axis] = 0;
  }
  return false;
}

template <class T, int Rank, class Space>
double element(const View<T, Rank, Space>& x, const Shape<Rank>& index) {
  std::int64_t offset = 0;
  for (int i = 0; i < Rank; ++i) offset += index[static_cast<std::size_t>(i)] * x.stride(i);
  return cast<double>(x.data_handle()[offset]);
}

}  // namespace detail

/// Whether |got − expected| <= atol + rtol·|expected| for every element, in double. Views or Tensors in host memory,
/// any element types and strides. Infinities must be equal; NaN is close to nothing, itself included.
template <class Got, class Expected>
AllClose allclose(const Got& got, const Expected& expected, double atol, double rtol) {
  constexpr int rank = Got::rank();
  static_assert(rank == Expected::rank(), "allclose: got and expected must have the same rank");
  static_assert(Got::space::host_accessible && Expected::space::host_accessible,
                "allclose: got and expected must be in host memory; copy them with segue::to_host first");
  using ViewG = View<const typename Got::value_type, rank, typename Got::space>;
  using ViewE = View<const typename Expected::value_type, rank, typename Expected::space>;
  const ViewG g(got);
  const ViewE e(expected);
  if (g.shape() != e.shape())
    return {false, "the shape is " + shape_string(g.shape()) + ", expected " + shape_string(e.shape())};
  if (g.empty()) return {};

  std::int64_t wrong = 0;
  double worst = -1;
  Shape<rank> index{}, at{};
  do {
    const double a = detail::element(g, index), b = detail::element(e, index);
    if (a == b) continue;
    const double excess = std::abs(a - b) / (atol + rtol * std::abs(b));
    if (excess <= 1 && std::isfinite(b)) continue;
    ++wrong;
    const double badness = std::isnan(excess) ? HUGE_VAL : excess;
    if (badness > worst) {
      worst = badness;
      at = index;
    }
  } while (detail::next_index(index, g.shape()));
  if (wrong == 0) return {};
  const double a = detail::element(g, at), b = detail::element(e, at);
  return {false, std::to_string(wrong) + " of " + std::to_string(g.size()) + " elements differ, worst at " +
                     shape_string(at) + ": got " + detail::number_string(a) + ", expected " + detail::number_string(b) +
                     ", difference " + detail::number_string(std::abs(a - b)) + ", allowed " +
                     detail::number_string(atol + rtol * std::abs(b))};
}

}  // namespace testing
SEGUE_NAMESPACE_END
