// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include <cstddef>

#include "segue/core/graph.cuh"
#include "segue/ops/cpu/optimizer.hpp"
#include "segue/ops/cuda/optimizer.cuh"

namespace {
using Device = segue::Cuda;
}

#include "ops/optimizer_test.inl"

TEST_CASE("a captured update gives the bits of direct calls") {
  struct Run {
    Exec<Cuda> exec;
    Model<float, bfloat16, bfloat16> model{exec, sizes, true};
    Tensor<ops::UpdateState, 1, CudaSpace> state =
        support::tensor_of<ops::UpdateState>(exec, {{.lr = 0.01, .loss = 1, .loss_scale = 4}});
    Tensor<double, 1, CudaSpace> norm = support::poisoned<double>(exec, Shape<1>{1});
    std::vector<View<const bfloat16, 1, CudaSpace>> grads = model.gradient_views();
    std::vector<Tensor<float, 1, CudaSpace>> averages;
    std::vector<ops::EmaTensor<float, float>> average_list;

    Run() {
      for (std::size_t k = 0; k < sizes.size(); ++k) {
        averages.push_back(tensor<float>(exec, k, model.initial(k)));
        average_list.push_back({model.params[k].data_handle(), averages[k].data_handle(), sizes[k]});
      }
    }
    void update() {
      const std::span<const View<const bfloat16, 1, CudaSpace>> list(grads);
      const auto scratch = support::scratch_of(exec, ops::global_norm_squared_workspace_bytes(exec, list));
      ops::global_norm_squared(exec, list, norm.view(), scratch.view());
      ops::begin_update(exec, state.view(), norm.cview(),
                        {.max_norm = 1, .ema_decay = 0.9, .dynamic_loss_scale = true, .growth_interval = 4});
      ops::adamw_step(exec, model.list(), options, StateView(state.view()));
      ops::ema_step(exec, std::span<const ops::EmaTensor<float, float>>(average_list), StateView(state.view()));
    }
    void set(std::int64_t step) {
      model.load_gradients(step);
      const double lr = 0.01 / static_cast<double>(step), loss = step == 6 ? std::nan("") : 1.0;
      std::byte* const at = reinterpret_cast<std::byte*>(state.data_handle());
      exec.upload(&lr, View<double, 1, CudaSpace>(reinterpret_cast<double*>(at + offsetof(ops::UpdateState, lr)), {1}));
      exec.upload(&loss,
                  View<double, 1, CudaSpace>(reinterpret_cast<double*>(at + offsetof(ops::UpdateState, loss)), {1}));
    }
  };
  Run direct, replayed;
  const std::uint64_t launched = replayed.exec.launches();
  const Graph graph = Graph::capture(replayed.exec, [&] { replayed.update(); });
  CHECK(replayed.exec.launches() == launched + 5);  // two for the norm, and one each
  CHECK(graph.nodes() == 5);
  for (std::int64_t step = 1; step <= 10; ++step) {
    direct.set(step);
    direct.update();
    replayed.set(step);
    graph.replay(replayed.exec);
  }
  CHECK(direct.model.numbers() == replayed.model.numbers());
  for (std::size_t k = 0; k < sizes.size(); ++k)
    CHECK(support::values_of(direct.averages[k]) == support::values_of(replayed.averages[k]));
  const ops::UpdateState a = fetch(direct.exec, direct.state), b = fetch(replayed.exec, replayed.state);
  CHECK(a.updates == 9);
  CHECK(a.skipped == 1);
  CHECK(a.loss_scale == 8);  // grew after 4, backed off at 6, grew again at the last
  CHECK(a.updates == b.updates);
  CHECK(a.loss_scale == b.loss_scale);
  CHECK(a.grad_norm == b.grad_norm);
}

TEST_CASE("hundreds of tensors take few launches") {
  Exec<Cuda> exec;
  for (const std::int64_t count : {600, 1000}) {
    Model<float, float> model(exec, std::vector<std::int64_t>(static_cast<std::size_t>(count), 33), false);
    const auto before = exec.launches();
    ops::adamw_step(exec, model.list(), options, 1);
    CHECK(exec.launches() - before <= 2);
  }
}

TEST_CASE("an update begins on the device as on the host") {
  Exec<Cuda> exec;
  ops::UpdateState host{.loss = 1, .loss_scale = 3};
  auto state = support::tensor_of<ops::UpdateState>(exec, {host});
  const ops::UpdateOptions update{.max_norm = 0.7, .ema_decay = 0.99, .dynamic_loss_scale = true, .growth_interval = 7};
  for (int t = 0; t < 300; ++t) {
    const double squared = t % 11 == 10 ? std::numeric_limits<double>::infinity() : 0.3 + 0.01 * t;
    segue::detail::begin_update(host, squared, update);
    ops::begin_update(exec, state.view(), support::operand<double>(exec, Shape<1>{1}, {squared}).cview(), update);
    const ops::UpdateState s = fetch(exec, state);
    CHECK(s.grad_norm == host.grad_norm);
    CHECK(s.grad_scale == host.grad_scale);
    CHECK(s.ema_weight == host.ema_weight);
    CHECK(s.loss_scale == host.loss_scale);
    CHECK(s.updates == host.updates);
    CHECK(s.skipped == host.skipped);
    // The power may differ in its last place.
    CHECK(std::abs(s.bias_correction1 - host.bias_correction1) <= 2.3e-16);
    CHECK(std::abs(s.bias_correction2 - host.bias_correction2) <= 2.3e-16);
  }
}
