// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#include "segue/functional/residual.hpp"

#include "functional/operators.hpp"
#include "segue/functional/modulation_table.hpp"
#include "segue/functional/norm.hpp"
#include "segue/functional/shape.hpp"

using namespace functional_test;

namespace {

const char* const file = "ops_norm.safetensors";

template <class Precision>
struct GatedCase : Recorded<Precision> {
  Activated<typename Precision::compute, 3> x, h;
  nn::Parameter<float, 3, HostSpace> table;
  Tensor<std::int32_t, 1, HostSpace> group;
  std::int64_t rows_per_group = 0;

  explicit GatedCase(const std::string& case_name) : Recorded<Precision>(file, case_name) {
    const auto groups = this->template parameter<std::int64_t>("groups");
    x = this->template activation<3>("x");
    h = this->template activation<3>("branch");
    const std::int64_t batch = x.shape()[0], tokens = x.shape()[1], dim = x.shape()[2];
    table = nn::Parameter<float, 3, HostSpace>(this->template tensor<3, float>("table", {batch * groups, 6, dim}));
    if (groups == 1) {
      rows_per_group = tokens;
      return;
    }
    const auto recorded = this->template tensor<2, std::int32_t>("group");
    group = this->exec.template empty<std::int32_t, 1>({batch * tokens});
    for (std::int64_t i = 0; i < group.size(); ++i)
      group(i) = recorded.data_handle()[i] + static_cast<std::int32_t>(i / tokens * groups);
  }
  std::size_t row(const char* key) const {
    return static_cast<std::size_t>(this->template parameter<std::int64_t>(key));
  }
  functional::Gate<Var<float, 2, HostSpace>> gate(const Var<float, 2, HostSpace>& value) const {
    return {value, group, rows_per_group};
  }
};

template <class Precision>
void gated_as_recorded(const std::string& name) {
  GatedCase<Precision> r(name);
  const auto parts = functional::unbind<6>(r.ctx, r.table.var());
  const auto y = functional::gated_residual(r.ctx, r.x.var(), r.h.var(), r.gate(parts[r.row("gate_row")]));
  r.expect(y.value(), "y");
  r.ctx.backward(y, r.template tensor<3>("dy"));
  r.expect_gradient(r.x, "dx");
  r.expect_gradient(r.h, "dbranch");
  r.expect_gradient(r.table, "dtable");
}

}  // namespace

TEST_CASE("gated residuals agree with PyTorch") {
  for (const char* name : {"gated_residual_g1", "gated_residual_g2", "gated_residual_g2_shared"})
    gated_as_recorded<Fp32>(name);
}

TEST_CASE("gated residuals of narrow types stay close to PyTorch") {
  gated_as_recorded<Bf16>("gated_residual_g2");
  gated_as_recorded<Fp16>("gated_residual_g1");
}

TEST_CASE("a residual whose sum goes on beside its norm agrees with PyTorch") {
  GatedCase<Fp32> r("gated_residual_modulate");
  const auto parts = functional::unbind<6>(r.ctx, r.table.var());
  const auto h = functional::gated_residual(r.ctx, r.x.var(), r.h.var(), r.gate(parts[r.row("gate_row")]));
  const Tensor<float, 1, HostSpace> none;
  const functional::Modulation<Var<float, 2, HostSpace>> modulation{
      parts[r.row("scale_row")], parts[r.row("shift_row")], r.group, r.rows_per_group};
  const auto y = functional::layer_norm(r.ctx, h, none, none, modulation, r.parameter<double>("eps"));
  r.expect(h.value(), "h");
  r.expect(y.value(), "y");
  r.ctx.backward(functional::add(r.ctx, functional::multiply(r.ctx, h, r.tensor<3>("dh")),
                                 functional::multiply(r.ctx, y, r.tensor<3>("dy"))));
  r.expect_gradient(r.x, "dx");
  r.expect_gradient(r.h, "dbranch");
  r.expect_gradient(r.table, "dtable");
}

TEST_CASE("gradients of residuals agree with central differences") {
  const auto check = [](const Shape<3>& shape) {
    Bench<Fp64> bench;
    auto x = bench.activation<3>(shape);
    auto h = bench.activation<3>(shape);
    auto gate = bench.weight<2>({shape[0], shape[2]});
    check_operator(
        "gated", bench,
        [&](auto& ctx, const auto& xv, const auto& hv, const auto& g) {
          return functional::gated_residual(ctx, xv, hv,
                                            functional::Gate<std::remove_cvref_t<decltype(g)>>{g, {}, shape[1]});
        },
        x, h, gate);
    check_operator(
        "plain", bench, [](auto& ctx, const auto& xv, const auto& hv) { return functional::residual(ctx, xv, hv); }, x,
        h);
    check_operator(
        "x + gate·x", bench,
        [&](auto& ctx, const auto& xv, const auto& g) {
          return functional::gated_residual(ctx, xv, xv,
                                            functional::Gate<std::remove_cvref_t<decltype(g)>>{g, {}, shape[1]});
        },
        x, gate);
    auto row = bench.activation<2>({shape[0], shape[2]});
    check_operator(
        "one row for all tokens", bench,
        [](auto& ctx, const auto& xv, const auto& r) { return functional::add_to_tokens(ctx, xv, r); }, x, row);
  };
  check({2, 3, 5});
  check({1, 1, 1});
  check({0, 2, 3});
  check({2, 65, 2});
}

