// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

// The same for a GPU.
#include "lora_learner.cpp"
