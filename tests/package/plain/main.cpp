// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include <cstdio>

#include "segue/core/dtype.hpp"
#include "segue/core/error.hpp"

int main() {
  try {
    segue::throw_input("consumer", "the argument", "none", "one");
  } catch (const segue::InputError& error) {
    std::printf("segue %s: %s\n", SEGUE_VERSION_STRING, error.what());
    return 0;
  }
}
