// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

// Included by one source a device, which defines `Device` and includes its kernels.
#include "segue/ops/attention.hpp"
#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/operands.hpp"

namespace {

using namespace segue;
using support::Values;

/// Forward and gradients of one attention, by the textbook, in double.
struct Reference {
  Values out, lse, dq, dk, dv;
};

struct Inputs {
  ops::AttentionShape s;
  float scale = 0.2f;
  Values q, k, v, dout, mask;  // mask may be empty

  template <class T>
  static Inputs random(const ops::AttentionShape& s, bool masked = false) {
    Inputs in;
    in.s = s;
    const std::int64_t row = s.heads * s.head_dim;
    in.q = support::random_values<T>(s.batch * s.queries * row, 1, 2);
    in.k = support::random_values<T>(s.batch * s.keys * row, 2, 2);
    in.v = support::random_values<T>(s.batch * s.keys * row, 3);
    in.dout = support::random_values<T>(s.batch * s.queries * row, 4);
    if (masked)
      for (std::int64_t i = 0; i < s.batch * s.keys; ++i) in.mask.push_back(i * 7 % 5 < 3 && i >= s.keys ? 1 : 0);
    return in;
  }

  Reference reference() const {
    Reference r;
    r.out.resize(q.size());
    r.dq.resize(q.size());
    r.dk.resize(k.size());
    r.dv.resize(k.size());
    const auto at = [&](std::int64_t tokens, std::int64_t b, std::int64_t t, std::int64_t h, std::int64_t c) {
      return static_cast<std::size_t>(((b * tokens + t) * s.heads + h) * s.head_dim + c);
    };
    Values p(static_cast<std::size_t>(s.keys));
    for (std::int64_t b = 0; b < s.batch; ++b)
      for (std::int64_t h = 0; h < s.heads; ++h)
        for (std::int64_t i = 0; i < s.queries; ++i) {
          const auto shown = [&](std::int64_t j) {
            return mask.empty() || mask[static_cast<std::size_t>(b * s.keys + j)] != 0;
          };
          double top = -std::numeric_limits<double>::infinity(), sum = 0, delta = 0;
          for (std::int64_t j = 0; j < s.keys; ++j) {
            double& score = p[static_cast<std::size_t>(j)] = 0;
            for (std::int64_t c = 0; c < s.head_dim; ++c)
              score += q[at(s.queries, b, i, h, c)] * k[at(s.keys, b, j, h, c)];
            score *= double(scale);
            if (shown(j)) top = std::max(top, score);
          }
          for (std::int64_t j = 0; j < s.keys; ++j) {
            p[static_cast<std::size_t>(j)] = shown(j) ? std::exp(p[static_cast<std::size_t>(j)] - top) : 0;
            sum += p[static_cast<std::size_t>(j)];
          }
          r.lse.push_back(top + std::log(sum));
          for (std::int64_t j = 0; j < s.keys; ++j) {
            if (!shown(j)) continue;
            p[static_cast<std::size_t>(j)] /= sum;
            for (std::int64_t c = 0; c < s.head_dim; ++c)
              r.out[at(s.queries, b, i, h, c)] += p[static_cast<std::size_t>(j)] * v[at(s.keys, b, j, h, c)];
          }
          for (std::int64_t c = 0; c < s.head_dim; ++c)
            delta += r.out[at(s.queries, b, i, h, c)] * dout[at(s.queries, b, i, h, c)];
          for (std::int64_t j = 0; j < s.keys; ++j) {
            if (!shown(j)) continue;
            double dp = 0;
            for (std::int64_t c = 0; c < s.head_dim; ++c)
              dp += dout[at(s.queries, b, i, h, c)] * v[at(s.keys, b, j, h, c)];
            const double ds = double(scale) * p[static_cast<std::size_t>(j)] * (dp - delta);
            for (std::int64_t c = 0; c < s.head_dim; ++c) {
              r.dq[at(s.queries, b, i, h, c)] += ds * k[at(s.keys, b, j, h, c)];
              r.dk[at(s.keys, b, j, h, c)] += ds * q[at(s.queries, b, i, h, c)];
              r.dv[at(s.keys, b, j, h, c)] += p[static_cast<std::size_t>(j)] * dout[at(s.queries, b, i, h, c)];
            }
          }
        }
    return r;
  }

