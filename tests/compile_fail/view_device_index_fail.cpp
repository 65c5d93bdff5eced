// expect: this view is in device memory, which host code cannot index
// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include "segue/core/view.hpp"

#ifdef SEGUE_OK
using Space = segue::HostSpace;
#else
using Space = segue::CudaSpace;
#endif

float first(segue::View<float, 2, Space> x) { return x(0, 0); }
