// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

// Catch2 2 is a single header whose implementation is compiled here, once for all test programs. Catch2 3 brings
// its own main and this file is not built.
#define CATCH_CONFIG_MAIN
#include <catch2/catch.hpp>
