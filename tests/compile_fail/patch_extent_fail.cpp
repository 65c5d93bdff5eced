// expect: Patch<Frames, Height, Width>: extents must be positive
// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include "segue/ops/patchify.hpp"

#ifdef SEGUE_OK
constexpr int frames = 1;
#else
constexpr int frames = 0;
#endif

using Patch = segue::ops::Patch<frames, 8, 8>;
constexpr auto size = sizeof(Patch);
