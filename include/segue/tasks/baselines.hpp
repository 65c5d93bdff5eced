// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "segue/io/image.hpp"
#include "segue/tasks/grid.hpp"
#include "segue/tasks/keypoints.hpp"
#include "segue/tasks/metrics.hpp"
#include "segue/tasks/pair.hpp"

SEGUE_NAMESPACE_BEGIN
/// What can be had from the same training pairs without a network. Each predictor is built from the pairs and maps an
/// input picture to a predicted target of the same size.
namespace tasks {

namespace detail {

inline io::Image picture_of_mask(std::span<const std::uint8_t> mask, int width, int height) {
  io::Image image;
  image.width = width;
  image.height = height;
  image.channels = 3;
  image.pixels.resize(mask.size() * 3);
  for (std::size_t p = 0; p < mask.size(); ++p) {
    for (std::size_t c = 0; c < 3; ++c) image.pixels[3 * p + c] = mask[p] ? 255 : 0;
  }
  return image;
}

inline void check_training_pairs(const char* where, std::span<const Pair> train) {
  if (train.empty()) throw_input(where, "number of training pairs", "0", "1 or more");
  for (const Pair& pair : train) {
    check_same_extents(where, pair.input, pair.target);
    check_same_extents(where, pair.target, train.front().target);
    if (pair.input.channels != 3) {
      throw_input(where, "channels of " + pair.name, std::to_string(pair.input.channels), "3");
    }
  }
}

}  // namespace detail

/// The input itself.
struct CopyInput {
  io::Image operator()(const io::Image& input) const { return input; }
};

/// The pixels that are foreground in more than half of the training targets, whatever the input.
class MeanMask {
 public:
  explicit MeanMask(std::span<const Pair> train) {
    detail::check_training_pairs("mean_mask", train);
    const io::Image& shape = train.front().target;
    std::vector<std::size_t> votes(static_cast<std::size_t>(shape.width) * static_cast<std::size_t>(shape.height));
    for (const Pair& pair : train) {
      const std::vector<std::uint8_t> mask = foreground(pair.target);
      for (std::size_t p = 0; p < votes.size(); ++p) votes[p] += mask[p];
    }
    std::vector<std::uint8_t> mask(votes.size());
    for (std::size_t p = 0; p < votes.size(); ++p) mask[p] = 2 * votes[p] > train.size() ? 1 : 0;
    mask_ = detail::picture_of_mask(mask, shape.width, shape.height);
  }

  io::Image operator()(const io::Image&) const { return mask_; }

 private:
  io::Image mask_;
};

/// One full-covariance Gaussian in RGB for the foreground pixels of the training pairs and one for the others; +1 on
/// the diagonal; class priors. A pixel is foreground if that class is the likelier.
class ColourGaussian {
 public:
  explicit ColourGaussian(std::span<const Pair> train) {
    detail::check_training_pairs("colour_gaussian", train);
    std::array<Moments, 2> moments;
    for (const Pair& pair : train) {
      const std::vector<std::uint8_t> mask = foreground(pair.target);
      for (std::size_t p = 0; p < mask.size(); ++p) moments[mask[p]].add(pair.input.pixels.data() + 3 * p);
    }
    const double total = static_cast<double>(moments[0].count + moments[1].count);
    for (std::size_t k = 0; k < 2; ++k) classes_[k] = Gaussian(moments[k], total);
  }

  io::Image operator()(const io::Image& input) const {
    const std::size_t pixels = static_cast<std::size_t>(input.width) * static_cast<std::size_t>(input.height);
    std::vector<std::uint8_t> mask(pixels);
    for (std::size_t p = 0; p < pixels; ++p) {
      const std::uint8_t* pixel = input.pixels.data() + 3 * p;
      mask[p] = classes_[1].log_likelihood(pixel) > classes_[0].log_likelihood(pixel) ? 1 : 0;
    }
    return detail::picture_of_mask(mask, input.width, input.height);
  }

