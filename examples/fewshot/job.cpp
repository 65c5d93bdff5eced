// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#include "job.hpp"

#include <chrono>
#include <cstdio>
#include <set>

#include "common/file_hash.hpp"
#include "engine.hpp"
#include "recipe.hpp"
#include "report.hpp"
#include "segue/adapters/diffusers_file.hpp"
#include "segue/adapters/inject.hpp"
#include "segue/adapters/load_adapter.hpp"
#include "segue/adapters/peft_folder.hpp"
#include "segue/core/posix.hpp"
#include "segue/tasks/pair_folder.hpp"
#include "segue/train/latent_folder.hpp"
#include "segue/train/trainer.hpp"
#include "task.hpp"

namespace fewshot {

namespace tasks = segue::tasks;
namespace train = segue::train;
using segue::join_path;
using segue::io::Image;
using segue::io::Json;

namespace {

using Trainer = train::Trainer<Policy, Model, train::InMemoryDataset<Policy>, Objective>;

/// Columns of the contact sheet.
constexpr std::size_t kSheetItems = 8;

class Stopwatch {
 public:
  double seconds() const {
    return earlier_ + std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }
  /// Counts what was spent before.
  void add(double seconds) { earlier_ += seconds; }

 private:
  double earlier_ = 0;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

std::string model_path(const Options& options) { return options.model.empty() ? default_model() : options.model; }

Json settings_of(const Options& options) {
  Json json = Json::object();
  json["model"] = model_path(options);
  json["device"] = device_name;
  json["precision"] = precision_name;
  json["batch"] = options.batch;
  json["rank"] = options.rank;
  json["alpha"] = options.alpha > 0 ? options.alpha : options.rank;
  json["lr"] = options.lr;
  json["dropout"] = options.dropout;
  json["transition"] = tasks::name(options.transition);
  json["sample_steps"] = options.sample_steps;
  json["shift"] = options.shift;
  if (options.canvas > 0) json["canvas"] = options.canvas;
  if (options.score_size > 0) json["score_size"] = options.score_size;
  json["augment"] = tasks::name(options.augmentation);
  json["average"] = options.average;
  json["guidance"] = options.guidance;
  json["attempts"] = options.attempts;
  return json;
}

void write_settings(const std::string& folder, const Options& options) {
  segue::write_file_atomically(join_path(folder, "settings.json"), segue::io::dump_json(settings_of(options)) + "\n");
}

/// A folder of one's own: a used one gets a number, unless the run in it is to be resumed. The settings are written at
/// once, so that a folder that cannot be written is found out now and not after minutes of training; of a resumed run
/// once its checkpoint is known to fit.
std::string make_out_folder(const Options& options, const std::string& name) {
  const std::string wanted = options.out.empty() ? join_path("out", name) : options.out;
  std::string folder = wanted;
  for (int i = 2; !options.resume && segue::is_directory(folder) && !segue::list_directory(folder).empty(); ++i) {
    folder = wanted + "-" + std::to_string(i);
  }
  if (options.resume && !segue::is_file(join_path(folder, "settings.json"))) {
    segue::throw_input("--resume", "there is no run to go on with in " + folder);
  }
  segue::make_directories(folder);
  if (!options.resume) write_settings(folder, options);
  return folder;
}

Trainer make_trainer(Engine& engine, train::InMemoryDataset<Policy>& data, const Options& options,
                     const std::string& out) {
  train::TrainerOptions t = recipe(options);
  t.log_path = join_path(out, "log.jsonl");
  t.checkpoint_path = join_path(out, "checkpoint.safetensors");
  t.checkpoint_every = options.checkpoint_every;
  t.stop_at = options.stop_at;
  t.settings["rank"] = options.rank;
  t.settings["alpha"] = options.alpha > 0 ? options.alpha : options.rank;
  t.settings["dropout"] = options.dropout;
  t.settings["transition"] = tasks::name(options.transition);
  t.settings["weights"] = example::hash_of_weights(engine.folder());
  if (options.augmentation.any()) t.settings["augment"] = tasks::name(options.augmentation);
  return Trainer(engine.context(), engine.model(), data, objective(options), t);
}

train::TrainReport fit(Trainer& trainer, const Options& options, const std::string& out, Stopwatch& total) {
  if (options.resume) {
    if (!trainer.resume()) std::printf("the run was stopped before its first checkpoint: starting again\n");
    write_settings(out, options);
  }
  total.add(trainer.state().seconds);
  train::TextProgress progress(
      stdout, segue::is_terminal(1) ? train::TextProgress::Style::bar : train::TextProgress::Style::lines);
  return trainer.run(progress);
}

void write_adapter(Engine& engine, const std::string& out) {
  segue::adapters::write_diffusers_adapter(engine.model(), engine.exec(), join_path(out, "adapter.safetensors"));
  segue::adapters::write_peft_adapter(engine.model(), engine.exec(), join_path(out, "peft"));
}

void stop_if_interrupted() {
  if (segue::interrupted()) throw segue::Interrupted("interrupted; --resume goes on from the last checkpoint");
}

std::vector<std::vector<Image>> answer_all(Engine& engine, std::span<const tasks::Pair> items, const Options& options,
                                           const char* what) {
  std::vector<std::vector<Image>> answers;
  const bool terminal = segue::is_terminal(1);
  const Stopwatch watch;
  for (int attempt = 0; attempt < options.attempts; ++attempt) {
    answers.push_back(engine.answer(items, options, attempt, [&](std::size_t done) {
      stop_if_interrupted();
      const std::size_t all = items.size() * static_cast<std::size_t>(options.attempts);
      const std::size_t so_far = done + items.size() * static_cast<std::size_t>(attempt);
      const double left = watch.seconds() / static_cast<double>(so_far) * static_cast<double>(all - so_far);
      if (terminal) {
        std::printf("\ranswering (%s) %zu/%zu  %s left\x1b[K", what, so_far, all, train::duration_text(left).c_str());
        if (so_far == all) std::printf("\n");
      } else if (so_far == all) {
        std::printf("answered (%s) %zu items in %.1f s\n", what, all, watch.seconds());
      }
      std::fflush(stdout);
    }));
  }
  return answers;
}

Json json_of(const Figures& figures) {
  Json json = Json::object();
  for (const auto& [name, value] : figures) json[name] = value;
  return json;
}

std::vector<std::pair<int, double>> read_losses(const std::string& log) {
  std::vector<std::pair<int, double>> losses;
  const std::string text = segue::read_text_file(log);
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    const Json line = segue::io::parse_json(std::string_view(text).substr(begin, end - begin), log);
    if (line.contains("loss") && line.at("loss", log).is_number()) {
      losses.emplace_back(line.get<int>("step", log), line.get<double>("loss", log));
    }
    begin = end + 1;
  }
  return losses;
}

struct Outcome {
  std::string task, score;
  double before, after;
  Json baselines;
  std::size_t shots;
};

/// What metrics.json tells of every run.
Json metrics_of(const Outcome& outcome, Engine& engine, const Trainer& trainer, const train::TrainReport& report,
                const Options& options, const Stopwatch& total) {
  Json metrics = Json::object();
  metrics["task"] = outcome.task;
  metrics["score"] = outcome.score;
  metrics["before"] = outcome.before;
  metrics["after"] = outcome.after;
  metrics["baselines"] = outcome.baselines;
  metrics["shots"] = outcome.shots;
  metrics["seed"] = options.seed;
  metrics["steps"] = options.steps;
  metrics["skipped_steps"] = report.skipped;
  metrics["train_seconds"] = report.seconds;
  metrics["total_seconds"] = total.seconds();
  metrics["peak_bytes"] = segue::peak_resident_bytes();
  if constexpr (!Policy::Space::host_accessible)
    metrics["device_bytes"] =
        engine.exec().pool().statistics().reserved_bytes + trainer.recorded_memory().reserved_bytes;
  metrics["settings"] = settings_of(options);
  return metrics;
}

void print_table(const std::string& score, double before, double after, const Figures& baselines) {
  std::printf("\n%-28s %8s\n", "", score.c_str());
  std::printf("%-28s %8.3f\n", "before (frozen model)", before);
  std::printf("%-28s %8.3f\n", "after (with the adapter)", after);
  for (const auto& [name, value] : baselines) std::printf("%-28s %8.3f\n", ("no network: " + name).c_str(), value);
}

/// Says so if the model's weights are not what its file holds.
void tell_of_rounding(const Engine& engine) {
  if (!engine.weights_rounded()) return;
  std::printf("the model's weights are rounded to bf16%s\n",
              Policy::Space::host_accessible ? "; --precision fp32 keeps them as they are" : "");
}

}  // namespace

void learn(const Options& options) {
  Stopwatch total;
  Engine engine(model_path(options), options);
  const Task task(options, engine.spec().width, engine.spec().height);
  engine.add_adapter(options);
  auto data = engine.dataset(task.augmented(options.augmentation, options.seed), options);
  const std::string out = make_out_folder(options, task.name());
  tell_of_rounding(engine);

  std::printf("%s: %zu training pairs, %zu test items; results go to %s\n", task.name().c_str(), task.train().size(),
              task.test().size(), out.c_str());
  for (const auto& [name, value] : task.notes()) std::printf("%s: %g\n", name.c_str(), value);
  std::fflush(stdout);

  Trainer trainer = make_trainer(engine, data, options, out);
  const train::TrainReport report = fit(trainer, options, out, total);
  if (!report.finished()) {
    std::printf("stopped after step %lld of %lld; --resume goes on\n", static_cast<long long>(report.step),
                static_cast<long long>(report.steps));
    return;
  }
  write_adapter(engine, out);

  const auto after = answer_all(engine, task.test(), options, "after");
  segue::adapters::set_adapter_enabled(engine.model(), "default", false);
  const auto before = answer_all(engine, task.test(), options, "before");
  const Evaluation scored_after = task.evaluate(after), scored_before = task.evaluate(before);
  const Figures baselines = task.baselines();

  Json metrics = metrics_of({task.name(), std::string(tasks::name(task.score())), scored_before.value,
                             scored_after.value, json_of(baselines), task.train().size()},
                            engine, trainer, report, options, total);
  metrics["test_items"] = task.test().size();
  if (!scored_after.details.empty()) {
    metrics["before_details"] = json_of(scored_before.details);
    metrics["after_details"] = json_of(scored_after.details);
  }
  if (!task.notes().empty()) metrics["notes"] = json_of(task.notes());

  std::vector<SheetItem> sheet;
  for (std::size_t i = 0; i < task.test().size() && i < kSheetItems; ++i) {
    sheet.push_back({&task.test()[i].input, &task.test()[i].target, &before[0][i], &after[0][i]});
  }
  const Image picture = contact_sheet(sheet);
  segue::io::save_png(join_path(out, "contact_sheet.png"), picture);
  segue::write_file_atomically(join_path(out, "report.html"),
                               html_report({task.name(), metrics, read_losses(join_path(out, "log.jsonl")), picture}));
  segue::write_file_atomically(join_path(out, "metrics.json"), segue::io::dump_json(metrics) + "\n");
  print_table(std::string(tasks::name(task.score())), scored_before.value, scored_after.value, baselines);
  std::printf("\ntrained in %.1f s, %.1f s in all; see %s\n", report.seconds, total.seconds(),
              join_path(out, "report.html").c_str());
}

void learn_latents(const Options& options) {
  Stopwatch total;
  Engine engine(model_path(options), options);
  tell_of_rounding(engine);
  engine.add_adapter(options);
  auto data = train::read_latent_folder<Policy>(engine.exec(), options.latents, options.batch, options.seed);
  const auto batch = data.all(engine.exec());
  const segue::models::WanConfig& c = engine.model().config();
  const std::int64_t channels = batch.clips.extent(1) + (batch.condition ? batch.condition.extent(1) : 0);
  if (channels != c.in_channels || batch.clips.extent(1) != c.out_channels) {
    segue::throw_input(
        options.latents, "channels of the clips and their conditions",
        std::to_string(batch.clips.extent(1)) + " and " + std::to_string(channels - batch.clips.extent(1)),
        std::to_string(c.out_channels) + " and " + std::to_string(c.in_channels - c.out_channels) + " for this model");
  }
  if (batch.text.extent(2) != c.text_dim) {
    segue::throw_input(options.latents, "width of the text embeddings", std::to_string(batch.text.extent(2)),
                       std::to_string(c.text_dim) + " for this model");
  }
  const std::string out = make_out_folder(options, "latents");
  std::printf("%lld encoded clips; results go to %s\n", static_cast<long long>(data.size()), out.c_str());
  Trainer trainer = make_trainer(engine, data, options, out);
  const auto fixed_loss = [&] {
    return Objective{}.held_out_loss(engine.context(), engine.model(), batch,
                                     std::span<const double>(trainer.options().held_out_sigmas));
  };
  const double before = fixed_loss();
  const train::TrainReport report = fit(trainer, options, out, total);
  if (!report.finished()) return;
  write_adapter(engine, out);
  const double after = fixed_loss();
  const Json metrics =
      metrics_of({"latents", "loss", before, after, Json::object(), static_cast<std::size_t>(data.size())}, engine,
                 trainer, report, options, total);
  segue::write_file_atomically(join_path(out, "metrics.json"), segue::io::dump_json(metrics) + "\n");
  std::printf("loss on the clips at fixed sigmas: %.5f before, %.5f after\n", before, after);
}

void apply(const Options& options) {
  Engine engine(model_path(options), options);
  tell_of_rounding(engine);
  segue::adapters::load_adapter(engine.model(), engine.exec(), options.adapter, "default");
  std::vector<tasks::Pair> items;
  std::set<std::string> names;
  for (tasks::NamedPicture& p : tasks::read_pictures(options.apply, engine.spec().width, engine.spec().height)) {
    if (!names.insert(p.name).second) {
      segue::throw_input(options.apply, "two pictures are named '" + p.name + "', and answers go by this name");
    }
    items.push_back({std::move(p.name), std::move(p.image), {}});
  }
  Options naming = options;
  naming.resume = false;
  const std::string out = make_out_folder(naming, "answers");
  const auto answers = answer_all(engine, items, options, "with the adapter");
  for (std::size_t i = 0; i < items.size(); ++i) {
    segue::io::save_png(join_path(out, items[i].name + ".png"), answers[0][i]);
  }
  std::printf("%zu answers are in %s\n", items.size(), out.c_str());
}

}  // namespace fewshot
