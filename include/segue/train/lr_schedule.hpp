// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <string>
#include <string_view>

#include "segue/core/error.hpp"

SEGUE_NAMESPACE_BEGIN
namespace train {

enum class LrDecay : std::uint8_t { constant, linear, cosine };

/// The learning rate over a run, as diffusers' get_scheduler: a line from 0 over `warmup` steps, then constant, a line
/// to 0, or half a cosine to 0, which is reached after the last step. With `decay_steps` the fall takes only so many
/// steps and the rate is constant before.
struct LrSchedule {
  LrDecay decay = LrDecay::constant;
  std::int64_t warmup = 0;
  std::int64_t decay_steps = 0;  ///< 0: all steps after the warm-up

  /// The factor of step i = 0 … steps − 1. The first step of a warm-up has rate 0.
  double factor(std::int64_t i, std::int64_t steps) const {
    if (i < warmup) return static_cast<double>(i) / static_cast<double>(warmup);
    const std::int64_t begin = decay_steps > 0 ? std::max(warmup, steps - decay_steps) : warmup;
    const double progress = i > begin ? static_cast<double>(i - begin) / static_cast<double>(steps - begin) : 0.0;
    switch (decay) {
      case LrDecay::constant: return 1.0;
      case LrDecay::linear: return 1.0 - progress;
      case LrDecay::cosine: return 0.5 * (1.0 + std::cos(std::numbers::pi * progress));
    }
    return 1.0;
  }
};

constexpr const char* name(LrDecay decay) {
  return decay == LrDecay::constant ? "constant" : decay == LrDecay::linear ? "linear" : "cosine";
}

/// "constant", "linear" or "cosine". @throws InputError that names `where` otherwise.
inline LrDecay lr_decay_from_name(std::string_view text, std::string_view where) {
  for (const LrDecay decay : {LrDecay::constant, LrDecay::linear, LrDecay::cosine})
    if (text == name(decay)) return decay;
  throw_input(where, "the learning-rate schedule", "'" + std::string(text) + "'", "constant, linear or cosine");
}

}  // namespace train
SEGUE_NAMESPACE_END
