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
  verify_large<bfloat16>({2, 1000, 500, 34, 64});        // whole heads, and on most devices the last ones in splits
  verify_large<bfloat16>({1, 700, 2300, 2, 256}, true);  // many tiles of keys
  verify_large<float16>({2, 1875, 1875, 3, 128});
  verify_large<float16>({1, 300, 5000, 1, 64}, true);
  verify_large<bfloat16>({1, 1, 3000, 4, 64});
}

TEST_CASE("attention is part of a graph", "[attention]") {
  Exec<Cuda> exec;
  const ops::AttentionShape s{1, 300, 200, 2, 64};
  const Inputs in = Inputs::random<bfloat16>(s);
  const Reference want = in.run<bfloat16>(exec);
  const auto make = [&](std::int64_t tokens, const Values& v) {
    return support::operand<bfloat16>(exec, Shape<4>{1, tokens, 2, 64}, v);
  };
  const auto q = make(300, in.q), k = make(200, in.k), v = make(200, in.v), dout = make(300, in.dout);
  const auto out = make(300, {}), dq = make(300, {}), dk = make(200, {}), dv = make(200, {});
  const auto lse = support::poisoned<float>(exec, Shape<3>{1, 2, 300});
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
