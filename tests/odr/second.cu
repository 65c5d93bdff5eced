// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include "everything.cuh"

using Checker = void (*)(cudaError_t, const char*);
Checker second_checker();

Checker second_checker() { return &segue::detail::cuda_check; }
