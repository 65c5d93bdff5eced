// expect: this device has no Exec in this translation unit
// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include "segue/core/exec.hpp"

#ifdef SEGUE_OK
using Device = segue::Cpu;
#else
using Device = segue::Cuda;
#endif

segue::Exec<Device> exec;
