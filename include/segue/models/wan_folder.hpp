// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <string>

#include "segue/core/posix.hpp"
#include "segue/models/load.hpp"
#include "segue/models/wan_config.hpp"

SEGUE_NAMESPACE_BEGIN
namespace models {

/// A model as diffusers keeps it: config.json beside one safetensors file or an index of shards.
struct WanFolder {
  std::string path;
  WanConfig config;
  io::Checkpoint weights;
};

/// Opens a folder, or the `transformer/` inside a pipeline's folder. Weights are mapped, not read.
/// @throws InputError if there is no config.json, it describes another model, or there are no weights.
inline WanFolder open_wan_folder(const std::string& path) {
  std::string folder = path;
  if (!is_directory(folder)) throw_input(path, "is no folder, expected one with config.json and safetensors weights");
  if (!is_file(join_path(folder, "config.json")) && is_file(join_path(join_path(folder, "transformer"), "config.json")))
    folder = join_path(folder, "transformer");
  const std::string config = join_path(folder, "config.json");
  const io::Json json = io::parse_json(read_text_file(config), config);
  WanFolder opened{folder, read_wan_config(json, config), io::Checkpoint(folder)};
  const auto& names = opened.weights.names();
  const io::Json* kind = json.find("_class_name");
  // Wan's own configurations say "i2v" with and without an image branch.
  if (kind && *kind == io::Json("WanModel") && std::none_of(names.begin(), names.end(), [](const std::string& name) {
        return name.find("img_emb.") != std::string::npos;
      }))
    opened.config.image_dim = opened.config.pos_embed_seq_len = 0;
  return opened;
}

/// Checks every weight of a folder against its configuration, as `check_weights`, though nothing or only a part of it
/// will be loaded. `Model` is a Wan; which policy and adapters it has does not matter. The model is planned: this takes
/// milliseconds and no memory for weights.
template <class Model>
void check_wan_folder(const WanFolder& folder) {
  Exec<typename Model::Device> exec;
  exec.set_planning(true);
  Model model(exec, folder.config);
  check_weights(model, folder.weights);
}

/// Writes config.json and diffusion_pytorch_model.safetensors, which diffusers'
/// `WanTransformer3DModel.from_pretrained(folder)` reads; the folder is made if need be. See `write_weights`.
template <class Model, class Device>
void save_wan_folder(Model& model, Exec<Device>& exec, const std::string& folder, DType dtype = DType::F32,
                     const io::Metadata& metadata = {}) {
  make_directories(folder);
  write_weights(model, exec, join_path(folder, "diffusion_pytorch_model.safetensors"), dtype, metadata);
  write_file_atomically(join_path(folder, "config.json"), io::dump_json(write_wan_config(model.config())) + "\n");
}

}  // namespace models
SEGUE_NAMESPACE_END
