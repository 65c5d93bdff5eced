// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Everything a program on a GPU needs: front doors and the kernels of `Cuda`.
#include "segue/core/graph.cuh"
#include "segue/core/launch.cuh"
