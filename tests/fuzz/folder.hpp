// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "segue/core/posix.hpp"

namespace fuzz {

/// A folder of the process's own with a file that does not change beside the one that is hostile.
class Folder {
 public:
  Folder(const std::string& neighbour, std::string_view content, const std::string& hostile) {
    const char* root = std::getenv("TMPDIR");
    path_ = std::string(root ? root : "/tmp") + "/segue-fuzz-" + std::to_string(::getpid());
    neighbour_ = segue::join_path(path_, neighbour);
    hostile_ = segue::join_path(path_, hostile);
    segue::make_directories(path_);
    segue::write_file_atomically(neighbour_, content);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder() {
    (void)::unlink(neighbour_.c_str());
    (void)::unlink(hostile_.c_str());
    (void)::rmdir(path_.c_str());
  }

  const std::string& path() const { return path_; }
  /// Writes the hostile file, and says where it is. Not atomically: that would cost most of the time.
  const std::string& put(const std::uint8_t* data, std::size_t size) const {
    if (std::FILE* file = std::fopen(hostile_.c_str(), "wb")) {
      std::fwrite(data, 1, size, file);
      std::fclose(file);
    }
    return hostile_;
  }

 private:
  std::string path_, neighbour_, hostile_;
};

}  // namespace fuzz
