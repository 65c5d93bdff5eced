// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#include "fewshot/engine_members.hpp"
#include "fit.hpp"

namespace fewshot {

template class BasicEngine<segue::adapters::Trainable>;

}  // namespace fewshot

namespace experiments {
namespace {

class ScratchLearner final : public Learner {
 public:
  explicit ScratchLearner(const std::string& model) : engine_(model, fewshot::Start::random) {}

  Fitted fit(const fewshot::Task& task, const fewshot::Options& options, AskLoss ask,
             const std::function<void(double)>& watch) override {
    auto& engine = engine_.get(options);
    engine.draw_weights(options.seed);
    return fit_engine(engine, task, options, ask, watch);
  }

 private:
  KeptEngine<fewshot::BasicEngine<segue::adapters::Trainable>> engine_;
};

}  // namespace

std::unique_ptr<Learner> make_scratch_learner(const std::string& model) {
  return std::make_unique<ScratchLearner>(model);
}

}  // namespace experiments
