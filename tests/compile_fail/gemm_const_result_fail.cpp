// expect: c must be a Tensor or a View of elements that are not const
// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include "segue/cpu.hpp"

#ifdef SEGUE_OK
using Element = float;
#else
using Element = const float;
#endif

template <class T>
using Matrix = segue::View<T, 2, segue::HostSpace>;

void run(segue::Exec<segue::Cpu>& exec, Matrix<const float> a, Matrix<Element> c,
         segue::View<std::byte, 1, segue::HostSpace> scratch) {
  segue::ops::gemm(exec, a, segue::ops::Transpose::no, a, segue::ops::Transpose::no, c, {}, {}, scratch);
}
