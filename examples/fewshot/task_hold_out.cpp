// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "task.hpp"

namespace fewshot {

Task Task::hold_out(std::span<const std::size_t> asked) const {
  const std::size_t count = train_.size();
  for (const std::size_t place : asked) {
    if (place >= count) {
      segue::throw_input(name_, "place of a held-out pair", std::to_string(place), "below " + std::to_string(count));
    }
  }
  const auto check = [&](bool has, std::size_t kept, const char* what) {
    if (has && kept != count) segue::throw_input(name_, what, std::to_string(kept), std::to_string(count));
  };
  check(geometry_.has_value(), train_outputs_.size(), "number of training grids");
  check(!judged_train_.empty(), judged_train_.size(), "number of training pairs to be judged");
  check(keypoints_.has_value(), train_poses_.size(), "number of training poses");
  Task out;
  out.name_ = name_;
  out.score_ = score_;
  out.two_valued_ = two_valued_;
  out.geometry_ = geometry_;
  out.keypoints_ = keypoints_;
  for (std::size_t i = 0; i < count; ++i) {
    const bool held = std::find(asked.begin(), asked.end(), i) != asked.end();
    (held ? out.test_ : out.train_).push_back(train_[i]);
    if (!judged_train_.empty()) (held ? out.judged_test_ : out.judged_train_).push_back(judged_train_[i]);
    if (geometry_) {
      (held ? out.inputs_ : out.train_inputs_).push_back(train_inputs_[i]);
      (held ? out.truths_ : out.train_outputs_).push_back(train_outputs_[i]);
    }
    if (keypoints_) (held ? out.test_poses_ : out.train_poses_).push_back(train_poses_[i]);
  }
  if (out.train_.empty() || out.test_.empty()) {
    segue::throw_input(name_, "number of held-out pairs", std::to_string(out.test_.size()),
                       "1 to " + std::to_string(count > 0 ? count - 1 : 0));
  }
  return out;
}

}  // namespace fewshot
