// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <initializer_list>
#include <string_view>

#include "segue/testing/allclose.hpp"

SEGUE_NAMESPACE_BEGIN
namespace testing {

/// An input of the function under test and the gradient that its backward gave, both double in host memory, of one
/// shape, any strides.
class GradientInput {
 public:
  template <int Rank>
  GradientInput(std::string_view name, View<double, Rank, HostSpace> value, View<double, Rank, HostSpace> gradient)
      : name_(name), rank_(Rank), value_(value.data_handle()), gradient_(gradient.data_handle()) {
    if (value.shape() != gradient.shape())
      throw_input("check_gradients", std::string("shape of the gradient of ").append(name),
                  shape_string(gradient.shape()), shape_string(value.shape()));
    for (int i = 0; i < Rank; ++i) {
      const auto k = static_cast<std::size_t>(i);
      shape_[k] = value.extent(i);
      value_strides_[k] = value.stride(i);
      gradient_strides_[k] = gradient.stride(i);
    }
  }
  template <int Rank>
  GradientInput(std::string_view name, const Tensor<double, Rank, HostSpace>& value,
                const Tensor<double, Rank, HostSpace>& gradient)
      : GradientInput(name, value.view(), gradient.view()) {}

  std::string_view name() const { return name_; }
  std::int64_t size() const {
    std::int64_t n = 1;
    for (std::size_t i = 0; i < rank_; ++i) n *= shape_[i];
    return n;
  }
  double& value(std::int64_t i) const { return value_[offset(i, value_strides_)]; }
  double gradient(std::int64_t i) const { return gradient_[offset(i, gradient_strides_)]; }
  /// "(1, 4)" for the element with row-major number i.
  std::string index_string(std::int64_t i) const {
    std::string out = ")";
    for (std::size_t k = rank_; k-- > 0;) {
      out = (k > 0 ? ", " : "(") + std::to_string(i % shape_[k]) + out;
      i /= shape_[k];
    }
    return out;
  }

 private:
  using Axes = std::array<std::int64_t, 6>;

  std::int64_t offset(std::int64_t i, const Axes& strides) const {
    std::int64_t at = 0;
    for (std::size_t k = rank_; k-- > 0;) {
      at += i % shape_[k] * strides[k];
      i /= shape_[k];
    }
    return at;
  }

  std::string_view name_;
  std::size_t rank_;
  double* value_;
  double* gradient_;
  Axes shape_{}, value_strides_{}, gradient_strides_{};
};

struct GradientOptions {
  double step = 1e-5;  ///< of the central difference, times max(1, |x|)
  double atol = 1e-7;
  double rtol = 1e-6;
  std::int64_t most_elements = 4096;  ///< of an input that are tried, evenly spread
};

/// Compares the gradients that a backward gave with central differences of the function.
/// @param loss returns the scalar that the gradients are of, from the inputs as they are now. It is called twice for
///   each element tried. It must be smooth there: keep away from kinks.
/// @param inputs what it depends on; values are restored.
/// @returns not ok with the worst element, named by input and index.
///
///     auto loss = [&] { layer(x, y); return weighted_sum(y); };
///     CHECK(check_gradients(loss, {{"x", x, dx}, {"weight", w, dw}}).ok);
template <class Loss>
AllClose check_gradients(Loss&& loss, std::initializer_list<GradientInput> inputs,
                         const GradientOptions& options = {}) {
  AllClose answer;
  double worst = 1;
  for (const GradientInput& input : inputs) {
    const std::int64_t count = input.size();
    const std::int64_t tried = count < options.most_elements ? count : options.most_elements;
    for (std::int64_t k = 0; k < tried; ++k) {
      const std::int64_t i = k * count / tried;
      double& x = input.value(i);
      const double kept = x;
      const double h = options.step * (std::abs(kept) > 1 ? std::abs(kept) : 1);
      const double above = kept + h, below = kept - h;
      x = above;
      const double up = loss();
      x = below;
      const double down = loss();
      x = kept;
      const double numeric = (up - down) / (above - below);
      const double allowed = options.atol + options.rtol * std::abs(numeric);
      const double excess = std::abs(input.gradient(i) - numeric) / allowed;
      if (excess <= worst) continue;
      worst = std::isnan(excess) ? HUGE_VAL : excess;
      answer = {false, "gradient of " + std::string(input.name()) + " at " + input.index_string(i) + " is " +
                           detail::number_string(input.gradient(i)) + ", central differences give " +
                           detail::number_string(numeric) + ", allowed difference " + detail::number_string(allowed)};
    }
  }
  return answer;
}

}  // namespace testing
SEGUE_NAMESPACE_END
