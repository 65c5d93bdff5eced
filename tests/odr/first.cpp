// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include <cstdio>

#include "everything.hpp"

using Thrower = void (*)(std::string_view, std::string_view);
Thrower second_thrower();

// An inline function is one function in the whole program, whichever file asks for its address.
int main() {
  const Thrower first = &segue::throw_input;
  const bool same = first == second_thrower();
  std::printf("segue %s: the two files see %s library\n", SEGUE_VERSION_STRING, same ? "one" : "not the same");
  return same ? 0 : 1;
}
