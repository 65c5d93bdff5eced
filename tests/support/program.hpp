// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <stdexcept>
#include <string>

#include "segue/core/posix.hpp"
#include "support/paths.hpp"

namespace support {

struct Ran {
  int exit_code;       ///< −1: it did not exit by itself
  std::string output;  ///< both streams, that of errors last
  std::string errors;  ///< stderr
};

/// A program that runs, as people start it; `arguments` are words of a shell. One at a time a folder.
class Running {
 public:
  Running(const std::string& program, const TempDir& dir, const std::string& arguments)
      : out_((dir / "stdout.txt").string()), errors_((dir / "stderr.txt").string()) {
    // `exec`: signals reach the program and not a shell around it.
    const std::string command = "exec '" + program + "' " + arguments + " > '" + out_ + "' 2> '" + errors_ + "'";
    pid_ = ::fork();
    if (pid_ < 0) throw std::runtime_error("cannot start " + program);
    if (pid_ > 0) return;
    // A test that itself runs in the background, where Ctrl-C is ignored, shall not pass that on.
    ::signal(SIGINT, SIG_DFL);
    ::signal(SIGTERM, SIG_DFL);
    ::execl("/bin/sh", "sh", "-c", command.c_str(), static_cast<char*>(nullptr));
    ::_exit(127);
  }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;
  ~Running() {
    if (ended_) return;
    ::kill(pid_, SIGKILL);
    collect(0);
  }

  /// Waits until `condition()` holds. @returns false if the program ended before.
  template <class Condition>
  bool wait_for(Condition&& condition) {
    while (!collect(WNOHANG)) {
      if (condition()) return true;
      ::usleep(1000);
    }
    return false;
  }

  void signal(int number) const {
    if (!ended_) ::kill(pid_, number);
  }

  /// Waits for its end.
  Ran wait() {
    collect(0);
    const std::string errors = segue::read_text_file(errors_);
    return {WIFEXITED(status_) ? WEXITSTATUS(status_) : -1, segue::read_text_file(out_) + errors, errors};
  }

 private:
  bool collect(int flags) {
    if (!ended_) ended_ = ::waitpid(pid_, &status_, flags) == pid_;
    return ended_;
  }

  std::string out_, errors_;
  ::pid_t pid_ = -1;
  int status_ = 0;
  bool ended_ = false;
};

inline Ran run_program(const std::string& program, const TempDir& dir, const std::string& arguments) {
  return Running(program, dir, arguments).wait();
}

}  // namespace support
