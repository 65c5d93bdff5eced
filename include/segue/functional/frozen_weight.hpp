// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "segue/functional/detail.hpp"
#include "segue/ops/gemm.hpp"

SEGUE_NAMESPACE_BEGIN

/// How a frozen linear multiplies by its weight. The dense tensor is one case; a block-scaled or a streamed weight
/// specialises this struct with the same members and every frozen linear and LoRA layer takes it:
///   out_features(w), in_features(w)
///   forward(exec, w, x (M, in), y (M, out), epilogue, mode)  y = epilogue(x·Wᵀ), or epilogue(x·Wᵀ + y) to accumulate
///   backward_input(exec, w, dy (M, out), dx (M, in), mode)   dx (+)= dy·W
template <class W>
struct FrozenOps;

template <class TW, class Space>
struct FrozenOps<Tensor<TW, 2, Space>> {
  using W = Tensor<TW, 2, Space>;

  static std::int64_t out_features(const W& w) { return w.extent(0); }
  static std::int64_t in_features(const W& w) { return w.extent(1); }

  template <class Device, class TX, class TY, class TB>
  static void forward(Exec<Device>& exec, const W& w, View<TX, 2, Space> x, View<TY, 2, Space> y,
                      const ops::Epilogue<TY, TB, Space>& epilogue, ops::GradMode mode = ops::GradMode::overwrite) {
    const auto scratch = functional::detail::scratch(
        exec, ops::gemm_workspace_bytes<std::remove_cv_t<TX>, TW, TY>(exec, x.extent(0), w.extent(0), w.extent(1),
                                                                      ops::Transpose::no, ops::Transpose::yes));
    ops::gemm(exec, View<const std::remove_cv_t<TX>, 2, Space>(x), ops::Transpose::no, w.cview(), ops::Transpose::yes,
              y, {1.0, mode == ops::GradMode::accumulate ? 1.0 : 0.0}, epilogue, scratch.view());
  }

  template <class Device, class TY, class TX>
  static void backward_input(Exec<Device>& exec, const W& w, View<TY, 2, Space> dy, View<TX, 2, Space> dx,
                             ops::GradMode mode) {
    const auto scratch = functional::detail::scratch(
        exec, ops::gemm_workspace_bytes<std::remove_cv_t<TY>, TW, TX>(exec, dy.extent(0), w.extent(1), w.extent(0),
                                                                      ops::Transpose::no, ops::Transpose::no));
    ops::gemm(exec, View<const std::remove_cv_t<TY>, 2, Space>(dy), ops::Transpose::no, w.cview(), ops::Transpose::no,
              dx, {1.0, mode == ops::GradMode::accumulate ? 1.0 : 0.0}, ops::Epilogue<TX, TX, Space>{}, scratch.view());
  }
};

template <class W>
concept FrozenWeight = requires(const W& w) {
  FrozenOps<W>::out_features(w);
  FrozenOps<W>::in_features(w);
};

SEGUE_NAMESPACE_END
