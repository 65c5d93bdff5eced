// expect: View::operator(): give one index for each axis
// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include "segue/core/view.hpp"

#ifdef SEGUE_OK
float first(segue::View<float, 2, segue::HostSpace> x) { return x(0, 0); }
#else
float first(segue::View<float, 2, segue::HostSpace> x) { return x(0); }
#endif
