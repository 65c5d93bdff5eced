// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "segue/nn/parameter.hpp"

SEGUE_NAMESPACE_BEGIN
namespace nn {

/// What a leaf is: a weight of the checkpoint, part of an adapter, or derived state that no file holds.
enum class LeafKind { base, adapter, buffer };

/// One tensor of a model with its full name in the checkpoint's language, as `visit` hands it out.
/// `T` is a `Tensor` or a `Parameter`. `adapter` is the name of the adapter it belongs to, if any.
template <class T>
struct Leaf {
  std::string_view name;
  T& tensor;
  LeafKind kind = LeafKind::base;
  std::string_view adapter = {};
};

namespace detail {

template <class T>
inline constexpr bool is_leaf = is_tensor<std::remove_const_t<T>> || is_parameter<std::remove_const_t<T>>;

template <class T>
inline constexpr bool is_vector = false;
template <class T, class A>
inline constexpr bool is_vector<std::vector<T, A>> = true;

/// What a module's `visit` is called with: joins names and walks down.
template <class OnLeaf, class OnModule>
class Walker {
 public:
  Walker(OnLeaf& on_leaf, OnModule& on_module) : on_leaf_(on_leaf), on_module_(on_module) {}

  /// A member: a leaf (absent ones are skipped), a module, or a vector of modules.
  template <class M>
  void operator()(std::string_view name, M& member) {
    visit_member(name, member, LeafKind::base, {});
  }
  template <class M>
  void buffer(std::string_view name, M& member) {
    visit_member(name, member, LeafKind::buffer, {});
  }
  template <class M>
  void adapter(std::string_view adapter_name, std::string_view name, M& member) {
    visit_member(name, member, LeafKind::adapter, adapter_name);
  }

  template <class M>
  void enter(M& member) {
    on_module_(std::string_view(prefix_), member);
    member.visit(*this);
  }

 private:
  template <class M>
  void visit_member(std::string_view name, M& member, LeafKind kind, std::string_view adapter_name) {
    const std::size_t before = prefix_.size();
    if (!prefix_.empty() && !name.empty()) prefix_ += '.';
    prefix_ += name;
    if constexpr (is_leaf<M>) {
      if (member) on_leaf_(Leaf<M>{prefix_, member, kind, adapter_name});
    } else if constexpr (is_vector<std::remove_const_t<M>>) {
      for (std::size_t i = 0; i < member.size(); ++i) visit_member(std::to_string(i), member[i], kind, adapter_name);
    } else {
      enter(member);
    }
    prefix_.resize(before);
  }

  OnLeaf& on_leaf_;
  OnModule& on_module_;
  std::string prefix_;
};

}  // namespace detail

/// Calls `on_leaf(Leaf<T>)` for every tensor of a module, in the order of its `visit`.
template <class M, class F>
void for_each_leaf(M& module, F&& on_leaf) {
  auto ignore = [](std::string_view, auto&) {};
  detail::Walker<std::remove_reference_t<F>, decltype(ignore)> walker(on_leaf, ignore);
  walker.enter(module);
}

/// Calls `on_module(name, module)` for the module and everything inside it.
template <class M, class F>
void for_each_module(M& module, F&& on_module) {
  auto ignore = [](const auto&) {};
  detail::Walker<decltype(ignore), std::remove_reference_t<F>> walker(ignore, on_module);
  walker.enter(module);
}

}  // namespace nn
SEGUE_NAMESPACE_END
