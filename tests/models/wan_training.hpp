// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "models/wan_support.hpp"

// Training, with what PyTorch made of the same start.

namespace support {

struct GoldenTraining {
  std::map<std::string, std::vector<double>> adapter;  ///< what was trained, by name
  double worst_loss = 0;                               ///< relative error of the losses before each step
};

/// The ten recorded AdamW steps of a golden Wan.
template <class Precision>
GoldenTraining train_golden(const std::string& name, double loss_tolerance) {
  using Golden = GoldenWan<Precision, adapters::LoraOnBlocks>;
  using T = typename Golden::T;
  Golden g(name);
  const auto params = g.recorded.parameters("train");
  // What the recorded run took from the whole model's case names no targets.
  add_golden_lora(g.model, g.exec, g.recorded, "train_init", params.find("targets") ? "train" : "lora");
  Context<typename Golden::P> ctx(g.exec);
  const auto x0 = g.recorded.template tensor<float, 5>(g.exec, "train.x0");
  const bool own_text = g.recorded.contains("train.encoder_hidden_states");
  const auto text = own_text ? g.recorded.template tensor<T, 3>(g.exec, "train.encoder_hidden_states") : g.text;
  const bool conditioned = g.recorded.contains("train.condition");
  const auto condition =
      conditioned ? g.recorded.template tensor<T, 5>(g.exec, "train.condition") : Tensor<T, 5, HostSpace>();
  const auto sigmas = g.recorded.template tensor<float, 2>(g.exec, "train.sigma");
  const auto noises = g.recorded.template tensor<float, 6>(g.exec, "train.noise");
  const auto losses = g.recorded.values("train.loss");
  const auto zero = params.template get_or<std::vector<std::string>>("zero_gradient", {}, "train");
  const auto betas = params.template get<std::vector<double>>("betas", "train");
  const auto option = [&](const char* key) { return params.template get<double>(key, "train"); };
  const ops::AdamWOptions options{option("lr"), betas[0], betas[1], option("eps"), option("weight_decay")};
  const std::int64_t batch = x0.extent(0), channels = x0.extent(1), frames = x0.extent(2),
                     plane = x0.extent(3) * x0.extent(4);
  const std::int64_t in_channels = g.folder.config.in_channels;

  GoldenTraining out;
  std::map<std::string, std::vector<T>> m, v;
  for (std::size_t step = 0; step < losses.size(); ++step) {
    const auto noise = noises.cview()[static_cast<std::int64_t>(step)];
    auto input = g.exec.template empty<T, 5>({batch, in_channels, frames, x0.extent(3), x0.extent(4)});
    auto target = g.exec.template empty<T, 5>(x0.shape());
    // Where tokens have timesteps of their own, those of the first frame stand at 0, and that frame is given.
    const std::int64_t rows = g.time.group ? 2 : 1;
    auto timesteps = g.exec.template empty<float, 1>({rows * batch});
    ops::fill(g.exec, 0.0, timesteps.view());
    ops::fill(g.exec, 0.0, input.view());
    if (conditioned) ops::copy(g.exec, condition.cview(), input.view().slice(1, channels, in_channels));
    for (std::int64_t b = 0; b < batch; ++b) {
      const float sigma = sigmas(static_cast<std::int64_t>(step), b);
      timesteps(rows * b + rows - 1) = 1000.0f * sigma;
      for (std::int64_t c = 0; c < channels; ++c)
        for (std::int64_t f = 0; f < frames; ++f)
          for (std::int64_t i = 0; i < plane; ++i) {
            const std::int64_t from = ((b * channels + c) * frames + f) * plane + i;
            const float clean = x0.data_handle()[from], n = noise.data_handle()[from];
            const bool given = g.time.group && f == 0;
            input.data_handle()[((b * in_channels + c) * frames + f) * plane + i] =
                given ? clean : (1.0f - sigma) * clean + sigma * n;
            target.data_handle()[from] = n - clean;
            // I2V by channels: noisy clip, a mask that is 1 on the given frame, the given frame and zeros.
            if (in_channels > channels && !conditioned && f == 0) {
              input.data_handle()[((b * in_channels + channels) * frames) * plane + i] = 1.0f;
              input.data_handle()[((b * in_channels + channels + 1 + c) * frames) * plane + i] = clean;
            }
          }
    }
    const auto y = g.model(ctx, input, {timesteps, g.time.group}, text, g.image);
    const auto loss = functional::mse(ctx, y, target);
    INFO("step " << step);
    const double error = std::fabs(loss.value().data_handle()[0] / losses[step] - 1);
    CHECK(error < loss_tolerance);
    out.worst_loss = std::max(out.worst_loss, error);
    ctx.backward(loss);
    std::vector<ops::AdamWTensor<T, T>> tensors;
    for_each_parameter(g.model, [&](const std::string& leaf, const auto& parameter) {
      const auto& grad = parameter.slot().grad();
      if (std::find(zero.begin(), zero.end(), leaf) != zero.end()) ops::fill(g.exec, 0.0, grad.view());
      const auto count = static_cast<std::size_t>(grad.size());
      m[leaf].resize(count);
      v[leaf].resize(count);
      tensors.push_back(
          {parameter.value().data_handle(), grad.data_handle(), m[leaf].data(), v[leaf].data(), grad.size(), true});
    });
    ops::adamw_step(g.exec, std::span<const ops::AdamWTensor<T, T>>(tensors), options,
                    static_cast<std::int64_t>(step) + 1);
    clear_gradients(g.model);
  }
  for_each_parameter(g.model, [&](const std::string& leaf, const auto& parameter) {
    const auto& value = parameter.value();
    out.adapter[leaf].assign(value.data_handle(), value.data_handle() + value.size());
  });
  return out;
}

}  // namespace support
