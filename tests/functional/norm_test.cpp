// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#include "segue/functional/norm.hpp"

#include "functional/operators.hpp"
#include "segue/functional/shape.hpp"

using namespace functional_test;

namespace {

const char* const file = "ops_norm.safetensors";

/// The token's row in tables of all samples: sample · groups + group.
template <class Precision>
Tensor<std::int32_t, 1, HostSpace> table_rows(Recorded<Precision>& r, std::int64_t groups) {
  const auto group = r.template tensor<2, std::int32_t>("group");
  auto rows = r.exec.template empty<std::int32_t, 1>({group.size()});
  for (std::int64_t i = 0; i < group.size(); ++i)
    rows(i) = group.data_handle()[i] + static_cast<std::int32_t>(i / group.extent(1) * groups);
  return rows;
}

template <class Precision>
void norm_as_recorded(const std::string& name) {
  Recorded<Precision> r(file, name);
  const auto x = r.template activation<3>("x");
  const auto weight = r.template weight<1, float>("weight");
  const auto bias = r.template weight<1, float>("bias");
  const double eps = r.template parameter<double>("eps");
  const auto y = name.starts_with("layer_norm") ? functional::layer_norm(r.ctx, x.var(), weight.var(), bias.var(),
                                                                         functional::Unmodulated<HostSpace>{}, eps)
                                                : functional::rms_norm(r.ctx, x.var(), weight.var(), eps);
  // Rows far from zero, or tiny: what rounding x to float costs, times 1/deviation.
  if (name.ends_with("offset")) r.atol = 1e-4;
  r.expect(y.value(), "y");
  r.ctx.backward(y, r.template tensor<3>("dy"));
  if (name.ends_with("tiny")) r.rtol = 1e-4;
  r.expect_gradient(x, "dx");
  if (weight) r.expect_gradient(weight, "dweight");
  if (bias) r.expect_gradient(bias, "dbias");
}

template <class Precision>
void modulated_as_recorded(const std::string& name) {
  Recorded<Precision> r(file, name);
  const auto groups = r.template parameter<std::int64_t>("groups");
  const auto x = r.template activation<3>("x");
  const auto weight = r.template weight<1, float>("weight");
  const auto bias = r.template weight<1, float>("bias");
  const std::int64_t batch = x.shape()[0], tokens = x.shape()[1], dim = x.shape()[2];
  const auto table = r.template weight<3, float>("table", {batch * groups, 6, dim});
  const auto parts = functional::unbind<6>(r.ctx, table.var());
  functional::Modulation<Var<float, 2, HostSpace>> modulation{
      parts[static_cast<std::size_t>(r.template parameter<std::int64_t>("scale_row"))],
      parts[static_cast<std::size_t>(r.template parameter<std::int64_t>("shift_row"))]};
  if (groups == 1)
    modulation.rows_per_group = tokens;
  else
    modulation.group = table_rows(r, groups);
  const auto y =
      functional::layer_norm(r.ctx, x.var(), weight.var(), bias.var(), modulation, r.template parameter<double>("eps"));
  r.expect(y.value(), "y");
  r.ctx.backward(y, r.template tensor<3>("dy"));
  r.expect_gradient(x, "dx");
  r.expect_gradient(table, "dtable");
  if (weight) r.expect_gradient(weight, "dweight");
  if (bias) r.expect_gradient(bias, "dbias");
}

std::vector<std::string> cases(const std::string& prefix) {
  const testing::Golden golden((support::golden_dir() / file).string());
  std::vector<std::string> found;
  for (const auto& tensor : golden.names())
    if (tensor.starts_with(prefix) && tensor.ends_with(".y")) found.push_back(tensor.substr(0, tensor.size() - 2));
  return found;
}

}  // namespace

TEST_CASE("layer_norm agrees with PyTorch") {
  CHECK(cases("layer_norm").size() == 6);
  for (const auto& name : cases("layer_norm")) norm_as_recorded<Fp32>(name);
}

TEST_CASE("rms_norm agrees with PyTorch") {
  int count = 0;
  for (const auto& name : cases("rms_norm")) {
    if (name.starts_with("rms_norm_rope")) continue;
    norm_as_recorded<Fp32>(name);
    ++count;
  }
  CHECK(count == 6);
}

TEST_CASE("modulated layer_norm agrees with PyTorch, rows of the table that nobody uses included") {
  CHECK(cases("modulate_layer_norm").size() == 5);
  for (const auto& name : cases("modulate_layer_norm")) modulated_as_recorded<Fp32>(name);
}

TEST_CASE("norms of narrow types stay close to PyTorch") {
  norm_as_recorded<Bf16>("layer_norm_affine");
  norm_as_recorded<Fp16>("rms_norm_affine");
  modulated_as_recorded<Bf16>("modulate_layer_norm_affine_g2");
}

