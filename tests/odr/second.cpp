// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include "everything.hpp"

using Thrower = void (*)(std::string_view, std::string_view);
Thrower second_thrower();

Thrower second_thrower() { return &segue::throw_input; }
