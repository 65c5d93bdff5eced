// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#include "segue/functional/shape.hpp"

#include "functional/operators.hpp"
#include "segue/functional/linear.hpp"
#include "segue/functional/loss.hpp"
#include "segue/functional/patchify.hpp"

using namespace functional_test;

namespace {

std::array<int, 3> patch_of(const io::Json& parameters, const std::string& name) {
  const auto& list = parameters.at("patch", name).items();
  REQUIRE(list.size() == 3);
  return {list[0].as<int>(name), list[1].as<int>(name), list[2].as<int>(name)};
}

template <class Precision>
void patch_embedding_as_recorded(const std::string& name) {
  Recorded<Precision> r("ops_patch.safetensors", name);
  const auto [frames, height, width] = patch_of(r.parameters(), name);
  const ops::PatchSize patch{frames, height, width};
  const auto x = r.template activation<5>("x");
  const auto out = r.shape("weight")[0], columns = r.shape("tokens")[2];
  const auto weight = r.template weight<2, typename Precision::storage>("weight", {out, columns});
  const auto bias = r.template weight<1, typename Precision::accum>("bias");
  const auto tokens = functional::patchify(r.ctx, x.var(), patch);
  r.expect(tokens.value(), "tokens");
  const auto y = functional::linear(r.ctx, tokens, weight.var(), bias.var());
  r.expect(y.value(), "y");
  r.ctx.backward(y, r.template tensor<3>("dy"));
  r.expect_gradient(x, "dx");
  r.expect_gradient(weight, "dweight");
  r.expect_gradient(bias, "dbias");
}

template <class Precision>
void unpatchify_as_recorded(const std::string& name) {
  Recorded<Precision> r("ops_patch.safetensors", name);
  const auto [frames, height, width] = patch_of(r.parameters(), name);
  const auto x = r.template activation<3>("x");
  const auto dy = r.template tensor<5>("dy");
  const auto y = functional::unpatchify(r.ctx, x.var(), ops::PatchSize{frames, height, width}, dy.shape());
  r.atol = r.rtol = 0;
  r.expect(y.value(), "y");
  r.ctx.backward(y, dy);
  r.expect_gradient(x, "dx");
}

}  // namespace

TEST_CASE("patch embedding agrees with PyTorch's Conv3d") {
  for (const char* patch : {"1x2x2", "1x8x8", "2x2x2"})
    patch_embedding_as_recorded<Fp32>(std::string("patch_embed_") + patch);
}

TEST_CASE("unpatchify agrees with Wan to the bit") {
  for (const char* patch : {"1x2x2", "1x8x8", "2x2x2"})
    unpatchify_as_recorded<Fp32>(std::string("unpatchify_") + patch);
}

TEST_CASE("patches of narrow types stay close to PyTorch") {
  patch_embedding_as_recorded<Bf16>("patch_embed_1x2x2");
  unpatchify_as_recorded<Fp16>("unpatchify_2x2x2");
}

TEST_CASE("gradients of patches agree with central differences, in both orders") {
  for (const auto order : {ops::PatchOrder::channel_first, ops::PatchOrder::channel_last}) {
    Bench<Fp64> bench;
    auto clip = bench.activation<5>({2, 3, 2, 4, 2});
    auto tokens = bench.activation<3>({2, 2 * 2 * 1, 3 * 4});
    check_operator(
        "patchify", bench,
        [&](auto& ctx, const auto& x) {
          return functional::patchify(ctx, x, {1, 2, 2}, order);
        },
        clip);
    check_operator(
        "unpatchify", bench,
        [&](auto& ctx, const auto& x) {
          return functional::unpatchify(ctx, x, {1, 2, 2}, {2, 3, 2, 4, 2}, order);
        },
        tokens);
    const auto back = functional::unpatchify(bench.ctx, functional::patchify(bench.ctx, clip.value(), {2, 2, 2}, order),
                                             {2, 2, 2}, clip.shape(), order);
    CHECK(same_bits(back, clip.value()));
  }
  Bench<Fp64> bench;
  auto none = bench.activation<5>({0, 3, 2, 4, 2});
  check_operator(
      "no clips", bench,
      [](auto& ctx, const auto& x) {
        return functional::patchify(ctx, x, {1, 2, 2});
      },
      none);
}

TEST_CASE("a patch outside the closed set is named") {
  Bench<Fp32> bench;
  const auto clip = bench.random<5>({1, 1, 3, 3, 3});
  const auto error = [&](ops::PatchSize patch) {
    return message_of<InputError>([&] { (void)functional::patchify(bench.ctx, clip, patch); });
  };
  CHECK(contains(error({3, 3, 3}), "patchify: patch is (3, 3, 3), expected one of (1, 1, 1), (1, 2, 2)"));
  CHECK(contains(error({0, 1, 1}), "patchify: patch is (0, 1, 1)"));
  CHECK(contains(error({1, 2, 2}), "multiples of the patch (1, 2, 2)"));
  using Mine = ops::PatchSet<ops::Patch<3, 3, 3>>;
  CHECK(functional::patchify<Mine>(bench.ctx, clip, {3, 3, 3}).shape() == Shape<3>{1, 1, 27});
}

