// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdio>
#include <exception>
#include <stdexcept>

#include "segue/core/error.hpp"
#include "segue/core/posix.hpp"

namespace example {

/// Runs a program's body with Ctrl-C caught and turns what it throws into one line on stderr and an exit code:
/// 130 for an interruption, 2 for bad input, 1 for the rest.
template <class Body>
int run_program(const char* name, Body&& body) {
  try {
    const segue::InterruptGuard guard;
    body();
    // What was printed is part of the result, and a full disk shows here at the latest.
    if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0)
      throw std::runtime_error("what was to be printed could not be written to standard output");
    return 0;
  } catch (const segue::Interrupted& stop) {
    std::fprintf(stderr, "%s: %s\n", name, stop.what());
    return 130;
  } catch (const segue::InputError& error) {
    std::fprintf(stderr, "%s: %s\n", name, error.what());
    return 2;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s: %s\n", name, error.what());
    return 1;
  }
}

}  // namespace example
