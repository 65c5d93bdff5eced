// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "segue/adapters/lora_file_config.hpp"
#include "segue/core/posix.hpp"

SEGUE_NAMESPACE_BEGIN
namespace adapters {

/// Writes one LoRA as PEFT's `save_pretrained` does: adapter_model.safetensors with
/// `base_model.model.<module>.lora_A.weight` and `.lora_B.weight`, and adapter_config.json; `PeftModel.from_pretrained`
/// and `load_adapter` read it. The folder is made if need be; the bytes depend on the adapter alone.
/// @throws InputError if no linear carries the adapter, it is a stack and no slot is named, or a file cannot be
/// written.
template <class M, class Device>
void write_peft_adapter(M& model, Exec<Device>& exec, const std::string& folder,
                        const AdapterFileOptions& options = {}) {
  io::SafetensorsWriter writer;
  const auto specs = detail::write_lora_tensors(model, exec, writer, options, detail::peft_layout);
  const detail::LoraFileConfig config = detail::lora_file_config(model, specs);
  writer.metadata("format", "pt");
  make_directories(folder);
  writer.write(join_path(folder, "adapter_model.safetensors"));
  write_file_atomically(join_path(folder, "adapter_config.json"),
                        io::dump_json(detail::write_lora_config(config, "", true)) + "\n");
}

}  // namespace adapters
SEGUE_NAMESPACE_END
