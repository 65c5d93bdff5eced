// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <type_traits>
#include <utility>

#include "segue/core/exec.hpp"

SEGUE_NAMESPACE_BEGIN

/// How to rebuild a cheap activation instead of keeping it: the operator, its own saved inputs, its row statistics.
/// The first consumer in the backward rebuilds, siblings share the result, and it is freed with the last of them.
template <class T, int Rank, class Space>
class Recipe {
 public:
  using Device = typename DeviceOf<Space>::type;
  virtual ~Recipe() = default;

  Tensor<T, Rank, Space> get(Exec<Device>& exec) {
    if (!built_) built_ = build(exec);
    return built_;
  }

 protected:
  virtual Tensor<T, Rank, Space> build(Exec<Device>& exec) = 0;

 private:
  Tensor<T, Rank, Space> built_;
};

namespace detail {

template <class T, int Rank, class Space, class F>
class RecipeOf final : public Recipe<T, Rank, Space> {
 public:
  explicit RecipeOf(F f) : f_(std::move(f)) {}

 private:
  Tensor<T, Rank, Space> build(Exec<typename DeviceOf<Space>::type>& exec) override { return f_(exec); }
  F f_;
};

}  // namespace detail

/// Makes a recipe of a callable `(Exec&) -> Tensor<T, Rank, Space>`.
template <class T, int Rank, class Space, class F>
std::shared_ptr<Recipe<T, Rank, Space>> make_recipe(F f) {
  return std::make_shared<detail::RecipeOf<T, Rank, Space, F>>(std::move(f));
}

/// What a backward keeps of an activation: a handle, or a recipe. Closures capture this, never the activation.
template <class T, int Rank, class Space>
class Saved {
 public:
  using Device = typename DeviceOf<Space>::type;

  Saved() = default;
  explicit Saved(Tensor<T, Rank, Space> tensor) : tensor_(std::move(tensor)) {}
  explicit Saved(std::shared_ptr<Recipe<T, Rank, Space>> recipe) : recipe_(std::move(recipe)) {}

  Tensor<T, Rank, Space> get(Exec<Device>& exec) const { return recipe_ ? recipe_->get(exec) : tensor_; }

 private:
  Tensor<T, Rank, Space> tensor_;
  std::shared_ptr<Recipe<T, Rank, Space>> recipe_;
};

SEGUE_NAMESPACE_END
