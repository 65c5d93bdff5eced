// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "options.hpp"

namespace pretrain {

/// Trains, reports and writes what `help_text` lists.
void train_backbone(const Options& options);

}  // namespace pretrain
