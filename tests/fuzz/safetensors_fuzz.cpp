// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

// The header of a safetensors file, and elements of what it describes.
#include <vector>

#include "fuzz.hpp"
#include "segue/io/read_as.hpp"
#include "segue/io/safetensors.hpp"

using namespace segue;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::read("fuzz", [&] {
    const io::SafetensorsContents contents = io::parse_safetensors(fuzz::bytes(data, size), "fuzz");
    std::size_t sum = 0;
    for (const io::TensorInfo& info : contents.tensors) {
      sum += info.data.size();
      const auto* begin = reinterpret_cast<const std::uint8_t*>(info.data.data());
      fuzz::require(info.data.empty() || (begin >= data && begin + info.data.size() <= data + size),
                    "a tensor outside the file");
      std::vector<double> values(static_cast<std::size_t>(info.elements()));
      try {
        io::read_as<double>(info, std::span<double>(values));
      } catch (const InputError&) {
        // Some types cannot be held by a double without loss, or are storage only.
      }
    }
    fuzz::require(sum <= size, "tensors of more bytes than the file has");
  });
  return 0;
}
