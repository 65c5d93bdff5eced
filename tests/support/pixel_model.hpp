// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "segue/adapters/maps.hpp"
#include "segue/core/posix.hpp"
#include "segue/cpu.hpp"
#include "segue/models/wan.hpp"
#include "segue/models/wan_folder.hpp"
#include "segue/models/wan_init.hpp"
#include "segue/train/clip_spec.hpp"

namespace support {

/// Writes a backbone in pixel space of a few random weights: pictures of 32x32 as clips of two frames.
inline void make_pixel_model(const std::string& folder) {
  using namespace segue;
  using P = Policy<Fp32, Cpu>;
  models::WanConfig config;
  config.patch_size = {1, 8, 8};
  config.num_attention_heads = 1;
  config.attention_head_dim = 16;
  config.in_channels = 7;
  config.out_channels = 3;
  config.text_dim = 8;
  config.freq_dim = 16;
  config.ffn_dim = 16;
  config.num_layers = 1;
  Exec<Cpu> exec({.threads = 1});
  models::Wan<P, adapters::Frozen, ops::PatchSet<ops::Patch<1, 8, 8>>> model(exec, config);
  models::randomize_wan(model, exec, 1);
  models::save_wan_folder(model, exec, folder);
  const train::ClipSpec spec{.frames = 2, .height = 32, .width = 32};
  write_file_atomically(join_path(folder, "segue.json"), io::dump_json(train::write_clip_spec(spec)));
}

}  // namespace support
