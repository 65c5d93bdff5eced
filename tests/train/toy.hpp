// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "segue/nn/linear.hpp"
#include "segue/ops/cpu/activation.hpp"
#include "segue/ops/cpu/elementwise.hpp"
#include "segue/ops/cpu/flow.hpp"
#include "segue/ops/cpu/linear.hpp"
#include "segue/ops/cpu/loss.hpp"
#include "segue/ops/cpu/optimizer.hpp"
#include "segue/ops/cpu/random_fill.hpp"
#include "segue/train/dataset.hpp"
#include "segue/train/trainer.hpp"

namespace toy {

using namespace segue;
using P = Policy<Fp32, Cpu>;
inline constexpr std::int64_t width = 6;

/// The smallest thing that is a video model: one linear along the rows of a frame.
struct Model {
  struct Time {
    Tensor<float, 1, HostSpace> timesteps;
  };
  nn::TrainableLinear<P> out;

  explicit Model(Exec<Cpu>& exec) : out(exec, width, width) {
    nn::for_each_leaf(*this, [&, site = 0u](const auto& leaf) mutable {
      ops::fill_uniform(exec, leaf.tensor.value().view(), {9, site++, 0xFFFFFFFFu}, -0.3, 0.3);
    });
  }
  template <class C, Value X>
  auto operator()(C& ctx, const X& hidden, const Time&, const Tensor<float, 3, HostSpace>&) const {
    return out(ctx, hidden);
  }
  void visit(auto&& v) { v("out", out); }

  std::vector<float> weights() {
    std::vector<float> all;
    nn::for_each_leaf(*this, [&](const auto& leaf) {
      const auto& x = leaf.tensor.value();
      all.insert(all.end(), x.data_handle(), x.data_handle() + x.size());
    });
    return all;
  }
};

inline train::InMemoryDataset<P> data(Exec<Cpu>& exec, std::int64_t batch = 2) {
  auto text = exec.empty<float, 2>({1, 1});
  ops::fill(exec, 0.0, text.view());
  train::InMemoryDataset<P> set(batch, 5, text);
  for (std::uint32_t i = 0; i < 3; ++i) {
    auto clip = exec.empty<float, 4>({2, 3, 2, width});
    ops::fill_normal(exec, clip.view(), {77, i, 0});
    set.add(clip);
  }
  return set;
}

/// Data whose chosen batches hold a NaN.
struct Poisoned {
  train::InMemoryDataset<P> inner;
  std::vector<std::uint64_t> bad;
  std::int64_t batch_size() const { return inner.batch_size(); }
  void fill(Exec<Cpu>& exec, std::uint64_t index, train::Batch<P>& batch) {
    inner.fill(exec, index, batch);
    for (const std::uint64_t b : bad)
      if (b == index) batch.clips.data_handle()[3] = std::numeric_limits<float>::quiet_NaN();
  }
};

struct Sink : train::ProgressSink {
  std::vector<train::StepInfo> steps;
  std::vector<std::pair<std::int64_t, double>> held_out;
  void on_step(const train::StepInfo& info) override {
    steps.push_back(info);
    if (on_each) on_each(info.step);
  }
  void on_held_out(std::int64_t step, double loss) override { held_out.emplace_back(step, loss); }
  void (*on_each)(std::int64_t) = nullptr;
};

}  // namespace toy
