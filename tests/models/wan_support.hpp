// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "segue/adapters/maps.hpp"
#include "segue/cpu.hpp"
#include "segue/functional/loss.hpp"
#include "segue/models/wan.hpp"
#include "segue/models/wan_folder.hpp"
#include "segue/models/wan_init.hpp"
#include "segue/testing/golden.hpp"
#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/paths.hpp"
