// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <string>

#include "segue/core/random.hpp"
#include "segue/schedulers/time_grid.hpp"

SEGUE_NAMESPACE_BEGIN
namespace schedulers {

/// The density of training sigmas, given by its quantile function: sigma in [0, 1] for u in (0, 1).
template <class T>
concept TimeDistribution = requires(const T& times, double u) {
  { times.quantile(u) } -> std::convertible_to<double>;
  { times.describe() } -> std::convertible_to<std::string>;
};

namespace detail {

/// scale · (n₀·x⁷ + … + n₇) / (d₀·x⁷ + … + d₇)
inline double rational(double scale, double x, const std::array<double, 8>& n, const std::array<double, 8>& d) {
  const auto value = [x](const std::array<double, 8>& c) {
    double sum = c[0];
    for (std::size_t i = 1; i < 8; ++i) sum = sum * x + c[i];
    return sum;
  };
  return scale * value(n) / value(d);
}

}  // namespace detail

/// The quantile of the standard normal distribution for u in (0, 1), to a few units in the last place.
/// Source: M. J. Wichura, "Algorithm AS 241: the percentage points of the normal distribution", 1988 (PPND16).
inline double normal_quantile(double u) {
  const double q = u - 0.5;
  if (std::abs(q) <= 0.425) {
    const double r = 0.180625 - q * q;
    return detail::rational(q, r,
                            {2509.0809287301226727, 33430.575583588128105, 67265.770927008700853, 45921.953931549871457,
                             13731.693765509461125, 1971.5909503065514427, 133.14166789178437745, 3.387132872796366608},
                            {5226.495278852545925, 28729.085735721942674, 39307.89580009271061, 21213.794301586595867,
                             5394.1960214247511077, 687.1870074920579083, 42.313330701600911252, 1.0});
  }
  const double r = std::sqrt(-std::log(q < 0 ? u : 1.0 - u));
  const double z =
      r <= 5.0
          ? detail::rational(
                1, r - 1.6,
                {7.7454501427834140764e-4, 0.0227238449892691845833, 0.24178072517745061177, 1.27045825245236838258,
                 3.64784832476320460504, 5.7694972214606914055, 4.6303378461565452959, 1.42343711074968357734},
                {1.05075007164441684324e-9, 5.475938084995344946e-4, 0.0151986665636164571966, 0.14810397642748007459,
                 0.68976733498510000455, 1.6763848301838038494, 2.05319162663775882187, 1.0})
          : detail::rational(1, r - 5.0,
                             {2.01033439929228813265e-7, 2.71155556874348757815e-5, 0.0012426609473880784386,
                              0.026532189526576123093, 0.29656057182850489123, 1.7848265399172913358,
                              5.4637849111641143699, 6.6579046435011037772},
                             {2.04426310338993978564e-15, 1.4215117583164458887e-7, 1.8463183175100546818e-5,
                              7.868691311456132591e-4, 0.0148753612908506148525, 0.13692988092273580531,
                              0.59983220655588793769, 1.0});
  return q < 0 ? -z : z;
}

/// Every sigma alike, then shifted: `shift` 1 is uniform.
struct UniformTime {
  double shift = 1.0;
  double quantile(double u) const { return shift_sigma(u, shift); }
  std::string describe() const { return "uniform shift " + std::to_string(shift); }
};

/// sigmoid(mean + deviation·z) for a standard normal z, then shifted. Source: Esser et al., 2024, section 3.1.
struct LogitNormalTime {
  double mean = 0.0;
  double deviation = 1.0;
  double shift = 1.0;
  double quantile(double u) const {
    return shift_sigma(1.0 / (1.0 + std::exp(-(mean + deviation * normal_quantile(u)))), shift);
  }
  std::string describe() const {
    return "logit-normal mean " + std::to_string(mean) + " deviation " + std::to_string(deviation) + " shift " +
           std::to_string(shift);
  }
};

/// How u is drawn. With few samples the variance of a random sigma dominates the gradient's, so `stratified` is the
/// default: every step has one sample in each of its equal slices of (0, 1), and within a slice the steps follow each
/// other by the golden ratio, which fills it evenly at any number of steps. Marginally u is uniform in both.
enum class TimeDraw : std::uint8_t { independent, stratified };

/// Sites of draws that belong to a sample of a run, not to a place in the program: high, so that the counted sites of
/// operators never meet them.
namespace site {
inline constexpr std::uint32_t time = 0xFFFFFF00u;
inline constexpr std::uint32_t noise = 0xFFFFFF01u;
inline constexpr std::uint32_t order = 0xFFFFFF02u;
inline constexpr std::uint32_t held_out = 0xFFFFFF03u;
}  // namespace site

/// The u of sample `index` of `count` in a step, never 0 or 1. Stateless: a resumed run goes on where it was.
/// Sample i has slice (i + step) mod count, so that a data set in a fixed order still meets every slice.
inline double draw_time(TimeDraw draw, std::uint64_t seed, std::uint64_t step, std::int64_t index, std::int64_t count) {
  const auto word = [&](std::uint64_t stream, std::uint32_t row) {
    const auto w = RandomKey{seed, site::time, row}.block(stream);
    return (std::uint64_t{w[0]} << 32) | w[1];
  };
  const auto unit = [](std::uint64_t bits) { return (static_cast<double>(bits >> 12) + 0.5) * 0x1p-52; };
  const auto i = static_cast<std::uint64_t>(index);
  if (draw == TimeDraw::independent)
    return unit(word(i + 1 + (std::uint64_t{1} << 32), static_cast<std::uint32_t>(step)));
  const std::uint64_t slice = (i + step) % static_cast<std::uint64_t>(count);
  // 2^64 divided by the golden ratio; the product wraps, which is the fractional part.
  const std::uint64_t place = word(slice, 0) + step * 0x9E3779B97F4A7C15u;
  const double u = (static_cast<double>(slice) + unit(place)) / static_cast<double>(count);
  // The last slice's end may round to 1.
  return u < 1.0 ? u : 1.0 - 0x1p-53;
}

}  // namespace schedulers
SEGUE_NAMESPACE_END
