// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <utility>

#include "segue/autograd/context.hpp"

SEGUE_NAMESPACE_BEGIN
namespace functional::detail {

/// Scratch for one operator call; empty when none is needed.
template <class Device>
Tensor<std::byte, 1, typename Device::Space> scratch(Exec<Device>& exec, std::size_t bytes) {
  if (bytes == 0) return {};
  return exec.template empty<std::byte, 1>({static_cast<std::int64_t>(bytes)});
}

/// The same elements without gaps between rows: x itself, or a copy.
template <class Device, class T, int Rank, class Space>
Tensor<T, Rank, Space> packed(Exec<Device>& exec, const Tensor<T, Rank, Space>& x) {
  if (x.view().is_contiguous()) return x;
  auto out = exec.template empty<T, Rank>(x.shape());
  ops::copy(exec, x.cview(), out.view());
  return out;
}

/// A constant of the type that an operator over `Inputs...` returns.
template <class... Inputs, class T, int Rank, class Space>
auto constant(Tensor<T, Rank, Space> value) {
  if constexpr (any_var<Inputs...>)
    return Var<T, Rank, Space>(std::move(value));
  else
    return value;
}

template <class X>
using value_t = typename std::remove_cvref_t<X>::value_type;

template <class X>
inline constexpr int rank_of = std::remove_cvref_t<X>::rank();

/// Whether a weight's memory is that of the device; a weight that is no tensor answers for itself.
template <class W, class Space>
inline constexpr bool lives_in = true;
template <class T, int Rank, class WeightSpace, class Space>
inline constexpr bool lives_in<Tensor<T, Rank, WeightSpace>, Space> = std::is_same_v<WeightSpace, Space>;

/// Element type of the gradient of a weight; any type will do for a frozen one.
template <class W>
struct GradType {
  using type = Accum<value_t<W>>;
};
template <class T, int Rank, class Space, class Grad>
struct GradType<Var<T, Rank, Space, Grad>> {
  using type = Grad;
};
template <class W>
using grad_t = typename GradType<std::remove_cvref_t<W>>::type;

/// Opens the gradient of an optional argument; an absent view if nobody wants it.
template <class Grad, int Rank, class Space>
struct Opened {
  View<Grad, Rank, Space> view{};
  ops::GradMode mode = ops::GradMode::overwrite;

  /// The mode of whichever of two gradients that an operator writes together is wanted.
  ops::GradMode either(const Opened& other) const { return view.data_handle() ? mode : other.mode; }
};

/// Operators that write two gradients in one pass take one mode for both.
template <class Device, class Grad, int Rank, class Space>
void same_mode(Exec<Device>& exec, Opened<Grad, Rank, Space>& a, Opened<Grad, Rank, Space>& b) {
  if (!a.view.data_handle() || !b.view.data_handle() || a.mode == b.mode) return;
  Opened<Grad, Rank, Space>& fresh = a.mode == ops::GradMode::overwrite ? a : b;
  ops::fill(exec, 0.0, fresh.view);
  fresh.mode = ops::GradMode::accumulate;
}
template <class Device, class Grad, int Rank, class Space>
Opened<Grad, Rank, Space> open(Exec<Device>& exec, const GradTarget<Grad, Rank, Space>& target,
                               const Shape<Rank>& shape) {
  if (!target) return {};
  auto opened = target.open(exec, shape);
  return {opened.value.view(), opened.mode};
}

/// (B, T, C) -> (B·T, C), for absent views too.
template <class T, int Rank, class Space>
View<T, 2, Space> rows(const View<T, Rank, Space>& x) {
  return x.data_handle() ? rows_of(x) : View<T, 2, Space>{};
}

}  // namespace functional::detail
SEGUE_NAMESPACE_END
