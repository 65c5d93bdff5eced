// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "segue/core/posix.hpp"

namespace example {

/// 16 hexadecimal digits of what files hold, one after the other: FNV-1a over words of eight bytes, so that large files
/// are hashed at the speed at which they are read.
inline std::string hash_of_files(const std::vector<std::string>& paths) {
  std::uint64_t hash = 0xCBF29CE484222325u;
  for (const std::string& path : paths) {
    const segue::MappedFile file(path);
    file.advise_sequential();
    const auto bytes = file.bytes();
    for (std::size_t i = 0; i < bytes.size(); i += sizeof(std::uint64_t)) {
      std::uint64_t word = 0;
      std::memcpy(&word, bytes.data() + i, std::min(sizeof word, bytes.size() - i));
      hash = (hash ^ word) * 0x100000001B3u;
    }
  }
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(hash));
  return text;
}

/// The same of a model folder's weights.
inline std::string hash_of_weights(const std::string& folder) {
  std::vector<std::string> weights;
  for (const std::string& name : segue::list_directory(folder)) {
    if (name.ends_with(".safetensors")) weights.push_back(segue::join_path(folder, name));
  }
  return hash_of_files(weights);
}

}  // namespace example
