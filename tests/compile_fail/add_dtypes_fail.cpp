// expect: add: a and b must have one dtype; cast one of them
// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include "segue/cpu.hpp"
#include "segue/functional/elementwise.hpp"

using Context = segue::Context<segue::Policy<segue::Fp32, segue::Cpu>>;
template <class T>
using Rows = segue::Tensor<T, 2, segue::HostSpace>;

void run(Context& ctx, const Rows<float>& a, const Rows<segue::float16>& b) {
#ifdef SEGUE_OK
  (void)segue::functional::add(ctx, a, segue::functional::cast<float>(ctx, b));
#else
  (void)segue::functional::add(ctx, a, b);
#endif
}
