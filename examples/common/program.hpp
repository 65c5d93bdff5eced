// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdio>
#include <exception>

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
