// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

// Included by one source a device, which defines `Device` and includes its kernels.
#include "segue/ops/elementwise.hpp"
#include "segue/ops/optimizer.hpp"
#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/operands.hpp"

namespace {

using namespace segue;
using support::Values;
using Space = Device::Space;
using StateView = View<const ops::UpdateState, 1, Space>;

struct State {
  Values param, m, v;
};

/// torch.optim.AdamW, in double.
void reference_step(State& s, const Values& grad, const ops::AdamWOptions& o, std::int64_t step, double scale,
                    bool decay) {
  for (std::size_t i = 0; i < s.param.size(); ++i) {
    const double g = grad[i] * scale;
    if (decay) s.param[i] *= 1 - o.lr * o.weight_decay;
    s.m[i] += (1 - o.beta1) * (g - s.m[i]);
    s.v[i] = o.beta2 * s.v[i] + (1 - o.beta2) * g * g;
    const double root = std::sqrt(s.v[i]) / std::sqrt(1 - std::pow(o.beta2, static_cast<double>(step)));
    s.param[i] -= o.lr / (1 - std::pow(o.beta1, static_cast<double>(step))) * s.m[i] / (root + o.eps);
  }
}

/// Where a tensor begins in its memory, in elements: every third is aligned.
std::int64_t offset_of(std::size_t k) { return static_cast<std::int64_t>(k % 3); }

template <class T>
Tensor<T, 1, Space> tensor(Exec<Device>& exec, std::size_t k, const Values& values) {
  const auto count = static_cast<std::int64_t>(values.size());
  const auto whole = exec.template empty<T, 1>({count + 2});
  const auto part = whole.slice(0, offset_of(k), offset_of(k) + count);
  std::vector<T> host;
  for (const double v : values) host.push_back(cast<T>(v));
  exec.upload(host.data(), part.view());
  return part;
}

/// Tensors of these sizes with their gradients, moments and rounded values.
template <class TP, class TG, class TV = TP>
struct Model {
  using A = Accum<TP>;
  using Entry = ops::AdamWTensor<TP, TG, TV>;
  Exec<Device>& exec;
  std::vector<std::int64_t> counts;
  std::vector<Tensor<TP, 1, Space>> params;
  std::vector<Tensor<TG, 1, Space>> grads;
  std::vector<Tensor<A, 1, Space>> first, second;
  std::vector<Tensor<TV, 1, Space>> values;
  std::vector<Entry> entries;

