// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

// Included by one source a device, which defines `Device` and includes its kernels.
#include "segue/ops/patchify.hpp"
#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/operands.hpp"

namespace {

using namespace segue;
using ops::GradMode;
using ops::PatchOrder;
using support::Values;
using Space = Device::Space;

/// Where element (b, c, f, h, w) of the clip lies in the tokens, written from the definition.
template <class P>
std::int64_t token_element(const Shape<5>& s, PatchOrder order, const Shape<5>& at) {
  const auto [b, c, f, h, w] = at;
  const std::int64_t grid_h = s[3] / P::height, grid_w = s[4] / P::width;
  const std::int64_t token = (f / P::frames * grid_h + h / P::height) * grid_w + w / P::width;
  const std::int64_t tokens = s[2] / P::frames * grid_h * grid_w;
  const std::int64_t pt = f % P::frames, ph = h % P::height, pw = w % P::width;
  const std::int64_t inside = order == PatchOrder::channel_first
                                  ? ((c * P::frames + pt) * P::height + ph) * P::width + pw
                                  : ((pt * P::height + ph) * P::width + pw) * s[1] + c;
  return (b * tokens + token) * s[1] * P::volume + inside;
}

template <class P>
Shape<3> token_shape(const Shape<5>& s) {
  return {s[0], s[2] / P::frames * (s[3] / P::height) * (s[4] / P::width), s[1] * P::volume};
}

template <class P>
Values tokens_of(const Shape<5>& s, PatchOrder order, const Values& clip) {
  Values out(clip.size());
  std::size_t i = 0;
  for (std::int64_t b = 0; b < s[0]; ++b)
    for (std::int64_t c = 0; c < s[1]; ++c)
      for (std::int64_t f = 0; f < s[2]; ++f)
        for (std::int64_t h = 0; h < s[3]; ++h)
          for (std::int64_t w = 0; w < s[4]; ++w, ++i)
            out[static_cast<std::size_t>(token_element<P>(s, order, {b, c, f, h, w}))] = clip[i];
  return out;
}

template <class P, PatchOrder Order, class T>
void round_trip(Exec<Device>& exec, const Shape<5>& shape) {
  const Values clip = support::random_values<T>(element_count(shape), 1);
  const Values expected = tokens_of<P>(shape, Order, clip);
  const auto x = support::operand<T>(exec, shape, clip, 3);
  const auto tokens = support::poisoned<T>(exec, token_shape<P>(shape), 2);
  ops::patchify<P, Order>(exec, x, tokens.view());
  CHECK(support::values_of(tokens) == expected);
  const auto back = support::poisoned<T>(exec, shape, 1);
  ops::unpatchify<P, Order>(exec, tokens, back.view());
  CHECK(support::values_of(back) == clip);

  ops::unpatchify<P, Order>(exec, tokens, back.view(), GradMode::accumulate);
  ops::patchify<P, Order>(exec, x, tokens.view(), GradMode::accumulate);
  Values twice = clip, expected_twice = expected;
  for (double& v : twice) v *= 2;
  for (double& v : expected_twice) v *= 2;
  CHECK(support::values_of(back) == twice);
  CHECK(support::values_of(tokens) == expected_twice);
}

}  // namespace

TEMPLATE_TEST_CASE("patches are cut and put back as defined", "", float, double, bfloat16, float16) {
  Exec<Device> exec({.threads = 2});
  round_trip<ops::Patch<1, 2, 2>, PatchOrder::channel_first, TestType>(exec, {2, 3, 3, 4, 6});
  round_trip<ops::Patch<1, 2, 2>, PatchOrder::channel_last, TestType>(exec, {2, 3, 3, 4, 6});
  round_trip<ops::Patch<2, 2, 3>, PatchOrder::channel_first, TestType>(exec, {1, 5, 4, 2, 9});
  round_trip<ops::Patch<2, 2, 3>, PatchOrder::channel_last, TestType>(exec, {1, 5, 4, 2, 9});
  round_trip<ops::Patch<1, 8, 8>, PatchOrder::channel_first, TestType>(exec, {2, 7, 5, 64, 64});
  // More tokens to a row, more channels and longer patches than a tile of any kernel holds, and rests of each.
  round_trip<ops::Patch<1, 2, 2>, PatchOrder::channel_first, TestType>(exec, {2, 37, 2, 4, 150});
  round_trip<ops::Patch<1, 2, 2>, PatchOrder::channel_last, TestType>(exec, {2, 37, 2, 4, 150});
  round_trip<ops::Patch<1, 16, 16>, PatchOrder::channel_first, TestType>(exec, {1, 3, 2, 32, 96});
  round_trip<ops::Patch<2, 1, 100>, PatchOrder::channel_last, TestType>(exec, {1, 41, 2, 3, 300});
  round_trip<ops::Patch<1, 1, 1>, PatchOrder::channel_first, TestType>(exec, {1, 45, 2, 3, 131});
  round_trip<ops::Patch<1, 1, 1>, PatchOrder::channel_last, TestType>(exec, {1, 1, 1, 1, 1});
  round_trip<ops::Patch<1, 1, 1>, PatchOrder::channel_first, TestType>(exec, {0, 2, 1, 1, 1});
}

