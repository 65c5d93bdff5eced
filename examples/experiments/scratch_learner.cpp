// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#include <memory>
#include <utility>

#include "fewshot/engine_members.hpp"
#include "fit.hpp"

namespace fewshot {

template class BasicEngine<segue::adapters::Trainable>;

}  // namespace fewshot

namespace experiments {
namespace {

class ScratchLearner final : public Learner {
 public:
  explicit ScratchLearner(std::string model) : model_(std::move(model)) {}

  Fitted fit(const fewshot::Task& task, const fewshot::Options& options, AskLoss ask,
             const std::function<void(double)>& watch) override {
    if (!engine_ || options.canvas != canvas_) {
      engine_.reset();
      engine_ = std::make_unique<Engine>(model_, options, fewshot::Start::random);
      canvas_ = options.canvas;
    }
    engine_->draw_weights(options.seed);
    return fit_engine(*engine_, task, options, ask, watch);
  }

 private:
  using Engine = fewshot::BasicEngine<segue::adapters::Trainable>;

  std::string model_;
  int canvas_ = 0;
  std::unique_ptr<Engine> engine_;
};

}  // namespace

std::unique_ptr<Learner> make_scratch_learner(const std::string& model) {
  return std::make_unique<ScratchLearner>(model);
}

}  // namespace experiments
