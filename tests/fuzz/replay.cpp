// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

// Runs the files of folders through a fuzz target: what fuzzing found once stays tested under every compiler.
#include <cstdio>
#include <string>

#include "fuzz.hpp"
#include "segue/core/posix.hpp"

int main(int argc, char** argv) {
  int count = 0;
  for (int i = 1; i < argc; ++i)
    for (const std::string& name : segue::list_directory(argv[i])) {
      const std::string input = segue::read_text_file(segue::join_path(argv[i], name));
      LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(input.data()), input.size());
      ++count;
    }
  std::printf("%d inputs\n", count);
  return count > 0 ? 0 : 1;
}
