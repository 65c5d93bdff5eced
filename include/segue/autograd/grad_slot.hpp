// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <utility>

#include "segue/core/exec.hpp"
#include "segue/ops/elementwise.hpp"
#include "segue/ops/types.hpp"

SEGUE_NAMESPACE_BEGIN

/// Where the gradient of one value is summed. The first contribution is moved in; a later one is added in place if
/// nobody else holds the buffer, else into a fresh one.
template <class T, int Rank, class Space>
class GradSlot {
 public:
  using Value = Tensor<T, Rank, Space>;

  /// Gradients of rows with spare columns get spare columns too.
  void lay_out_like(const Value& value) { spare_columns_ = value.spare_columns() > 0; }

  bool filled() const { return filled_; }
  const Value& grad() const { return grad_; }

  /// Hands over a finished contribution.
  template <class Device>
  void add(Exec<Device>& exec, Value contribution) {
    if (!filled_) {
      grad_ = std::move(contribution);
      filled_ = true;
      return;
    }
    exec.settle(grad_.buffer());
    Value sum = grad_.unique() ? grad_ : make(exec, grad_.shape());
    ops::add(exec, grad_.cview(), contribution.cview(), sum.view());
    grad_ = std::move(sum);
  }

  struct Target {
    Value value;
    ops::GradMode mode;
  };
  /// A buffer for an operator that can write or accumulate by itself; the mode says which.
  template <class Device>
  Target open(Exec<Device>& exec, const Shape<Rank>& shape) {
    if (!filled_) {
      grad_ = make(exec, shape);
      filled_ = true;
      return {grad_, ops::GradMode::overwrite};
    }
    exec.settle(grad_.buffer());
    if (!grad_.unique()) {
      Value fresh = make(exec, shape);
      ops::copy(exec, grad_.cview(), fresh.view());
      grad_ = std::move(fresh);
    }
    return {grad_, ops::GradMode::accumulate};
  }

  /// Keeps the buffer for the next step but forgets its contents.
  void clear() { filled_ = false; }
  Value take() {
    filled_ = false;
    return std::exchange(grad_, Value());
  }
  /// Drops the buffer too.
  void reset() {
    filled_ = false;
    grad_ = Value();
  }

 private:
  template <class Device>
  Value make(Exec<Device>& exec, const Shape<Rank>& shape) const {
    return spare_columns_ ? exec.template rows<T, Rank>(shape) : exec.template empty<T, Rank>(shape);
  }

  Value grad_;
  bool filled_ = false;
  bool spare_columns_ = false;
};

SEGUE_NAMESPACE_END
