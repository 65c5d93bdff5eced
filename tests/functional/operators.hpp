// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "segue/cpu.hpp"
#include "segue/functional/elementwise.hpp"
#include "segue/nn/parameter.hpp"
#include "segue/testing/check_gradients.hpp"
#include "segue/testing/golden.hpp"
#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/paths.hpp"

/// What the tests of differentiable operators share.
namespace functional_test {

using namespace segue;
using support::contains;
using support::message_of;

/// Memory that nobody wrote reads as NaN: an operator that reads it is found out.
class NanAllocator final : public Allocator {
 public:
  void* allocate(std::size_t bytes) noexcept override {
    void* memory = heap_.allocate(bytes);
    if (memory) std::memset(memory, 0xFF, bytes);
    return memory;
  }
  void deallocate(void* pointer, std::size_t bytes) noexcept override { heap_.deallocate(pointer, bytes); }

 private:
  HostAllocator heap_;
};

inline Exec<Cpu>::Options nan_memory() {
  return {.threads = 2, .seed = 11, .allocator = std::make_shared<NanAllocator>()};
}

/// An activation that carries a gradient of its own type, as inside a model.
template <class T, int Rank>
using Activated = nn::Parameter<T, Rank, HostSpace, T, T>;

template <class Precision>
struct Bench {
  using P = Policy<Precision, Cpu>;
  using T = typename P::compute;
  using Grad = typename P::grad;

  Exec<Cpu> exec{nan_memory()};
  Context<P> ctx{exec};

  /// Standard normals.
  template <int Rank, class U = T>
  Tensor<U, Rank, HostSpace> random(const Shape<Rank>& shape, double scale = 1, double mean = 0) {
    auto t = exec.template empty<U, Rank>(shape);
    ops::fill_normal(exec, t.view(), exec.random().next(), mean, scale);
    return t;
  }
  template <int Rank>
  Activated<T, Rank> activation(const Shape<Rank>& shape, double scale = 1, double mean = 0) {
    return Activated<T, Rank>(random<Rank>(shape, scale, mean));
  }
  template <int Rank, class U = T>
  nn::Parameter<U, Rank, HostSpace, Grad, typename P::master> weight(const Shape<Rank>& shape, double scale = 1,
                                                                     double mean = 0) {
    return nn::Parameter<U, Rank, HostSpace, Grad, typename P::master>(random<Rank, U>(shape, scale, mean));
  }
};

/// A case that PyTorch recorded, in any precision.
template <class Precision>
struct Recorded : Bench<Precision> {
  using T = typename Bench<Precision>::T;
  using Grad = typename Bench<Precision>::Grad;
  using P = typename Bench<Precision>::P;
  using Storage = typename P::storage;

  testing::Golden golden;
  std::string name;
  double atol = 1e-5, rtol = 1e-5;

  Recorded(const std::string& file, std::string case_name)
      : golden((support::golden_dir() / file).string()), name(std::move(case_name)) {}

  io::Json parameters() const { return golden.parameters(name); }
  template <class U>
  U parameter(std::string_view key) const {
    return parameters().template get<U>(key, name);
  }
  bool has(const std::string& tensor) const { return golden.contains(name + "." + tensor); }
  std::vector<std::int64_t> shape(const std::string& tensor) const {
    const auto& extents = golden.info(name + "." + tensor).shape;
    return {extents.begin(), extents.end()};
  }

  template <int Rank, class U = T>
  Tensor<U, Rank, HostSpace> tensor(const std::string& t) {
    return golden.tensor<U, Rank>(this->exec, name + "." + t);
  }
  template <int Rank, class U = T>
  Tensor<U, Rank, HostSpace> tensor(const std::string& t, const Shape<Rank>& as) {
    return golden.tensor<U, Rank>(this->exec, name + "." + t, as);
  }
  template <int Rank>
  Activated<T, Rank> activation(const std::string& t) {
    return Activated<T, Rank>(tensor<Rank>(t));
  }
  template <int Rank>
  Activated<T, Rank> activation(const std::string& t, const Shape<Rank>& as) {
    return Activated<T, Rank>(tensor<Rank>(t, as));
  }
  /// A weight that trains; with no such tensor in the file it is absent.
  template <int Rank, class U = T>
  auto weight(const std::string& t) {
    using Leaf = nn::Parameter<U, Rank, HostSpace, Grad, typename P::master>;
    return has(t) ? Leaf(tensor<Rank, U>(t)) : Leaf();
  }
  template <int Rank, class U = T>
  auto weight(const std::string& t, const Shape<Rank>& as) {
    return nn::Parameter<U, Rank, HostSpace, Grad, typename P::master>(tensor<Rank, U>(t, as));
  }

