// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <utility>

#include "segue/autograd/var.hpp"

SEGUE_NAMESPACE_BEGIN
namespace nn {

/// A leaf that trains: a value, the slot of its gradient, and a master copy if the value is kept in a narrower type
/// than the optimizer works in. Its name is where it stands in the model; see `visit.hpp`.
template <class T, int Rank, class Space, class Grad = Accum<T>, class Master = Accum<T>>
class Parameter {
 public:
  using value_type = T;
  using grad_type = Grad;
  using master_type = Master;
  using space = Space;
  using Slot = GradSlot<Grad, Rank, Space>;
  static constexpr int rank() { return Rank; }
  static constexpr bool has_master = !std::is_same_v<T, Master>;

  Parameter() = default;
  explicit Parameter(Tensor<T, Rank, Space> value) : value_(std::move(value)), slot_(std::make_unique<Slot>()) {}

  /// What operators take: a leaf that outlives every tape, or a constant while frozen.
  Var<T, Rank, Space, Grad> var() const {
    return trains_ && slot_ ? Var<T, Rank, Space, Grad>(value_, slot_.get(), 0) : Var<T, Rank, Space, Grad>(value_);
  }

  const Tensor<T, Rank, Space>& value() const { return value_; }
  const Shape<Rank>& shape() const { return value_.shape(); }
  /// Only meaningful after a backward that reached this parameter: see `Slot::filled`.
  Slot& slot() const { return *slot_; }
  explicit operator bool() const { return static_cast<bool>(value_); }

  bool trains() const { return trains_; }
  void set_trains(bool on) { trains_ = on; }

  /// The copy that the optimizer updates, empty until it is made; the value itself where the types agree. Once there is
  /// one it, and not the value, is what the parameter is: write through `set`.
  Tensor<Master, Rank, Space> master() const {
    if constexpr (has_master)
      return master_;
    else
      return value_;
  }
  /// Makes or refreshes the master copy from the value.
  template <class Device>
  void refresh_master(Exec<Device>& exec) {
    if constexpr (has_master) {
      if (!master_) master_ = exec.template empty<Master, Rank>(value_.shape());
      ops::copy(exec, value_.cview(), master_.view());
    }
  }
  /// Rounds the master copy into the value.
  template <class Device>
  void write_back(Exec<Device>& exec) {
    if constexpr (has_master) ops::copy(exec, master_.cview(), value_.view());
  }
  /// Fills the parameter by `f(view)` in the master type, so that nothing of what f writes is lost to rounding.
  template <class Device, class F>
  void set(Exec<Device>& exec, F&& f) {
    if constexpr (has_master) {
      if (!master_) master_ = exec.template empty<Master, Rank>(value_.shape());
      f(master_.view());
      write_back(exec);
    } else {
      f(value_.view());
    }
  }

 private:
  Tensor<T, Rank, Space> value_;
  Tensor<Master, Rank, Space> master_;
  std::unique_ptr<Slot> slot_;
  bool trains_ = true;
};

template <class T>
inline constexpr bool is_parameter = false;
template <class T, int Rank, class Space, class Grad, class Master>
inline constexpr bool is_parameter<Parameter<T, Rank, Space, Grad, Master>> = true;

/// A leaf as an operator takes it, whether the adapter map froze it or not.
template <class T, int Rank, class Space>
const Tensor<T, Rank, Space>& use(const Tensor<T, Rank, Space>& leaf) {
  return leaf;
}
template <class T, int Rank, class Space, class Grad, class Master>
Var<T, Rank, Space, Grad> use(const Parameter<T, Rank, Space, Grad, Master>& leaf) {
  return leaf.var();
}

/// The tensor of a leaf, to read or to fill.
template <class T, int Rank, class Space>
Tensor<T, Rank, Space>& tensor_of(Tensor<T, Rank, Space>& leaf) {
  return leaf;
}
template <class T, int Rank, class Space, class Grad, class Master>
const Tensor<T, Rank, Space>& tensor_of(const Parameter<T, Rank, Space, Grad, Master>& leaf) {
  return leaf.value();
}

/// Allocates a leaf, uninitialised.
template <class Leaf, class Device>
Leaf make_leaf(Exec<Device>& exec, const Shape<Leaf::rank()>& shape) {
  return Leaf(exec.template empty<typename Leaf::value_type, Leaf::rank()>(shape));
}

}  // namespace nn
SEGUE_NAMESPACE_END
