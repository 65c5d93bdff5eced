// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#include "segue/interop/eigen.hpp"
#include "segue/cpu.hpp"
#include "support/catch.hpp"
#include "support/errors.hpp"

using namespace segue;

TEST_CASE("a view and its Eigen map are the same memory") {
  Exec<Cpu> exec;
  const auto wide = exec.empty<float, 2>({3, 8});
  ops::fill(exec, 0.0, wide.view());
  const auto part = wide.view().slice(1, 2, 5);
  auto map = interop::as_eigen(part);
  REQUIRE(map.rows() == 3);
  REQUIRE(map.cols() == 3);
  map.setConstant(2.0f);
  map(1, 2) = 7.0f;
  CHECK(part(1, 2) == 7.0f);
  CHECK(wide(1, 4) == 7.0f);
  CHECK(wide(2, 1) == 0.0f);
  CHECK(wide(2, 5) == 0.0f);
  const View<const float, 2, HostSpace> constant = part;
  CHECK(interop::as_eigen(constant).sum() == 8 * 2.0f + 7.0f);
  const View<float, 2, HostSpace> columns(wide.data_handle(), {3, 2}, {8, 2});
  CHECK(
      support::contains(support::message_of<InputError>([&] { (void)interop::as_eigen(columns); }), "not contiguous"));
}

TEST_CASE("Eigen agrees with our product") {
  Exec<Cpu> exec;
  Eigen::MatrixXd a = Eigen::MatrixXd::Random(37, 19), w = Eigen::MatrixXd::Random(23, 19);
  const auto x = interop::from_eigen(exec, a), weight = interop::from_eigen(exec, w);
  const auto y = exec.empty<double, 2>({37, 23});
  const auto scratch = exec.empty<std::byte, 1>(
      {static_cast<std::int64_t>(ops::linear_forward_workspace_bytes<double, double, double>(exec, 37, 23, 19))});
  ops::linear_forward(exec, x, weight, View<const double, 1, HostSpace>{}, ops::Activation::none, y, {},
                      scratch.view());
  CHECK((interop::as_eigen(y) - a * w.transpose()).norm() < 1e-13 * (a * w.transpose()).norm());
  const auto product = interop::from_eigen(exec, a * w.transpose());
  CHECK(product.shape() == y.shape());
}
