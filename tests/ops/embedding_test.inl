// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

// Included by one source a device, which defines `Device` and includes its kernels.
#include "segue/ops/embedding.hpp"
#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/operands.hpp"

namespace {

using namespace segue;
using support::Values;

/// The formula in double.
Values reference(const Values& t, std::int64_t dim, const ops::SinusoidOptions& options) {
  Values out;
  const std::int64_t half = dim / 2;
  for (const double time : t) {
    Values cosines, sines;
    for (std::int64_t i = 0; i < half; ++i) {
      const double angle =
          time * std::pow(options.max_period,
                          -static_cast<double>(i) / (static_cast<double>(half) - options.downscale_freq_shift));
      cosines.push_back(std::cos(angle));
      sines.push_back(std::sin(angle));
    }
    const bool cos_first = options.order == ops::SinusoidOrder::cos_first;
    for (const Values& part : {cos_first ? cosines : sines, cos_first ? sines : cosines})
      out.insert(out.end(), part.begin(), part.end());
    if (dim % 2) out.push_back(0);
  }
  return out;
}

}  // namespace

TEMPLATE_TEST_CASE("sinusoidal embeddings follow their formula", "", float, double, bfloat16, float16) {
  Exec<Device> exec({.threads = 2});
  const Values t{0, 1, 0.5, 7.25, 999, 1000};
  const auto times = support::operand<float>(exec, Shape<1>{6}, t);
  for (const std::int64_t dim : {0, 1, 2, 7, 256})
    for (const ops::SinusoidOptions options :
         {ops::SinusoidOptions{}, ops::SinusoidOptions{ops::SinusoidOrder::sin_first, 100, 0.5}}) {
      const auto out = support::poisoned<TestType>(exec, Shape<2>{6, dim}, 3);
      ops::sinusoidal_embedding(exec, times, out.view(), options);
      // At t = 1000 an ulp of the float angle is 6e-5.
      CHECK(support::worst_difference(support::values_of(out), reference(t, dim, options)) <
            1.2e-4 + support::rounding<TestType>);
      const Values early = support::values_of(out.slice(0, 0, 3));
      CHECK(support::worst_difference(early, reference({0, 1, 0.5}, dim, options)) <
            3e-7 + support::rounding<TestType>);
    }
}

TEST_CASE("sinusoidal embeddings name what does not fit") {
  Exec<Device> exec;
  const auto times = support::operand<float>(exec, Shape<1>{2}, {1, 2});
  const auto out = support::poisoned<float>(exec, Shape<2>{3, 4});
  CHECK(support::message_of<InputError>([&] { ops::sinusoidal_embedding(exec, times, out.view()); }) ==
        "sinusoidal_embedding: shape of out is (3, 4), expected (2, 4)");
  const auto fits = support::poisoned<float>(exec, Shape<2>{2, 2});
  CHECK(support::contains(
      support::message_of<InputError>(
          [&] { ops::sinusoidal_embedding(exec, times, fits.view(), {.downscale_freq_shift = 1}); }),
      "sinusoidal_embedding: downscale_freq_shift is 1.000000, expected less than half the dimension, 1"));
  exec.set_planning(true);
  ops::sinusoidal_embedding(exec, times, fits.view());
  CHECK(std::isnan(support::values_of(fits)[0]));
}
