// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

// What a backward of Wan keeps, rebuilds and skips: the same gradients whatever is kept, and nothing below the first
// adapter.

#include "models/wan_support.hpp"

using namespace segue;
using support::GoldenWan;

namespace {

using Gradients = std::map<std::string, std::vector<double>>;

struct Outcome {
  double loss = 0;
  Gradients gradients;
  std::size_t peak = 0;
};

/// One forward and backward with everything drawn anew from the same random state.
template <class M, class P>
Outcome run(M& model, Exec<Cpu>& exec, Recompute level, const Tensor<typename P::compute, 5, HostSpace>& hidden,
            const Tensor<typename P::compute, 5, HostSpace>& target, const typename M::Time& time,
            const Tensor<typename P::compute, 3, HostSpace>& text, int every = 1) {
  Outcome out;
  Context<P> ctx(exec);
  ctx.set_recompute(level, every);
  exec.random() = {77, 0, 5};
  exec.pool().reset_peak();
  const std::size_t before = exec.pool().statistics().current_bytes;
  {
    const auto loss = functional::mse(ctx, model(ctx, hidden, time, text), target);
    out.loss = loss.value().data_handle()[0];
    ctx.backward(loss);
  }
  out.peak = exec.pool().statistics().peak_bytes - before;
  CHECK(ctx.tape().size() == 0);
  out.gradients = support::gradients_of(model);
  support::clear_gradients(model);
  return out;
}

template <class G>
Outcome run(G& g, Recompute level, int every = 1) {
  return run<typename G::Model, typename G::P>(g.model, g.exec, level, g.hidden, g.target, g.time, g.text, every);
}

/// Names of gradients that differ in any bit.
std::vector<std::string> different(const Gradients& a, const Gradients& b) {
  std::vector<std::string> names;
  REQUIRE(a.size() == b.size());
  for (const auto& [name, values] : a)
    if (values != b.at(name)) names.push_back(name);
  return names;
}

adapters::LoraConfig lora(double dropout, std::set<int> layers = {}) {
  adapters::LoraConfig config;
  config.spec.rank = 4;
  config.spec.alpha = 8;
  config.spec.dropout = dropout;
  config.layers = std::move(layers);
  return config;
}

template <class M>
void disturb(M& model, Exec<Cpu>& exec) {
  RandomKey key{11, 0, 0};
  adapters::for_each_lora(model, [&](std::string_view, auto& linear) {
    for (auto& adapter : linear.adapters()) ops::fill_normal(exec, adapter.b.value().view(), key, 0.0, 0.15);
    ++key.site;
  });
}

}  // namespace

TEST_CASE("LoRA gradients do not depend on what is kept, bit for bit, with dropout and without") {
  const double dropout = GENERATE(0.0, 0.5);
  INFO("dropout " << dropout);
  GoldenWan<Fp32, adapters::LoraOnBlocks> g("wan_t2v");
  adapters::add_lora(g.model, g.exec, lora(dropout));
  disturb(g.model, g.exec);
  const Outcome none = run(g, Recompute::none), cheap = run(g, Recompute::cheap), block = run(g, Recompute::block);
  CHECK(none.gradients.size() == 40);
  CHECK(none.loss == cheap.loss);
  CHECK(none.loss == block.loss);
  CHECK(different(none.gradients, cheap.gradients).empty());
  CHECK(different(none.gradients, run(g, Recompute::cheap, 2).gradients).empty());
  CHECK(different(none.gradients, block.gradients).empty());

  if (dropout > 0.0) {
    // The draws are real: another state gives another loss, and inference draws nothing.
    Context<decltype(g)::P> ctx(g.exec);
    const auto loss_with = [&](std::uint64_t seed) {
      g.exec.random() = {seed, 0, 5};
      return functional::mse(ctx, g.model(ctx, g.hidden, g.time, g.text), g.target).value().data_handle()[0];
    };
    CHECK(loss_with(77) == none.loss);
    CHECK(loss_with(78) != none.loss);
    const NoGrad<decltype(g)::P> off(ctx);
    CHECK(loss_with(77) == loss_with(78));
    CHECK(g.exec.random().site == 0);
  }
}

TEST_CASE("gradients of every weight do not depend on what is kept") {
  GoldenWan<Fp32, adapters::Trainable> g("wan_t2v");
  const Outcome none = run(g, Recompute::none), cheap = run(g, Recompute::cheap), block = run(g, Recompute::block);
  CHECK(none.gradients.size() == g.folder.weights.names().size());
  CHECK(different(none.gradients, cheap.gradients).empty());
  // Text and time feed every block: a re-run block sums its own share first, another order of the same additions.
  for (const std::string& name : different(none.gradients, block.gradients)) {
    INFO(name);
    CHECK(name.starts_with("condition_embedder."));
    double difference = 0, norm = 0;
    for (std::size_t i = 0; i < none.gradients.at(name).size(); ++i) {
      const double a = none.gradients.at(name)[i], b = block.gradients.at(name)[i];
      difference += (a - b) * (a - b);
      norm += a * a;
    }
    CHECK(difference < 1e-12 * norm);
  }
}

