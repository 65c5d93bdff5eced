// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

// Included by one source a device, which defines `Device` and includes its kernels.
#include "segue/ops/random_fill.hpp"
#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/operands.hpp"

namespace {

using namespace segue;
using ops::GradMode;
using support::Values;

constexpr RandomKey key{.seed = 17, .site = 3, .step = 9};

float uniform(std::int64_t i) {
  return uniform_from_bits(key.block(static_cast<std::uint64_t>(i / 4))[static_cast<std::size_t>(i % 4)]);
}
float normal(std::int64_t i) {
  return normals_from_block(key.block(static_cast<std::uint64_t>(i / 4)))[static_cast<std::size_t>(i % 4)];
}

/// The bits of a tensor as the words that its elements are.
template <class Tensor>
std::vector<typename Tensor::value_type> elements(const Tensor& x) {
  return support::memory_of<typename Tensor::space, typename Tensor::value_type>(x.data_handle(), x.size());
}
template <class T>
std::int64_t differing(const std::vector<T>& a, const std::vector<T>& b) {
  std::int64_t wrong = a.size() != b.size();
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) wrong += std::memcmp(&a[i], &b[i], sizeof(T)) != 0;
  return wrong;
}

}  // namespace

TEMPLATE_TEST_CASE("draws are the words of the key, at any thread count", "", float, double, bfloat16, float16) {
  using T = TestType;
  for (const std::int64_t count : {0, 1, 3, 4, 1023, 20001})
    for (const int threads : {1, 2, 5}) {
      Exec<Device> exec({.threads = threads});
      // At an aligned address, and at one that is not.
      for (const std::int64_t offset : {0, 1}) {
        const auto x = support::poisoned<T>(exec, Shape<2>{1, count + offset}).slice(1, offset, count + offset);
        std::int64_t wrong = 0;
        const auto compare = [&](auto expected_of) {
          std::vector<T> expected;
          for (std::int64_t i = 0; i < count; ++i) expected.push_back(cast<T>(expected_of(i)));
          wrong += differing(elements(x), expected);
        };
        ops::fill_uniform(exec, x.view(), key);
        compare(uniform);
        ops::fill_normal(exec, x.view(), key);
        compare(normal);
        ops::fill_uniform(exec, x.view(), key, -2, 1);
        compare([](std::int64_t i) { return std::fma(3.0f, uniform(i), -2.0f); });
        ops::fill_normal(exec, x.view(), key, 0.5, 0.02);
        compare([](std::int64_t i) { return std::fma(0.02f, normal(i), 0.5f); });
        CHECK(wrong == 0);
      }
    }
}

TEST_CASE("draws of normals keep their bits") {
  Exec<Device> exec;
  const auto x = exec.empty<float, 1>({6});
  ops::fill_normal(exec, x.view(), {.seed = 1234567890123u, .site = 7, .step = 42});
  constexpr std::uint32_t expected[] = {0xbf75f769u, 0x3e52e497u, 0x3ee31bb7u, 0xbf21ca12u, 0xbf088a58u, 0x3f3ef391u};
  const std::vector<float> got = elements(x);
  for (std::size_t i = 0; i < 6; ++i) CHECK(std::bit_cast<std::uint32_t>(got[i]) == expected[i]);
}

