// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <utility>

#include "segue/core/pool.hpp"
#include "segue/core/view.hpp"

SEGUE_NAMESPACE_BEGIN

/// Owns its elements through a counted handle into a pool: cheap to copy, freed with the last holder.
/// A `Tensor` proves that no gradient exists. Copies share memory; `View`s of a `Tensor` are mutable, so write only
/// where `unique()` holds or where sharing is meant.
template <class T, int Rank, class Space>
class Tensor {
 public:
  using element_type = T;
  using value_type = T;
  using space = Space;
  static constexpr int rank() { return Rank; }

  Tensor() = default;
  /// Uninitialised elements.
  Tensor(Pool& pool, const Shape<Rank>& shape)
      : buffer_(pool.allocate(static_cast<std::size_t>(element_count(shape)) * sizeof(T))),
        view_(static_cast<T*>(buffer_.data()), shape) {}
  /// Uninitialised rows with room for `spare` more columns behind each, which belong to this tensor and to nobody else:
  /// an operator may put there what a product reads together with the row.
  static Tensor with_spare_columns(Pool& pool, const Shape<Rank>& shape, std::int64_t spare) {
    static_assert(Rank >= 2, "Tensor::with_spare_columns: there must be rows");
    Shape<Rank> outer = shape;
    outer[Rank - 1] += spare;
    Tensor out(pool, outer);
    out.view_ = View<T, Rank, Space>(out.data_handle(), shape, contiguous_strides(outer));
    out.spare_columns_ = spare;
    return out;
  }
  /// Part of a block that is owned already.
  Tensor(Buffer buffer, const View<T, Rank, Space>& view) : buffer_(std::move(buffer)), view_(view) {}
  /// Borrows memory that the caller keeps alive (a mapped file, a framework's tensor).
  static Tensor borrow(const View<T, Rank, Space>& view) { return Tensor(Buffer(), view); }

  const View<T, Rank, Space>& view() const { return view_; }
  operator View<T, Rank, Space>() const { return view_; }
  operator View<const T, Rank, Space>() const { return view_; }
  View<const T, Rank, Space> cview() const { return view_; }
  const Buffer& buffer() const { return buffer_; }

  T* data_handle() const { return view_.data_handle(); }
  const Shape<Rank>& shape() const { return view_.shape(); }
  const Shape<Rank>& strides() const { return view_.strides(); }
  std::int64_t extent(int i) const { return view_.extent(i); }
  std::int64_t stride(int i) const { return view_.stride(i); }
  std::int64_t size() const { return view_.size(); }
  explicit operator bool() const { return view_.data_handle() != nullptr; }
  bool unique() const { return buffer_.unique(); }
  std::int64_t spare_columns() const { return spare_columns_; }

  template <class... I>
  T& operator()(I... index) const {
    return view_(index...);
  }

  Tensor slice(int axis, std::int64_t begin, std::int64_t end) const {
    return Tensor(buffer_, view_.slice(axis, begin, end));
  }

  /// The same elements under other extents.
  /// @throws InputError if the tensor is not contiguous or the counts differ.
  template <int NewRank>
  Tensor<T, NewRank, Space> reshape(const std::int64_t (&extents)[NewRank]) const {
    Shape<NewRank> shape{};
    for (int i = 0; i < NewRank; ++i) shape[static_cast<std::size_t>(i)] = extents[i];
    return reshape_to<NewRank>(shape);
  }
  template <int NewRank>
  Tensor<T, NewRank, Space> reshape_to(const Shape<NewRank>& shape) const {
    if (!view_.is_contiguous())
      throw_input("reshape", "strides", shape_string(strides()), "those of a contiguous tensor");
    if (element_count(shape) != size())
      throw_input("reshape", "new shape", shape_string(shape), std::to_string(size()) + " elements");
    return Tensor<T, NewRank, Space>(buffer_, View<T, NewRank, Space>(view_.data_handle(), shape));
  }

 private:
  Buffer buffer_;
  View<T, Rank, Space> view_;
  std::int64_t spare_columns_ = 0;
};

template <class T>
inline constexpr bool is_tensor = false;
template <class T, int Rank, class Space>
inline constexpr bool is_tensor<Tensor<T, Rank, Space>> = true;

SEGUE_NAMESPACE_END
