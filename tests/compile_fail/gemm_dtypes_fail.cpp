// expect: element types must be all double, or any mix of float, bfloat16 and float16
// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include "segue/cpu.hpp"

#ifdef SEGUE_OK
using Element = segue::bfloat16;
#else
using Element = double;
#endif

template <class T>
using Matrix = segue::View<T, 2, segue::HostSpace>;

void run(segue::Exec<segue::Cpu>& exec, Matrix<const Element> a, Matrix<const float> b, Matrix<float> c,
         segue::View<std::byte, 1, segue::HostSpace> scratch) {
  segue::ops::gemm(exec, a, segue::ops::Transpose::no, b, segue::ops::Transpose::no, c, {}, {}, scratch);
}
