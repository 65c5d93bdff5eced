// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "segue/core/error.hpp"
#include "segue/core/nearest_name.hpp"
#include "segue/core/posix.hpp"
#include "segue/io/image.hpp"
#include "segue/tasks/edges.hpp"
#include "segue/tasks/metrics.hpp"
#include "segue/tasks/pair.hpp"
#include "segue/tasks/pair_folder.hpp"
#include "segue/tasks/rearrange.hpp"
#include "segue/tasks/resample.hpp"

SEGUE_NAMESPACE_BEGIN
namespace tasks {

/// A task that any picture gives (arXiv 2510.24448 names them; sizes and thresholds are ours).
enum class PictureTransform : std::uint8_t { Flip, FlipVertical, Zoom, Edges, Colourise, Inpaint };

inline constexpr std::array<PictureTransform, 6> all_picture_transforms = {
    PictureTransform::Flip,  PictureTransform::FlipVertical, PictureTransform::Zoom,
    PictureTransform::Edges, PictureTransform::Colourise,    PictureTransform::Inpaint};

/// "flip", "flip-vertical", "zoom", "edges", "colourise", "inpaint".
constexpr std::string_view name(PictureTransform transform) {
  switch (transform) {
    case PictureTransform::Flip: return "flip";
    case PictureTransform::FlipVertical: return "flip-vertical";
    case PictureTransform::Zoom: return "zoom";
    case PictureTransform::Edges: return "edges";
    case PictureTransform::Colourise: return "colourise";
    case PictureTransform::Inpaint: return "inpaint";
  }
  return "?";
}

/// Raises InputError with the nearest name, or all of them.
inline PictureTransform picture_transform_from_name(std::string_view text) {
  std::array<std::string_view, all_picture_transforms.size()> names;
  std::string list;
  for (std::size_t i = 0; i < names.size(); ++i) {
    names[i] = name(all_picture_transforms[i]);
    if (names[i] == text) return all_picture_transforms[i];
    list.append(list.empty() ? "" : ", ").append(names[i]);
  }
  const std::string near = did_you_mean(text, names);
  throw_input("transform", in_quotes(text) + " is no transform" + (near.empty() ? "; there are " + list : near));
}

namespace detail {

/// The middle of a picture, half its width and height (rounded up).
inline io::Image centre_half(const io::Image& image) {
  const int width = (image.width + 1) / 2, height = (image.height + 1) / 2;
  const int x0 = (image.width - width) / 2, y0 = (image.height - height) / 2;
  io::Image out{width, height, image.channels, {}};
  const auto channels = static_cast<std::size_t>(image.channels);
  for (int y = 0; y < height; ++y) {
    const std::uint8_t* row =
        image.pixels.data() +
        (static_cast<std::size_t>(y0 + y) * static_cast<std::size_t>(image.width) + static_cast<std::size_t>(x0)) *
            channels;
    out.pixels.insert(out.pixels.end(), row, row + static_cast<std::size_t>(width) * channels);
  }
  return out;
}

/// The picture with its middle, half the width and height, in grey (127).
inline io::Image without_centre(io::Image image) {
  const int width = image.width / 2, height = image.height / 2;
  for (int y = (image.height - height) / 2; y < (image.height + height) / 2; ++y) {
    const std::size_t first = static_cast<std::size_t>(y) * static_cast<std::size_t>(image.width) +
                              static_cast<std::size_t>((image.width - width) / 2);
    const auto channels = static_cast<std::size_t>(image.channels);
    std::fill_n(image.pixels.begin() + static_cast<std::ptrdiff_t>(first * channels),
                static_cast<std::size_t>(width) * channels, std::uint8_t{127});
  }
  return image;
}

}  // namespace detail

/// The pair that a picture gives, at the picture's size:
///   flip           the picture, and mirrored left to right
///   flip-vertical  the picture, and mirrored top to bottom
///   zoom           the picture, and its middle half at twice the size (see `stretch`)
///   edges          the picture, and its edges, white on black (see canny_edges)
///   colourise      the picture in grey (see `convert_channels`), and the picture
///   inpaint        the picture with its middle half in grey (127), and the picture
inline Pair transform_picture(PictureTransform transform, NamedPicture picture) {
  Pair pair{std::move(picture.name), std::move(picture.image), {}};
  const int width = pair.input.width, height = pair.input.height;
  switch (transform) {
    case PictureTransform::Flip:
      pair.target = detail::rearrange(pair.input, [=](int x, int y) { return std::pair(width - 1 - x, y); });
      break;
    case PictureTransform::FlipVertical:
      pair.target = detail::rearrange(pair.input, [=](int x, int y) { return std::pair(x, height - 1 - y); });
      break;
    case PictureTransform::Zoom: pair.target = stretch(detail::centre_half(pair.input), width, height); break;
    case PictureTransform::Edges: pair.target = canny_edges(pair.input); break;
    case PictureTransform::Colourise:
      pair.target = pair.input;
      pair.input = io::convert_channels(io::convert_channels(pair.target, 1), 3);
      break;
    case PictureTransform::Inpaint:
      pair.target = pair.input;
      pair.input = detail::without_centre(pair.target);
      break;
  }
  return pair;
}

/// A folder of pictures, and the pairs that a transform makes of them.
///
/// A folder with the halves train/ and test/ (pictures, or the input/ folders of a PairFolder) keeps them apart: the
/// first n pictures of train/ in byte order are for training, all of test/ is the test. Of any other folder the first n
/// pictures are for training and the rest is the test.
class TransformFolder {
 public:
  /// Reads everything and stretches it to width x height. Raises InputError for a folder that is missing or without
  /// pictures, or a picture that cannot be read.
  TransformFolder(std::string path, PictureTransform transform, int width, int height) : path_(std::move(path)) {
    if (!is_directory(path_)) throw_input(path_, "the folder of pictures is missing");
    halves_ = is_directory(join_path(path_, "train")) && is_directory(join_path(path_, "test"));
    const auto read = [&](const std::string& folder, std::vector<Pair>& pairs) {
      for (NamedPicture& picture : read_pictures(folder, width, height)) {
        pairs.push_back(transform_picture(transform, std::move(picture)));
      }
    };
    read(halves_ ? half("train") : path_, train_);
    if (halves_) read(half("test"), test_);
    two_valued_ = transform == PictureTransform::Edges;
  }

  /// The first n pairs. Raises InputError that names both numbers if there are fewer.
  std::span<const Pair> train(int n) const { return first_items(path_, train_, n); }
  /// What is asked if the first n pairs were trained on.
  std::span<const Pair> test(int n) const {
    if (halves_) return test_;
    return std::span<const Pair>(train_).subspan(first_items(path_, train_, n).size());
  }
  /// Whether the targets are pictures of two values.
  bool two_valued() const { return two_valued_; }
  /// What the task is judged by unless the user says otherwise.
  Score score() const { return default_score(false, false, two_valued_); }

 private:
  std::string half(const char* split) const {
    const std::string folder = join_path(path_, split), inputs = join_path(folder, "input");
    return is_directory(inputs) ? inputs : folder;
  }

  std::string path_;
  std::vector<Pair> train_, test_;
  bool halves_ = false;
  bool two_valued_ = false;
};

}  // namespace tasks
SEGUE_NAMESPACE_END
