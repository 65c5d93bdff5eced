// expect: a .cuh header was included by a compiler that is not nvcc
// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#ifndef SEGUE_OK
#include "segue/cuda.cuh"
#endif
