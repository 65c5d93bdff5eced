// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

// Products and sums as PyTorch gave them.
#include "segue/ops/cpu/gemm.hpp"
#include "segue/ops/cpu/reduce.hpp"
#include "segue/testing/allclose.hpp"
#include "segue/testing/golden.hpp"
#include "support/catch.hpp"
#include "support/operands.hpp"
#include "support/paths.hpp"

using namespace segue;

namespace {

void check_close(const Tensor<float, 2, HostSpace>& got, const Tensor<float, 2, HostSpace>& expected) {
  const auto answer = testing::allclose(got, expected, 1e-5, 1e-5);
  INFO(answer.message);
  CHECK(answer.ok);
}

}  // namespace

TEST_CASE("golden: gemm") {
  const testing::Golden file((support::golden_dir() / "ops_linear.safetensors").string());
  Exec<Cpu> exec;
  int cases = 0;
  for (const auto& tensor : file.names()) {
    if (!tensor.starts_with("gemm_") || !tensor.ends_with(".ab")) continue;
    const std::string name = tensor.substr(0, tensor.size() - 3);
    INFO(name);
    const io::Json parameters = file.parameters(name);
    const auto ta = parameters.get<bool>("trans_a", name) ? ops::Transpose::yes : ops::Transpose::no;
    const auto tb = parameters.get<bool>("trans_b", name) ? ops::Transpose::yes : ops::Transpose::no;
    const ops::GemmScale scale{parameters.get<double>("alpha", name), parameters.get<double>("beta", name)};
    const auto a = file.tensor<float, 2>(exec, name + ".a"), b = file.tensor<float, 2>(exec, name + ".b");
    const auto c = file.tensor<float, 2>(exec, name + ".c");
    const auto m = parameters.get<std::int64_t>("m", name), n = parameters.get<std::int64_t>("n", name),
               k = parameters.get<std::int64_t>("k", name);
    const auto scratch =
        support::scratch_of(exec, ops::gemm_workspace_bytes<float, float, float>(exec, m, n, k, ta, tb));
    const ops::Epilogue<float, float, HostSpace> plain{};
    const auto product = support::poisoned<float>(exec, Shape<2>{m, n});
    ops::gemm(exec, a, ta, b, tb, product, {}, plain, scratch.view());
    check_close(product, file.tensor<float, 2>(exec, name + ".ab"));
    ops::gemm(exec, a, ta, b, tb, c, scale, plain, scratch.view());
    check_close(c, file.tensor<float, 2>(exec, name + ".y"));
    ++cases;
  }
  CHECK(cases == 8);
}

TEST_CASE("golden: sums") {
  const testing::Golden file((support::golden_dir() / "ops_elementwise.safetensors").string());
  Exec<Cpu> exec;
  const auto one = exec.empty<double, 1>({1});
  const auto close = [&](const std::string& name) {
    INFO(name);
    const double expected = file.value(name);
    CHECK(std::abs(one(0) - expected) <= 1e-6 * std::abs(expected) + 1e-6);
  };
  const auto x = file.tensor<float, 4>(exec, "reduction_input.x");
  ops::sum(exec, x.view(), one.view());
  close("sum_axes_0123.y");
  const auto long_x = file.tensor<float, 1>(exec, "sum_long.x");
  ops::sum(exec, long_x.view(), one.view());
  close("sum_long.y");
  ops::sum_of_squares(exec, long_x.view(), one.view());
  close("sum_long.sum_of_squares");

  // Leading axes are rows to be summed.
  for (const auto& [name, rows] : {std::pair(std::string("sum_axes_0.y"), std::int64_t{3}),
                                   std::pair(std::string("sum_axes_012.y"), std::int64_t{105})}) {
    INFO(name);
    const std::int64_t columns = x.size() / rows;
    const auto out = support::poisoned<float>(exec, Shape<1>{columns});
    const auto scratch =
        support::scratch_of(exec, static_cast<std::size_t>(ops::sum_rows_workspace_bytes<float>(exec, rows, columns)));
    ops::sum_rows(exec, x.reshape_to<2>({rows, columns}).view(), out.view(), ops::GradMode::overwrite, scratch.view());
    const auto answer = testing::allclose(out, file.tensor<float, 1>(exec, name, {columns}), 1e-5, 1e-5);
    INFO(answer.message);
    CHECK(answer.ok);
  }
}
