// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "segue/adapters/lora_file_config.hpp"

SEGUE_NAMESPACE_BEGIN
namespace adapters {

/// Writes one LoRA as ComfyUI reads it: `diffusion_model.<original name>.lora_A.weight`, `.lora_B.weight` and `.alpha`,
/// where the modules have the names that the model's authors gave them (`original_name`). Alpha is a scalar, F64 in F64
/// files and else F32, with scale = alpha / rank: rank-stabilised scaling is part of it. How A was drawn and dropout
/// are not in the file. Whole or not at all; the bytes depend on the adapter alone.
///
/// diffusers' `load_lora_weights` reads the modules of the blocks; it has no place for the alpha of modules outside
/// them (embeddings, projections) nor for the patch embedding, and refuses files with these.
/// @throws InputError if no linear carries the adapter, it is a stack and no slot is named, a linear has no original
/// name, or the file cannot be written.
template <class M, class Device>
void write_comfyui_adapter(M& model, Exec<Device>& exec, const std::string& path,
                           const AdapterFileOptions& options = {}) {
  io::SafetensorsWriter writer;
  detail::write_lora_tensors(model, exec, writer, options, detail::comfyui_layout);
  writer.metadata("format", "pt");
  writer.write(path);
}

}  // namespace adapters
SEGUE_NAMESPACE_END