  /// float to a tolerance an element; narrow types by the norm of the difference.
  template <class U, int Rank>
  void expect(const Tensor<U, Rank, HostSpace>& got, const std::string& t) {
    INFO(name + "." + t);
    REQUIRE(got);
    const auto want = golden.tensor<double, Rank>(this->exec, name + "." + t, got.shape());
    if constexpr (std::is_same_v<Storage, float>) {
      const auto answer = testing::allclose(got, want, atol, rtol);
      INFO(answer.message);
      CHECK(answer.ok);
    } else {
      CHECK(testing::relative_error(got, want) < (std::is_same_v<Storage, bfloat16> ? 2e-2 : 3e-3));
    }
  }
  template <class Leaf>
  void expect_gradient(const Leaf& leaf, const std::string& t) {
    if (!leaf.slot().filled()) FAIL(name + "." + t + " was not computed");
    expect(leaf.slot().grad(), t);
  }
};

template <class T, int Rank>
bool same_bits(const Tensor<T, Rank, HostSpace>& a, const Tensor<T, Rank, HostSpace>& b) {
  return a.shape() == b.shape() && a.view().is_contiguous() && b.view().is_contiguous() &&
         (a.size() == 0 ||
          std::memcmp(a.data_handle(), b.data_handle(), static_cast<std::size_t>(a.size()) * sizeof(T)) == 0);
}

/// Σ a·b in double.
template <class T, int Rank>
double inner(const Tensor<T, Rank, HostSpace>& a, const Tensor<T, Rank, HostSpace>& b) {
  REQUIRE(a.shape() == b.shape());
  double sum = 0;
  for (std::int64_t i = 0; i < a.size(); ++i) sum += a.data_handle()[i] * b.data_handle()[i];
  return sum;
}

/// Checks an operator `f(ctx, x...) -> value` in double, over leaves that all train:
///   - the gradients agree with central differences, where the operator is used twice, so that each leaf receives a
///     gradient that overwrites and one that accumulates, and where its output is kept by a consumer;
///   - keeping activations or rebuilding them from recipes gives the same bits, and so do repeated runs;
///   - a leaf that is frozen receives nothing and changes no other gradient;
///   - planning takes the same memory at its peak as running;
///   - over plain tensors the result is a plain tensor with the same bits, and nothing is recorded (not asked of
///     operators that take a `Var` only: TakesTensors = false).
template <bool TakesTensors = true, class F, class... Leaf>
void check_operator(const std::string& name, Bench<Fp64>& bench, F&& f, Leaf&... leaf) {
  INFO(name);
  auto& ctx = bench.ctx;
  const RandomState draws = bench.exec.random();
  const auto run = [&] {
    bench.exec.random() = draws;
    const auto once = f(ctx, leaf.var()...);
    const auto again = f(ctx, leaf.var()...);
    return functional::add(ctx, functional::multiply(ctx, once, once), functional::scale(ctx, again, 0.75));
  };
  const auto plain = [&] {
    const NoGrad<Policy<Fp64, Cpu>> off(ctx);
    return run().value();
  };
  const auto first = plain();
  CHECK(ctx.tape().size() == 0);
  bench.exec.random() = {.seed = 99};
  const auto seed = bench.random<std::remove_cvref_t<decltype(first)>::rank()>(first.shape());

  const auto gradients = [&](Recompute level) {
    (leaf.slot().reset(), ...);
    bench.exec.pool().trim();
    ctx.set_recompute(level);
    const auto y = run();
    CHECK(same_bits(y.value(), first));
    ctx.backward(y, seed);
    return std::tuple(leaf.slot().grad()...);
  };
  const auto rebuilt = gradients(Recompute::cheap);
  const auto kept = gradients(Recompute::none);
  const auto repeated = gradients(Recompute::cheap);
  [&]<std::size_t... I>(std::index_sequence<I...>) {
    const auto check = [&](const auto& a, const auto& b, const auto& c) {
      CHECK(same_bits(a, b));
      CHECK(same_bits(a, c));
    };
    (check(std::get<I>(rebuilt), std::get<I>(kept), std::get<I>(repeated)), ...);

    const auto loss = [&] { return inner(plain(), seed); };
    const auto answer = testing::check_gradients(
        loss, {testing::GradientInput("input " + std::to_string(I), leaf.value(), std::get<I>(rebuilt))...},
        {.step = 1e-5, .atol = 2e-7, .rtol = 2e-6, .most_elements = 60});
    INFO(answer.message);
    CHECK(answer.ok);

    const auto freeze = [&](auto& frozen, std::size_t at) {
      if (sizeof...(Leaf) == 1) return;
      INFO("input " + std::to_string(at) + " is frozen");
      frozen.set_trains(false);
      (leaf.slot().reset(), ...);
      ctx.backward(run(), seed);
      frozen.set_trains(true);
      CHECK_FALSE(frozen.slot().filled());
      const auto same = [&](const auto& other, const auto& before, std::size_t index) {
        if (index != at) CHECK(same_bits(other.slot().grad(), before));
      };
      (same(leaf, std::get<I>(rebuilt), I), ...);
    };
    (freeze(leaf, I), ...);
  }
  (std::index_sequence_for<Leaf...>{});

  // Planning hands out addresses without memory: an operator that touched them would crash.
  const auto peak = [&](bool planning) {
    (leaf.slot().reset(), ...);
    bench.exec.pool().reset_peak();
    const std::size_t before = bench.exec.pool().statistics().current_bytes;
    bench.exec.set_planning(planning);
    ctx.backward(run(), seed);
    (leaf.slot().reset(), ...);
    bench.exec.set_planning(false);
    return bench.exec.pool().statistics().peak_bytes - before;
  };
  CHECK(peak(true) == peak(false));

  if constexpr (TakesTensors) {
    bench.exec.random() = draws;
    const auto with_var = f(ctx, leaf.var()...).value();
    ctx.tape().clear();
    bench.exec.random() = draws;
    const auto without = f(ctx, leaf.value()...);
    static_assert(is_tensor<std::remove_cvref_t<decltype(without)>>, "tensors in, tensor out");
    CHECK(same_bits(with_var, without));
    CHECK(ctx.tape().size() == 0);
  }
}

}  // namespace functional_test
