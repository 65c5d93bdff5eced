// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "segue/core/error.hpp"
#include "segue/core/posix.hpp"
#include "segue/io/image.hpp"
#include "segue/tasks/keypoints.hpp"
#include "segue/tasks/metrics.hpp"
#include "segue/tasks/pair.hpp"
#include "segue/tasks/resample.hpp"

SEGUE_NAMESPACE_BEGIN
namespace tasks {

/// A picture without an answer.
struct NamedPicture {
  std::string name;  ///< file stem
  io::Image image;
};

namespace detail {

inline bool has_suffix(std::string_view name, std::string_view suffix) {
  return name.size() > suffix.size() && name.substr(name.size() - suffix.size()) == suffix;
}

/// The names in a folder that end with one of the suffixes, in byte order; hidden files are left out.
inline std::vector<std::string> list_pictures(const std::string& folder, std::span<const std::string_view> suffixes) {
  std::vector<std::string> names;
  for (std::string& name : list_directory(folder)) {
    if (name.front() == '.') continue;
    for (const std::string_view suffix : suffixes) {
      if (has_suffix(name, suffix)) {
        names.push_back(std::move(name));
        break;
      }
    }
  }
  return names;
}

inline std::string stem_of(std::string_view name) { return std::string(name.substr(0, name.rfind('.'))); }

/// Which of the 256 values occur in the channels of a set of pictures.
struct ValuesSeen {
  std::array<bool, 256> seen{};
  void add(const io::Image& image) {
    for (const std::uint8_t v : image.pixels) seen[v] = true;
  }
  /// Exactly two values, one on each side of the threshold of 127.
  bool two_valued() const {
    int low = 0, high = 0;
    for (std::size_t v = 0; v < 256; ++v) (v > 127 ? high : low) += seen[v] ? 1 : 0;
    return low == 1 && high == 1;
  }
};

}  // namespace detail

/// The PNG, JPEG and BMP files of a folder in byte order of their names, stretched to width x height, RGB.
/// Raises InputError for a missing folder, one without pictures, or a picture that cannot be read.
inline std::vector<NamedPicture> read_pictures(const std::string& folder, int width, int height) {
  static constexpr std::array<std::string_view, 4> suffixes = {".png", ".jpg", ".jpeg", ".bmp"};
  std::vector<NamedPicture> out;
  for (const std::string& name : detail::list_pictures(folder, suffixes)) {
    out.push_back({detail::stem_of(name), stretch(io::load_image(join_path(folder, name), 3), width, height)});
  }
  if (out.empty()) throw_input(folder, "the folder holds no .png, .jpg, .jpeg or .bmp file");
  return out;
}

/// A folder of image pairs: `DIR/{train,test}/{input,target}/NAME.png`, and optionally `DIR/keypoints.json`.
///
/// Pictures of any size are stretched to the model's size (see `stretch`). If all targets together hold exactly two
/// values, one above 127, they are masks: stretched targets are then put back to 0 and 255 at >127. With
/// `keypoints.json` the targets are drawn from the points at the model's size and the target pictures are not read.
/// Training pairs are the first n names in byte order; test pairs are all of `test/`.
class PairFolder {
 public:
  /// Reads everything. Raises InputError, one sentence that names the file: a folder that is missing or holds no .png
  /// file, an input without target or the reverse, a target whose size differs from its input's, a picture that cannot
  /// be read, points missing for a picture.
  PairFolder(std::string path, int width, int height) : path_(std::move(path)), width_(width), height_(height) {
    if (!is_directory(path_)) throw_input(path_, "the folder of pairs is missing");
    if (const std::string points = join_path(path_, "keypoints.json"); is_file(points)) {
      keypoints_ = read_keypoints(points);
    }
    detail::ValuesSeen values;
    read_split("train", values, train_, train_poses_);
    read_split("test", values, test_, test_poses_);
    two_valued_ = !keypoints_ && values.two_valued();
    if (!two_valued_) return;
    for (std::vector<Pair>* pairs : {&train_, &test_}) {
      for (Pair& pair : *pairs) threshold(pair.target);
    }
  }

