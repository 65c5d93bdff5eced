// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

// What adapters do to a model: nothing when fresh, the same merged and unmerged, several side by side, slots by sample.

#include "models/wan_support.hpp"

using namespace segue;
using support::contains;
using support::GoldenWan;
using support::message_of;
using support::same_bits;

namespace {

template <class G>
auto answer(G& g, std::span<const std::int32_t> slots = {}) {
  Context<typename G::P> ctx(g.exec);
  const NoGrad<typename G::P> off(ctx);
  ctx.set_sample_slots(slots);
  return value_of(g.model(ctx, g.hidden, g.time, g.text));
}

/// B as after some training.
template <class G>
void disturb(G& g, const std::string& adapter, std::uint64_t seed) {
  RandomKey key{seed, 0, 0};
  adapters::for_each_lora(g.model, [&](std::string_view, auto& linear) {
    if (auto* a = linear.find(adapter)) ops::fill_normal(g.exec, a->b.value().view(), key, 0.0, 0.15);
    ++key.site;
  });
}

adapters::LoraConfig named(const std::string& name, int rank, std::uint64_t seed = 1) {
  adapters::LoraConfig config;
  config.spec.name = name;
  config.spec.rank = rank;
  config.spec.alpha = 2.0 * rank;
  config.seed = seed;
  return config;
}

// One adapter map for all cases: every instance of the model costs the compiler seconds.
using Golden = GoldenWan<Fp32, adapters::LoraOnAll>;

template <class Precision>
void check_fresh() {
  GoldenWan<Precision, adapters::LoraOnAll> g("wan_t2v");
  const auto base = answer(g);
  adapters::add_lora(g.model, g.exec, named("fresh", 4));
  CHECK(same_bits(answer(g), base));
  disturb(g, "fresh", 3);
  CHECK(!same_bits(answer(g), base));
  adapters::set_adapter_enabled(g.model, "fresh", false);
  CHECK(same_bits(answer(g), base));
}

/// The linears of the blocks, as most runs adapt them.
const std::vector<std::string> in_blocks = {"to_q", "to_k", "to_v", "to_out.0", "net.0.proj", "net.2"};

}  // namespace

TEST_CASE("a fresh adapter changes no bit, a switched-off one neither") {
  SECTION("fp32") { check_fresh<Fp32>(); }
  SECTION("bf16") { check_fresh<Bf16>(); }
}

TEST_CASE("a model whose linears could carry adapters answers as the frozen one") {
  Golden g("wan_t2v");
  GoldenWan<Fp32, adapters::Frozen> frozen("wan_t2v");
  CHECK(same_bits(answer(g), answer(frozen)));
}

TEST_CASE("rank 0 leaves a linear as it is") {
  Golden g("wan_t2v");
  const auto base = answer(g);
  CHECK(adapters::add_lora(g.model, g.exec, named("none", 0)).empty());
  auto config = named("some", 3);
  config.targets = in_blocks;
  config.rank_pattern = {{"blocks.0.attn1.to_q", 0}, {"attn2.to_v", 0}, {"ffn.net.2", 5}};
  const auto adapted = adapters::add_lora(g.model, g.exec, config);
  CHECK(adapted.size() == 20 - 3);
  disturb(g, "some", 4);
  CHECK(!same_bits(answer(g), base));
  adapters::for_each_lora(g.model, [&](std::string_view name, auto& linear) {
    const bool out = !name.starts_with("blocks.") || name == "blocks.0.attn1.to_q" || name.ends_with("attn2.to_v");
    CHECK((linear.find("some") == nullptr) == out);
    if (name.ends_with("ffn.net.2")) CHECK(linear.find("some")->spec.rank == 5);
  });
  // A linear without adapters records nothing for itself.
  Context<Golden::P> ctx(g.exec);
  ctx.backward(functional::mse(ctx, g.model(ctx, g.hidden, g.time, g.text), g.target));
  CHECK(support::gradients_of(g.model).size() == 2 * adapted.size());
}

TEST_CASE("A is drawn as PEFT draws it") {
  Golden g("wan_i2v");
  auto config = named("kaiming", 16);
  config.targets = in_blocks;
  adapters::add_lora(g.model, g.exec, config);
  config.spec.name = "gaussian";
  config.spec.init = adapters::LoraInit::gaussian;
  adapters::add_lora(g.model, g.exec, config);
  adapters::for_each_lora(g.model, [&](std::string_view, auto& linear) {
    if (!linear.find("kaiming")) return;
    const auto moments = [](const auto& leaf) {
      double most = 0, squares = 0;
      const auto& t = leaf.value();
      for (std::int64_t i = 0; i < t.size(); ++i) {
        most = std::max(most, std::fabs(static_cast<double>(t.data_handle()[i])));
        squares += static_cast<double>(t.data_handle()[i]) * t.data_handle()[i];
      }
      return std::pair(most, std::sqrt(squares / static_cast<double>(t.size())));
    };
    const double bound = 1.0 / std::sqrt(static_cast<double>(linear.in_features()));
    const auto [most, deviation] = moments(linear.find("kaiming")->a);
    CHECK((most <= bound && most > 0.98 * bound));
    CHECK((deviation > 0.55 * bound && deviation < 0.61 * bound));
    const auto gaussian = moments(linear.find("gaussian")->a).second;
    CHECK((gaussian > 0.9 / 16 && gaussian < 1.1 / 16));
    CHECK(moments(linear.find("kaiming")->b).first == 0.0);
  });
}

