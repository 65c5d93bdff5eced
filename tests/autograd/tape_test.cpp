// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#include <memory>
#include <thread>
#include <vector>

#include "segue/autograd/checkpoint.hpp"
#include "segue/cpu.hpp"
#include "segue/functional/elementwise.hpp"
#include "segue/functional/shape.hpp"
#include "segue/nn/parameter.hpp"
#include "support/catch.hpp"
#include "support/errors.hpp"

using namespace segue;
using support::message_of;

namespace {

using P = Policy<Fp32, Cpu>;
using Values = Tensor<float, 1, HostSpace>;
using Leaf = nn::Parameter<float, 1, HostSpace>;

Values make(Exec<Cpu>& exec, const std::vector<float>& values) {
  auto t = exec.empty<float, 1>({static_cast<std::int64_t>(values.size())});
  for (std::size_t i = 0; i < values.size(); ++i) t(i) = values[i];
  return t;
}

std::vector<float> list(const Values& t) {
  std::vector<float> out;
  for (std::int64_t i = 0; i < t.size(); ++i) out.push_back(t(i));
  return out;
}

}  // namespace

TEST_CASE("a value used twice receives the sum of both gradients") {
  Exec<Cpu> exec;
  Context<P> ctx(exec);
  const Leaf x(make(exec, {1, 2, 3}));
  const auto y = functional::add(ctx, functional::scale(ctx, x.var(), 3.0), x.var());
  CHECK(list(y.value()) == std::vector<float>{4, 8, 12});
  ctx.backward(y);
  CHECK(list(x.slot().grad()) == std::vector<float>{4, 4, 4});
}

TEST_CASE("a shared gradient buffer is never written in place") {
  Exec<Cpu> exec;
  Context<P> ctx(exec);
  const Leaf a(make(exec, {1, 1})), b(make(exec, {1, 1}));
  // add hands the same buffer to both inputs; a then receives a second contribution.
  const auto y = functional::add(ctx, functional::add(ctx, a.var(), b.var()), a.var());
  ctx.backward(y);
  CHECK(list(a.slot().grad()) == std::vector<float>{2, 2});
  CHECK(list(b.slot().grad()) == std::vector<float>{1, 1});
}

TEST_CASE("the first contribution is moved in, a later one is added in place where nobody else looks") {
  Exec<Cpu> exec;
  GradSlot<float, 1, HostSpace> slot;
  auto first = make(exec, {1, 2});
  const float* memory = first.data_handle();
  slot.add(exec, std::move(first));
  CHECK(slot.grad().data_handle() == memory);
  slot.add(exec, make(exec, {10, 20}));
  CHECK(slot.grad().data_handle() == memory);
  CHECK(list(slot.grad()) == std::vector<float>{11, 22});
  const Values held = slot.grad();
  slot.add(exec, make(exec, {100, 200}));
  CHECK(slot.grad().data_handle() != memory);
  CHECK(list(held) == std::vector<float>{11, 22});
  CHECK(list(slot.grad()) == std::vector<float>{111, 222});
}

TEST_CASE("an opened slot overwrites first and accumulates later") {
  Exec<Cpu> exec;
  GradSlot<float, 1, HostSpace> slot;
  CHECK(slot.open(exec, {2}).mode == ops::GradMode::overwrite);
  ops::fill(exec, 3.0, slot.grad().view());
  const Values held = slot.grad();
  const auto again = slot.open(exec, {2});
  CHECK(again.mode == ops::GradMode::accumulate);
  CHECK(again.value.data_handle() != held.data_handle());
  CHECK(list(slot.grad()) == std::vector<float>{3, 3});
}

TEST_CASE("constants record nothing, and nothing is recorded under NoGrad") {
  Exec<Cpu> exec;
  Context<P> ctx(exec);
  const Values plain = make(exec, {1, 2});
  static_assert(is_tensor<decltype(functional::scale(ctx, plain, 2.0))>);
  const Var<float, 1, HostSpace> constant(plain);
  const auto y = functional::add(ctx, functional::scale(ctx, constant, 2.0), constant);
  CHECK(ctx.tape().size() == 0);
  CHECK_FALSE(y.requires_grad());
  CHECK(message_of([&] { ctx.backward(y); }).find("constant") != std::string::npos);
  const Leaf x(make(exec, {1, 2}));
  {
    const NoGrad<P> off(ctx);
    CHECK_FALSE(functional::scale(ctx, x.var(), 2.0).requires_grad());
  }
  CHECK(ctx.tape().size() == 0);
  CHECK(functional::scale(ctx, x.var(), 2.0).requires_grad());
  CHECK(ctx.tape().size() == 1);
}

TEST_CASE("a value cannot be used after its tape ran") {
  Exec<Cpu> exec;
  Context<P> ctx(exec);
  const Leaf x(make(exec, {1}));
  const auto y = functional::scale(ctx, x.var(), 2.0);
  ctx.backward(y);
  CHECK(message_of([&] { (void)functional::scale(ctx, y, 2.0); }).find("after its tape ran backward") !=
        std::string::npos);
}

TEST_CASE("a node is destroyed as soon as it ran, and is skipped where no gradient arrived") {
  Exec<Cpu> exec;
  Context<P> ctx(exec);
  const Leaf x(make(exec, {1}));
  auto early = std::make_shared<int>(0), late = std::make_shared<int>(0), unused = std::make_shared<int>(0);
  long late_alive_when_early_ran = -1;
  const auto a = ctx.record(x.value(), [&, early](auto& e, Values dy) {
    late_alive_when_early_ran = late.use_count();
    ctx.target(x.var()).add(e, std::move(dy));
  });
  const auto b = ctx.record(a.value(), [late, to = ctx.target(a)](auto& e, Values dy) { to.add(e, std::move(dy)); });
  bool ran = false;
  (void)ctx.record(a.value(), [&ran, unused](auto&, Values) { ran = true; });
  CHECK(late.use_count() == 2);
  ctx.backward(b);
  CHECK(late_alive_when_early_ran == 1);
  CHECK(early.use_count() == 1);
  CHECK(unused.use_count() == 1);
  CHECK_FALSE(ran);
}

