// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include "segue/ops/cpu/attention.hpp"
#include "segue/ops/cuda/attention.cuh"

namespace {
using Device = segue::Cuda;
}

#include "ops/attention_test.inl"

#include "segue/core/graph.cuh"

namespace {

Values last_of(const Values& values, std::int64_t batch) {
  return Values(values.end() - static_cast<std::ptrdiff_t>(values.size()) / batch, values.end());
}
/// The last sample alone.
Inputs last_of(const Inputs& in) {
  Inputs last = in;
  last.s.batch = 1;
  for (Values* values : {&last.q, &last.k, &last.v, &last.dout, &last.mask}) *values = last_of(*values, in.s.batch);
  return last;
}
Reference last_of(const Reference& r, std::int64_t batch) {
  return {last_of(r.out, batch), last_of(r.lse, batch), last_of(r.dq, batch), last_of(r.dk, batch),
          last_of(r.dv, batch)};
}

/// Against the CPU, which its own cases hold to the textbook.
template <class T>
void verify_large(const ops::AttentionShape& s, bool masked = false) {
  INFO("batch " << s.batch << " queries " << s.queries << " keys " << s.keys << " heads " << s.heads << " head_dim "
                << s.head_dim << " masked " << masked);
  Inputs in = Inputs::random<T>(s, masked);
  in.scale = 0.1f;
  Exec<Cpu> host;
  Exec<Cuda> exec;
  const Reference want = in.run<float>(host), got = in.run<T>(exec);
  const double tolerance = 3 * support::rounding<T>;
  CHECK(support::worst_difference(got.out, want.out) <= tolerance);
  CHECK(support::worst_difference(got.lse, want.lse) <= 1e-5);
  CHECK(support::worst_difference(got.dq, want.dq) <= 2 * tolerance);
  CHECK(support::worst_difference(got.dk, want.dk) <= 2 * tolerance);
  CHECK(support::worst_difference(got.dv, want.dv) <= 2 * tolerance);
  CHECK(same(in.run<T>(exec), got));
  if (s.batch > 1) CHECK(same(last_of(in).run<T>(exec), last_of(got, s.batch)));
}

}  // namespace

TEST_CASE("attention whose gradients are summed from parts", "[attention]") {
  verify_large<bfloat16>({1, 3000, 512, 2, 128});        // the queries in splits
  verify_large<bfloat16>({1, 2100, 300, 34, 128});       // more heads than are worked on side by side
  verify_large<bfloat16>({2, 1000, 500, 34, 64});        // whole heads, on some devices the last ones in splits
  verify_large<bfloat16>({1, 700, 2300, 2, 256}, true);  // many tiles of keys
  verify_large<float16>({2, 1875, 1875, 3, 128});
  verify_large<float16>({1, 300, 5000, 1, 64}, true);
  verify_large<bfloat16>({1, 1, 3000, 4, 64});
  verify_large<bfloat16>({1, 1875, 250, 12, 256});
}

TEST_CASE("attention whose work is cut into shares", "[attention]") {
  const std::int64_t processors = Exec<Cuda>().multiprocessors(), heads = processors / 3;
  const auto verify = [&]<class T>(T, const ops::AttentionShape& s, bool masked = false, int device = 132) {
    // How much a device has at once decides whether it is cut so.
    const auto plan = detail::AttentionBackwardPlan::make<T>(Exec<Cuda>(), s);
    if (processors == device) CHECK(plan.shares.blocks > 0);
    verify_large<T>(s, masked);
  };
  verify(bfloat16(), {2, 1000, 256, heads, 64}, false, static_cast<int>(processors));
  verify(float16(), {1, 1000, 200, heads, 64}, true);
  verify(bfloat16(), {1, 1875, 512, 12, 128});
  verify(bfloat16(), {1, 1000, 200, heads, 61});       // rows that are not made of chunks
  verify(float16(), {1, 1875, 512, 12, 104});          // and such as end before the tile does
  verify(bfloat16(), {1, 1560, 1560, 12, 128}, true);  // some shares reach over three tiles of keys
}

TEST_CASE("each gradient of attention in shares may be left out", "[attention]") {
  Exec<Cuda> exec;
  verify_alone<bfloat16>(exec, {2, 1000, 256, exec.multiprocessors() / 3, 64});
}

TEST_CASE("attention whose last queries are in halves of tiles", "[attention]") {
  const std::int64_t processors = Exec<Cuda>().multiprocessors();
  const auto cut = [](std::int64_t queries, std::int64_t pairs, std::int64_t multiprocessors) {
    const auto [tiles, halves] =
        detail::AttentionForwardCut::make(queries, pairs, multiprocessors, 2 * multiprocessors, 128);
    return std::vector<std::int64_t>{tiles, halves};
  };
  CHECK(cut(1875, 12, 132) == std::vector<std::int64_t>{11, 8});
  CHECK(cut(128, 12, 132) == std::vector<std::int64_t>{0, 2});
  CHECK(cut(100, 200, 132) == std::vector<std::int64_t>{1, 0});   // more blocks would not fit at once
  CHECK(cut(4680, 12, 132) == std::vector<std::int64_t>{37, 0});  // nor do these
  CHECK(cut(0, 12, 132) == std::vector<std::int64_t>{0, 0});
  verify_large<bfloat16>({2, 600, 90, processors / 10, 128}, true);
  verify_large<float16>({3, 130, 300, 5, 64});
}

TEMPLATE_TEST_CASE_SIG("attention is part of a graph", "[attention]", ((bool Shares), Shares), false, true) {
  Exec<Cuda> exec;
  const std::int64_t queries = Shares ? 1000 : 300, heads = Shares ? exec.multiprocessors() / 3 : 2;
  const ops::AttentionShape s{1, queries, 200, heads, 64};
  const Inputs in = Inputs::random<bfloat16>(s);
  const Reference want = in.run<bfloat16>(exec);
  const auto make = [&](std::int64_t tokens, const Values& v) {
    return support::operand<bfloat16>(exec, Shape<4>{1, tokens, heads, 64}, v);
  };
  const auto q = make(queries, in.q), k = make(200, in.k), v = make(200, in.v), dout = make(queries, in.dout);
  const auto out = make(queries, {}), dq = make(queries, {}), dk = make(200, {}), dv = make(200, {});
  const auto lse = support::poisoned<float>(exec, Shape<3>{1, heads, queries});
  const Graph graph = Graph::capture(exec, [&] {
    const auto scratch = support::scratch_of(exec, ops::attention_backward_workspace_bytes<bfloat16>(exec, s));
    ops::attention_forward(exec, q, k, v, {}, in.scale, out, lse, {});
    ops::attention_backward(exec, dout, q, k, v, {}, in.scale, out, lse, dq, dk, dv, scratch);
  });
  for (int i = 0; i < 3; ++i) graph.replay(exec);
  CHECK(same({support::values_of(out), support::values_of(lse), support::values_of(dq), support::values_of(dk),
              support::values_of(dv)},
             want));
}