  /// Through the operators. Tokens lie `padding` elements apart; outputs and gaps are NaN before, gaps also after.
  template <class T, class D>
  Reference run(Exec<D>& exec, std::int64_t padding = 0) const {
    using Space = typename D::Space;
    const std::int64_t row = s.heads * s.head_dim;
    std::vector<Tensor<T, 2, Space>> kept;
    const auto hold = [&](std::int64_t count, const Values& values) {
      kept.push_back(support::operand<T>(exec, Shape<2>{s.batch * count, row}, values, padding));
      return View<T, 4, Space>(kept.back().data_handle(), {s.batch, count, s.heads, s.head_dim},
                               {count * (row + padding), row + padding, s.head_dim, 1});
    };
    const auto qv = hold(s.queries, q), kv = hold(s.keys, k), vv = hold(s.keys, v), doutv = hold(s.queries, dout);
    const auto outv = hold(s.queries, {}), dqv = hold(s.queries, {}), dkv = hold(s.keys, {}), dvv = hold(s.keys, {});
    const auto lse = support::poisoned<Accum<T>>(exec, Shape<3>{s.batch, s.heads, s.queries});
    std::vector<std::uint8_t> bytes;
    for (const double m : mask) bytes.push_back(m != 0 ? 255 : 0);
    const auto mask_bytes = support::tensor_of(exec, bytes);
    const View<const std::uint8_t, 2, Space> shown =
        mask.empty() ? View<const std::uint8_t, 2, Space>()
                     : View<const std::uint8_t, 2, Space>(mask_bytes.data_handle(), {s.batch, s.keys});
    ops::attention_forward(exec, qv, kv, vv, shown, scale, outv, lse,
                           support::scratch_of(exec, ops::attention_forward_workspace_bytes<T>(exec, s)));
    ops::attention_backward(exec, doutv, qv, kv, vv, shown, scale, outv, lse, dqv, dkv, dvv,
                            support::scratch_of(exec, ops::attention_backward_workspace_bytes<T>(exec, s)));
    std::size_t touched = 0;
    for (std::size_t i = 4; padding > 0 && i < kept.size(); ++i) {
      const auto memory =
          support::memory_of<Space>(static_cast<const T*>(kept[i].data_handle()), kept[i].extent(0) * (row + padding));
      for (std::size_t at = 0; at < memory.size(); ++at) {
        const double x = cast<double>(memory[at]);
        if (static_cast<std::int64_t>(at) % (row + padding) >= row && x == x) ++touched;
      }
    }
    CHECK(touched == 0);
    return {support::values_of(kept[4]), support::values_of(lse), support::values_of(kept[5]),
            support::values_of(kept[6]), support::values_of(kept[7])};
  }
};

template <class T>
void verify_attention(const ops::AttentionShape& s, bool masked = false, std::int64_t padding = 0) {
  INFO("batch " << s.batch << " queries " << s.queries << " keys " << s.keys << " heads " << s.heads << " head_dim "
                << s.head_dim << " masked " << masked);
  const Inputs in = Inputs::random<T>(s, masked);
  const Reference want = in.reference();
  Exec<Device> exec(typename Exec<Device>::Options{.threads = 2});
  const Reference got = in.run<T>(exec, padding);
  const double tolerance = std::is_same_v<T, double> ? 1e-12 : 2 * support::rounding<T> + 1e-5;
  CHECK(support::worst_difference(got.out, want.out) <= tolerance);
  CHECK(support::worst_difference(got.lse, want.lse) <= (std::is_same_v<T, double> ? 1e-12 : 1e-5));
  // The backward sees the rounded output.
  CHECK(support::worst_difference(got.dq, want.dq) <= 2 * tolerance);
  CHECK(support::worst_difference(got.dk, want.dk) <= 2 * tolerance);
  CHECK(support::worst_difference(got.dv, want.dv) <= 2 * tolerance);
}

bool same(const Reference& a, const Reference& b) {
  return a.out == b.out && a.lse == b.lse && a.dq == b.dq && a.dk == b.dk && a.dv == b.dv;
}

}  // namespace

