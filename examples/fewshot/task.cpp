// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#include "task.hpp"

#include <algorithm>

#include "segue/tasks/arc_decode.hpp"
#include "segue/tasks/automata.hpp"
#include "segue/tasks/baselines.hpp"
#include "segue/tasks/generate/textured_object.hpp"
#include "segue/tasks/maze.hpp"
#include "segue/tasks/named_task.hpp"
#include "segue/tasks/pair_folder.hpp"
#include "segue/tasks/picture_transform.hpp"
#include "segue/tasks/resample.hpp"

namespace fewshot {

namespace tasks = segue::tasks;
using segue::io::Image;

namespace {

/// Test items of the generated tasks, unless --test says otherwise.
constexpr int kGeneratedTestItems = 50;
/// Generated items are the same in every run: --seed changes initialisation and noise only.
constexpr std::uint64_t kTaskSeed = 1;
/// What augmented pairs may be in all: as many pictures, and as many pixels of them.
constexpr int kMostClips = 1024, kMostPixels = 1024 * 128 * 128;

bool is_maze(const std::optional<tasks::ArcGeometry>& geometry) {
  return geometry && geometry->palette == tasks::GridPalette::Maze;
}

std::string last_part(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  path = path.substr(path.rfind('/') + 1);
  return path.ends_with(".json") ? path.substr(0, path.size() - 5) : path;
}

}  // namespace

Task::Task(const Options& options, int width, int height) {
  const int generated = options.test_items > 0 ? options.test_items : kGeneratedTestItems;
  if (options.transform) {
    read_transformed(options, width, height);
  } else if (!options.pairs.empty()) {
    read_pairs(options, width, height);
  } else if (!options.arc.empty() || !options.life.empty() || !options.task.empty()) {
    if (width != height) {
      segue::throw_input("grids", "the model's canvas", std::to_string(width) + "x" + std::to_string(height),
                         "a square one");
    }
    if (!options.arc.empty()) {
      name_ = last_part(options.arc);
      read_grids(tasks::Arc(options.arc, width, options.layout), options);
    } else if (!options.task.empty()) {
      tasks::GridTask made = tasks::make_named_task(options.task, options.shots, generated);
      name_ = made.name;
      read_grids(tasks::Arc(std::move(made), width, options.layout), options);
    } else {
      tasks::LifeTaskSpec spec;
      spec.rule = options.life;
      read_grids(tasks::Arc(tasks::make_life_task(spec, options.shots, generated, kTaskSeed), width, options.layout),
                 options);
      name_ = "life_" + options.life;
    }
    std::erase(name_, '/');
  } else {
    name_ = "generated";
    const auto clutter = options.muted ? tasks::Clutter::Muted : tasks::Clutter::Camouflage;
    tasks::PictureTask made =
        tasks::make_textured_object_task(kTaskSeed, options.shots, generated, {height, width, clutter});
    train_ = std::move(made.train);
    test_ = std::move(made.test);
    two_valued_ = true;
    score_ = tasks::Score::Iou;
  }
  if (!options.score.empty()) score_ = tasks::score_from_name(options.score);
  if (score_ == tasks::Score::Pck && !keypoints_) {
    segue::throw_input("--score", "pck needs a keypoints.json in the folder of pairs");
  }
  if (score_ == tasks::Score::CellAccuracy && !geometry_) segue::throw_input("--score", "cell_accuracy needs grids");
  if (score_ == tasks::Score::Path && !is_maze(geometry_)) segue::throw_input("--score", "path needs mazes");
  if (options.test_items > 0 && static_cast<std::size_t>(options.test_items) < test_.size()) {
    const auto n = static_cast<std::size_t>(options.test_items);
    test_.resize(n);
    if (geometry_) {
      inputs_.resize(n);
      truths_.resize(n);
    }
    if (keypoints_) test_poses_.resize(n);
    if (!judged_test_.empty()) judged_test_.resize(n);
  }
  if (!judged_test_.empty() && score_ != tasks::Score::Iou && score_ != tasks::Score::Mae) {
    segue::throw_input("--score-size", "the score", segue::in_quotes(tasks::name(score_)), "iou or mae");
  }
  if (test_.empty()) segue::throw_input(name_, "no test item is left");
}

void Task::read_pairs(const Options& options, int width, int height) {
  const tasks::PairFolder folder(options.pairs, width, height);
  name_ = last_part(options.pairs);
  const auto train = folder.train(options.shots);
  train_.assign(train.begin(), train.end());
  test_.assign(folder.test().begin(), folder.test().end());
  two_valued_ = folder.two_valued();
  score_ = folder.score();
  if (folder.keypoints()) {
    keypoints_ = folder.keypoints();
    const auto poses = folder.train_poses(options.shots);
    train_poses_.assign(poses.begin(), poses.end());
    test_poses_.assign(folder.test_poses().begin(), folder.test_poses().end());
  }
  if (options.score_size > 0) {
    const tasks::PairFolder judged(options.pairs, options.score_size, options.score_size);
    const auto pairs = judged.train(options.shots);
    judged_train_.assign(pairs.begin(), pairs.end());
    judged_test_.assign(judged.test().begin(), judged.test().end());
  }
}

void Task::read_transformed(const Options& options, int width, int height) {
  const std::string& source = options.pictures.empty() ? options.pairs : options.pictures;
  const tasks::TransformFolder folder(source, *options.transform, width, height);
  name_ = std::string(tasks::name(*options.transform)) + "_" + last_part(source);
  const auto train = folder.train(options.shots), test = folder.test(options.shots);
  train_.assign(train.begin(), train.end());
  test_.assign(test.begin(), test.end());
  two_valued_ = folder.two_valued();
  score_ = folder.score();
}

void Task::read_grids(const tasks::Arc& arc, const Options& options) {
  // One ARC task is learned from all its demonstrations unless the user says otherwise.
  const bool single = segue::is_file(options.arc);
  const int shots = single && !options.shots_given ? arc.available() : options.shots;
  geometry_ = arc.geometry();
  if (arc.available() == 0) {
    segue::throw_input(options.arc.empty() ? name_ : options.arc,
                       "no training pair fits the canvas; " + std::to_string(arc.skipped()) + " were skipped");
  }
  for (const tasks::GridPair& pair : arc.train(shots)) {
    train_.push_back(arc.render(pair));
    train_outputs_.push_back(pair.output);
    train_inputs_.push_back(pair.input);
  }
  for (const tasks::GridPair& pair : arc.test(shots)) {
    test_.push_back(arc.render(pair));
    inputs_.push_back(pair.input);
    truths_.push_back(pair.output);
  }
  score_ = is_maze(geometry_) ? tasks::Score::Path : tasks::Score::Exact;
  notes_.emplace_back("cell_pixels", arc.geometry().cell);
  notes_.emplace_back("skipped_pairs", arc.skipped());
  if (geometry_->layout() == tasks::Layout::Folded) notes_.emplace_back("cells_a_line", geometry_->fold);
}

bool Task::scores_grids() const {
  return geometry_ &&
         (score_ == tasks::Score::Exact || score_ == tasks::Score::CellAccuracy || score_ == tasks::Score::Path);
}

std::vector<tasks::Pair> Task::augmented(const tasks::Augmentation& kind, std::uint64_t seed, int most) const {
  const int count = static_cast<int>(train_.size()), useful = tasks::useful_variants(kind);
  const int fit = std::min(kMostClips, kMostPixels / (train_[0].input.width * train_[0].input.height));
  const int variants = std::clamp((most > 0 ? most : fit) / count, std::min(2, useful), useful);
  std::vector<tasks::Pair> out = train_;
  for (int v = 1; v < variants; ++v) {
    for (int i = 0; i < count; ++i) {
      const auto at = static_cast<std::size_t>(i);
      // Where there is no room for all symmetries of a pair, its neighbours show the others.
      const bool room = variants >= tasks::square_symmetries;
      const int number = room ? v : 1 + (v - 1 + i * (variants - 1)) % (useful - 1);
      const std::uint64_t pair_seed = seed * 0x9E3779B97F4A7C15u + at;
      if (!geometry_) {
        out.push_back(tasks::augment(train_[at], kind, number, pair_seed));
        continue;
      }
      const tasks::GridPair grids = tasks::augment({train_[at].name, train_inputs_[at], train_outputs_[at]}, kind,
                                                   geometry_->palette, geometry_->fold == 0, number, pair_seed);
      out.push_back(
          {grids.name, tasks::render_grid(grids.input, *geometry_), tasks::render_grid(grids.output, *geometry_)});
    }
  }
  return out;
}

double Task::score_picture(tasks::Score score, std::size_t i, const Image& answer) const {
  const Image& target = judged_test()[i].target;
  if (answer.width == target.width && answer.height == target.height) {
    return tasks::score_picture(score, answer, target);
  }
  return tasks::score_picture(score, tasks::stretch(answer, target.width, target.height), target);
}

Evaluation Task::evaluate(std::span<const std::vector<Image>> answers) const {
  if (scores_grids()) return evaluate_grids(answers);
  if (score_ == tasks::Score::Pck) return evaluate_poses(answers[0]);
  const auto mean = [&](tasks::Score score) {
    double sum = 0;
    for (std::size_t i = 0; i < test_.size(); ++i) sum += score_picture(score, i, answers[0][i]);
    return sum / static_cast<double>(test_.size());
  };
  Evaluation out{mean(score_), {}};
  if (score_ != tasks::Score::Mae) out.details.emplace_back("mae", mean(tasks::Score::Mae));
  return out;
}

Evaluation Task::evaluate_grids(std::span<const std::vector<Image>> answers) const {
  const auto decoded = [&](tasks::ColourShift shift) {
    std::vector<std::vector<tasks::Grid>> read(truths_.size());
    for (std::size_t i = 0; i < truths_.size(); ++i) {
      for (const std::vector<Image>& attempt : answers) {
        read[i].push_back(tasks::decode_grid(attempt[i], truths_[i].height, truths_[i].width, *geometry_, shift));
      }
    }
    return read;
  };
  const auto shifted = decoded(tasks::ColourShift::On), plain = decoded(tasks::ColourShift::Off);
  const tasks::GridScore with = tasks::score_grids(shifted, truths_), without = tasks::score_grids(plain, truths_);
  Evaluation out;
  out.value = score_of(shifted);
  out.details = {{"exact", with.exact()},
                 {"exact_without_colour_shift", without.exact()},
                 {"cell_accuracy", with.cell_accuracy},
                 {"cell_accuracy_without_colour_shift", without.cell_accuracy},
                 {"all_solved", with.all_solved() ? 1.0 : 0.0}};
  if (is_maze(geometry_)) {
    const tasks::PathScore paths = tasks::score_paths(shifted, truths_);
    out.details.emplace_back("path", paths.exact_share());
    out.details.emplace_back("path_without_colour_shift", tasks::score_paths(plain, truths_).exact_share());
    out.details.emplace_back("path_success_rate", paths.success_rate());
    out.details.emplace_back("path_length_ratio", paths.length_ratio);
  }
  return out;
}

double Task::score_of(std::span<const std::vector<tasks::Grid>> attempts) const {
  if (score_ == tasks::Score::Path) return tasks::score_paths(attempts, truths_).exact_share();
  const tasks::GridScore score = tasks::score_grids(attempts, truths_);
  return score_ == tasks::Score::Exact ? score.exact() : score.cell_accuracy;
}

Evaluation Task::evaluate_poses(std::span<const Image> answers) const {
  tasks::PckCount count, by_votes;
  const tasks::PosePrior prior = tasks::pose_prior(train_poses_, test_[0].input.width, test_[0].input.height);
  for (std::size_t i = 0; i < test_.size(); ++i) {
    count += tasks::count_pck(tasks::decode_pose(answers[i], keypoints_->colours, prior), test_poses_[i],
                              answers[i].width, answers[i].height);
    by_votes += tasks::count_pck(tasks::decode_pose_by_votes(answers[i], keypoints_->colours), test_poses_[i],
                                 answers[i].width, answers[i].height);
  }
  return {count.value(),
          {{"pck_by_votes", by_votes.value()},
           {"labelled_points", static_cast<double>(count.labelled)},
           {"spurious_points", static_cast<double>(count.spurious)}}};
}

Figures Task::baselines() const {
  Figures out;
  std::vector<Image> copies;
  for (const tasks::Pair& pair : judged_test()) copies.push_back(pair.input);
  if (score_ == tasks::Score::Pck) {
    out.emplace_back("copy_input", evaluate_poses(copies).value);
    const tasks::Pose mean = tasks::mean_pose(train_poses_);
    tasks::PckCount count;
    for (std::size_t i = 0; i < test_.size(); ++i) {
      count += tasks::count_pck(mean, test_poses_[i], test_[i].input.width, test_[i].input.height);
    }
    out.emplace_back("mean_pose", count.value());
  } else if (scores_grids()) {
    // The input grid itself, not its picture: sizes may differ.
    std::vector<std::vector<tasks::Grid>> copied;
    for (const tasks::Grid& grid : inputs_) copied.push_back({grid});
    out.emplace_back("copy_input", score_of(copied));
    if (const std::optional<tasks::Grid> mode = tasks::mode_grid(train_outputs_)) {
      out.emplace_back("mode_grid", score_of(std::vector<std::vector<tasks::Grid>>(truths_.size(), {*mode})));
    }
  } else {
    for (const tasks::BaselineScore& b : tasks::score_baselines(score_, two_valued_, judged_train(), judged_test())) {
      out.emplace_back(std::string(b.name), b.value);
    }
  }
  return out;
}

}  // namespace fewshot
