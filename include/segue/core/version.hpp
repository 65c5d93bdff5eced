// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Macros only, so that build systems and user code may include this file for nothing.
#define SEGUE_VERSION_MAJOR 0
#define SEGUE_VERSION_MINOR 1
#define SEGUE_VERSION_PATCH 0
#define SEGUE_VERSION_STRING "0.1.0"