 private:
  /// Sums of whole numbers: exact, in any order.
  struct Moments {
    std::int64_t count = 0;
    std::array<std::int64_t, 3> sum{};
    std::array<std::array<std::int64_t, 3>, 3> product{};
    void add(const std::uint8_t* pixel) {
      ++count;
      for (std::size_t i = 0; i < 3; ++i) {
        sum[i] += pixel[i];
        for (std::size_t j = 0; j < 3; ++j) product[i][j] += static_cast<std::int64_t>(pixel[i]) * pixel[j];
      }
    }
  };

  struct Gaussian {
    std::array<double, 3> mean{};
    std::array<std::array<double, 3>, 3> inverse{};
    double constant = -INFINITY;  ///< log prior - half of log determinant; a class without pixels never wins

    Gaussian() = default;
    Gaussian(const Moments& m, double total) {
      if (m.count == 0) return;
      const auto n = static_cast<double>(m.count);
      std::array<std::array<double, 3>, 3> a{};
      for (std::size_t i = 0; i < 3; ++i) mean[i] = static_cast<double>(m.sum[i]) / n;
      for (std::size_t i = 0; i < 3; ++i) {
        for (std::size_t j = 0; j < 3; ++j) {
          a[i][j] = static_cast<double>(m.product[i][j]) / n - mean[i] * mean[j] + (i == j ? 1.0 : 0.0);
        }
      }
      // Cofactors: the matrix is symmetric and its eigenvalues are at least 1.
      for (std::size_t i = 0; i < 3; ++i) {
        for (std::size_t j = 0; j < 3; ++j) {
          const std::size_t i1 = (i + 1) % 3, i2 = (i + 2) % 3, j1 = (j + 1) % 3, j2 = (j + 2) % 3;
          inverse[j][i] = a[i1][j1] * a[i2][j2] - a[i1][j2] * a[i2][j1];
        }
      }
      const double determinant = a[0][0] * inverse[0][0] + a[0][1] * inverse[1][0] + a[0][2] * inverse[2][0];
      for (auto& row : inverse) {
        for (double& v : row) v /= determinant;
      }
      constant = std::log(n / total) - 0.5 * std::log(determinant);
    }

    double log_likelihood(const std::uint8_t* pixel) const {
      const std::array<double, 3> d = {pixel[0] - mean[0], pixel[1] - mean[1], pixel[2] - mean[2]};
      double square = 0;
      for (std::size_t i = 0; i < 3; ++i) {
        for (std::size_t j = 0; j < 3; ++j) square += d[i] * inverse[i][j] * d[j];
      }
      return constant - 0.5 * square;
    }
  };

  std::array<Gaussian, 2> classes_;
};

/// Otsu's threshold of each input's grey values; which side is the foreground is what fits the training pairs better.
/// N. Otsu, "A threshold selection method from gray-level histograms", 1979.
class Otsu {
 public:
  explicit Otsu(std::span<const Pair> train) {
    detail::check_training_pairs("otsu", train);
    double bright = 0, dark = 0;
    for (const Pair& pair : train) {
      const std::vector<std::uint8_t> mask = foreground(pair.target);
      bright += intersection_over_union(above_threshold(pair.input, true), mask);
      dark += intersection_over_union(above_threshold(pair.input, false), mask);
    }
    bright_ = bright >= dark;
  }

  io::Image operator()(const io::Image& input) const {
    return detail::picture_of_mask(above_threshold(input, bright_), input.width, input.height);
  }

 private:
  static std::uint8_t grey(const std::uint8_t* pixel) {
    return static_cast<std::uint8_t>((pixel[0] + pixel[1] + pixel[2]) / 3);
  }