  Model(Exec<Device>& e, std::vector<std::int64_t> sizes, bool rounded) : exec(e), counts(std::move(sizes)) {
    for (std::size_t k = 0; k < counts.size(); ++k) {
      const Values zero(static_cast<std::size_t>(counts[k]));
      params.push_back(tensor<TP>(exec, k, initial(k)));
      grads.push_back(tensor<TG>(exec, k, zero));
      first.push_back(tensor<A>(exec, k, zero));
      second.push_back(tensor<A>(exec, k, zero));
      values.push_back(tensor<TV>(exec, k, zero));
      entries.push_back({params[k].data_handle(), grads[k].data_handle(), first[k].data_handle(),
                         second[k].data_handle(), counts[k], decays(k), rounded ? values[k].data_handle() : nullptr});
    }
  }
  static bool decays(std::size_t k) { return k % 2 == 0; }
  Values initial(std::size_t k) const { return support::random_values<TP>(counts[k], 10 + k); }
  Values gradient(std::size_t k, std::int64_t step) const {
    return support::random_values<TG>(counts[k], 100 * static_cast<std::uint64_t>(step) + k);
  }
  void load_gradients(std::int64_t step) {
    for (std::size_t k = 0; k < counts.size(); ++k) {
      std::vector<TG> host;
      for (const double v : gradient(k, step)) host.push_back(cast<TG>(v));
      exec.upload(host.data(), grads[k].view());
    }
  }
  std::span<const Entry> list() const { return entries; }
  std::vector<View<const TG, 1, Space>> gradient_views() const {
    std::vector<View<const TG, 1, Space>> out;
    for (const auto& g : grads) out.push_back(g.cview());
    return out;
  }
  /// Every number that a step may write.
  std::vector<Values> numbers() const {
    std::vector<Values> out;
    for (std::size_t k = 0; k < counts.size(); ++k)
      for (const Values& v : {support::values_of(params[k]), support::values_of(first[k]),
                              support::values_of(second[k]), support::values_of(values[k])})
        out.push_back(v);
    return out;
  }
};

ops::UpdateState fetch(Exec<Device>& exec, const Tensor<ops::UpdateState, 1, Space>& state) {
  return to_host(exec, state.view())[0];
}

template <class TG>
double norm_squared(Exec<Device>& exec, const std::vector<View<const TG, 1, Space>>& grads) {
  const std::span<const View<const TG, 1, Space>> list(grads);
  const auto out = support::poisoned<double>(exec, Shape<1>{1});
  const auto scratch = support::scratch_of(exec, ops::global_norm_squared_workspace_bytes(exec, list));
  ops::global_norm_squared(exec, list, out.view(), scratch.view());
  return support::values_of(out)[0];
}

const std::vector<std::int64_t> sizes = {1, 0, 7, 4096, 9001, 64, 4099};
constexpr ops::AdamWOptions options{.lr = 0.02, .beta1 = 0.8, .beta2 = 0.95, .eps = 1e-6, .weight_decay = 0.1};

/// Five steps with gradients halved; the numbers come from the host, or from a state on the device.
template <class TP, class TG, class TV>
Model<TP, TG, TV> train(Exec<Device>& exec, bool by_state) {
  Model<TP, TG, TV> model(exec, sizes, true);
  auto state = support::tensor_of<ops::UpdateState>(exec, {{.lr = options.lr, .loss_scale = 2}});
  const auto norm = support::operand<double>(exec, Shape<1>{1}, {1.0});
  for (std::int64_t step = 1; step <= 5; ++step) {
    model.load_gradients(step);
    if (by_state) {
      ops::begin_update(exec, state.view(), norm.cview(), {.beta1 = options.beta1, .beta2 = options.beta2});
      ops::adamw_step(exec, model.list(), options, StateView(state.view()));
    } else {
      ops::adamw_step(exec, model.list(), options, step, 0.5);
    }
  }
  return model;
}

template <class TP, class TG, class TV>
void check_training(double tolerance) {
  Exec<Device> exec({.threads = 2});
  const auto model = train<TP, TG, TV>(exec, false);
  for (std::size_t k = 0; k < sizes.size(); ++k) {
    const Values zero(static_cast<std::size_t>(sizes[k]));
    State s{model.initial(k), zero, zero};
    for (std::int64_t step = 1; step <= 5; ++step)
      reference_step(s, model.gradient(k, step), options, step, 0.5, model.decays(k));
    const Values got = support::values_of(model.params[k]);
    CHECK(support::worst_difference(got, s.param) < tolerance);
    CHECK(support::worst_difference(support::values_of(model.first[k]), s.m) < 1e-6);
    CHECK(support::worst_difference(support::values_of(model.second[k]), s.v) < 1e-6);
    Values rounded = got;
    for (double& v : rounded) v = cast<double>(cast<TV>(cast<TP>(v)));
    CHECK(support::values_of(model.values[k]) == rounded);
  }
  const auto by_state = train<TP, TG, TV>(exec, true).numbers();
  for (std::size_t i = 0; i < by_state.size(); ++i) {
    // A power may differ in the last place of a double from the host's.
    const double allowed = Space::host_accessible ? 0 : std::is_same_v<TP, double> ? 1e-13 : support::rounding<TP>;
    CHECK(support::worst_difference(by_state[i], model.numbers()[i]) <= allowed);
  }
  for (const int threads : {1, 5}) {
    Exec<Device> other({.threads = threads});
    CHECK(train<TP, TG, TV>(other, false).numbers() == model.numbers());
  }
}

}  // namespace

TEST_CASE("AdamW follows torch.optim.AdamW in every type, at any thread count") {
  check_training<double, double, double>(1e-13);
  check_training<float, float, bfloat16>(1e-6);
  check_training<float, bfloat16, float16>(1e-6);
  check_training<float, float16, float>(1e-6);
  // Each of the five steps rounds.
  check_training<bfloat16, bfloat16, bfloat16>(5 * support::rounding<bfloat16>);
  check_training<float16, float, float>(5 * support::rounding<float16>);
}

