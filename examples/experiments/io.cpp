// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

// The one translation unit that sees the JSON parser and stb.
#include "segue/io/impl.hpp"
