// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "segue/core/error.hpp"
#include "segue/core/nearest_name.hpp"
#include "segue/io/image.hpp"
#include "segue/tasks/pair.hpp"

SEGUE_NAMESPACE_BEGIN
namespace tasks {

/// What a task is judged by.
enum class Score : std::uint8_t { Pck, Iou, Exact, CellAccuracy, Path, Mae };

inline constexpr std::array<Score, 6> all_scores = {Score::Pck,          Score::Iou,  Score::Exact,
                                                    Score::CellAccuracy, Score::Path, Score::Mae};

/// "pck", "iou", "exact", "cell_accuracy", "path", "mae".
constexpr std::string_view name(Score score) {
  switch (score) {
    case Score::Pck: return "pck";
    case Score::Iou: return "iou";
    case Score::Exact: return "exact";
    case Score::CellAccuracy: return "cell_accuracy";
    case Score::Path: return "path";
    case Score::Mae: return "mae";
  }
  return "?";
}

/// Raises InputError that lists the names.
inline Score score_from_name(std::string_view text) {
  for (const Score score : all_scores) {
    if (name(score) == text) return score;
  }
  throw_input("score", "name", in_quotes(text), "pck, iou, exact, cell_accuracy, path or mae");
}

/// All scores but the error of Mae grow with quality.
constexpr bool higher_is_better(Score score) { return score != Score::Mae; }

/// The score of a task where the user names none: pck if there are keypoints, exact for grids (path for mazes), iou if
/// every target has two values, else mae.
constexpr Score default_score(bool has_keypoints, bool is_grid, bool two_valued) {
  if (has_keypoints) return Score::Pck;
  if (is_grid) return Score::Exact;
  return two_valued ? Score::Iou : Score::Mae;
}

namespace detail {

inline void check_same_extents(const char* where, const io::Image& a, const io::Image& b) {
  if (a.width == b.width && a.height == b.height && a.channels == b.channels) return;
  const auto words = [](const io::Image& image) {
    return std::to_string(image.width) + "x" + std::to_string(image.height) + "x" + std::to_string(image.channels);
  };
  throw_input(where, "prediction", words(a), words(b) + " like the target");
}

inline bool is_foreground(const std::uint8_t* pixel, int channels) {
  if (channels < 3) return pixel[0] > 127;
  return pixel[0] + pixel[1] + pixel[2] > 3 * 127;
}

}  // namespace detail

/// One byte a pixel, 1 where the mean of R, G and B is above 127 (alpha is not looked at). (H, W)
inline std::vector<std::uint8_t> foreground(const io::Image& image) {
  const std::size_t pixels = static_cast<std::size_t>(image.width) * static_cast<std::size_t>(image.height);
  std::vector<std::uint8_t> mask(pixels);
  for (std::size_t p = 0; p < pixels; ++p) {
    const std::uint8_t* pixel = image.pixels.data() + p * static_cast<std::size_t>(image.channels);
    mask[p] = detail::is_foreground(pixel, image.channels) ? 1 : 0;
  }
  return mask;
}

/// Intersection over union of two masks of 0 and 1: |a and b| / max(1, |a or b|), so two empty masks score 0.
inline double intersection_over_union(std::span<const std::uint8_t> a, std::span<const std::uint8_t> b) {
  if (a.size() != b.size()) {
    throw_input("iou", "prediction", std::to_string(a.size()) + " pixels", std::to_string(b.size()));
  }
  std::size_t both = 0, either = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    both += (a[i] & b[i]);
    either += (a[i] | b[i]);
  }
  return static_cast<double>(both) / static_cast<double>(either > 0 ? either : 1);
}

/// IoU of the foregrounds of two pictures of one size.
inline double iou(const io::Image& prediction, const io::Image& target) {
  detail::check_same_extents("iou", prediction, target);
  return intersection_over_union(foreground(prediction), foreground(target));
}

/// Mean absolute difference over all values, in units of 0 … 255.
inline double mean_absolute_error(const io::Image& prediction, const io::Image& target) {
  detail::check_same_extents("mae", prediction, target);
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < target.pixels.size(); ++i) {
    sum += static_cast<std::uint64_t>(std::abs(prediction.pixels[i] - target.pixels[i]));
  }
  return target.pixels.empty() ? 0.0 : static_cast<double>(sum) / static_cast<double>(target.pixels.size());
}

/// 1 if every value agrees, else 0 (grids are compared after decoding instead: see arc_decode.hpp).
inline double exact_match(const io::Image& prediction, const io::Image& target) {
  detail::check_same_extents("exact", prediction, target);
  return prediction.pixels == target.pixels ? 1.0 : 0.0;
}

/// The score of one picture. Raises InputError for Pck, CellAccuracy and Path, which need keypoints, grids or mazes.
inline double score_picture(Score score, const io::Image& prediction, const io::Image& target) {
  switch (score) {
    case Score::Iou: return iou(prediction, target);
    case Score::Exact: return exact_match(prediction, target);
    case Score::Mae: return mean_absolute_error(prediction, target);
    case Score::Pck:
    case Score::CellAccuracy:
    case Score::Path: break;
  }
  throw_input("score", "name", name(score), "iou, exact or mae for a folder of plain pictures");
}

/// The mean over pictures of their scores.
inline double score_pictures(Score score, std::span<const io::Image> predictions, std::span<const Pair> items) {
  if (predictions.size() != items.size()) {
    throw_input("score", "number of predictions", std::to_string(predictions.size()), std::to_string(items.size()));
  }
  double sum = 0;
  for (std::size_t i = 0; i < items.size(); ++i) sum += score_picture(score, predictions[i], items[i].target);
  return items.empty() ? 0.0 : sum / static_cast<double>(items.size());
}

}  // namespace tasks
SEGUE_NAMESPACE_END