  static std::vector<std::uint8_t> above_threshold(const io::Image& input, bool bright) {
    const std::size_t pixels = static_cast<std::size_t>(input.width) * static_cast<std::size_t>(input.height);
    std::array<std::int64_t, 256> histogram{};
    std::int64_t total = 0;
    for (std::size_t p = 0; p < pixels; ++p) {
      const std::uint8_t v = grey(input.pixels.data() + 3 * p);
      ++histogram[v];
      total += v;
    }
    // The threshold t that maximises the variance between the classes v <= t and v > t.
    std::int64_t below = 0, sum_below = 0;
    double best = -1;
    int threshold = 0;
    for (int t = 0; t < 255; ++t) {
      below += histogram[static_cast<std::size_t>(t)];
      sum_below += t * histogram[static_cast<std::size_t>(t)];
      const std::int64_t above = static_cast<std::int64_t>(pixels) - below;
      if (below == 0 || above == 0) continue;
      const double difference = static_cast<double>(sum_below) / static_cast<double>(below) -
                                static_cast<double>(total - sum_below) / static_cast<double>(above);
      const double between = static_cast<double>(below) * static_cast<double>(above) * difference * difference;
      if (between > best) {
        best = between;
        threshold = t;
      }
    }
    std::vector<std::uint8_t> mask(pixels);
    for (std::size_t p = 0; p < pixels; ++p) {
      mask[p] = (grey(input.pixels.data() + 3 * p) > threshold) == bright ? 1 : 0;
    }
    return mask;
  }

  bool bright_ = true;
};

/// The mean of the labelled training points of each part: one pose for every picture.
inline Pose mean_pose(std::span<const Pose> train) {
  if (train.empty()) throw_input("mean_pose", "number of training poses", "0", "1 or more");
  Pose mean;
  for (const std::optional<PosePrior::Part>& part : pose_prior(train, 0, 0).parts) {
    mean.push_back(part ? std::optional(part->mean) : std::nullopt);
  }
  return mean;
}

/// The most frequent value of each cell in the training outputs, the smallest of equals; empty if their sizes differ.
inline std::optional<Grid> mode_grid(std::span<const Grid> outputs) {
  if (outputs.empty()) throw_input("mode_grid", "number of training grids", "0", "1 or more");
  Grid mode = outputs.front();
  std::vector<std::array<int, 256>> votes(mode.cells.size());
  for (const Grid& output : outputs) {
    if (output.height != mode.height || output.width != mode.width) return std::nullopt;
    for (std::size_t i = 0; i < votes.size(); ++i) ++votes[i][output.cells[i]];
  }
  for (std::size_t i = 0; i < votes.size(); ++i) {
    mode.cells[i] = static_cast<std::uint8_t>(std::max_element(votes[i].begin(), votes[i].end()) - votes[i].begin());
  }
  return mode;
}

/// A baseline and what it scores on the test items.
struct BaselineScore {
  std::string_view name;
  double value = 0;
};

/// The mean score over the test items of a predictor.
template <class Predictor>
double score_predictor(const Predictor& predictor, Score score, std::span<const Pair> test) {
  double sum = 0;
  for (const Pair& pair : test) sum += score_picture(score, predictor(pair.input), pair.target);
  return test.empty() ? 0.0 : sum / static_cast<double>(test.size());
}

/// copy_input, and for a task of two-valued targets also mean_mask, colour_gaussian and otsu, from the same pairs.
/// `score` is one of those of plain pictures (see score_picture).
inline std::vector<BaselineScore> score_baselines(Score score, bool two_valued, std::span<const Pair> train,
                                                  std::span<const Pair> test) {
  std::vector<BaselineScore> out = {{"copy_input", score_predictor(CopyInput{}, score, test)}};
  if (two_valued) {
    out.push_back({"mean_mask", score_predictor(MeanMask(train), score, test)});
    out.push_back({"colour_gaussian", score_predictor(ColourGaussian(train), score, test)});
    out.push_back({"otsu", score_predictor(Otsu(train), score, test)});
  }
  return out;
}

}  // namespace tasks
SEGUE_NAMESPACE_END