TEMPLATE_TEST_CASE("attention and its gradients agree with a double reference", "[attention]", float, double, bfloat16,
                   float16) {
  using T = TestType;
  verify_attention<T>({1, 1, 1, 1, 1});
  verify_attention<T>({2, 5, 3, 2, 8});
  verify_attention<T>({1, 65, 33, 1, 20}, false, 3);
  verify_attention<T>({1, 7, 97, 2, 64});
  verify_attention<T>({1, 70, 200, 2, 33});
}

TEST_CASE("attention takes any head dimension and long rows of keys", "[attention]") {
  verify_attention<float>({1, 9, 20, 1, 128});
  verify_attention<float>({1, 3, 17, 1, 256});
  verify_attention<float>({1, 5, 9, 1, 300});
  verify_attention<float>({1, 40, 1100, 1, 16});
  verify_attention<float>({1, 200, 1, 3, 12});
}

TEMPLATE_TEST_CASE("attention over 16-bit elements at the edges of tiles", "[attention]", bfloat16, float16) {
  using T = TestType;
  for (const std::int64_t d : {64, 128, 256}) {
    verify_attention<T>({1, 128, 128, 1, d});
    verify_attention<T>({1, 129, 191, 2, d}, false, 8);
    verify_attention<T>({2, 63, 65, 1, d}, false, 5);  // rows that are not aligned
    verify_attention<T>({1, 1, 257, 1, d - 8});
    verify_attention<T>({1, 260, 1, 2, d - 3});
  }
  verify_attention<T>({1, 3, 5, 1, 264});
  verify_attention<T>({2, 300, 600, 1, 64}, true);
}

TEST_CASE("attention skips the keys that the mask hides", "[attention]") {
  // The first sample hides every key: zero output and gradients, lse = -inf.
  verify_attention<float>({3, 20, 50, 2, 24}, true, 1);
  verify_attention<double>({2, 66, 310, 1, 8}, true);
  verify_attention<bfloat16>({2, 5, 40, 2, 8}, true);
  verify_attention<bfloat16>({3, 70, 200, 1, 64}, true);
  verify_attention<float16>({2, 130, 330, 1, 128}, true, 8);
}

TEMPLATE_TEST_CASE("hidden keys may hold anything", "[attention]", float, bfloat16) {
  using T = TestType;
  Exec<Device> exec;
  const ops::AttentionShape s{2, 10, 30, 1, 8};
  Inputs in = Inputs::random<T>(s, true);
  const Reference clean = in.run<T>(exec);
  for (std::size_t i = 0; i < in.mask.size(); ++i)
    if (in.mask[i] == 0) in.k[i * 8 + 3] = in.v[i * 8] = std::numeric_limits<double>::quiet_NaN();
  CHECK(same(in.run<T>(exec), clean));
}

TEMPLATE_TEST_CASE("attention over nothing", "[attention]", float, bfloat16) {
  using T = TestType;
  Exec<Device> exec;
  verify_attention<T>({1, 4, 0, 2, 8});
  const Reference no_queries = Inputs::random<T>({1, 0, 4, 2, 8}).template run<T>(exec);
  CHECK(no_queries.dk == Values(64, 0.0));
  CHECK(no_queries.dv == Values(64, 0.0));
  CHECK(Inputs::random<T>({0, 4, 4, 2, 8}).template run<T>(exec).out.empty());
}

