// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

// Every operator on a GPU, bf16 at the shapes of Wan 1.3B: 1,536 channels, 12 heads of 128, an MLP of 8,960, 512 text
// tokens. The argument is the number of tokens. Caches are cold; rates count the fewest bytes and operations that the
// operator needs, and of_roofline is the share of what this card's copy or its large bf16 product reaches.
#include <cmath>
#include <span>

#include "cuda_support.cuh"

namespace {

using namespace segue;
using T = bfloat16;
using Space = CudaSpace;
using ops::GradMode;

constexpr std::int64_t dim = 1536, ffn = 8960, heads = 12, text_tokens = 512;

struct Inputs {
  Exec<Cuda> exec;
  std::uint32_t site = 0;

  template <class X, int Rank>
  Tensor<X, Rank, Space> random(const Shape<Rank>& shape, double deviation = 1) {
    auto x = exec.empty<X, Rank>(shape);
    ops::fill_normal(exec, x.view(), {1, site++, 0}, 0.0, deviation);
    return x;
  }
  Tensor<std::byte, 1, Space> scratch(std::size_t bytes) {
    return exec.empty<std::byte, 1>({static_cast<std::int64_t>(bytes)});
  }
};

void linear(benchmark::State& state, std::int64_t in, std::int64_t out, ops::Activation activation) {
  Inputs s;
  const std::int64_t m = state.range(0);
  const auto x = s.random<T, 2>({m, in}), w = s.random<T, 2>({out, in}, 0.02);
  const auto bias = s.random<T, 1>({out});
  const auto y = s.exec.empty<T, 2>({m, out});
  const auto pre = activation == ops::Activation::none ? Tensor<T, 2, Space>() : s.exec.empty<T, 2>({m, out});
  const auto scratch = s.scratch(ops::linear_forward_workspace_bytes<T, T, T>(s.exec, m, out, in));
  bench::measure(state, s.exec, ops::linear_cost<T, T, T>(m, out, in),
                 [&] { ops::linear_forward(s.exec, x, w, bias.cview(), activation, y, pre.view(), scratch.view()); });
}
void linear_forward_square(benchmark::State& state) { linear(state, dim, dim, ops::Activation::none); }
void linear_forward_up_gelu(benchmark::State& state) { linear(state, dim, ffn, ops::Activation::gelu_tanh); }
void linear_forward_down(benchmark::State& state) { linear(state, ffn, dim, ops::Activation::none); }

void linear_backward_input(benchmark::State& state) {
  Inputs s;
  const std::int64_t m = state.range(0);
  const auto dy = s.random<T, 2>({m, ffn}), w = s.random<T, 2>({ffn, dim}, 0.02);
  const auto dx = s.exec.empty<T, 2>({m, dim});
  const auto scratch = s.scratch(ops::linear_backward_input_workspace_bytes<T, T, T>(s.exec, m, ffn, dim));
  bench::measure(state, s.exec, ops::linear_cost<T, T, T>(m, ffn, dim),
                 [&] { ops::linear_backward_input(s.exec, dy, w, dx, GradMode::overwrite, scratch.view()); });
}

void linear_backward_weight(benchmark::State& state) {
  Inputs s;
  const std::int64_t m = state.range(0);
  const auto dy = s.random<T, 2>({m, dim}), x = s.random<T, 2>({m, dim});
  const auto dw = s.exec.empty<float, 2>({dim, dim});
  const auto scratch = s.scratch(ops::linear_backward_weight_workspace_bytes<T, T, float>(s.exec, m, dim, dim));
  bench::measure(state, s.exec, ops::linear_cost<T, T, float>(m, dim, dim),
                 [&] { ops::linear_backward_weight(s.exec, dy, x, dw, GradMode::overwrite, scratch.view()); });
}

/// With the bias's, which follow in a pass of their own where dy is large.
void linear_backward_weight_and_bias(benchmark::State& state) {
  Inputs s;
  const std::int64_t m = state.range(0);
  const auto dy = s.random<T, 2>({m, dim}), x = s.random<T, 2>({m, dim});
  const auto dweight = s.exec.empty<float, 2>({dim, dim});
  const auto dbias = s.exec.empty<float, 1>({dim});
  const auto scratch =
      s.scratch(ops::linear_backward_weight_and_bias_workspace_bytes<T, T, float>(s.exec, m, dim, dim));
  bench::measure(state, s.exec, ops::linear_cost<T, T, float>(m, dim, dim), [&] {
    ops::linear_backward_weight_and_bias(s.exec, dy, x, dweight, GradMode::overwrite, dbias, GradMode::overwrite,
                                         scratch.view());
  });
}

void linear_backward_through_gelu(benchmark::State& state) {
  Inputs s;
  const std::int64_t m = state.range(0);
  const auto dy = s.random<T, 2>({m, dim}), w = s.random<T, 2>({dim, ffn}, 0.02), pre = s.random<T, 2>({m, ffn});
  const auto dx = s.exec.empty<T, 2>({m, ffn});
  const auto scratch = s.scratch(
      ops::linear_backward_input_through_activation_workspace_bytes<T, T, T>(s.exec, m, dim, ffn, GradMode::overwrite));
  bench::measure(state, s.exec, ops::linear_cost<T, T, T>(m, dim, ffn), [&] {
    ops::linear_backward_input_through_activation(s.exec, dy, w, ops::Activation::gelu_tanh, pre.cview(), dx,
                                                  GradMode::overwrite, scratch.view());
  });
}

void linear_backward_bias(benchmark::State& state) {
  Inputs s;
  const std::int64_t m = state.range(0);
  const auto dy = s.random<T, 2>({m, ffn});
  const auto dbias = s.exec.empty<float, 1>({ffn});
  const auto scratch = s.scratch(ops::linear_backward_bias_workspace_bytes<T>(s.exec, m, ffn));
  bench::measure(state, s.exec, ops::reduce_cost<T>(m * ffn),
                 [&] { ops::linear_backward_bias(s.exec, dy, dbias, GradMode::overwrite, scratch.view()); });
}

void attention(benchmark::State& state, const ops::AttentionShape& shape, bool backward) {
  Inputs s;
  const Shape<4> of_queries{shape.batch, shape.queries, shape.heads, shape.head_dim},
      of_keys{shape.batch, shape.keys, shape.heads, shape.head_dim};
  const auto q = s.random<T, 4>(of_queries), k = s.random<T, 4>(of_keys), v = s.random<T, 4>(of_keys),
             dout = s.random<T, 4>(of_queries);
  const auto out = s.exec.empty<T, 4>(q.shape()), dq = s.exec.empty<T, 4>(q.shape()),
             dk = s.exec.empty<T, 4>(k.shape()), dv = s.exec.empty<T, 4>(k.shape());
  const auto lse = s.exec.empty<float, 3>({shape.batch, shape.heads, shape.queries});
  const auto forward_scratch = s.scratch(ops::attention_forward_workspace_bytes<T>(s.exec, shape));
  const auto backward_scratch = s.scratch(ops::attention_backward_workspace_bytes<T>(s.exec, shape));
  const float scale = 1.0f / std::sqrt(static_cast<float>(shape.head_dim));
  // The field counts the backward as two and a half forwards: five products.
  const auto cost = backward ? ops::attention_forward_cost<T>(shape) + ops::attention_backward_cost<T>(shape)
                             : ops::attention_forward_cost<T>(shape);
  bench::measure(state, s.exec, cost, [&] {
    ops::attention_forward(s.exec, q.cview(), k.cview(), v.cview(), {}, scale, out, lse.view(), forward_scratch.view());
    if (backward)
      ops::attention_backward(s.exec, dout, q.cview(), k.cview(), v.cview(), {}, scale, out.cview(), lse.cview(),
                              dq.view(), dk.view(), dv.view(), backward_scratch.view());
  });
}
ops::AttentionShape self_attention(std::int64_t tokens) { return {1, tokens, tokens, heads, 128}; }
ops::AttentionShape cross_attention(std::int64_t tokens) { return {1, tokens, text_tokens, heads, 128}; }
void self_attention_forward(benchmark::State& state) { attention(state, self_attention(state.range(0)), false); }
void self_attention_forward_backward(benchmark::State& state) {
  attention(state, self_attention(state.range(0)), true);
}
void cross_attention_forward(benchmark::State& state) { attention(state, cross_attention(state.range(0)), false); }
void cross_attention_forward_backward(benchmark::State& state) {
  attention(state, cross_attention(state.range(0)), true);
}
/// Of so many clips of the small Wan: 320 tokens, 5 heads of 64.
void small_clips_attention_forward_backward(benchmark::State& state) {
  attention(state, {state.range(0), 320, 320, 5, 64}, true);
}

struct Modulated : Inputs {
  Tensor<float, 2, Space> scale = random<float, 2>({1, dim}), shift = random<float, 2>({1, dim});
  ops::Modulation<float, Space> of(std::int64_t tokens) const { return {scale.cview(), shift.cview(), {}, tokens}; }
};

void layer_norm_modulate_forward(benchmark::State& state) {
  Modulated s;
  const std::int64_t m = state.range(0);
  const auto x = s.random<T, 2>({m, dim});
  const auto y = s.exec.empty<T, 2>({m, dim});
  const auto mean = s.exec.empty<float, 1>({m}), rstd = s.exec.empty<float, 1>({m});
  bench::measure(state, s.exec, ops::layer_norm_forward_cost<T>(m, dim), [&] {
    ops::layer_norm_forward(s.exec, x.cview(), View<const float, 1, Space>{}, {}, s.of(m), 1e-6, y.view(), mean.view(),
                            rstd.view());
  });
}

void layer_norm_modulate_backward(benchmark::State& state) {
  Modulated s;
  const std::int64_t m = state.range(0);
  const auto x = s.random<T, 2>({m, dim}), dy = s.random<T, 2>({m, dim});
  const auto y = s.exec.empty<T, 2>({m, dim}), dx = s.exec.empty<T, 2>({m, dim});
  const auto mean = s.exec.empty<float, 1>({m}), rstd = s.exec.empty<float, 1>({m});
  const View<const float, 1, Space> none{};
  ops::layer_norm_forward(s.exec, x.cview(), none, {}, s.of(m), 1e-6, y.view(), mean.view(), rstd.view());
  bench::measure(state, s.exec, ops::layer_norm_backward_cost<T>(m, dim), [&] {
    ops::layer_norm_backward(s.exec, dy.cview(), x.cview(), mean.cview(), rstd.cview(), none, {}, s.of(m), dx.view(),
                             GradMode::overwrite, View<float, 1, Space>{}, {}, GradMode::overwrite, {}, {},
                             GradMode::overwrite, {});
  });
}

void rms_norm_forward(benchmark::State& state) {
  Inputs s;
  const std::int64_t m = state.range(0);
  const auto x = s.random<T, 2>({m, dim}), y = s.exec.empty<T, 2>({m, dim});
  const auto weight = s.random<float, 1>({dim}), rstd = s.exec.empty<float, 1>({m});
  bench::measure(state, s.exec, ops::rms_norm_forward_cost<T>(m, dim), [&] {
    ops::rms_norm_forward(s.exec, x.cview(), weight.cview(), ops::Modulation<float, Space>{}, 1e-6, y.view(),
                          rstd.view());
  });
}

void rms_norm_backward(benchmark::State& state) {
  Inputs s;
  const std::int64_t m = state.range(0);
  const auto x = s.random<T, 2>({m, dim}), dy = s.random<T, 2>({m, dim});
  const auto y = s.exec.empty<T, 2>({m, dim}), dx = s.exec.empty<T, 2>({m, dim});
  const auto weight = s.random<float, 1>({dim}), rstd = s.exec.empty<float, 1>({m});
  const ops::Modulation<float, Space> none{};
  ops::rms_norm_forward(s.exec, x.cview(), weight.cview(), none, 1e-6, y.view(), rstd.view());
  bench::measure(state, s.exec, ops::rms_norm_backward_cost<T>(m, dim), [&] {
    ops::rms_norm_backward(s.exec, dy.cview(), x.cview(), rstd.cview(), weight.cview(), none, dx.view(),
                           GradMode::overwrite, View<float, 1, Space>{}, GradMode::overwrite, {}, {},
                           GradMode::overwrite, {});
  });
}

struct Rotated : Inputs {
  Tensor<float, 2, Space> cos, sin;
  Tensor<float, 1, Space> weight = random<float, 1>({dim});
  explicit Rotated(std::int64_t tokens)
      : cos(exec.empty<float, 2>({tokens, 64})), sin(exec.empty<float, 2>({tokens, 64})) {
    ops::rope_table(exec, {1, 1, tokens}, ops::rope_axes(128), 10000.0, cos.view(), sin.view());
  }
};

void rope_forward(benchmark::State& state) {
  const std::int64_t m = state.range(0);
  Rotated s(m);
  const auto x = s.random<T, 2>({m, dim}), y = s.exec.empty<T, 2>({m, dim});
  bench::measure(state, s.exec, ops::rope_forward_cost<T>(m, dim),
                 [&] { ops::rope_forward(s.exec, x.cview(), s.cos.cview(), s.sin.cview(), heads, y.view()); });
}

void rms_norm_rope_forward(benchmark::State& state) {
  const std::int64_t m = state.range(0);
  Rotated s(m);
  const auto x = s.random<T, 2>({m, dim});
  const auto y = s.exec.empty<T, 2>({m, dim});
  const auto rstd = s.exec.empty<float, 1>({m});
  bench::measure(state, s.exec, ops::rms_norm_rope_forward_cost<T>(m, dim), [&] {
    ops::rms_norm_rope_forward(s.exec, x.cview(), s.weight.cview(), 1e-6, s.cos.cview(), s.sin.cview(), heads, y.view(),
                               rstd.view());
  });
}

void rms_norm_rope_backward(benchmark::State& state) {
  const std::int64_t m = state.range(0);
  Rotated s(m);
  const auto x = s.random<T, 2>({m, dim}), dy = s.random<T, 2>({m, dim});
  const auto y = s.exec.empty<T, 2>({m, dim}), dx = s.exec.empty<T, 2>({m, dim});
  const auto rstd = s.exec.empty<float, 1>({m});
  ops::rms_norm_rope_forward(s.exec, x.cview(), s.weight.cview(), 1e-6, s.cos.cview(), s.sin.cview(), heads, y.view(),
                             rstd.view());
  bench::measure(state, s.exec, ops::rms_norm_rope_backward_cost<T>(m, dim), [&] {
    ops::rms_norm_rope_backward(s.exec, dy.cview(), x.cview(), rstd.cview(), s.weight.cview(), s.cos.cview(),
                                s.sin.cview(), heads, dx.view(), GradMode::overwrite, View<float, 1, Space>{},
                                GradMode::overwrite, {});
  });
}

void gated_residual_forward(benchmark::State& state) {
  Modulated s;
  const std::int64_t m = state.range(0);
  const auto x = s.random<T, 2>({m, dim}), h = s.random<T, 2>({m, dim});
  const auto y = s.exec.empty<T, 2>({m, dim});
  bench::measure(state, s.exec, ops::gated_residual_forward_cost<T>(m, dim), [&] {
    ops::gated_residual_forward(s.exec, x.cview(), h.cview(), ops::Gate<float, Space>{s.scale.cview(), {}, m},
                                y.view());
  });
}

void gated_residual_backward(benchmark::State& state) {
  Modulated s;
  const std::int64_t m = state.range(0);
  const auto dy = s.random<T, 2>({m, dim});
  const auto dh = s.exec.empty<T, 2>({m, dim});
  bench::measure(state, s.exec, ops::elementwise_cost<T>(m * dim, 2), [&] {
    ops::gated_residual_backward(s.exec, dy.cview(), {}, ops::Gate<float, Space>{s.scale.cview(), {}, m}, dh.view(),
                                 GradMode::overwrite, {}, GradMode::overwrite, {});
  });
}

void activation_forward(benchmark::State& state) {
  Inputs s;
  const auto x = s.random<T, 2>({state.range(0), ffn});
  const auto y = s.exec.empty<T, 2>(x.shape());
  bench::measure(state, s.exec, ops::activation_forward_cost<T>(x.size()),
                 [&] { ops::activation_forward(s.exec, ops::Activation::gelu_tanh, x.cview(), y.view()); });
}

void activation_backward(benchmark::State& state) {
  Inputs s;
  const auto x = s.random<T, 2>({state.range(0), ffn}), dy = s.random<T, 2>(x.shape());
  const auto dx = s.exec.empty<T, 2>(x.shape());
  bench::measure(state, s.exec, ops::activation_backward_cost<T>(x.size()), [&] {
    ops::activation_backward(s.exec, ops::Activation::gelu_tanh, x.cview(), dy.cview(), dx.view(), GradMode::overwrite);
  });
}

void add(benchmark::State& state) {
  Inputs s;
  const auto a = s.random<T, 2>({state.range(0), dim}), b = s.random<T, 2>(a.shape());
  const auto y = s.exec.empty<T, 2>(a.shape());
  bench::measure(state, s.exec, ops::elementwise_cost<T>(a.size(), 3),
                 [&] { ops::add(s.exec, a.cview(), b.cview(), y.view()); });
}

void cast_to_bf16(benchmark::State& state) {
  Inputs s;
  const auto a = s.random<float, 2>({state.range(0), dim});
  const auto y = s.exec.empty<T, 2>(a.shape());
  bench::measure(state, s.exec, {0, 6.0 * static_cast<double>(a.size())},
                 [&] { ops::copy(s.exec, a.cview(), y.view()); });
}

void dropout(benchmark::State& state) {
  Inputs s;
  const auto x = s.random<T, 2>({state.range(0), dim});
  const auto y = s.exec.empty<T, 2>(x.shape());
  bench::measure(state, s.exec, ops::dropout_cost<T>(x.size()), [&] {
    ops::dropout_forward(s.exec, x.cview(), 0.1, RandomKey{1, 2, 3}, y.view());
  });
}

void fill_normal(benchmark::State& state) {
  Inputs s;
  const auto x = s.exec.empty<float, 2>({state.range(0), dim});
  bench::measure(state, s.exec, ops::fill_random_cost<float>(x.size()), [&] {
    ops::fill_normal(s.exec, x.view(), RandomKey{1, 2, 3});
  });
}

void patchify(benchmark::State& state) {
  Inputs s;
  // A clip whose patches of 1 x 2 x 2 are that many tokens, as wide as the model.
  const auto x = s.random<T, 5>({1, dim / 4, 1, 2, 2 * state.range(0)});
  const auto tokens = s.exec.empty<T, 3>({1, state.range(0), dim});
  bench::measure(state, s.exec, ops::patchify_cost<T>(x.size()),
                 [&] { ops::patchify<ops::Patch<1, 2, 2>>(s.exec, x.cview(), tokens.view()); });
}

void unpatchify(benchmark::State& state) {
  Inputs s;
  const auto tokens = s.random<T, 3>({1, state.range(0), dim});
  const auto x = s.exec.empty<T, 5>({1, dim / 4, 1, 2, 2 * state.range(0)});
  bench::measure(state, s.exec, ops::patchify_cost<T>(x.size()),
                 [&] { ops::unpatchify<ops::Patch<1, 2, 2>>(s.exec, tokens.cview(), x.view()); });
}

void multiply(benchmark::State& state) {
  Inputs s;
  const auto a = s.random<T, 2>({state.range(0), dim}), b = s.random<T, 2>(a.shape());
  const auto y = s.exec.empty<T, 2>(a.shape());
  bench::measure(state, s.exec, ops::elementwise_cost<T>(a.size(), 3),
                 [&] { ops::multiply(s.exec, a.cview(), b.cview(), y.view()); });
}

void scale(benchmark::State& state) {
  Inputs s;
  const auto x = s.random<T, 2>({state.range(0), dim}), y = s.exec.empty<T, 2>(x.shape());
  bench::measure(state, s.exec, ops::elementwise_cost<T>(x.size(), 2),
                 [&] { ops::scale(s.exec, 1.5, x.cview(), y.view()); });
}

void fill(benchmark::State& state) {
  Inputs s;
  const auto x = s.exec.empty<T, 2>({state.range(0), dim});
  bench::measure(state, s.exec, ops::elementwise_cost<T>(x.size(), 1), [&] { ops::fill(s.exec, 1.5, x.view()); });
}

void axpby(benchmark::State& state) {
  Inputs s;
  const auto x = s.random<T, 2>({state.range(0), dim}), y = s.random<T, 2>(x.shape());
  bench::measure(state, s.exec, ops::elementwise_cost<T>(x.size(), 3, 3),
                 [&] { ops::axpby(s.exec, 0.5, x.cview(), 0.5, y.view()); });
}

void lerp(benchmark::State& state) {
  Inputs s;
  const auto x = s.random<T, 2>({state.range(0), dim}), y = s.random<T, 2>(x.shape());
  bench::measure(state, s.exec, ops::elementwise_cost<T>(x.size(), 3, 3),
                 [&] { ops::lerp(s.exec, x.cview(), 0.1, y.view()); });
}

void fill_uniform(benchmark::State& state) {
  Inputs s;
  const auto x = s.exec.empty<T, 2>({state.range(0), dim});
  bench::measure(state, s.exec, ops::elementwise_cost<T>(x.size(), 1), [&] {
    ops::fill_uniform(s.exec, x.view(), {1, 2, 3});
  });
}

void sum(benchmark::State& state) {
  Inputs s;
  const auto x = s.random<T, 2>({state.range(0), dim});
  const auto out = s.exec.empty<double, 1>({1});
  bench::measure(state, s.exec, ops::reduce_cost<T>(x.size()), [&] { ops::sum(s.exec, x.view(), out.view()); });
}

void sum_rows(benchmark::State& state) {
  Inputs s;
  const auto x = s.random<T, 2>({state.range(0), dim});
  const auto out = s.exec.empty<float, 1>({dim});
  const auto scratch = s.scratch(static_cast<std::size_t>(ops::sum_rows_workspace_bytes<T>(s.exec, x.extent(0), dim)));
  bench::measure(state, s.exec, ops::reduce_cost<T>(x.size()),
                 [&] { ops::sum_rows(s.exec, x.view(), out.view(), GradMode::overwrite, scratch.view()); });
}

void has_nonfinite(benchmark::State& state) {
  Inputs s;
  const auto x = s.random<T, 2>({state.range(0), dim});
  const auto flag = s.exec.empty<std::int32_t, 1>({1});
  bench::measure(state, s.exec, ops::reduce_cost<T>(x.size()),
                 [&] { ops::has_nonfinite(s.exec, x.view(), flag.view(), GradMode::overwrite); });
}

/// Cosines and sines of all tokens, 64 pairs each.
void rope_table(benchmark::State& state) {
  Inputs s;
  const auto cos = s.exec.empty<float, 2>({state.range(0), 64}), sin = s.exec.empty<float, 2>(cos.shape());
  bench::measure(state, s.exec, ops::elementwise_cost<float>(2 * cos.size(), 1), [&] {
    ops::rope_table(s.exec, {1, 1, state.range(0)}, ops::rope_axes(128), 10000.0, cos.view(), sin.view());
  });
}

/// The pictures that so many tokens stand for, 16x16 pixels each.
void normalize_pixels(benchmark::State& state) {
  Inputs s;
  const auto pixels = s.exec.empty<std::uint8_t, 5>({1, 1, 16, 16 * state.range(0), 3});
  const auto out = s.exec.empty<T, 5>({1, 3, 1, 16, 16 * state.range(0)});
  bench::measure(state, s.exec, ops::normalize_pixels_cost<T>(out.size()),
                 [&] { ops::normalize_pixels(s.exec, pixels.cview(), out.view()); });
}

void sum_of_squares(benchmark::State& state) {
  Inputs s;
  const auto x = s.random<T, 2>({state.range(0), dim});
  const auto out = s.exec.empty<double, 1>({1});
  bench::measure(state, s.exec, ops::reduce_cost<T>(x.size()),
                 [&] { ops::sum_of_squares(s.exec, x.view(), out.view()); });
}

/// The latents of a clip: noise, state and target in one pass.
void noise_batch(benchmark::State& state) {
  Inputs s;
  const Shape<5> shape{1, 16, 1, 2, 2 * state.range(0)};
  const auto clips = s.random<T, 5>(shape), noisy = s.exec.empty<T, 5>(shape), target = s.exec.empty<T, 5>(shape);
  const auto draws = s.exec.empty<ops::NoiseDraw, 1>({1});
  const ops::NoiseDraw draw{.key = {1, 2, 3}, .state_data = 0.5, .state_noise = 0.5};
  s.exec.upload(&draw, draws.view());
  const auto timesteps = s.exec.empty<float, 1>({1}), weights = s.exec.empty<float, 1>({1});
  bench::measure(state, s.exec, ops::noise_batch_cost<T>(clips.size()), [&] {
    ops::noise_batch(s.exec, clips.cview(), draws.cview(), noisy.view(), target.view(), timesteps.view(),
                     weights.view());
  });
}

void guided_euler_step(benchmark::State& state) {
  Inputs s;
  const Shape<5> shape{1, 16, 1, 2, 2 * state.range(0)};
  const auto x = s.random<float, 5>(shape);
  const auto cond = s.random<T, 5>(shape), uncond = s.random<T, 5>(shape);
  bench::measure(state, s.exec, ops::guided_euler_step_cost<float, T>(x.size()),
                 [&] { ops::guided_euler_step(s.exec, x.view(), cond.view(), uncond.view(), 5.0, -0.02); });
}

/// Of one timestep a token, the most that a model asks for.
void sinusoidal_embedding(benchmark::State& state) {
  Inputs s;
  const auto t = s.random<float, 1>({state.range(0)}, 500);
  const auto out = s.exec.empty<float, 2>({state.range(0), 256});
  bench::measure(state, s.exec, ops::sinusoidal_embedding_cost<float>(state.range(0), 256),
                 [&] { ops::sinusoidal_embedding(s.exec, t.cview(), out.view()); });
}

void mse_backward(benchmark::State& state) {
  Inputs s;
  const auto a = s.random<T, 4>({1, 16, 1, 4 * state.range(0)}), b = s.random<T, 4>(a.shape());
  const auto da = s.exec.empty<T, 4>(a.shape());
  const auto dloss = s.exec.empty<double, 1>({1});
  ops::fill(s.exec, 1.0, dloss.view());
  bench::measure(state, s.exec, ops::mse_backward_cost<T>(a.size()), [&] {
    ops::mse_backward(s.exec, a.cview(), b.cview(), View<const float, 1, Space>{}, 0, dloss.cview(), da.view(),
                      GradMode::overwrite);
  });
}

void mse(benchmark::State& state) {
  Inputs s;
  const auto a = s.random<T, 4>({1, 16, 1, 4 * state.range(0)}), b = s.random<T, 4>(a.shape());
  const auto loss = s.exec.empty<double, 1>({1});
  bench::measure(state, s.exec, ops::mse_forward_cost<T>(a.size()),
                 [&] { ops::mse_forward(s.exec, a.view(), b.cview(), {}, 0, loss.view()); });
}

/// The adapters of 30 blocks: clipping and AdamW over 600 tensors, the argument.
void adamw(benchmark::State& state) {
  Inputs s;
  const std::int64_t count = 64 * dim;
  std::vector<Tensor<float, 1, Space>> held;
  std::vector<ops::AdamWTensor<float, float, T>> tensors;
  std::vector<View<const float, 1, Space>> grads;
  for (std::int64_t i = 0; i < state.range(0); ++i) {
    for (int k = 0; k < 4; ++k) held.push_back(s.random<float, 1>({count}, 0.01));
    auto* last = &held[held.size() - 4];
    ops::fill(s.exec, 0.0, last[2].view());
    ops::fill(s.exec, 0.0, last[3].view());
    tensors.push_back(
        {last[0].data_handle(), last[1].data_handle(), last[2].data_handle(), last[3].data_handle(), count});
    grads.push_back(last[1].cview());
  }
  auto numbers = s.exec.empty<ops::UpdateState, 1>({1});
  const ops::UpdateState start{.lr = 1e-4};
  s.exec.upload(&start, numbers.view());
  auto norm = s.exec.empty<double, 1>({1});
  const std::span<const View<const float, 1, Space>> list(grads);
  const auto scratch = s.scratch(ops::global_norm_squared_workspace_bytes(s.exec, list));
  const std::int64_t n = count * state.range(0);
  bench::measure(state, s.exec, ops::adamw_step_cost<float, float>(n) + ops::Cost{2.0 * n, 4.0 * n}, [&] {
    ops::global_norm_squared(s.exec, list, norm.view(), scratch.view());
    ops::begin_update(s.exec, numbers.view(), norm.cview(),
                      {.beta1 = 0.9, .beta2 = 0.999, .max_norm = 1, .ema_decay = 0, .dynamic_loss_scale = false});
    ops::adamw_step(s.exec, std::span<const ops::AdamWTensor<float, float, T>>(tensors), {}, numbers.cview());
  });
}

/// The moving average of as many.
void ema(benchmark::State& state) {
  Inputs s;
  const std::int64_t count = 64 * dim;
  std::vector<Tensor<float, 1, Space>> held;
  std::vector<ops::EmaTensor<float, float>> tensors;
  for (std::int64_t i = 0; i < state.range(0); ++i) {
    for (int k = 0; k < 2; ++k) held.push_back(s.random<float, 1>({count}));
    tensors.push_back({held[held.size() - 2].data_handle(), held.back().data_handle(), count});
  }
  auto numbers = s.exec.empty<ops::UpdateState, 1>({1});
  const ops::UpdateState start{.ema_weight = 0.001f};
  s.exec.upload(&start, numbers.view());
  bench::measure(state, s.exec, ops::ema_step_cost<float, float>(count * state.range(0)), [&] {
    ops::ema_step(s.exec, std::span<const ops::EmaTensor<float, float>>(tensors), numbers.cview());
  });
}

#define SEGUE_BENCH_TOKENS(name) \
  BENCHMARK(name)->ArgName("tokens")->Arg(1875)->Arg(32760)->UseManualTime()->Unit(benchmark::kMicrosecond)

SEGUE_BENCH_TOKENS(linear_forward_square);
SEGUE_BENCH_TOKENS(linear_forward_up_gelu);
SEGUE_BENCH_TOKENS(linear_forward_down);
SEGUE_BENCH_TOKENS(linear_backward_input);
SEGUE_BENCH_TOKENS(linear_backward_weight);
SEGUE_BENCH_TOKENS(linear_backward_weight_and_bias);
SEGUE_BENCH_TOKENS(linear_backward_through_gelu);
SEGUE_BENCH_TOKENS(linear_backward_bias);
SEGUE_BENCH_TOKENS(self_attention_forward);
SEGUE_BENCH_TOKENS(self_attention_forward_backward);
SEGUE_BENCH_TOKENS(cross_attention_forward);
SEGUE_BENCH_TOKENS(cross_attention_forward_backward);
SEGUE_BENCH_TOKENS(layer_norm_modulate_forward);
SEGUE_BENCH_TOKENS(layer_norm_modulate_backward);
SEGUE_BENCH_TOKENS(rms_norm_forward);
SEGUE_BENCH_TOKENS(rms_norm_backward);
SEGUE_BENCH_TOKENS(rope_forward);
SEGUE_BENCH_TOKENS(rms_norm_rope_forward);
SEGUE_BENCH_TOKENS(rms_norm_rope_backward);
SEGUE_BENCH_TOKENS(gated_residual_forward);
SEGUE_BENCH_TOKENS(gated_residual_backward);
SEGUE_BENCH_TOKENS(activation_forward);
SEGUE_BENCH_TOKENS(activation_backward);
SEGUE_BENCH_TOKENS(add);
SEGUE_BENCH_TOKENS(cast_to_bf16);
SEGUE_BENCH_TOKENS(dropout);
SEGUE_BENCH_TOKENS(fill_normal);
SEGUE_BENCH_TOKENS(patchify);
SEGUE_BENCH_TOKENS(unpatchify);
SEGUE_BENCH_TOKENS(multiply);
SEGUE_BENCH_TOKENS(scale);
SEGUE_BENCH_TOKENS(fill);
SEGUE_BENCH_TOKENS(axpby);
SEGUE_BENCH_TOKENS(lerp);
SEGUE_BENCH_TOKENS(fill_uniform);
SEGUE_BENCH_TOKENS(sum);
SEGUE_BENCH_TOKENS(sum_rows);
SEGUE_BENCH_TOKENS(has_nonfinite);
SEGUE_BENCH_TOKENS(rope_table);
SEGUE_BENCH_TOKENS(normalize_pixels);
SEGUE_BENCH_TOKENS(sum_of_squares);
SEGUE_BENCH_TOKENS(noise_batch);
SEGUE_BENCH_TOKENS(guided_euler_step);
SEGUE_BENCH_TOKENS(sinusoidal_embedding);
SEGUE_BENCH_TOKENS(mse);
SEGUE_BENCH_TOKENS(mse_backward);
BENCHMARK(small_clips_attention_forward_backward)
    ->ArgName("clips")
    ->Arg(8)
    ->Arg(256)
    ->UseManualTime()
    ->Unit(benchmark::kMicrosecond);
BENCHMARK(ema)->ArgName("tensors")->Arg(600)->UseManualTime()->Unit(benchmark::kMicrosecond);
BENCHMARK(adamw)->ArgName("tensors")->Arg(600)->UseManualTime()->Unit(benchmark::kMicrosecond);

}  // namespace

BENCHMARK_MAIN();