TEST_CASE("the square root in the update is correctly rounded") {
  Exec<Device> exec;
  const std::int64_t count = 1000;
  const Values gs = support::random_values<float>(count, 1), zero(static_cast<std::size_t>(count));
  const auto p = tensor<float>(exec, 0, zero), g = tensor<float>(exec, 0, gs), m = tensor<float>(exec, 0, zero),
             v = tensor<float>(exec, 0, zero);
  const ops::AdamWTensor<float, float> one{p.data_handle(), g.data_handle(), m.data_handle(),
                                           v.data_handle(), count,           false};
  // beta = 0: m = g, v = g², no correction; lr = 1 and eps = 0 leave g/√(g²).
  const ops::AdamWOptions bare{.lr = 1, .beta1 = 0, .beta2 = 0, .eps = 0, .weight_decay = 0};
  ops::adamw_step(exec, std::span<const ops::AdamWTensor<float, float>>(&one, 1), bare, 1);
  Values expected;
  for (const double x : gs) {
    const auto f = static_cast<float>(x);
    expected.push_back(static_cast<double>(-(f / std::sqrt(f * f))));
  }
  CHECK(support::values_of(p) == expected);
}

TEST_CASE("a thousand tensors are updated as each alone") {
  Exec<Device> exec;
  std::vector<std::int64_t> many;
  for (std::int64_t k = 0; k < 1300; ++k) many.push_back(k % 7 == 3 ? 0 : k % 101 == 5 ? 4097 + k : 1 + k % 37);
  Model<float, float, bfloat16> together(exec, many, true), apart(exec, many, true);
  together.load_gradients(1);
  apart.load_gradients(1);
  ops::adamw_step(exec, together.list(), options, 1);
  for (std::size_t k = 0; k < many.size(); ++k) ops::adamw_step(exec, apart.list().subspan(k, 1), options, 1);
  CHECK(together.numbers() == apart.numbers());

  // Their norm, and a moving average of them.
  double squares = 0;
  for (std::size_t k = 0; k < many.size(); ++k)
    for (const double g : together.gradient(k, 1)) squares += g * g;
  CHECK(std::abs(norm_squared(exec, together.gradient_views()) - squares) < 1e-11 * squares);

  const auto state = support::tensor_of<ops::UpdateState>(exec, {{.ema_weight = 0.125}});
  std::vector<ops::EmaTensor<float, float>> averages;
  for (std::size_t k = 0; k < many.size(); ++k) {
    averages.push_back({together.params[k].data_handle(), together.first[k].data_handle(), many[k]});
    ops::lerp(exec, apart.params[k].cview(), 0.125, apart.first[k].view());
  }
  ops::ema_step(exec, std::span<const ops::EmaTensor<float, float>>(averages), StateView(state.view()));
  CHECK(together.numbers() == apart.numbers());
}

TEMPLATE_TEST_CASE("moving averages are those of lerp, bit for bit", "", float, double, bfloat16) {
  Exec<Device> exec({.threads = 3});
  const auto state = support::tensor_of<ops::UpdateState>(exec, {{.ema_weight = 0.3}});
  for (std::size_t k = 0; k < sizes.size(); ++k) {
    const Values xs = support::random_values<float>(sizes[k], 1), ys = support::random_values<TestType>(sizes[k], 2);
    const auto x = tensor<float>(exec, k, xs);
    const auto y = tensor<TestType>(exec, k, ys), z = tensor<TestType>(exec, k, ys);
    const ops::EmaTensor<float, TestType> one{x.data_handle(), y.data_handle(), sizes[k]};
    ops::ema_step(exec, std::span<const ops::EmaTensor<float, TestType>>(&one, 1), StateView(state.view()));
    ops::lerp(exec, x.view(), 0.3, z.view());
    CHECK(support::values_of(y) == support::values_of(z));
  }
}

TEST_CASE("an update that is skipped leaves every byte") {
  Exec<Device> exec;
  for (const bool of_loss : {true, false})
    for (const bool dynamic : {true, false}) {
      Model<float, bfloat16, bfloat16> model(exec, sizes, true);
      model.load_gradients(1);
      const auto before = model.numbers();
      const double bad = std::numeric_limits<double>::infinity();
      ops::UpdateState start{.lr = 0.5, .loss = of_loss ? -bad : 1.0, .loss_scale = 8, .updates = 3, .steady = 4};
      auto state = support::tensor_of<ops::UpdateState>(exec, {start});
      const auto norm = support::operand<double>(exec, Shape<1>{1}, {of_loss ? 1.0 : std::nan("")});
      ops::begin_update(exec, state.view(), norm.cview(), {.max_norm = 1, .dynamic_loss_scale = dynamic});
      ops::adamw_step(exec, model.list(), options, StateView(state.view()));
      std::vector<ops::EmaTensor<float, float>> averages;
      for (std::size_t k = 0; k < sizes.size(); ++k)
        averages.push_back({model.params[k].data_handle(), model.second[k].data_handle(), sizes[k]});
      ops::ema_step(exec, std::span<const ops::EmaTensor<float, float>>(averages), StateView(state.view()));
      CHECK(model.numbers() == before);
      const ops::UpdateState s = fetch(exec, state);
      CHECK(s.skip == 1);
      CHECK(s.skipped == 1);
      CHECK(s.consecutive_skipped == 1);
      CHECK(s.updates == 3);
      CHECK(s.bias_correction1 == 1);
      CHECK(s.loss_scale == (dynamic ? 4 : 8));
      CHECK(s.steady == (dynamic ? 0 : 4));
      CHECK((of_loss ? s.grad_norm == 0.125 : std::isnan(s.grad_norm)));
    }
}