TEMPLATE_TEST_CASE("the scale of attention may be negative or nothing", "[attention]", float, bfloat16) {
  for (const float scale : {-0.3f, 0.0f}) {
    Inputs in = Inputs::random<TestType>({2, 20, 70, 1, 16}, true);
    in.scale = scale;
    Exec<Device> exec;
    const Reference got = in.run<TestType>(exec), want = in.reference();
    CHECK(support::worst_difference(got.out, want.out) <= 3 * support::rounding<TestType> + 1e-5);
    CHECK(support::worst_difference(got.lse, want.lse) <= 1e-5);
    CHECK(support::worst_difference(got.dq, want.dq) <= 4 * support::rounding<TestType> + 1e-5);
    CHECK(support::worst_difference(got.dk, want.dk) <= 4 * support::rounding<TestType> + 1e-5);
  }
}

TEST_CASE("large scores do not overflow the softmax", "[attention]") {
  Inputs in = Inputs::random<float>({1, 40, 250, 1, 16});
  in.scale = 40;
  Exec<Device> exec;
  const Reference got = in.run<float>(exec), want = in.reference();
  CHECK(support::worst_difference(got.out, want.out) <= 1e-3);
  CHECK(support::worst_difference(got.lse, want.lse) <= 1e-5);
  CHECK(support::worst_difference(got.dv, want.dv) <= 1e-3);
}

// Threads are a CPU's; elsewhere this runs the same thing several times.
TEMPLATE_TEST_CASE("attention gives the same bits at any thread count and in any batch", "[attention]", float,
                   bfloat16) {
  using T = TestType;
  for (const bool masked : {false, true}) {
    const ops::AttentionShape s{3, 130, 300, 2, 24};
    const Inputs in = Inputs::random<T>(s, masked);
    Exec<Device> one(typename Exec<Device>::Options{.threads = 1});
    const Reference whole = in.run<T>(one);
    for (const int threads : {2, 3, 7}) {
      Exec<Device> several(typename Exec<Device>::Options{.threads = threads});
      CHECK(same(in.run<T>(several), whole));
    }
    // The last sample alone.
    Inputs last = in;
    last.s.batch = 1;
    const auto tail = [](const Values& x) {
      return Values(x.end() - static_cast<std::ptrdiff_t>(x.size() / 3), x.end());
    };
    for (Values* x : {&last.q, &last.k, &last.v, &last.dout}) *x = tail(*x);
    if (masked) last.mask = tail(in.mask);
    Exec<Device> two(typename Exec<Device>::Options{.threads = 2});
    const Reference alone = last.run<T>(two);
    CHECK(same(alone, {tail(whole.out), tail(whole.lse), tail(whole.dq), tail(whole.dk), tail(whole.dv)}));
  }
}

/// One gradient at a time, with the bits that it has beside the others.
template <class T>
void verify_alone(Exec<Device>& exec, const ops::AttentionShape& s) {
  const Inputs in = Inputs::random<T>(s);
  const Reference all = in.run<T>(exec);
  const auto make = [&](std::int64_t tokens, const Values& v) {
    return support::operand<T>(exec, Shape<4>{s.batch, tokens, s.heads, s.head_dim}, v);
  };
  const auto q = make(s.queries, in.q), k = make(s.keys, in.k), v = make(s.keys, in.v), out = make(s.queries, all.out),
             dout = make(s.queries, in.dout);
  const auto lse = support::operand<float>(exec, Shape<3>{s.batch, s.heads, s.queries}, all.lse);
  const auto scratch = support::scratch_of(exec, ops::attention_backward_workspace_bytes<T>(exec, s));
  const auto dq = make(s.queries, {}), dk = make(s.keys, {}), dv = make(s.keys, {});
  ops::attention_backward(exec, dout, q, k, v, {}, in.scale, out, lse, dq, {}, {}, scratch);
  ops::attention_backward(exec, dout, q, k, v, {}, in.scale, out, lse, {}, dk, {}, scratch);
  ops::attention_backward(exec, dout, q, k, v, {}, in.scale, out, lse, {}, {}, dv, scratch);
  CHECK(support::values_of(dq) == all.dq);
  CHECK(support::values_of(dk) == all.dk);
  CHECK(support::values_of(dv) == all.dv);
}

