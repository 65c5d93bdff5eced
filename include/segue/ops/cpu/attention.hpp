// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "segue/ops/cpu/attention_backward.hpp"
#include "segue/ops/cpu/attention_forward.hpp"
