// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/wait.h>

#include <cstdlib>
#include <string>

#include "segue/core/posix.hpp"
#include "support/paths.hpp"

namespace support {

struct Ran {
  int exit_code;       ///< −1: it did not exit by itself
  std::string output;  ///< both streams
};

/// Runs a program as people start it; `arguments` are words of a shell.
inline Ran run_program(const std::string& program, const TempDir& dir, const std::string& arguments) {
  const std::string log = (dir / "log.txt").string();
  const std::string command = "'" + program + "' " + arguments + " > '" + log + "' 2>&1";
  const int status = std::system(command.c_str());
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, segue::read_text_file(log)};
}

}  // namespace support
