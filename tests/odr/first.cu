// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include <cstdio>

#include "everything.cuh"

using Checker = void (*)(cudaError_t, const char*);
Checker second_checker();

int main() {
  const Checker first = &segue::detail::cuda_check;
  const bool same = first == second_checker();
  std::printf("segue %s: the two files see %s library\n", SEGUE_VERSION_STRING, same ? "one" : "not the same");
  return same ? 0 : 1;
}
