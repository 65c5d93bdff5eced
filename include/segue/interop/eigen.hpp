// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Opt-in: nothing of the library includes this header, and it is the only one that includes Eigen.

#include <Eigen/Core>
#include <type_traits>

#include "segue/core/exec.hpp"

SEGUE_NAMESPACE_BEGIN
namespace interop {

namespace detail {

template <class T>
using EigenMatrix = Eigen::Matrix<std::remove_const_t<T>, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

template <class T>
using EigenMap = Eigen::Map<std::conditional_t<std::is_const_v<T>, const EigenMatrix<T>, EigenMatrix<T>>,
                            Eigen::Unaligned, Eigen::OuterStride<>>;

}  // namespace detail

/// The elements of a view as an Eigen matrix: (rows, columns), row-major, no copy. Writing through it writes the view.
/// Ranks above 2 collapse to rows first: `as_eigen(rows_of(x))`.
/// @throws InputError if the last axis is not contiguous.
template <class T, class Space>
detail::EigenMap<T> as_eigen(const View<T, 2, Space>& x) {
  static_assert(Space::host_accessible,
                "as_eigen: this view is in device memory, which Eigen cannot read; copy it to the host first");
  segue::detail::check(x.has_contiguous_rows(), "as_eigen", "the last axis of the view is not contiguous");
  return {x.data_handle(), static_cast<Eigen::Index>(x.extent(0)), static_cast<Eigen::Index>(x.extent(1)),
          Eigen::OuterStride<>(static_cast<Eigen::Index>(x.stride(0)))};
}
template <class T, class Space>
detail::EigenMap<T> as_eigen(const Tensor<T, 2, Space>& x) {
  return as_eigen(x.view());
}

/// Copies an Eigen matrix or vector expression into a tensor of its own, (rows, columns).
template <class Device, class Derived>
Tensor<typename Derived::Scalar, 2, typename Device::Space> from_eigen(Exec<Device>& exec,
                                                                       const Eigen::MatrixBase<Derived>& matrix) {
  static_assert(Device::Space::host_accessible, "from_eigen: copy to the device after making a host tensor");
  auto out = exec.template empty<typename Derived::Scalar, 2>({matrix.rows(), matrix.cols()});
  as_eigen(out) = matrix;
  return out;
}

}  // namespace interop
SEGUE_NAMESPACE_END
