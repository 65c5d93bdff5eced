// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#include <cstdio>

#include "fit.hpp"

namespace experiments {
namespace {

class LoraLearner final : public Learner {
 public:
  LoraLearner(std::string model, Mode mode) : model_(std::move(model)), mode_(mode) {}

  Fitted fit(const fewshot::Task& task, const fewshot::Options& options, AskLoss ask,
             const std::function<void(double)>& watch) override {
    // A device may lay activations out for the largest rank that it has seen, and bits follow the layout: another rank
    // or canvas gets another engine, so that no cell depends on those before it.
    if (!engine_ || options.rank != rank_ || options.canvas != canvas_) {
      engine_.reset();
      engine_ = std::make_unique<fewshot::Engine>(
          model_, options, mode_ == Mode::pretrained ? fewshot::Start::pretrained : fewshot::Start::random);
      rank_ = options.rank;
      canvas_ = options.canvas;
    }
    engine_->remove_adapters();
    if (mode_ == Mode::random) engine_->draw_weights(options.seed);
    engine_->add_adapter(options);
    return fit_engine(*engine_, task, options, ask, watch);
  }

 private:
  std::string model_;
  Mode mode_;
  int rank_ = 0, canvas_ = 0;
  std::unique_ptr<fewshot::Engine> engine_;
};

std::string device_name_text() {
#if defined(__CUDACC__)
  int device = 0;
  cudaDeviceProp properties{};
  const bool known =
      cudaGetDevice(&device) == cudaSuccess && cudaGetDeviceProperties(&properties, device) == cudaSuccess;
  return known ? properties.name : "a card without a name";
#else
  std::string name = "a processor without a name";
  if (std::FILE* info = std::fopen("/proc/cpuinfo", "re")) {
    char line[512];
    while (std::fgets(line, sizeof line, info)) {
      const std::string text(line);
      if (!text.starts_with("model name")) continue;
      const std::size_t from = text.find(": ");
      if (from != std::string::npos) name = text.substr(from + 2, text.find('\n') - from - 2);
      break;
    }
    std::fclose(info);
  }
  return name;
#endif
}

}  // namespace

std::unique_ptr<Learner> make_lora_learner(const std::string& model, Mode mode) {
  return std::make_unique<LoraLearner>(model, mode);
}

Machine machine() { return {fewshot::device_name, fewshot::Policy::Precision::name, device_name_text()}; }

}  // namespace experiments
