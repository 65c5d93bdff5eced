// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "fewshot/engine.hpp"
#include "fewshot/recipe.hpp"
#include "learner.hpp"
#include "segue/train/trainer.hpp"

namespace experiments {

/// Share of a fit's time that training is taken to be, for the display.
inline constexpr double kTrainingShare = 0.9;

/// An engine that is kept from fit to fit. A device may lay activations out for the largest rank that it has seen, and
/// bits follow the layout: another rank or canvas gets another engine, so that no fit depends on those before it.
template <class Engine>
class KeptEngine {
 public:
  KeptEngine(std::string model, fewshot::Start start) : model_(std::move(model)), start_(start) {}

  Engine& get(const fewshot::Options& options) {
    if (!engine_ || options.rank != rank_ || options.canvas != canvas_) {
      engine_.reset();
      engine_ = std::make_unique<Engine>(model_, options, start_);
      rank_ = options.rank;
      canvas_ = options.canvas;
    }
    return *engine_;
  }

 private:
  std::string model_;
  fewshot::Start start_;
  int rank_ = 0, canvas_ = 0;
  std::unique_ptr<Engine> engine_;
};

/// Fits what trains in the engine's model, which is ready for it, and answers the test items.
template <class Adapters>
Fitted fit_engine(fewshot::BasicEngine<Adapters>& engine, const fewshot::Task& task, const fewshot::Options& options,
                  AskLoss ask, const std::function<void(double)>& watch) {
  using Dataset = segue::train::InMemoryDataset<fewshot::Policy>;
  using Model = typename fewshot::BasicEngine<Adapters>::Model;
  using Trainer = segue::train::Trainer<fewshot::Policy, Model, Dataset, fewshot::Objective>;
  struct Sink final : segue::train::ProgressSink {
    explicit Sink(const std::function<void(double)>& to) : watch(to) {}
    void on_step(const segue::train::StepInfo& info) override {
      watch(kTrainingShare * static_cast<double>(info.step) / static_cast<double>(info.steps));
    }
    const std::function<void(double)>& watch;
  } sink(watch);

  const fewshot::Objective objective = fewshot::objective(options);
  Fitted out;
  {
    Dataset data = engine.dataset(task.augmented(options.augmentation, options.seed), options);
    Trainer trainer(engine.context(), engine.model(), data, objective, fewshot::recipe(options));
    const segue::train::TrainReport report = trainer.run(sink);
    out.final_loss = report.final_loss;
    out.skipped_steps = report.skipped;
    out.train_seconds = report.seconds;
    if (ask == AskLoss::yes) {
      const auto batch = engine.dataset(task.test(), options).all(engine.exec());
      out.test_loss = objective.held_out_loss(engine.context(), engine.model(), batch,
                                              std::span<const double>(trainer.options().held_out_sigmas));
    }
  }
  const double items = static_cast<double>(task.test().size()) * options.attempts;
  for (int attempt = 0; attempt < options.attempts; ++attempt) {
    out.answers.push_back(engine.answer(task.test(), options, attempt, [&](std::size_t done) {
      if (segue::interrupted()) throw segue::Interrupted("interrupted while answering");
      const double so_far = static_cast<double>(task.test().size()) * attempt + static_cast<double>(done);
      watch(kTrainingShare + (1 - kTrainingShare) * so_far / items);
    }));
  }
  return out;
}

}  // namespace experiments
