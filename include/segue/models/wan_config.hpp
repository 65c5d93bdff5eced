// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "segue/core/nearest_name.hpp"
#include "segue/io/json.hpp"
#include "segue/ops/patchify.hpp"

SEGUE_NAMESPACE_BEGIN
namespace models {

/// The keys of diffusers' WanTransformer3DModel, as its config.json has them.
struct WanConfig {
  ops::PatchSize patch_size{1, 2, 2};
  int num_attention_heads = 40;
  int attention_head_dim = 128;
  int in_channels = 16;
  int out_channels = 16;
  int text_dim = 4096;
  int freq_dim = 256;
  int ffn_dim = 13824;
  int num_layers = 40;
  bool cross_attn_norm = true;
  double eps = 1e-6;
  int rope_max_seq_len = 1024;
  int image_dim = 0;          ///< width of an image encoder's features (CLIP: 1280); 0: no image branch
  int pos_embed_seq_len = 0;  ///< image tokens that have a learned position (FLF2V: 2 · 257); 0: none

  bool has_image_branch() const { return image_dim > 0; }
  std::int64_t dim() const { return std::int64_t{num_attention_heads} * attention_head_dim; }
  std::int64_t patch_volume() const { return std::int64_t{patch_size.frames} * patch_size.height * patch_size.width; }
  friend bool operator==(const WanConfig&, const WanConfig&) = default;
};

namespace detail {

inline int positive(const io::Json& json, std::string_view key, int fallback, std::string_view where) {
  const int value = json.get_or<int>(key, fallback, where);
  if (value <= 0) throw_input(where, "key '" + std::string(key) + "'", std::to_string(value), "a positive integer");
  return value;
}

inline ops::PatchSize patch_size(const io::Json& json, std::string_view where) {
  const auto patch = json.get_or<std::vector<int>>("patch_size", {1, 2, 2}, where);
  if (patch.size() != 3 || patch[0] <= 0 || patch[1] <= 0 || patch[2] <= 0)
    throw_input(where, "key 'patch_size'", "an array of " + std::to_string(patch.size()), "three positive integers");
  return {patch[0], patch[1], patch[2]};
}

/// The dialect of Wan's own repository, with its defaults. `text_len` is the length that prompts are padded to: no
/// matter of the model's.
inline WanConfig read_original_wan_config(const io::Json& json, std::string_view where) {
  WanConfig c;
  const int dim = positive(json, "dim", 2048, where);
  const auto type = json.get_or<std::string>("model_type", "t2v", where);
  if (type == "i2v" || type == "flf2v") {
    c.image_dim = 1280;                                            // CLIP's ViT-H/14
    if (type == "flf2v") c.pos_embed_seq_len = 2 * (1 + 16 * 16);  // two images of 224 x 224
  } else if (type != "t2v" && type != "ti2v") {
    throw_input(where, "key 'model_type'", in_quotes(type), "'t2v', 'i2v', 'flf2v' or 'ti2v'");
  }
  if (!json.get_or<bool>("qk_norm", true, where)) throw_input(where, "key 'qk_norm'", "false", "true");
  if (json.get_or<std::vector<int>>("window_size", {-1, -1}, where) != std::vector<int>{-1, -1})
    throw_input(where, "key 'window_size'", "a window", "[-1, -1]: attention sees every token");
  c.patch_size = patch_size(json, where);
  c.num_attention_heads = positive(json, "num_heads", 16, where);
  if (dim % (2 * std::int64_t{c.num_attention_heads}) != 0)
    throw_input(where, "key 'dim'", std::to_string(dim),
                "an even number for each of num_heads = " + std::to_string(c.num_attention_heads));
  c.attention_head_dim = dim / c.num_attention_heads;
  c.in_channels = positive(json, "in_dim", 16, where);
  c.out_channels = positive(json, "out_dim", 16, where);
  c.text_dim = positive(json, "text_dim", 4096, where);
  c.freq_dim = positive(json, "freq_dim", 256, where);
  c.ffn_dim = positive(json, "ffn_dim", 8192, where);
  c.num_layers = positive(json, "num_layers", 32, where);
  c.cross_attn_norm = json.get_or<bool>("cross_attn_norm", true, where);
  c.eps = json.get_or<double>("eps", 1e-6, where);
  return c;
}

}  // namespace detail

/// Reads a parsed config.json: diffusers', or the one of Wan's own repository, whose `_class_name` is "WanModel". The
/// latter does not tell Wan2.1's I2V, which has an image branch, from Wan2.2's, which has none: taken for the former,
/// and `open_wan_folder` looks at the weights.
/// @throws InputError that names the key, what was found and what was expected.
inline WanConfig read_wan_config(const io::Json& json, std::string_view where) {
  const auto kind = json.get_or<std::string>("_class_name", "WanTransformer3DModel", where);
  if (kind == "WanModel") return detail::read_original_wan_config(json, where);
  if (kind != "WanTransformer3DModel")
    throw_input(where, "key '_class_name'", in_quotes(kind), "'WanTransformer3DModel' or 'WanModel'");
  if (const auto norm = json.get_or<std::string>("qk_norm", "rms_norm_across_heads", where);
      norm != "rms_norm_across_heads")
    throw_input(where, "key 'qk_norm'", in_quotes(norm), "'rms_norm_across_heads'");
  WanConfig c;
  c.patch_size = detail::patch_size(json, where);
  c.num_attention_heads = detail::positive(json, "num_attention_heads", c.num_attention_heads, where);
  c.attention_head_dim = detail::positive(json, "attention_head_dim", c.attention_head_dim, where);
  if (c.attention_head_dim % 2 != 0)
    throw_input(where, "key 'attention_head_dim'", std::to_string(c.attention_head_dim), "an even number");
  c.in_channels = detail::positive(json, "in_channels", c.in_channels, where);
  c.out_channels = detail::positive(json, "out_channels", c.out_channels, where);
  c.text_dim = detail::positive(json, "text_dim", c.text_dim, where);
  c.freq_dim = detail::positive(json, "freq_dim", c.freq_dim, where);
  c.ffn_dim = detail::positive(json, "ffn_dim", c.ffn_dim, where);
  c.num_layers = detail::positive(json, "num_layers", c.num_layers, where);
  c.cross_attn_norm = json.get_or<bool>("cross_attn_norm", true, where);
  c.eps = json.get_or<double>("eps", 1e-6, where);
  c.rope_max_seq_len = detail::positive(json, "rope_max_seq_len", c.rope_max_seq_len, where);
  const auto given = [&](std::string_view key) {
    const io::Json* value = json.find(key);
    return value && !value->is_null() ? detail::positive(json, key, 0, where) : 0;
  };
  c.image_dim = given("image_dim");
  c.pos_embed_seq_len = given("pos_embed_seq_len");
  // The blocks take what the image embedder gives, which is as wide as the model.
  if (const int added = given("added_kv_proj_dim"); added != (c.has_image_branch() ? c.dim() : 0))
    throw_input(where, "key 'added_kv_proj_dim'", added == 0 ? "null" : std::to_string(added),
                c.has_image_branch() ? std::to_string(c.dim()) + ", the model's width, where 'image_dim' is given"
                                     : "null where 'image_dim' is null");
  if (c.pos_embed_seq_len > 0 && !c.has_image_branch())
    throw_input(where, "key 'pos_embed_seq_len'", std::to_string(c.pos_embed_seq_len),
                "null where 'image_dim' is null");
  return c;
}

/// The config.json that diffusers' `WanTransformer3DModel.from_pretrained` reads.
inline io::Json write_wan_config(const WanConfig& c) {
  io::Json json = io::Json::object();
  const auto or_null = [](std::int64_t value) { return value > 0 ? io::Json(value) : io::Json(); };
  json["_class_name"] = "WanTransformer3DModel";
  json["added_kv_proj_dim"] = or_null(c.has_image_branch() ? c.dim() : 0);
  json["attention_head_dim"] = c.attention_head_dim;
  json["cross_attn_norm"] = c.cross_attn_norm;
  json["eps"] = c.eps;
  json["ffn_dim"] = c.ffn_dim;
  json["freq_dim"] = c.freq_dim;
  json["image_dim"] = or_null(c.image_dim);
  json["in_channels"] = c.in_channels;
  json["num_attention_heads"] = c.num_attention_heads;
  json["num_layers"] = c.num_layers;
  json["out_channels"] = c.out_channels;
  json["patch_size"] = std::vector<int>{c.patch_size.frames, c.patch_size.height, c.patch_size.width};
  json["pos_embed_seq_len"] = or_null(c.pos_embed_seq_len);
  json["qk_norm"] = "rms_norm_across_heads";
  json["rope_max_seq_len"] = c.rope_max_seq_len;
  json["text_dim"] = c.text_dim;
  return json;
}

}  // namespace models
SEGUE_NAMESPACE_END
