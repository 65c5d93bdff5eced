// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <type_traits>
#include <utility>

#include "segue/autograd/grad_slot.hpp"
#include "segue/autograd/saved.hpp"

SEGUE_NAMESPACE_BEGIN

/// A value that may carry a gradient of element type `Grad`; without a slot it is a constant.
/// Cheap to copy. Belongs to the tape that recorded it and is spent once that tape ran backward.
template <class T, int Rank, class Space, class Grad = T>
class Var {
 public:
  using value_type = T;
  using space = Space;
  using Slot = GradSlot<Grad, Rank, Space>;
  static constexpr int rank() { return Rank; }

  Var() = default;
  /// A constant.
  explicit Var(Tensor<T, Rank, Space> value) : value_(std::move(value)) {}
  /// `tape` identifies the recording; 0 marks a leaf that outlives every tape.
  Var(Tensor<T, Rank, Space> value, Slot* slot, std::uint64_t tape)
      : value_(std::move(value)), slot_(slot), tape_(tape) {}

  const Tensor<T, Rank, Space>& value() const { return value_; }
  bool requires_grad() const { return slot_ != nullptr; }
  Slot* slot() const { return slot_; }
  std::uint64_t tape() const { return tape_; }

  const Shape<Rank>& shape() const { return value_.shape(); }
  std::int64_t extent(int i) const { return value_.extent(i); }

  void set_recipe(std::shared_ptr<Recipe<T, Rank, Space>> recipe) { recipe_ = std::move(recipe); }
  /// What a backward should capture of this value.
  Saved<T, Rank, Space> saved() const {
    return recipe_ ? Saved<T, Rank, Space>(recipe_) : Saved<T, Rank, Space>(value_);
  }

 private:
  Tensor<T, Rank, Space> value_;
  Slot* slot_ = nullptr;
  std::uint64_t tape_ = 0;
  std::shared_ptr<Recipe<T, Rank, Space>> recipe_;
};

template <class T>
inline constexpr bool is_var = false;
template <class T, int Rank, class Space, class Grad>
inline constexpr bool is_var<Var<T, Rank, Space, Grad>> = true;

/// What operators of the functional floor take: a `Tensor` (no gradient exists) or a `Var` (one may).
template <class X>
concept Value = is_tensor<std::remove_cvref_t<X>> || is_var<std::remove_cvref_t<X>>;

/// True if any of the argument types may carry a gradient: then the result is a `Var`.
template <class... X>
inline constexpr bool any_var = (is_var<std::remove_cvref_t<X>> || ...);

template <class T, int Rank, class Space>
const Tensor<T, Rank, Space>& value_of(const Tensor<T, Rank, Space>& x) {
  return x;
}
template <class T, int Rank, class Space, class Grad>
const Tensor<T, Rank, Space>& value_of(const Var<T, Rank, Space, Grad>& x) {
  return x.value();
}

template <class T, int Rank, class Space>
Saved<T, Rank, Space> save(const Tensor<T, Rank, Space>& x) {
  return Saved<T, Rank, Space>(x);
}
template <class T, int Rank, class Space, class Grad>
Saved<T, Rank, Space> save(const Var<T, Rank, Space, Grad>& x) {
  return x.saved();
}

template <class X>
bool requires_grad([[maybe_unused]] const X& x) {
  if constexpr (is_var<X>)
    return x.requires_grad();
  else
    return false;
}

/// The input of a model: a constant `Var` if the adapter map can train anything, so that the running activation has
/// one type through all blocks; else the `Tensor` itself, and the whole model is compiled without autograd.
template <class Adapters, class T, int Rank, class Space>
auto lift(const Tensor<T, Rank, Space>& x) {
  if constexpr (Adapters::trains)
    return Var<T, Rank, Space>(x);
  else
    return x;
}

SEGUE_NAMESPACE_END