TEST_CASE("recipes and re-run blocks lower the peak") {
  using P = Policy<Fp32, Cpu>;
  using Model = models::Wan<P, adapters::LoraOnBlocks>;
  Exec<Cpu> exec({.threads = 2});
  models::WanConfig config;
  config.patch_size = {1, 2, 2};
  config.num_attention_heads = 2;
  config.attention_head_dim = 16;
  config.in_channels = config.out_channels = 4;
  config.text_dim = 8;
  config.ffn_dim = 64;
  config.num_layers = 5;
  Model model(exec, config);
  models::randomize_wan(model, exec, 1);
  adapters::add_lora(model, exec, lora(0.0));
  const auto clip = [&](std::uint32_t site) {
    auto x = exec.empty<float, 5>({2, 4, 3, 16, 16});
    ops::fill_normal(exec, x.view(), RandomKey{3, site, 0});
    return x;
  };
  const auto hidden = clip(0), target = clip(1);
  auto text = exec.empty<float, 3>({2, 3, 8});
  ops::fill_normal(exec, text.view(), RandomKey{3, 2, 0});
  auto timesteps = exec.empty<float, 1>({2});
  ops::fill(exec, 500.0, timesteps.view());
  const auto at = [&](Recompute level, int every = 1) {
    run<Model, P>(model, exec, level, hidden, target, {timesteps, {}}, text, every);
    const auto asked = exec.pool().statistics().system_allocations;
    const Outcome outcome = run<Model, P>(model, exec, level, hidden, target, {timesteps, {}}, text, every);
    CHECK(exec.pool().statistics().system_allocations == asked);  // warm: nothing more from the system
    return outcome.peak;
  };
  const std::size_t none = at(Recompute::none), cheap = at(Recompute::cheap), block = at(Recompute::block);
  INFO(none << " " << cheap << " " << block << " bytes");
  CHECK(static_cast<double>(cheap) < 0.8 * static_cast<double>(none));
  CHECK(static_cast<double>(block) < 0.6 * static_cast<double>(cheap));
  // One of two blocks keeps recipes, or is run again: about half of what either saves.
  const auto between = [](std::size_t some, std::size_t less, std::size_t more) {
    const double share = static_cast<double>(some - less) / static_cast<double>(more - less);
    INFO(some << " of " << less << " to " << more);
    CHECK(share > 0.35);
    CHECK(share < 0.6);
  };
  between(at(Recompute::cheap, 2), cheap, none);
  between(at(Recompute::block, 2), block, cheap);
}

TEST_CASE("nothing is recorded below the first adapter") {
  using G = GoldenWan<Fp32, adapters::LoraOnBlocks>;
  G g("wan_t2v");
  const Recompute level = GENERATE(Recompute::none, Recompute::cheap, Recompute::block);
  const auto nodes = [&] {
    std::vector<std::size_t> counts;
    Context<G::P> ctx(g.exec);
    ctx.set_recompute(level);
    const auto y = g.model.forward(ctx, g.hidden, g.time, g.text, {},
                                   [&](std::size_t, const auto&) { counts.push_back(ctx.tape().size()); });
    counts.push_back(ctx.tape().size());
    CHECK(y.requires_grad() == (counts.back() > 0));
    ctx.tape().clear();
    return counts;
  };
  CHECK(nodes() == std::vector<std::size_t>{0, 0, 0});  // no adapter yet
  adapters::add_lora(g.model, g.exec, lora(0.0, {1}));
  const auto counts = nodes();
  CHECK(counts[0] == 0);
  CHECK(counts[1] > 0);
  CHECK(counts[2] > counts[1]);

  Context<G::P> ctx(g.exec);
  const NoGrad<G::P> off(ctx);
  const auto y = g.model(ctx, g.hidden, g.time, g.text);
  CHECK(ctx.tape().size() == 0);
  CHECK(!y.requires_grad());
}

TEST_CASE("planning a step predicts its peak without memory") {
  using G = GoldenWan<Fp32, adapters::LoraOnBlocks>;
  G g("wan_t2v");
  adapters::add_lora(g.model, g.exec, lora(0.1));
  const Recompute level = GENERATE(Recompute::none, Recompute::cheap, Recompute::block);
  run(g, level);  // the rotary table is made
  const std::size_t real = run(g, level).peak;
  Context<G::P> ctx(g.exec);
  ctx.set_recompute(level);
  const std::size_t before = g.exec.pool().statistics().current_bytes;
  const auto asked = g.exec.pool().statistics().system_allocations;
  g.exec.pool().reset_peak();
  g.exec.set_planning(true);
  ctx.backward(functional::mse(ctx, g.model(ctx, g.hidden, g.time, g.text), g.target));
  const std::size_t planned = g.exec.pool().statistics().peak_bytes - before;
  support::clear_gradients(g.model);
  g.exec.set_planning(false);
  CHECK(g.exec.pool().statistics().system_allocations == asked);
  INFO(planned << " planned, " << real << " used");
  CHECK(planned >= real);
  CHECK(static_cast<double>(planned) <= 1.05 * static_cast<double>(real));
}
