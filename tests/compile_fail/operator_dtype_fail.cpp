// expect: add: y must hold float, double, bfloat16 or float16
// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include "segue/cpu.hpp"

#ifdef SEGUE_OK
using Element = float;
#else
using Element = int;
#endif

void run(segue::Exec<segue::Cpu>& exec, segue::View<const Element, 1, segue::HostSpace> x,
         segue::View<Element, 1, segue::HostSpace> y) {
  segue::ops::add(exec, x, x, y);
}
