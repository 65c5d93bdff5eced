// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#include "run.hpp"

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <memory>
#include <optional>
#include <set>

#include "common/file_hash.hpp"
#include "fewshot/report.hpp"
#include "learner.hpp"
#include "results.hpp"
#include "segue/core/posix.hpp"
#include "segue/models/wan_folder.hpp"
#include "segue/train/clip_spec.hpp"
#include "segue/train/progress.hpp"

namespace experiments {

using fewshot::Figures;
using fewshot::Task;
using segue::join_path;
using segue::io::Image;
using segue::io::Json;

namespace {

/// Raised when answers are read or judged in another way: what was judged before is no result then.
constexpr int kScoring = 2;
/// Columns of a contact sheet.
constexpr std::size_t kSheetItems = 8;

std::string today() {
  const std::time_t now = std::time(nullptr);
  char text[32] = "";
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", std::gmtime(&now));
  return text;
}

/// The folder of a model and what tells it from others.
struct Backbone {
  std::string path, name, config, weights;
  int width = 0, height = 0;
};

Backbone open_model(const std::string& given) {
  const segue::models::WanFolder folder =
      segue::models::open_wan_folder(given.empty() ? fewshot::default_model() : given);
  const std::string spec_path = join_path(folder.path, "segue.json");
  if (!segue::is_file(spec_path)) {
    segue::throw_input(folder.path, "has no segue.json, which says how pictures enter the model");
  }
  const segue::train::ClipSpec spec = segue::train::read_clip_spec(spec_path);
  // By way of the file's path, which has no slash at its end.
  const std::string config = join_path(folder.path, "config.json");
  return {folder.path,
          std::filesystem::path(config).parent_path().filename().string(),
          example::hash_of_files({config, spec_path}),
          example::hash_of_weights(folder.path),
          spec.width,
          spec.height};
}

/// Which model and device a result is of, and how answers were judged. Random weights do not depend on the file's.
Json identity_of(const Cell& cell, const Backbone& model, const Machine& device) {
  Json json = Json::object();
  json["scoring"] = kScoring;
  if (cell.kind == CellKind::rules) {
    // The model's: a row that asks for another says so in its settings.
    json["canvas"] = std::to_string(model.width) + "x" + std::to_string(model.height);
    return json;
  }
  json["device"] = device.kind;
  json["precision"] = device.precision;
  json["config"] = model.config;
  if (cell.mode == Mode::pretrained) json["weights"] = model.weights;
  return json;
}

/// What a cell is fitted with.
struct Choice {
  double lr = 1;
  segue::tasks::Augmentation augmentation{};
};

fewshot::Options options_of(const Cell& cell, const Choice& choice, const Settings& settings) {
  const Row& row = *cell.row;
  std::vector<std::string> words = {"experiments"};
  for (const std::string& word : row.words) {
    if (settings.data.empty() && word.find("${data}") != std::string::npos) {
      segue::throw_input("--data", "is needed: row " + segue::in_quotes(row.name) + " reads " + segue::in_quotes(word));
    }
    words.push_back(replace_all(word, "data", settings.data));
  }
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  fewshot::Options options = fewshot::parse_options(static_cast<int>(arguments.size()), arguments.data());
  options.shots = cell.shots;
  options.shots_given = true;
  options.test_items = row.test;
  options.attempts = cell.kind == CellKind::fit ? row.attempts : 1;
  options.steps = row.steps;
  options.batch = row.batch;
  options.rank = std::max(1, cell.rank);
  options.lr = choice.lr;
  options.augmentation = choice.augmentation;
  options.average = row.average;
  options.canvas = row.canvas;
  options.seed = cell.seed;
  options.transition = cell.transition;
  options.sample_steps = row.sample_steps;
  options.sample_batch = settings.sample_batch;
  options.shift = row.shift;
  options.threads = settings.threads;
  return options;
}

Json json_of(const Figures& figures) {
  Json json = Json::object();
  for (const auto& [name, value] : figures) json[name] = value;
  return json;
}

/// The score if any of the first k attempts may count, k = 1 … all. A picture's best attempt counts; poses have one.
std::vector<double> scores_by_attempts(const Task& task, const std::vector<std::vector<Image>>& answers) {
  namespace tasks = segue::tasks;
  std::vector<double> out;
  const bool pictures = task.score() == tasks::Score::Iou || task.score() == tasks::Score::Mae;
  std::vector<double> best;
  for (std::size_t k = 0; k < answers.size(); ++k) {
    if (!pictures) {
      out.push_back(task.evaluate(std::span(answers).first(k + 1)).value);
      continue;
    }
    double sum = 0;
    for (std::size_t i = 0; i < task.test().size(); ++i) {
      const double value = task.score_picture(task.score(), i, answers[k][i]);
      if (k == 0) best.push_back(value);
      best[i] = tasks::higher_is_better(task.score()) ? std::max(best[i], value) : std::min(best[i], value);
      sum += best[i];
    }
    out.push_back(sum / static_cast<double>(task.test().size()));
  }
  return out;
}

class Driver {
 public:
  Driver(const Settings& settings, const Table& table)
      : settings_(settings), model_(open_model(settings.model)), device_(machine()), done_(cell_files(settings.out)) {
    groups_ = groups_of(table);
    const std::vector<int> shards = shards_of(groups_, settings.shards);
    for (const std::string& folder : settings.with) done_.merge(cell_files(folder));
    std::set<std::string> taken;
    for (std::size_t g = 0; g < groups_.size(); ++g) {
      if (shards[g] != settings.shard - 1) continue;
      const std::vector<Cell>& cells = groups_[g].cells;
      const auto asked = [&](const Cell& cell) { return matches_glob(cell.label(), settings.only); };
      // A fit that is asked for takes along the searches that it needs.
      const bool fits = std::any_of(cells.begin(), cells.end(),
                                    [&](const Cell& cell) { return cell.kind == CellKind::fit && asked(cell); });
      for (const Cell& cell : cells) {
        const bool needed = asked(cell) || (fits && cell.kind == CellKind::search);
        if (std::string at = key(cell); needed && taken.insert(at).second) cells_.push_back({&cell, std::move(at)});
      }
    }
  }

