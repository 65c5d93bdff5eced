// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "options.hpp"

namespace fewshot {

/// Learns a task from its pairs, answers its test items before and after, and writes the results.
void learn(const Options& options);

/// Fits an adapter to clips that are encoded already: no pictures, so losses instead of scores.
void learn_latents(const Options& options);

/// Answers the pictures of a folder with a trained adapter.
void apply(const Options& options);

}  // namespace fewshot