TEMPLATE_TEST_CASE("each gradient of attention may be left out", "[attention]", float, bfloat16) {
  Exec<Device> exec;
  verify_alone<TestType>(exec, {1, 200, 30, 2, 8});
}

TEMPLATE_TEST_CASE("attention needs neither lse nor tokens before heads", "[attention]", float, bfloat16) {
  using T = TestType;
  Exec<Device> exec;
  const ops::AttentionShape s{2, 70, 90, 3, 16};
  const Inputs in = Inputs::random<T>(s);
  // The same values as (B, H, T, D).
  const auto make = [&](std::int64_t tokens, const Values& values) {
    Values moved(values.size());
    for (std::int64_t i = 0; i < static_cast<std::int64_t>(values.size()); ++i) {
      const std::int64_t c = i % 16, h = i / 16 % 3, t = i / 48 % tokens, b = i / 48 / tokens;
      moved[static_cast<std::size_t>(((b * 3 + h) * tokens + t) * 16 + c)] = values[static_cast<std::size_t>(i)];
    }
    return support::operand<T>(exec, Shape<4>{2, 3, tokens, 16}, moved);
  };
  const auto view = [](const auto& x) {
    return View<T, 4, typename Device::Space>(x.data_handle(), {2, x.extent(2), 3, 16},
                                              {3 * x.extent(2) * 16, 16, x.extent(2) * 16, 1});
  };
  const auto q = make(70, in.q), k = make(90, in.k), v = make(90, in.v), out = make(70, {});
  ops::attention_forward(exec, view(q), view(k), view(v), {}, in.scale, view(out), {},
                         support::scratch_of(exec, ops::attention_forward_workspace_bytes<T>(exec, s)));
  CHECK(support::values_of(out) == support::values_of(make(70, in.run<T>(exec).out)));
}

TEST_CASE("attention names the argument that does not fit", "[attention]") {
  Exec<Device> exec;
  const ops::AttentionShape s{1, 4, 6, 2, 8};
  const auto q = support::poisoned<float>(exec, Shape<4>{1, 4, 2, 8}),
             k = support::poisoned<float>(exec, Shape<4>{1, 6, 2, 8});
  const auto lse = support::poisoned<float>(exec, Shape<3>{1, 2, 4});
  const auto scratch = support::scratch_of(exec, ops::attention_backward_workspace_bytes<float>(exec, s));
  CHECK(support::message_of<InputError>([&] { ops::attention_forward(exec, q, k, q, {}, 1.0f, q, {}, scratch); }) ==
        "attention_forward: shape of v is (1, 4, 2, 8), expected (1, 6, 2, 8)");
  CHECK(support::message_of<InputError>([&] { ops::attention_forward(exec, q, k, k, {}, 1.0f, k, {}, scratch); }) ==
        "attention_forward: shape of out is (1, 6, 2, 8), expected (1, 4, 2, 8)");
  CHECK(support::contains(support::message_of<InputError>([&] {
                            ops::attention_backward(exec, q, q, k, k, {}, 1.0f, q, lse, q, k, k,
                                                    scratch.slice(0, 0, 64));
                          }),
                          "attention_backward: size of scratch is 64, expected"));
}

TEST_CASE("attention is planned without memory", "[attention]") {
  Exec<Device> exec;
  exec.set_planning(true);
  const ops::AttentionShape s{1, 4, 6, 2, 8};
  const auto q = exec.template empty<float, 4>({1, 4, 2, 8}), k = exec.template empty<float, 4>({1, 6, 2, 8});
  const auto lse = exec.template empty<float, 3>({1, 2, 4});
  const auto scratch = support::scratch_of(exec, ops::attention_backward_workspace_bytes<float>(exec, s));
  ops::attention_forward(exec, q, k, k, {}, 1.0f, q, lse,
                         support::scratch_of(exec, ops::attention_forward_workspace_bytes<float>(exec, s)));
  ops::attention_backward(exec, q, q, k, k, {}, 1.0f, q, lse, q, k, k, scratch);
}
