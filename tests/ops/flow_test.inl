// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

// Included by one source a device, which defines `Device` and includes its kernels.
#include "segue/ops/elementwise.hpp"
#include "segue/ops/flow.hpp"
#include "segue/ops/random_fill.hpp"
#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/operands.hpp"

namespace {

using namespace segue;
using support::Values;
using Space = Device::Space;

/// All memory that a view of a tensor may reach, as bytes.
template <class T>
std::vector<T> memory(Exec<Device>& exec, const Tensor<T, 5, Space>& x) {
  exec.synchronize();
  return support::memory_of<Space>(static_cast<const T*>(x.data_handle()), x.size());
}

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

std::vector<ops::NoiseDraw> draws_of(std::int64_t batch) {
  std::vector<ops::NoiseDraw> draws;
  for (std::int64_t b = 0; b < batch; ++b) {
    const double sigma = 0.1 + 0.37 * static_cast<double>(b);
    draws.push_back({.key = {.seed = 11, .site = 2, .step = static_cast<std::uint32_t>(b / 2)},
                     .sign = b % 2 ? -1.0 : 1.0,
                     .state_data = 1 - sigma,
                     .state_noise = sigma,
                     .target_data = b == 1 ? 0.0 : -1.0,  // a target that is the noise itself
                     .target_noise = 1,
                     .timestep = static_cast<float>(1000 * sigma),
                     .weight = static_cast<float>(1 + sigma)});
  }
  return draws;
}

/// Clips and results lie in wider buffers: `extra` channels after theirs, `padding` columns after each row.
template <class T>
struct Buffers {
  Tensor<T, 5, Space> clips, state, target;
  Buffers(Exec<Device>& exec, const Shape<5>& s, std::int64_t extra, std::int64_t padding)
      : clips(support::operand<T>(
            exec, Shape<5>{s[0], s[1], s[2], s[3], s[4] + padding},
            support::random_values<T>(
                element_count(s) / std::max<std::int64_t>(s[4], 1) * (s[4] > 0 ? s[4] + padding : 0), 1))),
        state(support::poisoned<T>(exec, Shape<5>{s[0], s[1] + extra, s[2], s[3], s[4] + padding})),
        target(support::poisoned<T>(exec, s)) {}
};

template <class T>
void check_batch(Exec<Device>& exec, const Shape<5>& s, std::int64_t extra, std::int64_t padding) {
  const auto draws = draws_of(s[0]);
  const auto drawn = support::tensor_of(exec, draws);
  const Buffers<T> one(exec, s, extra, padding), other(exec, s, extra, padding);
  const auto clip_of = [&](const Buffers<T>& x) { return x.clips.slice(4, 0, s[4]).cview(); };
  const auto state_of = [&](const Buffers<T>& x) { return x.state.slice(1, 0, s[1]).slice(4, 0, s[4]).view(); };
  const auto timesteps = support::poisoned<float>(exec, Shape<1>{s[0]}),
             weights = support::poisoned<float>(exec, Shape<1>{s[0]});
  ops::noise_batch(exec, clip_of(one), drawn.cview(), state_of(one), one.target.view(), timesteps.view(),
                   weights.view());

  // The same, operator by operator.
  const auto noise = exec.empty<T, 4>({s[1], s[2], s[3], s[4]});
  for (std::int64_t b = 0; b < s[0]; ++b) {
    const ops::NoiseDraw& d = draws[static_cast<std::size_t>(b)];
    ops::fill_normal(exec, noise.view(), d.key, 0.0, d.sign);
    // Dense copies, since the rows of a clip need not form one stride.
    const auto clip = exec.empty<T, 4>(noise.shape()), mixed = exec.empty<T, 4>(noise.shape());
    ops::copy(exec, clip_of(other)[b], clip.view());
    const auto mix = [&](double data, double factor, const View<T, 4, Space>& to) {
      ops::axpby(exec, factor, noise.cview(), 0.0, mixed.view());
      if (data != 0) ops::axpby(exec, data, clip.cview(), 1.0, mixed.view());
      ops::copy(exec, mixed.cview(), to);
    };
    mix(d.state_data, d.state_noise, state_of(other)[b]);
    mix(d.target_data, d.target_noise, other.target.view()[b]);
  }
  INFO("shape " << shape_string(s) << ", " << extra << " more channels, padding " << padding);
  CHECK(same_bits(memory(exec, one.state), memory(exec, other.state)));  // the other channels are left alone too
  CHECK(same_bits(memory(exec, one.target), memory(exec, other.target)));
  Values times, factors;
  for (const auto& d : draws) {
    times.push_back(d.timestep);
    factors.push_back(d.weight);
  }
  CHECK(support::values_of(timesteps) == times);
  CHECK(support::values_of(weights) == factors);
}

}  // namespace

