// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdlib.h>  // mkdtemp

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <stdexcept>
#include <string>

namespace support {

/// The `tests/` folder of the source tree.
inline std::filesystem::path tests_dir() {
  return std::filesystem::absolute(std::filesystem::path(__FILE__)).parent_path().parent_path();
}

/// Files that PyTorch wrote: `tests/golden`.
inline std::filesystem::path golden_dir() { return tests_dir() / "golden"; }

/// The folder `part` of the real data that $SEGUE_DATA_DIR names; empty, with one line that says so, where the
/// variable is not set or the folder is not there. A test that gets nothing returns: real data is optional.
inline std::optional<std::filesystem::path> data_dir(const std::string& part = "") {
  const char* root = std::getenv("SEGUE_DATA_DIR");
  if (root == nullptr || *root == '\0') {
    std::printf("skipped: SEGUE_DATA_DIR is not set, so there is no %s\n", part.empty() ? "data" : part.c_str());
    return std::nullopt;
  }
  const std::filesystem::path dir = part.empty() ? std::filesystem::path(root) : std::filesystem::path(root) / part;
  if (!std::filesystem::exists(dir)) {
    std::printf("skipped: %s does not exist\n", dir.c_str());
    return std::nullopt;
  }
  return dir;
}

/// A fresh empty folder that is removed, with all that was put in it, when the object goes.
class TempDir {
 public:
  TempDir() {
    std::string name = (std::filesystem::temp_directory_path() / "segue-test-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("cannot make a temporary folder like " + name);
    path_ = name;
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

}  // namespace support
