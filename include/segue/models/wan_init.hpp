// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>
#include <string_view>

#include "segue/nn/visit.hpp"
#include "segue/ops/random_fill.hpp"

SEGUE_NAMESPACE_BEGIN
namespace models {
namespace detail {

enum class WanLeafKind { weight, embedding_weight, output_weight, norm_weight, bias, table, position };

inline WanLeafKind wan_leaf_kind(std::string_view name) {
  if (name.ends_with("scale_shift_table")) return WanLeafKind::table;
  if (name.ends_with("pos_embed")) return WanLeafKind::position;
  if (name.ends_with("bias")) return WanLeafKind::bias;
  if (name.find("norm") != std::string_view::npos) return WanLeafKind::norm_weight;
  if (name == "proj_out.weight") return WanLeafKind::output_weight;
  if (name.find("time_embedder") != std::string_view::npos || name.find("text_embedder") != std::string_view::npos)
    return WanLeafKind::embedding_weight;
  return WanLeafKind::weight;
}

/// Calls `draw(kind, view, key)` for every weight; each has a key of its own.
template <class M, class Device, class F>
void draw_wan(M& model, Exec<Device>& exec, std::uint64_t seed, F&& draw) {
  // No step of a run has this number, and fresh adapters use the next one: these draws meet no other.
  RandomKey key{seed, 0, 0xFFFFFFFEu};
  nn::for_each_leaf(model, [&](const auto& leaf) {
    if (leaf.kind != nn::LeafKind::base) return;
    draw(wan_leaf_kind(leaf.name), nn::tensor_of(leaf.tensor).view(), key);
    ++key.site;
    if constexpr (requires { leaf.tensor.refresh_master(exec); }) leaf.tensor.refresh_master(exec);
  });
}

}  // namespace detail

/// The start of a training run from nothing, as Wan's `init_weights` has it: linears Xavier-uniform (the patch
/// embedding too), time and text embeddings N(0, 0.02²), biases 0, norms 1, modulation tables N(0, 1/dim), image
/// positions and the output projection 0, so that the fresh model answers 0. The same bits for a seed on every device.
/// Source: https://github.com/Wan-Video/Wan2.1, wan/modules/model.py.
template <class M, class Device>
void initialize_wan(M& model, Exec<Device>& exec, std::uint64_t seed) {
  detail::draw_wan(model, exec, seed, [&](detail::WanLeafKind kind, const auto& x, const RandomKey& key) {
    constexpr int rank = std::remove_cvref_t<decltype(x)>::rank();
    switch (kind) {
      case detail::WanLeafKind::weight: {
        const double bound = std::sqrt(6.0 / static_cast<double>(x.extent(0) + x.extent(rank - 1)));
        return ops::fill_uniform(exec, x, key, -bound, bound);
      }
      case detail::WanLeafKind::embedding_weight: return ops::fill_normal(exec, x, key, 0.0, 0.02);
      case detail::WanLeafKind::norm_weight: return ops::fill(exec, 1.0, x);
      case detail::WanLeafKind::table:
        return ops::fill_normal(exec, x, key, 0.0, 1.0 / std::sqrt(static_cast<double>(x.extent(rank - 1))));
      case detail::WanLeafKind::bias:
      case detail::WanLeafKind::position:
      case detail::WanLeafKind::output_weight: return ops::fill(exec, 0.0, x);
    }
  });
}

/// Every weight random, none of them zero or one: a model in which no term can hide, for tests.
template <class M, class Device>
void randomize_wan(M& model, Exec<Device>& exec, std::uint64_t seed) {
  detail::draw_wan(model, exec, seed, [&](detail::WanLeafKind kind, const auto& x, const RandomKey& key) {
    constexpr int rank = std::remove_cvref_t<decltype(x)>::rank();
    switch (kind) {
      case detail::WanLeafKind::weight:
      case detail::WanLeafKind::embedding_weight:
      case detail::WanLeafKind::output_weight:
        return ops::fill_normal(exec, x, key, 0.0, 0.9 / std::sqrt(static_cast<double>(x.extent(rank - 1))));
      case detail::WanLeafKind::norm_weight: return ops::fill_normal(exec, x, key, 1.0, 0.2);
      case detail::WanLeafKind::bias: return ops::fill_normal(exec, x, key, 0.0, 0.15);
      case detail::WanLeafKind::position:
      case detail::WanLeafKind::table: return ops::fill_normal(exec, x, key, 0.0, 0.3);
    }
  });
}

}  // namespace models
SEGUE_NAMESPACE_END
