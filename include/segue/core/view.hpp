// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>
#include <type_traits>

#include "segue/core/error.hpp"
#include "segue/core/shape.hpp"
#include "segue/policy/device.hpp"

SEGUE_NAMESPACE_BEGIN

/// A non-owning strided array with mdspan's vocabulary. Trivially copyable; passed by value, to kernels too.
/// Operators take views whose last axis is contiguous and whose other strides are free.
template <class T, int Rank, class Space>
class View {
  static_assert(Rank >= 1 && Rank <= 6, "View<T, Rank, Space>: Rank must be 1 to 6");

 public:
  using element_type = T;
  using value_type = std::remove_cv_t<T>;
  using space = Space;
  static constexpr int rank() { return Rank; }

  constexpr View() = default;
  constexpr View(T* data, const Shape<Rank>& shape) : View(data, shape, contiguous_strides(shape)) {}
  constexpr View(T* data, const Shape<Rank>& shape, const Shape<Rank>& strides)
      : data_(data), shape_(shape), strides_(strides) {}

  /// A view of mutable elements converts to a view of constant ones.
  template <class U>
    requires(std::is_same_v<U, std::remove_const_t<T>> && !std::is_same_v<U, T>)
  constexpr View(const View<U, Rank, Space>& other)
      : data_(other.data_handle()), shape_(other.shape()), strides_(other.strides()) {}

  SEGUE_HOST_DEVICE constexpr T* data_handle() const { return data_; }
  constexpr const Shape<Rank>& shape() const { return shape_; }
  constexpr const Shape<Rank>& strides() const { return strides_; }
  constexpr std::int64_t extent(int i) const { return shape_[static_cast<std::size_t>(i)]; }
  constexpr std::int64_t stride(int i) const { return strides_[static_cast<std::size_t>(i)]; }
  constexpr std::int64_t size() const { return element_count(shape_); }
  constexpr bool empty() const { return size() == 0; }

  constexpr bool is_contiguous() const {
    std::int64_t running = 1;
    for (int i = Rank - 1; i >= 0; --i) {
      if (extent(i) != 1 && stride(i) != running) return false;
      running *= extent(i);
    }
    return true;
  }
  /// True when the last axis is contiguous: what operators ask for.
  constexpr bool has_contiguous_rows() const { return extent(Rank - 1) <= 1 || stride(Rank - 1) == 1; }

  template <class... I>
  constexpr T& operator()(I... index) const {
    static_assert(Space::host_accessible,
                  "View::operator(): this view is in device memory, which host code cannot index; copy it to the host "
                  "first with segue::to_host");
    static_assert(sizeof...(I) == static_cast<std::size_t>(Rank), "View::operator(): give one index for each axis");
    const std::int64_t indices[] = {static_cast<std::int64_t>(index)...};
    std::int64_t offset = 0;
    for (int i = 0; i < Rank; ++i) offset += indices[i] * strides_[static_cast<std::size_t>(i)];
    return data_[offset];
  }

  /// Elements [begin, end) of one axis.
  constexpr View slice(int axis, std::int64_t begin, std::int64_t end) const {
    View out = *this;
    const auto a = static_cast<std::size_t>(axis);
    out.data_ += begin * strides_[a];
    out.shape_[a] = end - begin;
    return out;
  }

  /// Fixes the first axis.
  constexpr View<T, (Rank > 1 ? Rank - 1 : 1), Space> operator[](std::int64_t i) const requires(Rank > 1) {
    Shape<Rank - 1> shape{}, strides{};
    for (std::size_t k = 1; k < static_cast<std::size_t>(Rank); ++k) {
      shape[k - 1] = shape_[k];
      strides[k - 1] = strides_[k];
    }
    return {data_ + i * strides_[0], shape, strides};
  }

 private:
  T* data_ = nullptr;
  Shape<Rank> shape_{};
  Shape<Rank> strides_{};
};

/// Collapses all axes but the last into rows: (B, T, C) -> (B·T, C).
/// @throws InputError if the leading axes do not form one stride.
template <class T, int Rank, class Space>
View<T, 2, Space> rows_of(const View<T, Rank, Space>& x, std::string_view op = "rows_of") {
  if constexpr (Rank == 1) {
    return {x.data_handle(), {1, x.extent(0)}, {x.extent(0), x.stride(0)}};
  } else {
    std::int64_t rows = 1, stride = x.stride(Rank - 2);
    std::int64_t expected = stride;
    for (int i = Rank - 2; i >= 0; --i) {
      if (x.extent(i) != 1 && rows == 1) stride = expected = x.stride(i);
      if (x.extent(i) != 1 && x.stride(i) != expected)
        throw_input(op, "the leading axes of a view of shape " + shape_string(x.shape()) + " and strides " +
                            shape_string(x.strides()) + " do not form one row stride; make it contiguous first");
      rows *= x.extent(i);
      expected = stride * rows;
    }
    return {x.data_handle(), {rows, x.extent(Rank - 1)}, {stride, x.stride(Rank - 1)}};
  }
}

namespace detail {

/// O(1) check of a whole shape; -1 in `expected` accepts any extent.
template <class T, int Rank, class Space>
void check_shape(std::string_view op, std::string_view argument, const View<T, Rank, Space>& x,
                 const std::type_identity_t<Shape<Rank>>& expected) {
  for (std::size_t i = 0; i < static_cast<std::size_t>(Rank); ++i)
    if (expected[i] >= 0 && x.shape()[i] != expected[i])
      throw_input(op, std::string("shape of ").append(argument), shape_string(x.shape()), shape_string(expected));
  if (!x.has_contiguous_rows())
    throw_input(op, std::string("last-axis stride of ").append(argument), std::to_string(x.stride(Rank - 1)), "1");
}

/// As few rows as a view consists of: one, if it is contiguous.
/// @throws InputError if the last axis has gaps, or the leading axes form no row stride.
template <class T, int Rank, class Space>
View<T, 2, Space> fewest_rows(std::string_view op, const View<T, Rank, Space>& x) {
  if (x.is_contiguous()) return {x.data_handle(), {1, x.size()}};
  if (!x.has_contiguous_rows()) throw_input(op, "last-axis stride", std::to_string(x.stride(Rank - 1)), "1");
  return rows_of(x, op);
}

inline void check(bool ok, std::string_view op, std::string_view sentence) {
  if (!ok) throw_input(op, sentence);
}

}  // namespace detail

SEGUE_NAMESPACE_END
