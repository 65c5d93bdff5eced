// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#include "engine_members.hpp"

namespace fewshot {

namespace train = segue::train;

namespace {

constexpr int kHeadDims[] = {16, 32, 64, 128};

}  // namespace

segue::models::WanFolder open_backbone(const std::string& path) {
  segue::models::WanFolder folder = segue::models::open_wan_folder(path);
  const int head_dim = folder.config.attention_head_dim;
  if (std::find(std::begin(kHeadDims), std::end(kHeadDims), head_dim) == std::end(kHeadDims)) {
    segue::throw_input(folder.path, "attention_head_dim", std::to_string(head_dim),
                       "one of 16, 32, 64, 128, which this program is compiled for");
  }
  return folder;
}

bool rounds_weights(const segue::models::WanFolder& folder) {
  if constexpr (std::is_same_v<Policy::storage, float>) return false;
  const segue::io::TensorInfo* info = folder.weights.find("blocks.0.attn1.to_q.weight");
  return info && info->dtype != segue::dtype_of<Policy::storage>;
}

train::ClipSpec read_spec(const segue::models::WanFolder& folder, const Options& options) {
  const std::string path = segue::join_path(folder.path, "segue.json");
  const bool latents = !options.latents.empty();
  if (!segue::is_file(path)) {
    // Encoded clips say themselves how large they are.
    if (latents) return {.channels = {"noisy"}};
    segue::throw_input(folder.path,
                       "has no segue.json, which says how pictures enter the model; models that need an autoencoder "
                       "take --latents DIR");
  }
  train::ClipSpec spec = train::read_clip_spec(path);
  if (latents) return spec;
  if (spec.codec != train::IdentityCodec::name) {
    segue::throw_input(path, "codec", segue::in_quotes(spec.codec),
                       "\"identity\": autoencoders are not part of this program, encoded clips go in by --latents DIR");
  }
  const segue::models::WanConfig& c = folder.config;
  if (c.out_channels != 3 || c.in_channels != 7) {
    segue::throw_input(folder.path, "channels",
                       std::to_string(c.in_channels) + " in, " + std::to_string(c.out_channels) + " out",
                       "7 in (3 noisy, 1 mask, 3 first frame) and 3 out, which is pixel space");
  }
  if (!spec.is_conditioned()) {
    segue::throw_input(path, "channels", "[\"noisy\"]", "[\"noisy\", \"mask\", \"first_frame\"]");
  }
  if (spec.frames < 2) segue::throw_input(path, "frames", std::to_string(spec.frames), "2 or more");
  if (options.canvas > 0) spec.width = spec.height = options.canvas;
  const auto whole_patches = [&](const std::string& key, int extent, int patch) {
    if (extent % patch == 0) return;
    const bool canvas = options.canvas > 0 && key != "frames";
    segue::throw_input(canvas ? "--canvas" : path, canvas ? "its value" : key, std::to_string(extent),
                       "a multiple of the model's patch, " + std::to_string(patch));
  };
  whole_patches("frames", spec.frames, c.patch_size.frames);
  whole_patches("height", spec.height, c.patch_size.height);
  whole_patches("width", spec.width, c.patch_size.width);
  return spec;
}

template class BasicEngine<segue::adapters::LoraOnAll>;

}  // namespace fewshot
