// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

// Adapted linears on a GPU against sums in double: apart from their weight and, in 16-bit types, in one buffer with it.
#include <cmath>
#include <string>
#include <tuple>
#include <vector>

#include "segue/adapters/lora.hpp"
#include "segue/cpu.hpp"
#include "segue/cuda.cuh"
#include "support/catch.hpp"
#include "support/distance.hpp"

namespace {

using namespace segue;
using ops::Activation;
using Doubles = std::vector<double>;

/// How far results of a precision are from sums in double, |difference| / |exact|.
template <class Precision>
constexpr double tolerance() {
  if constexpr (std::is_same_v<Precision, Bf16>) return 8e-3;
  if constexpr (std::is_same_v<Precision, Fp16>) return 1e-3;
  if constexpr (std::is_same_v<Precision, Tf32>) return 1e-3;
  return 2e-6;
}

struct Sizes {
  std::int64_t samples, tokens, in, out;
  int rank, slots = 1;
  std::vector<std::int32_t> sample_slots{};
  Activation activation = Activation::none;
  double dropout = 0;
};

/// One adapted linear, its input and the gradient of its output, drawn alike on every device.
template <class Precision, class Device>
struct Layer {
  using P = Policy<Precision, Device>;
  using T = typename P::compute;
  using Space = typename Device::Space;

  Sizes sizes;
  Exec<Device> exec;
  Context<P> ctx{exec};
  adapters::LoraLinear<P> linear;
  nn::Parameter<T, 3, Space, T, T> x;
  Tensor<T, 3, Space> dy;

  explicit Layer(const Sizes& s) : sizes(s), linear(exec, s.in, s.out), x(draw({s.samples, s.tokens, s.in}, 1)) {
    dy = draw({s.samples, s.tokens, s.out}, 2);
    std::uint32_t site = 3;
    nn::for_each_leaf(linear, [&](auto leaf) {
      if (leaf.kind == nn::LeafKind::base)
        ops::fill_normal(exec, nn::tensor_of(leaf.tensor).view(), {5, site++, 0}, 0, 0.2);
    });
    linear.add(exec, {.name = "a", .rank = s.rank, .alpha = 2.5 * s.rank, .dropout = s.dropout, .slots = s.slots},
               {6, 1, 0});
    adapter().b.set(exec, [&](const auto& b) { ops::fill_normal(exec, b, {6, 2, 0}, 0, 0.3); });
  }

  auto& adapter() { return linear.adapters()[0]; }
  bool in_one_buffer() { return adapter().b.value().data_handle() == linear.base().weight().data_handle() + sizes.in; }

  Tensor<T, 3, Space> draw(const Shape<3>& shape, std::uint32_t site) {
    auto t = exec.template empty<T, 3>(shape);
    ops::fill_normal(exec, t.view(), {5, site, 0});
    return t;
  }
  template <class View>
  Doubles host(const View& view) {
    Doubles out;
    for (const auto value : to_host(exec, view)) out.push_back(cast<double>(value));
    return out;
  }
  template <class Leaf>
  Doubles gradient(const Leaf& leaf) {
    return host(leaf.slot().grad().cview());
  }

