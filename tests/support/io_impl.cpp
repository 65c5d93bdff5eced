// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

// The one translation unit of the test programs that brings in the JSON and image libraries.
#include "segue/io/impl.hpp"
