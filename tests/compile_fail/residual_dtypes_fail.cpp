// expect: gated_residual: x and h must have one dtype; cast one of them
// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include "segue/cpu.hpp"
#include "segue/functional/residual.hpp"

#ifdef SEGUE_OK
using Element = segue::bfloat16;
#else
using Element = float;
#endif

using Context = segue::Context<segue::Policy<segue::Bf16, segue::Cpu>>;
template <class T>
using Rows = segue::Tensor<T, 2, segue::HostSpace>;

void run(Context& ctx, const Rows<segue::bfloat16>& x, const Rows<Element>& h) {
  (void)segue::functional::residual(ctx, x, h);
}
