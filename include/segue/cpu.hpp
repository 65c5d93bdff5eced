// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Everything a program on the CPU needs: front doors and the kernels of `Cpu`.
#include "segue/ops/cpu/activation.hpp"
#include "segue/ops/cpu/attention.hpp"
#include "segue/ops/cpu/elementwise.hpp"
#include "segue/ops/cpu/embedding.hpp"
#include "segue/ops/cpu/flow.hpp"
#include "segue/ops/cpu/gemm.hpp"
#include "segue/ops/cpu/guidance.hpp"
#include "segue/ops/cpu/linear.hpp"
#include "segue/ops/cpu/loss.hpp"
#include "segue/ops/cpu/norm.hpp"
#include "segue/ops/cpu/optimizer.hpp"
#include "segue/ops/cpu/patchify.hpp"
#include "segue/ops/cpu/pixels.hpp"
#include "segue/ops/cpu/random_fill.hpp"
#include "segue/ops/cpu/reduce.hpp"
#include "segue/ops/cpu/residual.hpp"
#include "segue/ops/cpu/rope.hpp"