  void list() const {
    std::size_t left = 0;
    for (const Work& work : cells_) {
      const bool is_done = done_.contains(work.key);
      left += is_done ? 0 : 1;
      std::printf("%s  %-6s  %s\n", is_done ? "done" : "left", std::string(name(work.cell->kind)).c_str(),
                  work.cell->label().c_str());
    }
    std::printf("%zu of %zu cells are left\n", left, cells_.size());
  }

  void work() {
    segue::make_directories(join_path(settings_.out, "cells"));
    for (const Work& work : cells_) left_ += done_.contains(work.key) ? 0 : work.cell->cost();
    const double begin = segue::monotonic_seconds();
    std::size_t made = 0;
    for (std::size_t i = 0; i < cells_.size(); ++i) {
      if (done_.contains(cells_[i].key)) continue;
      if (settings_.seconds > 0 && segue::monotonic_seconds() - begin >= settings_.seconds) {
        std::printf("--seconds are over: %zu cells were made, the same command goes on\n", made);
        return;
      }
      make(cells_[i], i);
      ++made;
    }
    std::printf("%zu cells were made, none is left\n", made);
  }

 private:
  struct Work {
    const Cell* cell;
    std::string key;
  };

  std::string key(const Cell& cell) const { return key_of(cell.settings(), identity_of(cell, model_, device_)); }