TEST_CASE("an update begins with the norm, the clip coefficient, the corrections and the average's weight") {
  Exec<Device> exec;
  auto state = support::tensor_of<ops::UpdateState>(exec, {{.loss = 1, .loss_scale = 4, .skipped = 2, .skip = 1}});
  const ops::UpdateOptions update{.beta1 = 0.9, .beta2 = 0.99, .max_norm = 2, .ema_decay = 0.15};
  double decay1 = 1, decay2 = 1;
  for (std::int64_t t = 0; t < 4; ++t) {
    const double norm = t < 2 ? 3.0 + static_cast<double>(t) : 0.5;  // clipped twice, then not
    const auto squared = support::operand<double>(exec, Shape<1>{1}, {16 * norm * norm});
    ops::begin_update(exec, state.view(), squared.cview(), update);
    const ops::UpdateState s = fetch(exec, state);
    decay1 *= 0.9;
    decay2 *= 0.99;
    CHECK(s.skip == 0);
    CHECK(s.skipped == 2);
    CHECK(s.updates == t + 1);
    CHECK(s.grad_norm == norm);
    CHECK(s.grad_scale == ops::clip_coefficient(norm, 2) / 4);
    CHECK(std::abs(s.bias_correction1 - (1 - decay1)) < 1e-15);
    CHECK(std::abs(s.bias_correction2 - (1 - decay2)) < 1e-15);
    CHECK(s.ema_weight == 1 - std::min(0.15, static_cast<double>(1 + t) / static_cast<double>(10 + t)));
    CHECK(s.loss_scale == 4);
    CHECK(s.loss == 1);
  }
  // Without clipping and without an average.
  const auto one = support::operand<double>(exec, Shape<1>{1}, {1e8});
  ops::begin_update(exec, state.view(), one.cview(), {});
  CHECK(fetch(exec, state).grad_scale == 0.25);
  CHECK(fetch(exec, state).ema_weight == 0);
}

TEST_CASE("the loss scale grows and backs off as torch's GradScaler") {
  Exec<Device> exec;
  auto state = support::tensor_of<ops::UpdateState>(exec, {{.loss = 1, .loss_scale = 65536}});
  const ops::UpdateOptions update{.dynamic_loss_scale = true, .growth_interval = 3};
  const auto good = support::operand<double>(exec, Shape<1>{1}, {1.0});
  const auto bad = support::operand<double>(exec, Shape<1>{1}, {std::numeric_limits<double>::infinity()});
  double scale = 65536;
  std::int64_t steady = 0, consecutive = 0;
  for (const int fine : {1, 1, 1, 1, 1, 0, 1, 1, 0, 0, 1, 1, 1, 1, 1, 1}) {
    ops::begin_update(exec, state.view(), (fine ? good : bad).cview(), update);
    const double used = scale;
    if (!fine) scale *= 0.5;
    steady = fine ? steady + 1 : 0;
    consecutive = fine ? 0 : consecutive + 1;
    if (steady == 3) {
      scale *= 2;
      steady = 0;
    }
    const ops::UpdateState s = fetch(exec, state);
    CHECK(s.skip == !fine);
    CHECK(s.consecutive_skipped == consecutive);
    CHECK(s.loss_scale == scale);
    CHECK(s.steady == steady);
    if (fine) CHECK(s.grad_scale == 1 / used);  // the scale that these gradients had
  }
  // As a float it must stay finite.
  state = support::tensor_of<ops::UpdateState>(exec, {{.loss = 1, .loss_scale = 0x1p127, .steady = 2}});
  ops::begin_update(exec, state.view(), good.cview(), update);
  CHECK(fetch(exec, state).loss_scale == 0x1p127);
  CHECK(fetch(exec, state).steady == 0);
}

