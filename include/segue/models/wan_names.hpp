// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>

#include "segue/core/config.hpp"

SEGUE_NAMESPACE_BEGIN
namespace models {
namespace detail {

/// A module or leaf of Wan as diffusers and as Wan's own repository call it; '*' is the number of a block.
struct WanName {
  std::string_view diffusers;
  std::string_view original;
};

inline constexpr WanName wan_names[] = {
    {"patch_embedding", "patch_embedding"},
    {"condition_embedder.time_embedder.linear_1", "time_embedding.0"},
    {"condition_embedder.time_embedder.linear_2", "time_embedding.2"},
    {"condition_embedder.time_proj", "time_projection.1"},
    {"condition_embedder.text_embedder.linear_1", "text_embedding.0"},
    {"condition_embedder.text_embedder.linear_2", "text_embedding.2"},
    {"condition_embedder.image_embedder.norm1", "img_emb.proj.0"},
    {"condition_embedder.image_embedder.ff.net.0.proj", "img_emb.proj.1"},
    {"condition_embedder.image_embedder.ff.net.2", "img_emb.proj.3"},
    {"condition_embedder.image_embedder.norm2", "img_emb.proj.4"},
    {"condition_embedder.image_embedder.pos_embed", "img_emb.emb_pos"},
    {"blocks.*.attn1.to_q", "blocks.*.self_attn.q"},
    {"blocks.*.attn1.to_k", "blocks.*.self_attn.k"},
    {"blocks.*.attn1.to_v", "blocks.*.self_attn.v"},
    {"blocks.*.attn1.to_out.0", "blocks.*.self_attn.o"},
    {"blocks.*.attn1.norm_q", "blocks.*.self_attn.norm_q"},
    {"blocks.*.attn1.norm_k", "blocks.*.self_attn.norm_k"},
    {"blocks.*.attn2.to_q", "blocks.*.cross_attn.q"},
    {"blocks.*.attn2.to_k", "blocks.*.cross_attn.k"},
    {"blocks.*.attn2.to_v", "blocks.*.cross_attn.v"},
    {"blocks.*.attn2.to_out.0", "blocks.*.cross_attn.o"},
    {"blocks.*.attn2.norm_q", "blocks.*.cross_attn.norm_q"},
    {"blocks.*.attn2.norm_k", "blocks.*.cross_attn.norm_k"},
    {"blocks.*.attn2.add_k_proj", "blocks.*.cross_attn.k_img"},
    {"blocks.*.attn2.add_v_proj", "blocks.*.cross_attn.v_img"},
    {"blocks.*.attn2.norm_added_k", "blocks.*.cross_attn.norm_k_img"},
    // The affine norm before cross-attention: the second that a block applies, the third that Wan declares.
    {"blocks.*.norm2", "blocks.*.norm3"},
    {"blocks.*.ffn.net.0.proj", "blocks.*.ffn.0"},
    {"blocks.*.ffn.net.2", "blocks.*.ffn.2"},
    {"blocks.*.scale_shift_table", "blocks.*.modulation"},
    {"scale_shift_table", "head.modulation"},
    {"proj_out", "head.head"},
};

/// `to`, if `name` is `from` or goes on behind it with a dot; what goes on and the block's number are kept.
inline std::optional<std::string> rewritten(std::string_view name, std::string_view from, std::string_view to) {
  std::string_view number;
  if (const std::size_t star = from.find('*'); star != std::string_view::npos) {
    if (!name.starts_with(from.substr(0, star))) return std::nullopt;
    name.remove_prefix(star);
    number = name.substr(0, std::min(name.find_first_not_of("0123456789"), name.size()));
    if (number.empty()) return std::nullopt;
    name.remove_prefix(number.size());
    from.remove_prefix(star + 1);
  }
  if (!name.starts_with(from)) return std::nullopt;
  name.remove_prefix(from.size());
  if (!name.empty() && name[0] != '.') return std::nullopt;
  std::string out(to);
  if (const std::size_t star = out.find('*'); star != std::string::npos) out.replace(star, 1, number);
  return out.append(name);
}

}  // namespace detail

/// A module, a leaf or a tensor beside a module (`blocks.0.attn1.to_q.lora_A.weight`) of diffusers'
/// WanTransformer3DModel, in the words of Wan's own repository (class WanModel: `blocks.0.self_attn.q.lora_A.weight`);
/// nullopt for a name that is no part of Wan.
inline std::optional<std::string> wan_original_name(std::string_view diffusers) {
  for (const detail::WanName& rule : detail::wan_names)
    if (auto name = detail::rewritten(diffusers, rule.diffusers, rule.original)) return name;
  return std::nullopt;
}

/// The same the other way round.
inline std::optional<std::string> wan_diffusers_name(std::string_view original) {
  for (const detail::WanName& rule : detail::wan_names)
    if (auto name = detail::rewritten(original, rule.original, rule.diffusers)) return name;
  return std::nullopt;
}

}  // namespace models
SEGUE_NAMESPACE_END
