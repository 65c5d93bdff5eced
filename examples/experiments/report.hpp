// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "run.hpp"

namespace experiments {

/// Gathers the cells of OUT and of the other folders: OUT/results.json, OUT/report.md, OUT/plots/*.png.
void report(const Settings& settings);

}  // namespace experiments