  auto forward() {
    ctx.set_sample_slots(sizes.sample_slots);
    exec.random() = {.seed = 9, .site = 4, .step = 1};
    return linear(ctx, x.var(), sizes.activation);
  }
  /// Output and the gradients of x, A and B, after so many backwards into the same slots.
  std::array<Doubles, 4> run(int times = 1) {
    std::array<Doubles, 4> out;
    for (int i = 0; i < times; ++i) {
      const auto y = forward();
      out[0] = host(y.value().cview());
      ctx.backward(y, dy);
    }
    out[1] = gradient(x), out[2] = gradient(adapter().a), out[3] = gradient(adapter().b);
    return out;
  }
};

/// The same in double, from the values as they are rounded.
template <class L>
std::array<Doubles, 4> exact(L& layer) {
  const Sizes& s = layer.sizes;
  const auto x = layer.host(layer.x.value().cview()), dy = layer.host(layer.dy.cview()),
             w = layer.host(layer.linear.base().weight().cview()), a = layer.host(layer.adapter().a.value().cview()),
             b = layer.host(layer.adapter().b.value().cview());
  Doubles bias(static_cast<std::size_t>(s.out));
  if (layer.linear.base().bias()) bias = layer.host(layer.linear.base().bias().cview());
  const double scale = 2.5;
  std::array<Doubles, 4> out{Doubles(dy.size()), Doubles(x.size()), Doubles(a.size()), Doubles(b.size())};
  const auto at = [](std::int64_t i) { return static_cast<std::size_t>(i); };
  for (std::int64_t m = 0; m < s.samples * s.tokens; ++m) {
    const std::int64_t slot = s.sample_slots.empty() ? 0 : s.sample_slots[at(m / s.tokens)];
    const std::int64_t a0 = slot * s.rank * s.in, b0 = slot * s.out * s.rank;
    Doubles t(at(s.rank)), dt(at(s.rank));
    for (std::int64_t r = 0; r < s.rank; ++r)
      for (std::int64_t i = 0; i < s.in; ++i) t[at(r)] += x[at(m * s.in + i)] * a[at(a0 + r * s.in + i)];
    for (std::int64_t o = 0; o < s.out; ++o) {
      double y = bias[at(o)];
      for (std::int64_t i = 0; i < s.in; ++i) y += x[at(m * s.in + i)] * w[at(o * s.in + i)];
      for (std::int64_t r = 0; r < s.rank; ++r) y += scale * t[at(r)] * b[at(b0 + o * s.rank + r)];
      double d = dy[at(m * s.out + o)];
      if (s.activation == Activation::gelu_tanh) {
        const double c = std::sqrt(2 / M_PI), inner = c * (y + 0.044715 * y * y * y), th = std::tanh(inner);
        d *= 0.5 * (1 + th) + 0.5 * y * (1 - th * th) * c * (1 + 3 * 0.044715 * y * y);
        y *= 0.5 * (1 + th);
      }
      out[0][at(m * s.out + o)] = y;
      for (std::int64_t i = 0; i < s.in; ++i) out[1][at(m * s.in + i)] += d * w[at(o * s.in + i)];
      for (std::int64_t r = 0; r < s.rank; ++r) {
        dt[at(r)] += scale * d * b[at(b0 + o * s.rank + r)];
        out[3][at(b0 + o * s.rank + r)] += scale * d * t[at(r)];
      }
    }
    for (std::int64_t r = 0; r < s.rank; ++r)
      for (std::int64_t i = 0; i < s.in; ++i) {
        out[1][at(m * s.in + i)] += dt[at(r)] * a[at(a0 + r * s.in + i)];
        out[2][at(a0 + r * s.in + i)] += dt[at(r)] * x[at(m * s.in + i)];
      }
  }
  return out;
}

template <class Precision>
void agrees_with_sums_in_double(const Sizes& sizes, bool in_one_buffer) {
  INFO("rank " << sizes.rank << ", " << sizes.in << " to " << sizes.out << ", slots " << sizes.slots);
  Layer<Precision, Cuda> layer(sizes);
  CHECK(layer.in_one_buffer() == in_one_buffer);
  auto wanted = exact(layer);
  auto got = layer.run();
  for (std::size_t i = 0; i < 4; ++i) {
    INFO("result " << i << " of y, dx, dA, dB");
    CHECK(support::distance(got[i], wanted[i]) < tolerance<Precision>());
  }
  // Gradients add up: two backwards more make three times as much.
  got = layer.run(2);
  for (std::size_t i = 1; i < 4; ++i) {
    for (double& v : wanted[i]) v *= 3;
    INFO("result " << i << " of y, dx, dA, dB, three times");
    CHECK(support::distance(got[i], wanted[i]) < tolerance<Precision>());
  }
}

}  // namespace

TEMPLATE_TEST_CASE("an adapted linear on a GPU and its gradients are those of sums in double", "[adapters]", Fp32, Tf32,
                   Bf16, Fp16) {
  constexpr bool narrow = sizeof(typename Policy<TestType, Cuda>::compute) == 2;
  const auto check = [](const Sizes& sizes, bool in_one_buffer) {
    agrees_with_sums_in_double<TestType>(sizes, in_one_buffer);
  };
  check({2, 40, 64, 48, 8}, narrow);
  check({1, 300, 128, 136, 64}, narrow);
  check({2, 33, 72, 64, 16, 1, {}, Activation::gelu_tanh}, narrow);
  check({1, 1, 8, 8, 8}, narrow);
  check({2, 40, 63, 50, 8}, false);
  check({2, 40, 64, 48, 3, 1, {}, Activation::gelu_tanh}, false);
  check({4, 30, 64, 48, 8, 3, {2, 0, 0, 2}}, false);
}

TEST_CASE("dropout of an adapter falls alike on a GPU and on the CPU", "[adapters]") {
  for (const Sizes& sizes : {Sizes{2, 40, 64, 48, 8, 1, {}, Activation::gelu_tanh, 0.4},
                             Sizes{3, 30, 63, 50, 5, 2, {1, 0, 1}, Activation::none, 0.2}}) {
    Layer<Fp32, Cuda> device(sizes);
    Layer<Fp32, Cpu> host(sizes);
    const auto got = device.run(), wanted = host.run();
    for (std::size_t i = 0; i < 4; ++i) CHECK(support::distance(got[i], wanted[i]) < 2e-6);
    CHECK(support::distance(got[0], exact(device)[0]) > 0.05);  // some of it was dropped
  }
}

TEMPLATE_TEST_CASE("a merged linear on a GPU answers alike, and unmerged with the same bits", "[adapters]", Fp32,
                   Bf16) {
  Layer<TestType, Cuda> layer({2, 40, 64, 48, 8});
  const auto answer = [&] {
    const NoGrad<typename Layer<TestType, Cuda>::P> off(layer.ctx);
    return layer.host(layer.forward().value().cview());
  };
  const auto before = answer();
  layer.linear.merge(layer.exec);
  const auto merged = answer();
  CHECK(support::distance(merged, before) < tolerance<TestType>());
  CHECK((merged != before));
  layer.linear.unmerge();
  CHECK((answer() == before));
}
