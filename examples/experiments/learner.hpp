// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "fewshot/options.hpp"
#include "fewshot/task.hpp"
#include "segue/io/image.hpp"
#include "table.hpp"

namespace experiments {

/// What a fit leaves.
struct Fitted {
  std::vector<std::vector<segue::io::Image>> answers;  ///< [attempt][test item]
  double final_loss = 0;
  std::int64_t skipped_steps = 0;
  double train_seconds = 0;
  double test_loss = 0;  ///< denoising loss of the task's test pairs at fixed sigmas; 0 unless asked for
};

enum class AskLoss { no, yes };

/// One model that is kept from fit to fit; each fit begins afresh and depends on its arguments alone.
class Learner {
 public:
  virtual ~Learner() = default;

  /// Fits task.train() as `options` say and answers task.test(). `watch(share)` hears how much of the fit is done; what
  /// it throws ends the fit.
  /// @throws segue::Interrupted after a signal, segue::Error where the loss stays not finite.
  virtual Fitted fit(const fewshot::Task& task, const fewshot::Options& options, AskLoss ask,
                     const std::function<void(double)>& watch) = 0;
};

/// Over the folder of a model, which the first fit opens; only Mode::pretrained reads its weights.
std::unique_ptr<Learner> make_lora_learner(const std::string& model, Mode mode);
std::unique_ptr<Learner> make_scratch_learner(const std::string& model);

/// What this program computes on: "cpu" or "cuda", the precision's name, and which processor or card that is.
struct Machine {
  std::string kind, precision, name;
};
Machine machine();

}  // namespace experiments
