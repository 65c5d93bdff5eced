// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <numeric>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "segue/ops/elementwise.hpp"
#include "segue/schedulers/time_distribution.hpp"
#include "segue/train/batch.hpp"

SEGUE_NAMESPACE_BEGIN
namespace train {

/// The numbers 0 … n − 1 in the order of one epoch, by Fisher and Yates; depends on the arguments alone.
inline std::vector<std::int64_t> shuffled_order(std::uint64_t seed, std::uint64_t epoch, std::int64_t n) {
  std::vector<std::int64_t> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), std::int64_t{0});
  const RandomKey key{seed, schedulers::site::order, static_cast<std::uint32_t>(epoch)};
  for (std::size_t i = order.size(); i > 1; --i) {
    const auto word = key.block(i);
    const std::uint64_t wide = (std::uint64_t{word[0]} << 32) | word[1];
    std::swap(order[i - 1], order[static_cast<std::size_t>(wide % i)]);
  }
  return order;
}

/// Clips, conditions and texts that are all in memory: what few-shot training has. Every epoch shows every clip once,
/// in an order of its own; batches run on across epochs, so none is short.
template <PolicyLike P>
class InMemoryDataset {
 public:
  using T = typename P::compute;
  using Space = typename P::Space;
  using Device = typename P::Device;

  /// @param text (L, D), the words of every clip that brings none.
  InMemoryDataset(std::int64_t batch_size, std::uint64_t seed, Tensor<T, 2, Space> text = {})
      : batch_size_(batch_size), seed_(seed), text_(std::move(text)) {
    if (batch_size < 1) throw_input("InMemoryDataset", "batch_size", std::to_string(batch_size), "1 or more");
  }

  /// clip: (C, F, H, W), condition: (Cc, F, H, W) or empty, text: (L, D) or empty for the shared one. `name` (a file)
  /// begins the sentence of an error. Tensors are kept, not copied.
  /// @throws InputError if a shape differs from the first clip's or there is no text.
  void add(Tensor<T, 4, Space> clip, Tensor<T, 4, Space> condition = {}, Tensor<T, 2, Space> text = {},
           std::string_view name = "InMemoryDataset") {
    if (!text) text = text_;
    if (!text) throw_input(name, "text", "absent", "one for the clip or one for the whole set");
    const auto condition_extents = [](const auto& c) { return c ? c.shape() : Shape<4>{}; };
    if (!items_.empty()) {
      same(name, "shape of the clip", clip.shape(), items_[0].clip.shape());
      same(name, "shape of the condition", condition_extents(condition), condition_extents(items_[0].condition));
      same(name, "shape of the text", text.shape(), items_[0].text.shape());
    }
    if (condition)
      for (std::size_t axis = 1; axis < 4; ++axis)
        if (condition.shape()[axis] != clip.shape()[axis])
          throw_input(name, "shape of the condition", shape_string(condition.shape()),
                      "the frames, height and width of " + shape_string(clip.shape()));
    items_.push_back({std::move(clip), std::move(condition), std::move(text)});
    contents_.reset();
  }

  std::int64_t size() const { return static_cast<std::int64_t>(items_.size()); }
  std::int64_t batch_size() const { return batch_size_; }

  void fill(Exec<Device>& exec, std::uint64_t index, Batch<P>& batch) {
    if (items_.empty()) throw_input("InMemoryDataset", "number of clips", "0", "1 or more");
    prepare(exec, batch_size_, batch);
    const auto n = static_cast<std::uint64_t>(size());
    for (std::int64_t i = 0; i < batch_size_; ++i) {
      const std::uint64_t number = index * static_cast<std::uint64_t>(batch_size_) + static_cast<std::uint64_t>(i);
      if (order_.empty() || number / n != epoch_) {
        epoch_ = number / n;
        order_ = shuffled_order(seed_, epoch_, size());
      }
      put(exec, items_[static_cast<std::size_t>(order_[static_cast<std::size_t>(number % n)])], i, batch);
    }
  }

  /// All clips in the order in which they were added, as one batch: for held-out losses and for sampling.
  Batch<P> all(Exec<Device>& exec) const {
    if (items_.empty()) throw_input("InMemoryDataset", "number of clips", "0", "1 or more");
    Batch<P> batch;
    prepare(exec, size(), batch);
    for (std::int64_t i = 0; i < size(); ++i) put(exec, items_[static_cast<std::size_t>(i)], i, batch);
    return batch;
  }

  /// Number, shapes, order and a hash of the contents (FNV-1a, 64 bits), which are read once: every checkpoint asks.
  std::string describe(Exec<Device>& exec) const {
    std::string text =
        std::to_string(size()) + " clips, batch " + std::to_string(batch_size_) + ", order " + std::to_string(seed_);
    if (items_.empty()) return text;
    text += ", shape " + shape_string(items_[0].clip.shape());
    if (!contents_) {
      std::uint64_t hash = 0xCBF29CE484222325u;
      for (const Item& item : items_) {
        add_to_hash(exec, hash, item.clip);
        add_to_hash(exec, hash, item.condition);
        add_to_hash(exec, hash, item.text);
      }
      contents_ = hash;
    }
    return text + ", contents " + std::to_string(*contents_);
  }

 private:
  struct Item {
    Tensor<T, 4, Space> clip, condition;
    Tensor<T, 2, Space> text;
  };

  template <std::size_t Rank>
  static void same(std::string_view name, std::string_view what, const std::array<std::int64_t, Rank>& found,
                   const std::array<std::int64_t, Rank>& expected) {
    if (found != expected) throw_input(name, what, shape_string(found), shape_string(expected));
  }

  void prepare(Exec<Device>& exec, std::int64_t count, Batch<P>& batch) const {
    const Item& first = items_[0];
    const auto make = [&](auto& target, const auto& item) {
      if (!item) return;
      auto shape = target.shape();
      shape[0] = count;
      for (std::size_t i = 1; i < shape.size(); ++i) shape[i] = item.shape()[i - 1];
      if (!target || target.shape() != shape)
        target = exec.template empty<T, std::tuple_size_v<decltype(shape)>>(shape);
    };
    make(batch.clips, first.clip);
    make(batch.condition, first.condition);
    make(batch.text, first.text);
  }

  static void put(Exec<Device>& exec, const Item& item, std::int64_t at, Batch<P>& batch) {
    ops::copy(exec, item.clip.cview(), batch.clips.view()[at]);
    if (item.condition) ops::copy(exec, item.condition.cview(), batch.condition.view()[at]);
    ops::copy(exec, item.text.cview(), batch.text.view()[at]);
  }

  template <int Rank>
  static void add_to_hash(Exec<Device>& exec, std::uint64_t& hash, const Tensor<T, Rank, Space>& x) {
    if (!x || !x.view().is_contiguous()) return;
    const std::vector<T> values = to_host(exec, x.view());
    const auto* bytes = reinterpret_cast<const unsigned char*>(values.data());
    for (std::size_t i = 0; i < values.size() * sizeof(T); ++i) hash = (hash ^ bytes[i]) * 0x100000001B3u;
  }

  std::int64_t batch_size_;
  std::uint64_t seed_;
  Tensor<T, 2, Space> text_;
  std::vector<Item> items_;
  mutable std::optional<std::uint64_t> contents_;  ///< hash of the items; empty until it is asked for
  std::vector<std::int64_t> order_;
  std::uint64_t epoch_ = 0;
};

}  // namespace train
SEGUE_NAMESPACE_END