  /// One task serves many cells.
  const Task& task_of(const Cell& cell) {
    const std::string wanted = segue::io::dump_json(Json(cell.row->words), -1) + std::to_string(cell.shots) + " " +
                               std::to_string(cell.row->test) + " " + std::to_string(cell.row->canvas);
    if (!task_ || task_name_ != wanted) {
      const int canvas = cell.row->canvas;
      task_.emplace(options_of(cell, {}, settings_), canvas > 0 ? canvas : model_.width,
                    canvas > 0 ? canvas : model_.height);
      task_name_ = wanted;
    }
    return *task_;
  }

  Learner& learner(Mode mode) {
    std::unique_ptr<Learner>& learner = learners_[mode];
    if (!learner) {
      learner = mode == Mode::scratch ? make_scratch_learner(model_.path) : make_lora_learner(model_.path, mode);
    }
    return *learner;
  }

  /// The rate and augmentation of a fit, and how each candidate did.
  Choice chosen(const Work& work, const Task& task, Json& search) const {
    const std::vector<double>& rates = work.cell->row->lrs.at(work.cell->mode);
    const std::vector<segue::tasks::Augmentation>& kinds = work.cell->row->augments;
    if (rates.size() * kinds.size() == 1) return {rates[0], kinds[0]};
    std::vector<Tried> tried;
    for (const Cell& cell : searches_of(*work.cell)) {
      const std::string& path = done_.at(key(cell));
      tried.push_back(tried_of(read_cell(path), path));
      Json entry = Json::object();
      entry["lr"] = cell.lr;
      entry["augment"] = segue::tasks::name(cell.augmentation);
      entry["score"] = tried.back().score;
      entry["held_out_loss"] = tried.back().loss;
      if (tried.back().failed) entry["failed"] = true;
      search.push_back(std::move(entry));
    }
    const Tried& best = tried[choose_candidate(tried, segue::tasks::higher_is_better(task.score()))];
    return {best.lr, best.augmentation};
  }

  void make(const Work& work, std::size_t place) {
    const double begin = segue::monotonic_seconds();
    const Cell& cell = *work.cell;
    const Task& task = task_of(cell);
    Json json = Json::object();
    json["row"] = cell.row->name;
    json["settings"] = cell.settings();
    json["identity"] = identity_of(cell, model_, device_);
    json["score_name"] = segue::tasks::name(task.score());
    if (cell.kind == CellKind::rules) {
      json["baselines"] = json_of(task.baselines());
      json["test_items"] = task.test().size();
      json["notes"] = json_of(task.notes());
    } else {
      json["model"] = model_.name;
      json["device"] = device_.name;
      const auto watch = [&](double share) { show(cell, place, share, begin); };
      try {
        if (cell.kind == CellKind::search) {
          search(cell, task, json, watch);
        } else {
          fit(work, task, json, watch);
        }
      } catch (const segue::Error& error) {
        // A rate that is too high is a result; anything else is not.
        if (!std::string_view(error.what()).starts_with("training stopped")) throw;
        json["failed"] = error.what();
      }
    }
    const double spent = segue::monotonic_seconds() - begin;
    json["seconds"] = spent;
    json["date"] = today();
    const std::string path = cell_path(settings_.out, cell, work.key);
    segue::write_file_atomically(path, segue::io::dump_json(json) + "\n");
    done_.emplace(work.key, path);
    spent_ += spent;
    made_ += cell.cost();
    left_ -= cell.cost();
    char score[32] = "";
    if (const Json* value = json.find("score")) std::snprintf(score, sizeof score, "%.4g", value->as<double>(path));
    std::printf("%s%zu/%zu %s:%s%s%s in %.1f s, %s left\n", segue::is_terminal(1) ? "\r\x1b[K" : "", place + 1,
                cells_.size(), cell.label().c_str(), *score ? " " : "",
                *score ? (std::string(segue::tasks::name(task.score())) + " ").c_str() : "",
                json.contains("failed") ? "broke off" : score, spent, eta(0).c_str());
    std::fflush(stdout);
  }