TEST_CASE("merging gives the same answers and unmerging the same bits") {
  Golden g("wan_t2v");
  const auto base = answer(g);
  adapters::add_lora(g.model, g.exec, named("one", 4));
  disturb(g, "one", 5);
  auto second = named("two", 2, 9);
  second.spec.scaling = adapters::LoraScaling::rank_stabilised;
  second.targets = {"to_v", "proj_out"};
  adapters::add_lora(g.model, g.exec, second);
  disturb(g, "two", 6);
  const auto apart = answer(g);
  CHECK(testing::relative_error(apart, base) > 1e-2);
  adapters::merge(g.model, g.exec);
  const auto merged = answer(g);
  CHECK(testing::relative_error(merged, apart) < 1e-5);
  adapters::merge(g.model, g.exec);
  CHECK(same_bits(answer(g), merged));
  CHECK(contains(message_of<InputError>([&] { adapters::add_lora(g.model, g.exec, named("three", 2)); }), "unmerge"));
  CHECK(contains(message_of<Error>([&] { models::load_weights(g.model, g.exec, g.folder.weights); }), "unmerge"));
  const support::TempDir dir;
  models::save_wan_folder(g.model, g.exec, dir.path().string());
  adapters::unmerge(g.model);
  CHECK(same_bits(answer(g), apart));
  adapters::set_adapter_enabled(g.model, "one", false);
  adapters::set_adapter_enabled(g.model, "two", false);
  CHECK(same_bits(answer(g), base));

  // What was saved while merged is a plain model that answers as the adapted one.
  GoldenWan<Fp32, adapters::Frozen> plain("wan_t2v");
  models::load_weights(plain.model, plain.exec, models::open_wan_folder(dir.path().string()).weights);
  CHECK(same_bits(answer(plain), merged));
}

TEST_CASE("several adapters add up, each with its own scale") {
  Golden g("wan_t2v");
  const auto base = answer(g);
  auto config = named("one", 4, 1);
  config.targets = {"proj_out"};
  adapters::add_lora(g.model, g.exec, config);
  config = named("two", 3, 2);
  config.targets = {"proj_out"};
  adapters::add_lora(g.model, g.exec, config);
  disturb(g, "one", 5);
  disturb(g, "two", 6);
  const auto both = answer(g);
  adapters::set_adapter_enabled(g.model, "two", false);
  const auto one = answer(g);
  adapters::set_adapter_enabled(g.model, "two", true);
  adapters::set_adapter_enabled(g.model, "one", false);
  const auto two = answer(g);
  // The output projection is linear: the changes add.
  double difference = 0, norm = 0;
  for (std::int64_t i = 0; i < base.size(); ++i) {
    const double b = base.data_handle()[i];
    const double sum = one.data_handle()[i] + two.data_handle()[i] - 2 * b, change = both.data_handle()[i] - b;
    difference += (sum - change) * (sum - change);
    norm += change * change;
  }
  CHECK(norm > 1e-3);
  CHECK(std::sqrt(difference / norm) < 1e-5);
  CHECK(contains(message_of<InputError>([&] { adapters::add_lora(g.model, g.exec, named("one", 4)); }), "one"));
}

TEST_CASE("samples that use different slots are as if run alone") {
  Golden g("wan_t2v");
  auto config = named("stack", 3);
  config.targets = in_blocks;
  config.spec.slots = 2;
  adapters::add_lora(g.model, g.exec, config);
  disturb(g, "stack", 7);
  const auto alone = [&](std::int64_t sample, std::int32_t slot) {
    Context<Golden::P> ctx(g.exec);
    const std::int32_t slots[] = {slot};
    ctx.set_sample_slots(slots);
    const auto part = [&](const auto& x) { return x.slice(0, sample, sample + 1); };
    const auto y = g.model(ctx, part(g.hidden), {part(g.time.timesteps), {}}, part(g.text));
    ctx.backward(functional::mse(ctx, y, part(g.target)));
    auto grads = support::gradients_of(g.model);
    support::clear_gradients(g.model);
    return std::pair(y.value(), grads);
  };
  const auto [y0, grads0] = alone(0, 0);
  const auto [y1, grads1] = alone(1, 1);

  const std::int32_t slots[] = {0, 1};
  Context<Golden::P> ctx(g.exec);
  ctx.set_sample_slots(slots);
  const auto y = g.model(ctx, g.hidden, g.time, g.text);
  CHECK(same_bits(y.value().slice(0, 0, 1), y0));
  CHECK(same_bits(y.value().slice(0, 1, 2), y1));
  CHECK(!same_bits(alone(1, 0).first, y1));

  // The loss is the mean over samples, so each slot sees half of what it saw alone: exactly, being a power of two.
  ctx.backward(functional::mse(ctx, y, g.target));
  const auto grads = support::gradients_of(g.model);
  REQUIRE(grads.size() == grads0.size());
  for (const auto& [name, values] : grads) {
    INFO(name);
    bool equal = true;
    double most = 0;
    for (std::size_t i = 0; i < values.size(); ++i) {
      const double expected = 0.5 * (i < values.size() / 2 ? grads0 : grads1).at(name)[i];
      equal = equal && values[i] == expected;
      most = std::max(most, std::fabs(values[i]));
    }
    CHECK(equal);
    CHECK(most > 0.0);
  }
  CHECK(contains(message_of<InputError>([&] {
                   const std::int32_t wrong[] = {0, 2};
                   answer(g, wrong);
                 }),
                 "0 to 1"));
}