  const std::string& path() const { return path_; }
  int width() const { return width_; }
  int height() const { return height_; }

  /// The first n training pairs. Raises InputError that names both numbers if there are fewer.
  std::span<const Pair> train(int n) const { return first_items(path_, train_, n); }
  std::span<const Pair> train() const { return train_; }
  std::span<const Pair> test() const { return test_; }

  /// Whether the targets are masks of two values.
  bool two_valued() const { return two_valued_; }

  /// What `keypoints.json` says, if it is there.
  const std::optional<Keypoints>& keypoints() const { return keypoints_; }
  /// The poses of the training (test) pairs in pixels of the model's size, in their order; empty without keypoints.
  std::span<const Pose> train_poses(int n) const { return first_items(path_, train_poses_, n); }
  std::span<const Pose> test_poses() const { return test_poses_; }

  /// What the folder is judged by unless the user says otherwise.
  Score score() const { return default_score(keypoints_.has_value(), false, two_valued_); }

 private:
  void read_split(const std::string& split, detail::ValuesSeen& values, std::vector<Pair>& pairs,
                  std::vector<Pose>& poses) const {
    static constexpr std::array<std::string_view, 1> suffixes = {".png"};
    const std::string inputs = join_path(join_path(path_, split), "input");
    const std::string targets = join_path(join_path(path_, split), "target");
    const std::vector<std::string> names = detail::list_pictures(inputs, suffixes);
    if (names.empty()) throw_input(inputs, "the folder holds no .png file");
    if (!keypoints_) check_names(names, detail::list_pictures(targets, suffixes), inputs, targets);
    for (const std::string& name : names) {
      const std::string stem = detail::stem_of(name);
      const io::Image input = io::load_image(join_path(inputs, name), 3);
      Pair pair{stem, stretch(input, width_, height_), {}};
      if (keypoints_) {
        const auto& table = split == "train" ? keypoints_->train : keypoints_->test;
        const auto found = table.find(stem);
        if (found == table.end()) {
          throw_input(join_path(path_, "keypoints.json"), "there are no points for " + split + "/" + stem);
        }
        poses.push_back(scale_pose(found->second, keypoints_->size, width_, height_));
        pair.target = draw_pose(poses.back(), keypoints_->colours, width_, height_);
      } else {
        const io::Image target = io::load_image(join_path(targets, name), 3);
        if (target.width != input.width || target.height != input.height) {
          throw_input(join_path(targets, name), "size",
                      std::to_string(target.width) + "x" + std::to_string(target.height),
                      std::to_string(input.width) + "x" + std::to_string(input.height) + " like its input");
        }
        values.add(target);
        pair.target = stretch(target, width_, height_);
      }
      pairs.push_back(std::move(pair));
    }
  }

  static void check_names(const std::vector<std::string>& inputs, const std::vector<std::string>& targets,
                          const std::string& input_folder, const std::string& target_folder) {
    // Both lists are sorted: the first difference is a name that one of them lacks.
    for (std::size_t i = 0; i < inputs.size() || i < targets.size(); ++i) {
      if (i < inputs.size() && i < targets.size() && inputs[i] == targets[i]) continue;
      const bool lacks_target = i >= targets.size() || (i < inputs.size() && inputs[i] < targets[i]);
      if (lacks_target) throw_input(join_path(input_folder, inputs[i]), "there is no target picture of this name");
      throw_input(join_path(target_folder, targets[i]), "there is no input picture of this name");
    }
  }

  std::string path_;
  int width_ = 0, height_ = 0;
  std::vector<Pair> train_, test_;
  std::vector<Pose> train_poses_, test_poses_;
  std::optional<Keypoints> keypoints_;
  bool two_valued_ = false;
};

}  // namespace tasks
SEGUE_NAMESPACE_END