TEST_CASE("defaults are a convolution's order in and Wan's order out") {
  Exec<Device> exec;
  using P = ops::Patch<1, 2, 2>;
  const Shape<5> shape{1, 2, 1, 2, 4};
  const Values clip = support::random_values<float>(16, 1);
  const auto x = support::operand<float>(exec, shape, clip);
  const auto tokens = support::poisoned<float>(exec, token_shape<P>(shape));
  ops::patchify<P>(exec, x, tokens.view());
  CHECK(support::values_of(tokens) == tokens_of<P>(shape, PatchOrder::channel_first, clip));
  const auto back = support::poisoned<float>(exec, shape);
  ops::unpatchify_conv<P>(exec, tokens, back.view());
  CHECK(support::values_of(back) == clip);
  ops::unpatchify<P>(
      exec, support::operand<float>(exec, token_shape<P>(shape), tokens_of<P>(shape, PatchOrder::channel_last, clip)),
      back.view());
  CHECK(support::values_of(back) == clip);
}

TEST_CASE("a patch known at run time is one of a closed set") {
  Exec<Device> exec;
  const Shape<5> shape{1, 3, 2, 4, 4};
  const Values clip = support::random_values<float>(96, 1);
  const auto x = support::operand<float>(exec, shape, clip);
  const PatchOrder order = GENERATE(PatchOrder::channel_first, PatchOrder::channel_last);
  using P = ops::Patch<2, 2, 2>;
  const auto tokens = support::poisoned<float>(exec, token_shape<P>(shape));
  ops::patchify(exec, ops::PatchSize{2, 2, 2}, order, x, tokens.view());
  CHECK(support::values_of(tokens) == tokens_of<P>(shape, order, clip));
  const auto back = support::poisoned<float>(exec, shape);
  ops::unpatchify(exec, ops::PatchSize{2, 2, 2}, order, tokens, back.view());
  CHECK(support::values_of(back) == clip);

  CHECK(support::message_of<InputError>([&] {
          ops::patchify(exec, ops::PatchSize{1, 3, 3}, order, x, tokens.view());
        }) ==
        "patchify: patch is (1, 3, 3), expected one of (1, 1, 1), (1, 2, 2), (1, 4, 4), (1, 8, 8), (1, 16, 16), "
        "(2, 2, 2), (2, 4, 4), (4, 4, 4)");
  using Own = ops::PatchSet<ops::Patch<1, 3, 3>>;
  CHECK(support::message_of<InputError>([&] {
          ops::unpatchify<Own>(exec, ops::PatchSize{2, 2, 2}, order, tokens, back.view());
        }) == "unpatchify: patch is (2, 2, 2), expected one of (1, 3, 3)");
}

TEST_CASE("patchify names what does not fit") {
  Exec<Device> exec;
  using P = ops::Patch<1, 2, 2>;
  const auto x = exec.empty<float, 5>({1, 3, 2, 4, 5});
  const auto tokens = exec.empty<float, 3>({1, 8, 12});
  CHECK(support::message_of<InputError>([&] { ops::patchify<P>(exec, x, tokens.view()); }) ==
        "patchify: shape of x is (1, 3, 2, 4, 5), expected frames, height and width that are multiples of the patch "
        "(1, 2, 2)");
  const auto even = exec.empty<float, 5>({1, 3, 2, 4, 6});
  CHECK(support::message_of<InputError>([&] { ops::patchify<P>(exec, even, tokens.view()); }) ==
        "patchify: shape of tokens is (1, 8, 12), expected (1, 12, 12)");
  exec.set_planning(true);
  const auto planned = exec.empty<float, 3>({1, 12, 12});
  ops::patchify<P>(exec, even, planned.view());
}
