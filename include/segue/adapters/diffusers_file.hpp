// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "segue/adapters/lora_file_config.hpp"

SEGUE_NAMESPACE_BEGIN
namespace adapters {

/// Writes one LoRA as diffusers' `save_lora_weights` does: `transformer.<module>.lora_A.weight` and `.lora_B.weight`,
/// with rank, alpha and rsLoRA in the metadata `lora_adapter_metadata`; `load_lora_weights` and `load_adapter` read it.
/// Whole or not at all; the bytes depend on the adapter alone.
/// @throws InputError if no linear carries the adapter, it is a stack and no slot is named, or the file cannot be
/// written.
template <class M, class Device>
void write_diffusers_adapter(M& model, Exec<Device>& exec, const std::string& path,
                             const AdapterFileOptions& options = {}) {
  io::SafetensorsWriter writer;
  const auto specs = detail::write_lora_tensors(model, exec, writer, options, detail::diffusers_layout);
  const detail::LoraFileConfig config = detail::lora_file_config(model, specs);
  writer.metadata("format", "pt");
  writer.metadata("lora_adapter_metadata", io::dump_json(detail::write_lora_config(config, "transformer.", false)));
  writer.write(path);
}

}  // namespace adapters
SEGUE_NAMESPACE_END
