// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#include <cstdio>

#include "fit.hpp"

namespace experiments {
namespace {

class LoraLearner final : public Learner {
 public:
  LoraLearner(const std::string& model, Mode mode)
      : mode_(mode), engine_(model, mode == Mode::pretrained ? fewshot::Start::pretrained : fewshot::Start::random) {}

  Fitted fit(const fewshot::Task& task, const fewshot::Options& options, AskLoss ask,
             const std::function<void(double)>& watch) override {
    fewshot::Engine& engine = engine_.get(options);
    engine.remove_adapters();
    if (mode_ == Mode::random) engine.draw_weights(options.seed);
    engine.add_adapter(options);
    return fit_engine(engine, task, options, ask, watch);
  }

 private:
  Mode mode_;
  KeptEngine<fewshot::Engine> engine_;
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
