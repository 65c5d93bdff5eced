// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "segue/nn/visit.hpp"
#include "segue/policy/policy.hpp"

SEGUE_NAMESPACE_BEGIN
namespace train {

/// A leaf that trains, whatever its rank and element type: its master elements and its gradient, as flat views.
template <PolicyLike P>
class TrainedParameter {
 public:
  using Master = typename P::master;
  using Grad = typename P::grad;
  using Space = typename P::Space;
  using Device = typename P::Device;
  /// The narrow type that values are kept in where they are not masters themselves.
  using Rounded =
      std::conditional_t<std::is_same_v<typename P::storage, Master>, typename P::compute, typename P::storage>;

  TrainedParameter(std::string name, std::vector<std::int64_t> shape)
      : name_(std::move(name)), shape_(std::move(shape)) {}
  virtual ~TrainedParameter() = default;

  /// The name in the model; of an adapter's leaf, "ADAPTER:NAME", so that several adapters do not meet.
  const std::string& name() const { return name_; }
  const std::vector<std::int64_t>& shape() const { return shape_; }

  /// What the optimizer updates.
  virtual View<Master, 1, Space> master() const = 0;
  /// The gradient; absent if no backward reached the leaf since the last `drop_grad`.
  virtual View<const Grad, 1, Space> grad() const = 0;
  virtual void drop_grad() = 0;
  /// Makes the master copy from the value where there is none.
  virtual void make_master(Exec<Device>& exec) = 0;
  /// The value that the optimizer shall round the master copy into; null where they are the same tensor, or where the
  /// value has a type of its own and `write_back` does it.
  virtual Rounded* rounded() const = 0;
  /// Elements of a row of `rounded`, and from row to row; 0 where it is contiguous.
  virtual std::pair<std::int64_t, std::int64_t> rounded_rows() const = 0;
  /// Rounds the master copy into the value; nothing where they are the same tensor.
  virtual void write_back(Exec<Device>& exec) = 0;

 private:
  std::string name_;
  std::vector<std::int64_t> shape_;
};

namespace detail {

template <PolicyLike P, class Leaf>
class TrainedLeaf final : public TrainedParameter<P> {
 public:
  using Base = TrainedParameter<P>;
  using typename Base::Device, typename Base::Grad, typename Base::Master, typename Base::Rounded, typename Base::Space;
  static_assert(std::is_same_v<typename Leaf::master_type, Master> && std::is_same_v<typename Leaf::grad_type, Grad>,
                "train: a parameter's master and grad types must be those of the policy that trains it");

  TrainedLeaf(std::string name, Leaf& leaf)
      : Base(std::move(name), {leaf.shape().begin(), leaf.shape().end()}), leaf_(&leaf) {}

  View<Master, 1, Space> master() const override {
    const auto tensor = leaf_->master();
    return {tensor.data_handle(), {tensor.size()}};
  }
  View<const Grad, 1, Space> grad() const override {
    if (!leaf_->slot().filled()) return {};
    const auto& tensor = leaf_->slot().grad();
    return {tensor.data_handle(), {tensor.size()}};
  }
  void drop_grad() override { leaf_->slot().reset(); }
  void make_master(Exec<Device>& exec) override {
    if (!leaf_->master()) leaf_->refresh_master(exec);
  }
  Rounded* rounded() const override {
    if constexpr (Leaf::has_master && std::is_same_v<typename Leaf::value_type, Rounded>)
      return leaf_->value().data_handle();
    else
      return nullptr;
  }
  std::pair<std::int64_t, std::int64_t> rounded_rows() const override {
    const auto& value = leaf_->value().view();
    if (value.is_contiguous()) return {0, 0};
    const auto rows = rows_of(value, "train");
    return {rows.extent(1), rows.stride(0)};
  }
  void write_back(Exec<Device>& exec) override { leaf_->write_back(exec); }

 private:
  Leaf* leaf_;
};

}  // namespace detail

/// Everything in a model that trains now, in the order of its `visit`, with masters made.
/// The model must stay where it is, and keep its leaves, while the result is used.
/// @throws InputError if nothing trains.
template <PolicyLike P, class Model>
std::vector<std::unique_ptr<TrainedParameter<P>>> trained_parameters(Exec<typename P::Device>& exec, Model& model) {
  std::vector<std::unique_ptr<TrainedParameter<P>>> out;
  nn::for_each_leaf(model, [&](const auto& leaf) {
    using Tensor = std::remove_reference_t<decltype(leaf.tensor)>;
    if constexpr (nn::is_parameter<Tensor>) {
      if (!leaf.tensor.trains()) return;
      std::string name(leaf.adapter);
      if (!name.empty()) name += ':';
      name += leaf.name;
      out.push_back(std::make_unique<detail::TrainedLeaf<P, Tensor>>(std::move(name), leaf.tensor));
      out.back()->make_master(exec);
    }
  });
  if (out.empty())
    throw_input("train", "nothing in the model trains: add an adapter, or build the model with a map that trains");
  return out;
}

}  // namespace train
SEGUE_NAMESPACE_END
