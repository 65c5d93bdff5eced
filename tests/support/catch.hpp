// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Debian 12 ships Catch2 2, Ubuntu 24.04 ships 3: tests include this file and use only what both spell alike
// (TEST_CASE, SECTION, CHECK, REQUIRE, CHECK_THROWS_AS, INFO, WARN, GENERATE, TEMPLATE_TEST_CASE).
#if __has_include(<catch2/catch_test_macros.hpp>)
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <catch2/generators/catch_generators_range.hpp>
#else
#include <catch2/catch.hpp>
#endif
