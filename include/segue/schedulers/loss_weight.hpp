// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <numbers>

#include "segue/core/config.hpp"

SEGUE_NAMESPACE_BEGIN
namespace schedulers {

/// How much a training sample at sigma counts. diffusers' compute_loss_weighting_for_sd3 knows these by the same names.
template <class T>
concept LossWeight = requires(const T& weight, double sigma) {
  { weight.at(sigma) } -> std::convertible_to<double>;
  { T::name } -> std::convertible_to<const char*>;
};

/// 1 everywhere.
struct NoWeight {
  static constexpr const char* name = "none";
  constexpr double at(double) const { return 1.0; }
};

/// σ⁻².
struct SigmaSqrtWeight {
  static constexpr const char* name = "sigma_sqrt";
  constexpr double at(double sigma) const { return 1.0 / (sigma * sigma); }
};

/// 2 / (π·(1 − 2σ + 2σ²)): largest in the middle.
struct CosMapWeight {
  static constexpr const char* name = "cosmap";
  constexpr double at(double sigma) const {
    return 2.0 / (std::numbers::pi * (1.0 - 2.0 * sigma + 2.0 * sigma * sigma));
  }
};

}  // namespace schedulers
SEGUE_NAMESPACE_END
