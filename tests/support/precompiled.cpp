// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

// The translation unit that the precompiled header hangs on.
#include "support/precompiled.hpp"
