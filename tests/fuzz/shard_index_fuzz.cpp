// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

// The index of a sharded checkpoint, beside one shard with the tensors a and b.
#include <unistd.h>

#include <string>

#include "fuzz.hpp"
#include "io/files.hpp"
#include "segue/io/checkpoint.hpp"

using namespace segue;

namespace {

struct Folder {
  std::string path;
  Folder() {
    const char* root = std::getenv("TMPDIR");
    path = std::string(root ? root : "/tmp") + "/segue-fuzz-" + std::to_string(::getpid());
    make_directories(path);
    write_file_atomically(path + "/a.safetensors", hand_made(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
                                                             R"("b":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}})",
                                                             "xyz"));
  }
  ~Folder() {
    for (const char* name : {"/a.safetensors", "/fuzz.safetensors.index.json"}) (void)::unlink((path + name).c_str());
    (void)::rmdir(path.c_str());
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Folder folder;
  const std::string index = folder.path + "/fuzz.safetensors.index.json";
  if (std::FILE* file = std::fopen(index.c_str(), "wb")) {
    std::fwrite(data, 1, size, file);
    std::fclose(file);
  }
  fuzz::read(folder.path.c_str(), [&] {
    const io::Checkpoint checkpoint(index);
    checkpoint.verify();
    for (const std::string& name : checkpoint.names()) {
      fuzz::require(name == "a" || name == "b", "a tensor that no shard holds");
      fuzz::require(checkpoint.at(name).data.size() == (name == "a" ? 2u : 1u), "a tensor of another");
    }
  });
  return 0;
}
