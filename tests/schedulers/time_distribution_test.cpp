// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include "segue/schedulers/time_distribution.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <set>
#include <string>
#include <vector>

#include "segue/schedulers/loss_weight.hpp"
#include "segue/testing/golden.hpp"
#include "support/catch.hpp"
#include "support/paths.hpp"

namespace {

using namespace segue::schedulers;

segue::testing::Golden golden() {
  return segue::testing::Golden((support::golden_dir() / "schedulers.safetensors").string());
}

/// Largest distance between the empirical distribution and the uniform one.
double discrepancy(std::vector<double> u) {
  std::sort(u.begin(), u.end());
  double worst = 0;
  const double n = static_cast<double>(u.size());
  for (std::size_t i = 0; i < u.size(); ++i)
    worst =
        std::max({worst, std::abs(u[i] - static_cast<double>(i) / n), std::abs(u[i] - static_cast<double>(i + 1) / n)});
  return worst;
}

}  // namespace

TEST_CASE("the normal quantile is accurate to the last digits") {
  const auto g = golden();
  const auto u = g.values("logit_normal_mean0_std1.u_f64"), z = g.values("logit_normal_mean0_std1.ndtri_f64");
  double worst = 0;
  for (std::size_t i = 0; i < u.size(); ++i)
    worst = std::max(worst, std::abs(normal_quantile(u[i]) - z[i]) / std::max(1e-3, std::abs(z[i])));
  CHECK(worst < 2e-15);
  // Far tails, which the recorded values do not reach: against the distribution function itself.
  for (const double tail : {1e-9, 1e-12, 1e-16, 1e-40, 1e-300})
    CHECK(std::abs(0.5 * std::erfc(-normal_quantile(tail) / std::sqrt(2.0)) / tail - 1) < 1e-11);
  CHECK(normal_quantile(0.5) == 0);
}

TEST_CASE("quantiles of training sigmas") {
  const auto g = golden();
  const auto check = [&](const std::string& name, auto times) {
    INFO(name);
    const auto u = g.values(name + ".u_f64"), sigma = g.values(name + ".sigma_f64");
    double worst = 0;
    for (std::size_t i = 0; i < u.size(); ++i) worst = std::max(worst, std::abs(times.quantile(u[i]) - sigma[i]));
    CHECK(worst < 1e-14);
  };
  check("logit_normal_mean0_std1", LogitNormalTime{});
  check("logit_normal_mean-0.5_std1.5", LogitNormalTime{.mean = -0.5, .deviation = 1.5});
  check("logit_normal_mean0.95_std1", LogitNormalTime{.mean = 0.95});
  for (const int s : {1, 3, 5})
    check("uniform_shift" + std::to_string(s), UniformTime{.shift = static_cast<double>(s)});

  const auto u = g.values("logit_normal_drawn.u"), sigma = g.values("logit_normal_drawn.sigma");
  for (std::size_t i = 0; i < u.size(); ++i) CHECK(std::abs(LogitNormalTime{}.quantile(u[i]) - sigma[i]) < 0.02);
}

TEST_CASE("every slice of the times is hit once a step, and the steps fill each slice evenly") {
  for (const std::int64_t count : {1, 2, 3, 8}) {
    std::vector<std::vector<double>> within(static_cast<std::size_t>(count));
    for (std::uint64_t step = 0; step < 64; ++step) {
      std::set<std::int64_t> slices;
      for (std::int64_t i = 0; i < count; ++i) {
        const double u = draw_time(TimeDraw::stratified, 7, step, i, count);
        REQUIRE(u > 0);
        REQUIRE(u < 1);
        const double place = u * static_cast<double>(count);
        slices.insert(static_cast<std::int64_t>(place));
        within[static_cast<std::size_t>(place)].push_back(place - std::floor(place));
      }
      REQUIRE(static_cast<std::int64_t>(slices.size()) == count);
    }
    // 64 independent draws have a discrepancy of about 0.11.
    for (const auto& places : within) CHECK(discrepancy(places) < 0.05);
  }
}

TEST_CASE("a sample in a fixed place meets every slice") {
  std::set<int> slices;
  for (std::uint64_t step = 0; step < 4; ++step)
    slices.insert(static_cast<int>(4 * draw_time(TimeDraw::stratified, 0, step, 2, 4)));
  CHECK(slices.size() == 4);
}

TEST_CASE("draws depend on seed, step and place alone, and are uniform over seeds") {
  for (const TimeDraw draw : {TimeDraw::stratified, TimeDraw::independent}) {
    CHECK(draw_time(draw, 1, 5, 2, 4) == draw_time(draw, 1, 5, 2, 4));
    CHECK(draw_time(draw, 1, 5, 2, 4) != draw_time(draw, 2, 5, 2, 4));
    CHECK(draw_time(draw, 1, 5, 2, 4) != draw_time(draw, 1, 6, 2, 4));
    std::vector<double> u;
    for (std::uint64_t seed = 0; seed < 4000; ++seed) u.push_back(draw_time(draw, seed, 3, 0, 1));
    // The 0.1 % point of Kolmogorov's test for 4000 draws is 0.031.
    CHECK(discrepancy(u) < 0.03);
  }
}

TEST_CASE("loss weights") {
  CHECK(NoWeight{}.at(0.3) == 1);
  CHECK(std::abs(SigmaSqrtWeight{}.at(0.25) - 16) < 1e-12);
  CHECK(std::abs(CosMapWeight{}.at(0.5) - 4 / std::numbers::pi) < 1e-12);
  CHECK(std::abs(CosMapWeight{}.at(0.0) - 2 / std::numbers::pi) < 1e-12);
}
