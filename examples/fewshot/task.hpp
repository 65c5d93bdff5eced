// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "options.hpp"
#include "segue/tasks/arc.hpp"
#include "segue/tasks/augment.hpp"
#include "segue/tasks/keypoints.hpp"
#include "segue/tasks/metrics.hpp"
#include "segue/tasks/pair.hpp"

namespace fewshot {

/// Named numbers in the order in which they are reported.
using Figures = std::vector<std::pair<std::string, double>>;

/// How a set of answers did: the score and what else is worth knowing.
struct Evaluation {
  double value = 0;
  Figures details;
};

/// Pairs to learn from, items to answer, and how answers are judged, whatever they were read from.
class Task {
 public:
  /// Reads or generates what the options name, at the model's size.
  /// @throws segue::InputError for anything wrong with the data or a score that does not fit it.
  Task(const Options& options, int width, int height);

  const std::string& name() const { return name_; }
  segue::tasks::Score score() const { return score_; }
  std::span<const segue::tasks::Pair> train() const { return train_; }
  /// The training pairs in the variants that an augmentation makes of them: the pairs themselves, then a variant of
  /// each, and so on, at most `most` in all but one variant of each (0: 1,024, fewer above 128 pixels). Drawn from
  /// `seed`. As clips in memory each takes 7 x frames x height x width values: .57 MB at 64 pixels in fp32.
  std::vector<segue::tasks::Pair> augmented(const segue::tasks::Augmentation& kind, std::uint64_t seed,
                                            int most = 0) const;
  std::span<const segue::tasks::Pair> test() const { return test_; }
  /// What the user should know about the data, e.g. how many grids did not fit.
  const Figures& notes() const { return notes_; }

  /// A score of pictures, of one as the answer to test item i.
  double score_picture(segue::tasks::Score score, std::size_t i, const segue::io::Image& answer) const;
  /// answers[a][i] is attempt a at test item i.
  Evaluation evaluate(std::span<const std::vector<segue::io::Image>> answers) const;

  /// The same task with some of its training pairs asked instead of the test items, and the others to learn from.
  /// `asked` are places in train(). Nothing of the test items is left in it.
  Task hold_out(std::span<const std::size_t> asked) const;

  /// What simple rules without a network score on the same items, made from the same training pairs.
  Figures baselines() const;

 private:
  Task() = default;

  /// The pairs at the size at which answers are judged.
  std::span<const segue::tasks::Pair> judged_train() const { return judged_train_.empty() ? train_ : judged_train_; }
  std::span<const segue::tasks::Pair> judged_test() const { return judged_test_.empty() ? test_ : judged_test_; }
  void read_pairs(const Options& options, int width, int height);
  void read_transformed(const Options& options, int width, int height);
  void read_grids(const segue::tasks::Arc& arc, const Options& options);
  Evaluation evaluate_grids(std::span<const std::vector<segue::io::Image>> answers) const;
  double score_of(std::span<const std::vector<segue::tasks::Grid>> attempts) const;
  bool scores_grids() const;
  Evaluation evaluate_poses(std::span<const segue::io::Image> answers) const;

  std::string name_;
  segue::tasks::Score score_ = segue::tasks::Score::Mae;
  std::vector<segue::tasks::Pair> train_, test_;
  std::vector<segue::tasks::Pair> judged_train_, judged_test_;  ///< empty unless answers are judged at another size
  bool two_valued_ = false;
  Figures notes_;

  std::optional<segue::tasks::ArcGeometry> geometry_;
  std::vector<segue::tasks::Grid> inputs_, truths_, train_inputs_, train_outputs_;

  std::optional<segue::tasks::Keypoints> keypoints_;
  std::vector<segue::tasks::Pose> train_poses_, test_poses_;
};

}  // namespace fewshot