TEMPLATE_TEST_CASE("a batch is noised as operator by operator, bit for bit", "", float, double, bfloat16, float16) {
  Exec<Device> exec({.threads = 3});
  for (const Shape<5>& shape : {Shape<5>{3, 4, 2, 6, 8}, Shape<5>{2, 3, 1, 5, 7}, Shape<5>{1, 1, 1, 1, 1},
                                Shape<5>{2, 16, 3, 20, 32}, Shape<5>{0, 3, 2, 2, 2}, Shape<5>{2, 3, 0, 4, 4}})
    for (const std::int64_t extra : {0, 3})
      for (const std::int64_t padding : {0, 1, 8}) check_batch<TestType>(exec, shape, extra, padding);
}

TEST_CASE("the noise of a batch is that of its keys") {
  Exec<Device> exec;
  const Shape<5> shape{2, 1, 1, 1, 5};
  const auto clips = support::operand<float>(exec, shape, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10});
  auto draws = draws_of(2);
  draws[0].state_data = draws[1].state_data = 0;
  draws[0].state_noise = draws[1].state_noise = 1;
  draws[0].target_noise = 0;
  draws[0].target_data = 2;
  const auto state = support::poisoned<float>(exec, shape), target = support::poisoned<float>(exec, shape);
  const auto timesteps = support::poisoned<float>(exec, Shape<1>{2});
  ops::noise_batch(exec, clips.cview(), support::tensor_of(exec, draws).cview(), state.view(), target.view(),
                   timesteps.view(), {});
  const Values got = support::values_of(state), aim = support::values_of(target);
  for (std::size_t i = 0; i < 5; ++i) {
    const auto z = static_cast<double>(normals_from_block(draws[0].key.block(i / 4))[i % 4]);
    CHECK(got[i] == z);
    CHECK(got[5 + i] == -z);  // the other half of the pair
    CHECK(aim[i] == 2 * static_cast<double>(i + 1));
    CHECK(aim[5 + i] == -z);
  }
}

TEST_CASE("noising names what does not fit, and waits while planning") {
  Exec<Device> exec;
  const auto x = support::poisoned<float>(exec, Shape<5>{2, 1, 1, 2, 3});
  const auto narrow = support::poisoned<float>(exec, Shape<5>{2, 1, 1, 2, 2});
  const auto draws = support::tensor_of(exec, draws_of(2));
  const auto times = support::poisoned<float>(exec, Shape<1>{2});
  CHECK(support::message_of<InputError>([&] {
          ops::noise_batch(exec, x.cview(), draws.cview(), x.view(), narrow.view(), times.view(), {});
        }) == "noise_batch: shape of target is (2, 1, 1, 2, 2), expected (2, 1, 1, 2, 3)");
  CHECK(support::message_of<InputError>([&] {
          ops::noise_batch(exec, x.cview(), draws.slice(0, 0, 1).cview(), x.view(), x.view(), times.view(), {});
        }) == "noise_batch: shape of draws is (1), expected (2)");
  exec.set_planning(true);
  ops::noise_batch(exec, x.cview(), draws.cview(), x.view(), x.view(), times.view(), {});
  CHECK(std::isnan(support::values_of(times)[0]));
}
