// expect: the kernels of this device are not included here; include segue/cpu.hpp for Cpu
// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#ifdef SEGUE_OK
#include "segue/cpu.hpp"
#else
#include "segue/ops/elementwise.hpp"
#endif

void run(segue::Exec<segue::Cpu>& exec, segue::View<const float, 2, segue::HostSpace> x,
         segue::View<float, 2, segue::HostSpace> y) {
  segue::ops::add(exec, x, x, y);
}
