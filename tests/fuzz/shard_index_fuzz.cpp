// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

// The index of a sharded checkpoint, beside one shard with the tensors a and b.

#include <string>

#include "folder.hpp"
#include "fuzz.hpp"
#include "io/files.hpp"
#include "segue/io/checkpoint.hpp"

using namespace segue;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const fuzz::Folder folder(
      "a.safetensors",
      hand_made(
          R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}})",
          "xyz"),
      "fuzz.safetensors.index.json");
  const std::string& index = folder.put(data, size);
  fuzz::read(folder.path().c_str(), [&] {
    const io::Checkpoint checkpoint(index);
    checkpoint.verify();
    for (const std::string& name : checkpoint.names()) {
      fuzz::require(name == "a" || name == "b", "a tensor that no shard holds");
      fuzz::require(checkpoint.at(name).data.size() == (name == "a" ? 2u : 1u), "a tensor of another");
    }
  });
  return 0;
}
