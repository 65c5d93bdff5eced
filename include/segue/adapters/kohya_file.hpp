// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "segue/adapters/lora_file_config.hpp"

SEGUE_NAMESPACE_BEGIN
namespace adapters {

/// Writes one LoRA as kohya's trainers (musubi-tuner) do: `lora_unet_<original name>.lora_down.weight`,
/// `.lora_up.weight` and `.alpha`, with underscores for the dots of the names that the model's authors gave the modules
/// (`original_name`). Alpha and what is not in the file: as `write_comfyui_adapter`.
///
/// Any set of linears can be written. diffusers' `load_lora_weights` reads the file only if it holds all of q, k, v and
/// o of both attentions and both linears of the feed-forward, of every block from 0 on, an image's keys and values or
/// not, and nothing else.
/// @throws InputError if no linear carries the adapter, it is a stack and no slot is named, a linear has no original
/// name, two linears of the model become one name, or the file cannot be written.
template <class M, class Device>
void write_kohya_adapter(M& model, Exec<Device>& exec, const std::string& path,
                         const AdapterFileOptions& options = {}) {
  io::SafetensorsWriter writer;
  detail::write_lora_tensors(model, exec, writer, options, detail::kohya_layout);
  writer.metadata("format", "pt");
  writer.write(path);
}

}  // namespace adapters
SEGUE_NAMESPACE_END
