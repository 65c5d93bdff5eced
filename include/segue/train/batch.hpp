// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstdint>

#include "segue/core/exec.hpp"
#include "segue/policy/policy.hpp"

SEGUE_NAMESPACE_BEGIN
namespace train {

/// What an objective sees at once, in model space.
template <PolicyLike P>
struct Batch {
  using T = typename P::compute;
  using Space = typename P::Space;
  Tensor<T, 5, Space> clips{};      ///< (B, C, F, H, W)
  Tensor<T, 5, Space> condition{};  ///< (B, Cc, F, H, W), or empty
  Tensor<T, 3, Space> text{};       ///< (B, L, D)
  Tensor<T, 3, Space> image{};      ///< (B, Li, Di), features of an image encoder, or empty
};

/// Where batches come from. `fill(exec, index, batch)` writes batch number `index` of the run, allocating what is
/// absent; it must depend on nothing but the index, so that a resumed run sees what an unbroken one would have.
/// While `exec.planning()` shapes count and contents do not.
/// A source may offer `describe(exec) -> std::string`: a run is not resumed on data that describes itself otherwise.
template <class S, class P>
concept BatchSource = requires(S& source, Exec<typename P::Device>& exec, std::uint64_t index, Batch<P>& batch) {
  source.fill(exec, index, batch);
  { source.batch_size() } -> std::convertible_to<std::int64_t>;
};

}  // namespace train
SEGUE_NAMESPACE_END