TEST_CASE("gradients of the norms agree with central differences") {
  const auto check = [](const Shape<3>& shape) {
    Bench<Fp64> bench;
    const std::int64_t dim = shape[2];
    auto x = bench.activation<3>(shape, 1.5, 0.3);
    auto weight = bench.weight<1>({dim}, 0.4, 1.0);
    auto bias = bench.weight<1>({dim}, 0.4);
    auto scale = bench.weight<2>({shape[0], dim}, 0.5);
    auto shift = bench.weight<2>({shape[0], dim}, 0.5);
    const Tensor<double, 1, HostSpace> none;
    check_operator(
        "layer_norm", bench,
        [&](auto& ctx, const auto& xv) {
          return functional::layer_norm(ctx, xv, none, none, functional::Unmodulated<HostSpace>{}, 1e-5);
        },
        x);
    check_operator(
        "affine layer_norm", bench,
        [&](auto& ctx, const auto& xv, const auto& w, const auto& b) {
          return functional::layer_norm(ctx, xv, w, b, functional::Unmodulated<HostSpace>{}, 1e-5);
        },
        x, weight, bias);
    check_operator(
        "affine and modulated layer_norm", bench,
        [&](auto& ctx, const auto& xv, const auto& w, const auto& b, const auto& s, const auto& t) {
          const functional::Modulation<std::remove_cvref_t<decltype(s)>> m{s, t, {}, shape[1]};
          return functional::layer_norm(ctx, xv, w, b, m, 1e-5);
        },
        x, weight, bias, scale, shift);
    check_operator(
        "rms_norm", bench,
        [&](auto& ctx, const auto& xv, const auto& w) { return functional::rms_norm(ctx, xv, w, 1e-5); }, x, weight);
  };
  check({2, 3, 7});
  check({3, 1, 2});
  check({1, 1, 1});
  check({0, 4, 5});
  check({1, 70, 3});
}

TEST_CASE("tokens of one table row may lie anywhere") {
  Bench<Fp64> bench;
  auto x = bench.activation<2>({5, 4});
  auto scale = bench.weight<2>({3, 4}, 0.5);
  auto shift = bench.weight<2>({3, 4}, 0.5);
  auto group = bench.exec.empty<std::int32_t, 1>({5});
  const std::int32_t rows[] = {2, 0, 2, 2, 0};  // row 1: nobody
  for (int i = 0; i < 5; ++i) group(i) = rows[i];
  const Tensor<double, 1, HostSpace> none;
  check_operator(
      "grouped", bench,
      [&](auto& ctx, const auto& xv, const auto& s, const auto& t) {
        const functional::Modulation<std::remove_cvref_t<decltype(s)>> m{s, t, group, 0};
        return functional::layer_norm(ctx, xv, none, none, m, 1e-5);
      },
      x, scale, shift);
  bench.ctx.backward(
      functional::layer_norm(bench.ctx, x.var(), none, none,
                             functional::Modulation<Var<double, 2, HostSpace>>{scale.var(), shift.var(), group}, 1e-5),
      bench.random<2>({5, 4}));
  CHECK(shift.slot().grad()(1, 2) == 0.0);
  CHECK(shift.slot().grad()(2, 2) != 0.0);
}

TEST_CASE("only what a caller wants of two gradients that are written together is written") {
  Bench<Fp32> bench;
  const auto x = bench.random<2>({5, 4});
  const auto weight = bench.weight<1>({4});
  const auto bias = bench.weight<1>({4});
  const functional::Unmodulated<HostSpace> none;
  const auto seed = bench.random<2>({5, 4});
  // The bias has a gradient already, the weight has none: one accumulates, the other overwrites.
  bias.slot().add(bench.exec, bench.random<1>({4}));
  auto before = bench.exec.empty<float, 1>({4});
  ops::copy(bench.exec, bias.slot().grad().cview(), before.view());
  bench.ctx.backward(functional::layer_norm(bench.ctx, x, weight.var(), bias.var(), none, 1e-5), seed);
  for (int c = 0; c < 4; ++c) {
    float sum = 0;
    for (int r = 0; r < 5; ++r) sum += seed(r, c);
    CHECK(std::abs(bias.slot().grad()(c) - before(c) - sum) < 1e-5f);
  }
  const auto together = weight.slot().take();
  bench.ctx.backward(functional::layer_norm(bench.ctx, x, weight.var(), bias.value(), none, 1e-5), seed);
  CHECK(same_bits(weight.slot().grad(), together));
}

TEST_CASE("the norms keep x and their row statistics, not y") {
  Bench<Fp32> bench;
  const auto x = bench.activation<2>({64, 256});
  const Tensor<float, 1, HostSpace> none;
  for (const Recompute level : {Recompute::none, Recompute::cheap}) {
    bench.ctx.set_recompute(level);
    const std::size_t before = bench.exec.pool().statistics().current_bytes;
    {
      // A consumer that keeps its input: with recipes it keeps x, which is kept anyway.
      const auto weight = bench.weight<2>({8, 256});
      const auto z = functional::multiply(
          bench.ctx, functional::layer_norm(bench.ctx, x.var(), none, none, functional::Unmodulated<HostSpace>{}, 1e-5),
          bench.random<2>({64, 256}));
      const std::size_t held = bench.exec.pool().statistics().current_bytes - before;
      const std::size_t statistics = 2 * 256, other = 64 * 256 * sizeof(float), result = 64 * 256 * sizeof(float);
      const std::size_t expected = statistics + other + result + 8 * 256 * sizeof(float);
      CHECK(held == expected + (level == Recompute::none ? 64 * 256 * sizeof(float) : 0));
      CHECK(z.requires_grad());
    }
    bench.ctx.tape().clear();
  }
}