TEST_CASE("gradients of reshape and unbind agree with central differences") {
  Bench<Fp64> bench;
  auto x = bench.activation<3>({2, 3, 4});
  check_operator(
      "reshape", bench,
      [](auto& ctx, const auto& v) {
        return functional::reshape<2>(ctx, v, {6, 4});
      },
      x);
  check_operator(
      "unbind", bench,
      [](auto& ctx, const auto& v) {
        const auto parts = functional::unbind<3>(ctx, v);
        return functional::multiply(ctx, parts[0], functional::scale(ctx, parts[2], 1.5));
      },
      x);
  auto none = bench.activation<3>({0, 2, 4});
  check_operator(
      "unbind of nothing", bench,
      [](auto& ctx, const auto& v) { return functional::scale(ctx, functional::unbind<2>(ctx, v)[1], 2.0); }, none);
  const auto parts = functional::unbind<3>(bench.ctx, x.value());
  CHECK(parts[1](1, 2) == x.value()(1, 1, 2));
  CHECK(parts[1].data_handle() == x.value().data_handle() + 4);
  CHECK(message_of<InputError>([&] { (void)functional::unbind<2>(bench.ctx, x.value()); }) ==
        "unbind: second extent of x is 3, expected 2");
  CHECK(functional::reshape<1>(bench.ctx, x.value(), {24}).data_handle() == x.value().data_handle());
}

TEST_CASE("values and gradients whose rows lie apart are reshaped as packed ones are") {
  Bench<Fp32> bench;
  const auto apart = bench.random<3>({3, 2, 7}).slice(2, 1, 5);
  const auto packed = functional::detail::packed(bench.exec, apart);
  CHECK(packed.view().is_contiguous());
  const auto values = to_host(bench.exec, packed.view());
  CHECK(to_host(bench.exec, functional::reshape<2>(bench.ctx, apart, {4, 6}).view()) == values);
  const auto x = bench.activation<2>({4, 6});
  bench.ctx.backward(functional::reshape<3>(bench.ctx, x.var(), {3, 2, 4}), apart);
  CHECK(to_host(bench.exec, x.slot().grad().view()) == values);
}

namespace {

template <class Precision>
void mse_as_recorded() {
  Recorded<Precision> r("ops_elementwise.safetensors", "mse");
  const auto x = r.template activation<5>("x");
  const auto target = r.template tensor<5>("target");
  const auto loss = functional::mse(r.ctx, x.var(), target);
  r.expect(loss.value(), "loss");
  r.ctx.backward(loss);
  r.expect_gradient(x, "dx");

  x.slot().reset();
  r.name = "mse_skip_first_frame";
  const auto skipped = functional::mse(r.ctx, x.var(), target, {}, 1);
  r.expect(skipped.value(), "loss");
  r.ctx.backward(skipped);
  r.expect_gradient(x, "dx");

  auto weight = r.exec.template empty<float, 1>({2});
  weight(0) = 0.25f;
  weight(1) = 3.0f;
  const auto each = r.golden.values(r.name + ".per_sample");
  const double weighted = functional::mse(r.ctx, x.value(), target, weight, 1)(0);
  const double expected = (0.25 * each[0] + 3.0 * each[1]) / 2;
  CHECK(std::abs(weighted - expected) < (std::is_same_v<typename Precision::compute, float> ? 1e-6 : 1e-2) * expected);
}

}  // namespace

TEST_CASE("mse agrees with PyTorch, without the first frame and with weights too") {
  mse_as_recorded<Fp32>();
  mse_as_recorded<Bf16>();
}

TEST_CASE("gradients of mse agree with central differences") {
  Bench<Fp64> bench;
  auto x = bench.activation<5>({3, 2, 3, 2, 1});
  const auto target = bench.random<5>({3, 2, 3, 2, 1});
  const auto weight = bench.random<1, float>({3});
  check_operator(
      "mse", bench, [&](auto& ctx, const auto& v) { return functional::mse(ctx, v, target); }, x);
  check_operator(
      "weighted, two frames given", bench,
      [&](auto& ctx, const auto& v) { return functional::mse(ctx, v, target, weight, 2); }, x);
  CHECK(contains(message_of<InputError>([&] { (void)functional::mse(bench.ctx, x.value(), target, {}, 3); }),
                 "first_frame"));
  const auto nothing = bench.random<5>({0, 2, 3, 2, 1});
  CHECK(functional::mse(bench.ctx, nothing, nothing)(0) == 0.0);
}