TEMPLATE_TEST_CASE("dropout keeps where the uniform is at least p, and is its own gradient", "", float, double,
                   bfloat16, float16) {
  using T = TestType;
  for (const std::int64_t columns : {1, 5, 64, 333}) {
    const Shape<2> shape{61, columns};
    const Values xs = support::random_values<T>(61 * columns, 1);
    const double p = 0.3;
    Values expected = xs;
    for (std::size_t i = 0; i < xs.size(); ++i)
      expected[i] = uniform(static_cast<std::int64_t>(i)) >= 0.3f ? xs[i] / (1 - p) : 0;
    Exec<Device> exec({.threads = 3});
    const auto x = support::operand<T>(exec, shape, xs, 2);
    const auto y = support::poisoned<T>(exec, shape, 1);
    ops::dropout_forward(exec, x, p, key, y.view());
    const Values got = support::values_of(y);
    CHECK(support::worst_difference(got, expected) < support::rounding<T> + (std::is_same_v<T, double> ? 0 : 2e-7));
    ops::dropout_backward(exec, x, p, key, y.view(), GradMode::overwrite);
    CHECK(support::values_of(y) == got);
    ops::dropout_backward(exec, x, p, key, y.view(), GradMode::accumulate);
    Values twice = got;
    for (double& v : twice) v *= 2;
    CHECK(support::values_of(y) == twice);
    ops::dropout_forward(exec, x, p, key, x.view());
    CHECK(support::values_of(x) == got);

    // Bit for bit what the CPU gives, accumulating too.
    Exec<Cpu> host;
    const auto run = [&](auto& on, GradMode mode) {
      const auto in = support::operand<T>(on, shape, xs);
      const auto out = support::operand<T>(on, shape, support::random_values<T>(61 * columns, 2));
      ops::dropout_forward(on, in, p, key, out.view(), mode);
      return elements(out);
    };
    for (const GradMode mode : {GradMode::overwrite, GradMode::accumulate})
      CHECK(differing(run(exec, mode), run(host, mode)) == 0);
  }
}

TEMPLATE_TEST_CASE("rows with gaps take the draws that they would take without", "", float, bfloat16) {
  using T = TestType;
  Exec<Device> exec;
  // Packs that lie in one row, and packs that do not.
  for (const std::int64_t columns : {1, 5, 24})
    for (const std::int64_t gap : {1, 8}) {
      const Shape<3> shape{2, 37, columns};
      const auto x = support::poisoned<T>(exec, shape, gap), y = support::poisoned<T>(exec, shape);
      ops::fill_normal(exec, x.view(), key);
      ops::fill_normal(exec, y.view(), key);
      CHECK(support::values_of(x) == support::values_of(y));
      const auto memory = support::memory_of<Device::Space, T>(x.data_handle(), 74 * (columns + gap));
      std::int64_t touched = 0;
      for (std::int64_t i = 0; i < 74 * (columns + gap); ++i)
        touched += i % (columns + gap) >= columns && !std::isnan(cast<float>(memory[static_cast<std::size_t>(i)]));
      CHECK(touched == 0);
    }
}

TEST_CASE("dropout keeps the share that it says, all of it at p = 0") {
  Exec<Device> exec;
  const auto x = exec.empty<float, 1>({40000});
  ops::fill_uniform(exec, x.view(), key, 1, 1);
  const auto y = exec.empty<float, 1>({40000});
  ops::dropout_forward(exec, x, 0.25, {.seed = 5}, y.view());
  double kept = 0;
  for (const double v : support::values_of(y)) kept += v != 0;
  CHECK(std::abs(kept / 40000 - 0.75) < 0.011);
  ops::dropout_forward(exec, x, 0, {.seed = 5}, y.view());
  CHECK(support::values_of(y) == Values(40000, 1.0));
}

TEST_CASE("random operators name what does not fit, and wait while planning") {
  Exec<Device> exec;
  const auto x = support::poisoned<float>(exec, Shape<2>{2, 3}, 1);
  const View<float, 2, Device::Space> columns(x.data_handle(), {3, 2}, {1, 4});
  CHECK(support::message_of<InputError>([&] { ops::fill_normal(exec, columns, key); }) ==
        "fill_normal: last-axis stride is 4, expected 1");
  for (const double p : {-0.1, 1.0, std::nan("")})
    CHECK(support::contains(support::message_of<InputError>([&] { ops::dropout_forward(exec, x, p, key, x.view()); }),
                            "expected a number in [0, 1)"));
  exec.set_planning(true);
  const auto y = support::operand<float>(exec, Shape<1>{0}, {});
  ops::fill_uniform(exec, y.view(), key);
  ops::dropout_forward(exec, x, 0.5, key, x.view());
  CHECK(std::isnan(support::values_of(x)[0]));
}
