// expect: attention: q, k and v must have one dtype; cast the others
// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include "segue/cpu.hpp"
#include "segue/functional/attention.hpp"

#ifdef SEGUE_OK
using Element = float;
#else
using Element = segue::bfloat16;
#endif

using Context = segue::Context<segue::Policy<segue::Fp32, segue::Cpu>>;
template <class T>
using Heads = segue::Tensor<T, 3, segue::HostSpace>;

void run(Context& ctx, const Heads<float>& q, const Heads<float>& k, const Heads<Element>& v) {
  (void)segue::functional::attention(ctx, q, k, v, 2);
}