TEMPLATE_TEST_CASE("the global norm is that of all tensors together", "", float, double, bfloat16, float16) {
  std::vector<double> norms;
  for (const int threads : {1, 2, 5}) {
    Exec<Device> exec({.threads = threads});
    std::vector<Tensor<TestType, 1, Space>> tensors;
    std::vector<View<const TestType, 1, Space>> views;
    double squares = 0;
    for (std::uint64_t k = 0; k < sizes.size(); ++k) {
      const Values g = support::random_values<TestType>(sizes[k], k);
      for (const double v : g) squares += v * v;
      // The bits do not depend on how a tensor lies.
      tensors.push_back(tensor<TestType>(exec, k + static_cast<std::uint64_t>(threads), g));
      views.push_back(tensors.back().cview());
    }
    const std::span<const View<const TestType, 1, Space>> list(views);
    const double norm = ops::global_norm(exec, list);
    CHECK(std::abs(norm - std::sqrt(squares)) < 1e-11);
    CHECK(norm == std::sqrt(norm_squared(exec, views)));
    norms.push_back(norm);
    ops::fill(exec, static_cast<double>(std::numeric_limits<float>::quiet_NaN()), tensors[3].slice(0, 5, 6).view());
    CHECK(std::isnan(ops::global_norm(exec, list)));
    ops::fill(exec, std::numeric_limits<double>::infinity(), tensors[3].slice(0, 5, 6).view());
    CHECK(std::isinf(norm_squared(exec, views)));
  }
  CHECK(norms[0] == norms[1]);
  CHECK(norms[0] == norms[2]);
}

TEST_CASE("no tensors are no trouble") {
  Exec<Device> exec;
  CHECK(norm_squared(exec, std::vector<View<const float, 1, Space>>{}) == 0);
  CHECK(ops::global_norm(exec, std::span<const View<const float, 1, Space>>{}) == 0);
  const auto state = support::tensor_of<ops::UpdateState>(exec, {{}});
  ops::adamw_step(exec, std::span<const ops::AdamWTensor<float, float>>{}, {}, 1);
  ops::adamw_step(exec, std::span<const ops::AdamWTensor<float, float>>{}, {}, StateView(state.view()));
  ops::ema_step(exec, std::span<const ops::EmaTensor<float, float>>{}, StateView(state.view()));
  const ops::AdamWTensor<float, float> nothing{};
  ops::adamw_step(exec, std::span<const ops::AdamWTensor<float, float>>(&nothing, 1), {}, 1);
}

TEST_CASE("clipping as clip_grad_norm_ does it") {
  CHECK(ops::clip_coefficient(0.5, 1) == 1);
  CHECK(ops::clip_coefficient(4, 1) == 1 / (4 + 1e-6));
  CHECK(ops::clip_coefficient(0, 1) == 1);
}

TEST_CASE("the optimizer names what does not fit, and waits while planning") {
  Exec<Device> exec;
  Model<float, float> model(exec, {3}, false);
  model.load_gradients(1);
  const auto before = model.numbers();
  CHECK(support::message_of<InputError>([&] { ops::adamw_step(exec, model.list(), {}, 0); }) ==
        "adamw_step: step is 0, expected 1 or more");
  const auto states = support::tensor_of<ops::UpdateState>(exec, {{}, {}});
  const auto state = states.slice(0, 0, 1);
  const auto norm = support::poisoned<double>(exec, Shape<1>{1});
  CHECK(support::message_of<InputError>([&] { ops::adamw_step(exec, model.list(), {}, StateView(states.view())); }) ==
        "adamw_step: shape of state is (2), expected (1)");
  CHECK(support::message_of<InputError>([&] { ops::begin_update(exec, states.view(), norm.cview(), {}); }) ==
        "begin_update: shape of state is (2), expected (1)");
  const auto grads = model.gradient_views();
  const std::span<const View<const float, 1, Space>> list(grads);
  if (const std::size_t need = ops::global_norm_squared_workspace_bytes(exec, list); need > 0)
    CHECK(support::message_of<InputError>([&] {
            ops::global_norm_squared(exec, list, norm.view(), support::scratch_of(exec, need - 1).view());
          }) == "global_norm_squared: size of scratch is " + std::to_string(need - 1) + ", expected " +
                    std::to_string(need) + " bytes");
  exec.set_planning(true);
  ops::adamw_step(exec, model.list(), {}, 1);
  ops::adamw_step(exec, model.list(), {}, StateView(state.view()));
  ops::begin_update(exec, state.view(), norm.cview(), {});
  CHECK(ops::global_norm(exec, list) == 0);
  exec.set_planning(false);
  CHECK(model.numbers() == before);
  CHECK(fetch(exec, states).updates == 0);
}