TEST_CASE("slices that nobody used count as zero in the gradient of unbind") {
  Exec<Cpu> exec;
  Context<P> ctx(exec);
  auto t = exec.empty<float, 3>({2, 3, 2});
  for (std::int64_t i = 0; i < t.size(); ++i) t.data_handle()[i] = static_cast<float>(i);
  const nn::Parameter<float, 3, HostSpace> x(t);
  const auto parts = functional::unbind<3>(ctx, x.var());
  CHECK(parts[1].value()(1, 1) == 9.0f);
  const auto y = functional::scale(ctx, parts[1], 5.0);
  ctx.backward(y);
  const auto g = x.slot().grad();
  for (std::int64_t s = 0; s < 2; ++s)
    for (std::int64_t n = 0; n < 3; ++n)
      for (std::int64_t c = 0; c < 2; ++c) CHECK(g(s, n, c) == (n == 1 ? 5.0f : 0.0f));
}

TEST_CASE("a recipe is rebuilt once for all its consumers and freed with the last") {
  Exec<Cpu> exec;
  int builds = 0;
  auto recipe = make_recipe<float, 1, HostSpace>([&builds](auto& e) {
    ++builds;
    auto t = e.template empty<float, 1>({64});
    ops::fill(e, 7.0, t.view());
    return t;
  });
  const std::size_t before = exec.pool().statistics().current_bytes;
  {
    Saved<float, 1, HostSpace> first(recipe);
    {
      const Saved<float, 1, HostSpace> second(recipe);
      recipe.reset();
      CHECK(exec.pool().statistics().current_bytes == before);
      CHECK(second.get(exec).data_handle() == first.get(exec).data_handle());
    }
    CHECK(first.get(exec)(63) == 7.0f);
    CHECK(builds == 1);
    CHECK(exec.pool().statistics().current_bytes > before);
  }
  CHECK(exec.pool().statistics().current_bytes == before);
}

TEST_CASE("a checkpointed block gives the gradient of the block, its dropout included") {
  Exec<Cpu> exec(Exec<Cpu>::Options{.seed = 5});
  Context<P> ctx(exec);
  std::vector<float> values(257);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = 0.01f * static_cast<float>(i) - 1.0f;
  const auto block = [](Context<P>& c, const Var<float, 1, HostSpace>& x) {
    return functional::silu(c, functional::dropout(c, functional::multiply(c, x, x), 0.4));
  };
  const auto run = [&](bool checkpointed) {
    exec.random() = RandomState{5, 0, 3};
    const Leaf x(make(exec, values));
    const auto h = functional::scale(ctx, x.var(), 1.5);
    const auto y = checkpointed ? checkpoint(ctx, block, h) : block(ctx, h);
    // A draw after the block: re-running must not shift it, nor be shifted by it.
    const auto z = functional::dropout(ctx, y, 0.2);
    const std::size_t nodes = ctx.tape().size();
    ctx.backward(z);
    return std::tuple(list(z.value()), list(x.slot().grad()), nodes, exec.random());
  };
  const auto [y0, g0, nodes0, random0] = run(false);
  const auto [y1, g1, nodes1, random1] = run(true);
  CHECK(y0 == y1);
  CHECK(g0 == g1);
  CHECK(random0 == random1);
  CHECK(nodes1 < nodes0);
}

TEST_CASE("a block whose inputs are constants is checkpointed only if it trains") {
  Exec<Cpu> exec;
  Context<P> ctx(exec);
  const Leaf w(make(exec, {2, 3}));
  const auto block = [&w](Context<P>& c, const Var<float, 1, HostSpace>& x) {
    return functional::multiply(c, x, w.var());
  };
  const Var<float, 1, HostSpace> x(make(exec, {5, 7}));
  const auto constant = checkpoint(
      ctx, [](auto& c, const auto& v) { return functional::silu(c, v); }, x);
  CHECK(!constant.requires_grad());
  CHECK(ctx.tape().size() == 0);
  const auto y = checkpoint(ctx, block, x);
  CHECK(ctx.tape().size() == 1);
  ctx.backward(y);
  CHECK(list(w.slot().grad()) == std::vector<float>{5, 7});
}

TEST_CASE("tapes of two contexts live side by side on two threads") {
  const auto work = [] {
    Exec<Cpu> exec(Exec<Cpu>::Options{.threads = 1});
    Context<P> ctx(exec);
    float sum = 0;
    for (int i = 0; i < 50; ++i) {
      const Leaf x(make(exec, {1, 2}));
      ctx.backward(functional::multiply(ctx, x.var(), x.var()));
      sum += x.slot().grad()(1);
    }
    return sum;
  };
  float other = 0;
  std::thread thread([&] { other = work(); });
  const float mine = work();
  thread.join();
  CHECK(mine == 200.0f);
  CHECK(other == 200.0f);
}

TEST_CASE("after a warm-up step nothing is allocated from the system") {
  Exec<Cpu> exec;
  Context<P> ctx(exec);
  const Leaf x(make(exec, std::vector<float>(100, 1.0f)));
  const auto step = [&] {
    ctx.backward(functional::silu(ctx, functional::multiply(ctx, x.var(), x.var())));
    x.slot().clear();
  };
  step();
  const auto warm = exec.pool().statistics().system_allocations;
  for (int i = 0; i < 10; ++i) step();
  CHECK(exec.pool().statistics().system_allocations == warm);
}