  void search(const Cell& cell, const Task& task, Json& json, const std::function<void(double)>& watch) {
    const auto folds = held_out_folds(task.train().size());
    double score = 0, loss = 0;
    for (std::size_t f = 0; f < folds.size(); ++f) {
      const Task held_out = task.hold_out(folds[f]);
      const auto options = options_of(cell, {cell.lr, cell.augmentation}, settings_);
      const Fitted fitted = learner(cell.mode).fit(held_out, options, AskLoss::yes, [&](double share) {
        watch((static_cast<double>(f) + share) / static_cast<double>(folds.size()));
      });
      score += held_out.evaluate(fitted.answers).value / static_cast<double>(folds.size());
      loss += fitted.test_loss / static_cast<double>(folds.size());
    }
    json["folds"] = folds.size();
    json["score"] = score;
    json["held_out_loss"] = loss;
  }

  void fit(const Work& work, const Task& task, Json& json, const std::function<void(double)>& watch) {
    const Cell& cell = *work.cell;
    Json tried = Json::array();
    const Choice choice = chosen(work, task, tried);
    json["lr"] = choice.lr;
    json["augment"] = segue::tasks::name(choice.augmentation);
    json["search"] = tried;
    json["test_items"] = task.test().size();
    const auto options = options_of(cell, choice, settings_);
    const Fitted fitted = learner(cell.mode).fit(task, options, AskLoss::no, watch);
    const std::vector<double> by_attempts = scores_by_attempts(task, fitted.answers);
    const fewshot::Evaluation first = task.evaluate(std::span(fitted.answers).first(1));
    json["score"] = first.value;
    json["details"] = json_of(first.details);
    json["score_by_attempts"] = by_attempts;
    json["final_loss"] = fitted.final_loss;
    json["skipped_steps"] = fitted.skipped_steps;
    json["train_seconds"] = fitted.train_seconds;
    if (settings_.sheets) write_sheet(work, task, fitted.answers[0]);
  }

  void write_sheet(const Work& work, const Task& task, const std::vector<Image>& answers) const {
    std::vector<fewshot::SheetItem> items;
    for (std::size_t i = 0; i < answers.size() && i < kSheetItems; ++i) {
      items.push_back({&task.test()[i].input, &task.test()[i].target, nullptr, &answers[i]});
    }
    const std::string folder = join_path(settings_.out, "sheets");
    segue::make_directories(folder);
    segue::io::save_png(join_path(folder, work.cell->label() + "-" + work.key + ".png"), fewshot::contact_sheet(items));
  }

  /// Time left at the speed so far, `done` clips of the present cell included.
  std::string eta(double done) const {
    return segue::train::duration_text(made_ > 0 ? spent_ / made_ * (left_ - done) : -1);
  }

  void show(const Cell& cell, std::size_t place, double share, double begin) {
    if (segue::interrupted()) throw segue::Interrupted("interrupted; the same command goes on with the cells left");
    if (!segue::is_terminal(1)) return;
    const double now = segue::monotonic_seconds();
    if (now - shown_ < 0.2) return;
    shown_ = now;
    std::printf("\r%zu/%zu %s  %3.0f%%  %.0f s  %s left\x1b[K", place + 1, cells_.size(), cell.label().c_str(),
                100 * share, now - begin, eta(share * cell.cost()).c_str());
    std::fflush(stdout);
  }

  const Settings& settings_;
  Backbone model_;
  Machine device_;
  std::map<std::string, std::string> done_;
  std::vector<Group> groups_;
  std::vector<Work> cells_;
  std::map<Mode, std::unique_ptr<Learner>> learners_;
  std::optional<Task> task_;
  std::string task_name_;
  double spent_ = 0, made_ = 0, left_ = 0, shown_ = 0;
};

}  // namespace

void run(const Settings& settings) {
  const Table table = read_table(settings.table);
  Driver driver(settings, table);
  if (settings.list) {
    driver.list();
  } else {
    driver.work();
  }
}

}  // namespace experiments