TEST_CASE("add_to_tokens adds a sample's row to its tokens and names what does not fit") {
  Bench<Fp32> bench;
  const auto x = bench.random<3>({2, 3, 4});
  const auto row = bench.random<2>({2, 4});
  const auto y = functional::add_to_tokens(bench.ctx, x, row);
  for (int s = 0; s < 2; ++s)
    for (int t = 0; t < 3; ++t)
      for (int c = 0; c < 4; ++c) CHECK(y(s, t, c) == x(s, t, c) + row(s, c));
  CHECK(message_of<InputError>([&] {
          (void)functional::add_to_tokens(bench.ctx, x, bench.random<2>({3, 4}));
        }) == "add_to_tokens: shape of row is (3, 4), expected (2, 4)");
}

TEST_CASE("a residual keeps its branch only if the gate trains") {
  Bench<Fp32> bench;
  const auto x = bench.activation<2>({64, 256});
  auto gate = bench.weight<2>({1, 256});
  const auto bytes_kept = [&] {
    const std::size_t before = bench.exec.pool().statistics().current_bytes;
    std::size_t held = 0;
    {
      const auto y = functional::gated_residual(bench.ctx, x.var(), functional::scale(bench.ctx, x.var(), 2.0),
                                                functional::Gate<Var<float, 2, HostSpace>>{gate.var(), {}, 64});
      held = bench.exec.pool().statistics().current_bytes - before;
      CHECK(y.requires_grad());
    }
    bench.ctx.tape().clear();
    return held;
  };
  const std::size_t one = 64 * 256 * sizeof(float);
  CHECK(bytes_kept() == 2 * one);
  gate.set_trains(false);
  CHECK(bytes_kept() == one);
}

TEST_CASE("gradients of a learned table agree with central differences") {
  const auto check = [](std::int64_t s, std::int64_t n, std::int64_t c, bool broadcast) {
    Bench<Fp64> bench;
    auto table = bench.weight<3>({1, n, c});
    auto x = bench.activation<3>({s, broadcast ? 1 : n, c});
    check_operator(
        "add_table", bench, [](auto& ctx, const auto& t, const auto& xv) { return functional::add_table(ctx, t, xv); },
        table, x);
  };
  check(3, 6, 5, false);
  check(3, 6, 5, true);
  check(1, 2, 4, true);
  check(4, 1, 1, true);
  check(0, 2, 3, true);
  check(70, 2, 3, false);
}

TEST_CASE("a table sees a gradient whose rows lie apart as it sees a packed one") {
  Bench<Fp32> bench;
  auto table = bench.weight<3>({1, 3, 4});
  const auto x = bench.activation<3>({2, 1, 4});
  const auto apart = bench.random<3>({2, 3, 7}).slice(2, 1, 5);
  const auto gradients = [&](const Tensor<float, 3, HostSpace>& dy) {
    x.slot().reset();
    table.slot().reset();
    bench.ctx.backward(functional::add_table(bench.ctx, table.var(), x.var()), dy);
    return std::pair(to_host(bench.exec, table.slot().grad().view()), to_host(bench.exec, x.slot().grad().view()));
  };
  CHECK((gradients(apart) == gradients(functional::detail::packed(bench.exec, apart))));
}

TEST_CASE("add_table adds the table to every sample and names what does not fit") {
  Bench<Fp32> bench;
  const auto table = bench.random<3>({1, 2, 3});
  const auto x = bench.random<3>({2, 1, 3});
  const auto y = functional::add_table(bench.ctx, table, x);
  for (int s = 0; s < 2; ++s)
    for (int n = 0; n < 2; ++n)
      for (int c = 0; c < 3; ++c) CHECK(y(s, n, c) == table(0, n, c) + x(s, 0, c));
  CHECK(message_of<InputError>([&] {
          (void)functional::add_table(bench.ctx, table, bench.random<3>({2, 3, 3}));
        }) == "add_table: shape of x is (2, 3, 3), expected (2, 2, 3) or (2, 1, 3)");
}
