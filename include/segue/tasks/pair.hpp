// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "segue/core/error.hpp"
#include "segue/io/image.hpp"

SEGUE_NAMESPACE_BEGIN
namespace tasks {

/// A task item: the picture that is shown and the answer, at the model's size, 3 channels.
struct Pair {
  std::string name;  ///< file stem, or the place in a generated task
  io::Image input, target;
};

/// The first n items. Raises InputError that names both numbers if there are fewer.
template <class Item>
std::span<const Item> first_items(std::string_view where, const std::vector<Item>& items, int n) {
  if (n < 1 || static_cast<std::size_t>(n) > items.size()) {
    throw_input(where, "number of training pairs", std::to_string(n), "1 to " + std::to_string(items.size()));
  }
  return std::span<const Item>(items).first(static_cast<std::size_t>(n));
}

}  // namespace tasks
SEGUE_NAMESPACE_END
