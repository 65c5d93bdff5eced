// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Everything a program on a GPU needs: front doors and the kernels of `Cuda`.
#include "segue/core/graph.cuh"
#include "segue/core/launch.cuh"
#include "segue/ops/cuda/activation.cuh"
#include "segue/ops/cuda/attention.cuh"
#include "segue/ops/cuda/elementwise.cuh"
#include "segue/ops/cuda/embedding.cuh"
#include "segue/ops/cuda/flow.cuh"
#include "segue/ops/cuda/gemm.cuh"
#include "segue/ops/cuda/guidance.cuh"
#include "segue/ops/cuda/linear.cuh"
#include "segue/ops/cuda/loss.cuh"
#include "segue/ops/cuda/norm.cuh"
#include "segue/ops/cuda/optimizer.cuh"
#include "segue/ops/cuda/patchify.cuh"
#include "segue/ops/cuda/pixels.cuh"
#include "segue/ops/cuda/random_fill.cuh"
#include "segue/ops/cuda/reduce.cuh"
#include "segue/ops/cuda/residual.cuh"
#include "segue/ops/cuda/rope.cuh"
