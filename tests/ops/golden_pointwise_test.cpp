// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

// Norms, residuals, rotary embedding, patches, time embedding, elementwise operators, loss and AdamW against what
// PyTorch and diffusers give.
#include "segue/ops/cpu/activation.hpp"
#include "segue/ops/cpu/elementwise.hpp"
#include "segue/ops/cpu/embedding.hpp"
#include "segue/ops/cpu/guidance.hpp"
#include "segue/ops/cpu/loss.hpp"
#include "segue/ops/cpu/norm.hpp"
#include "segue/ops/cpu/optimizer.hpp"
#include "segue/ops/cpu/patchify.hpp"
#include "segue/ops/cpu/reduce.hpp"
#include "segue/ops/cpu/residual.hpp"
#include "segue/ops/cpu/rope.hpp"
#include "segue/testing/allclose.hpp"
#include "segue/testing/golden.hpp"
#include "support/catch.hpp"
#include "support/operands.hpp"
#include "support/paths.hpp"

namespace {

using namespace segue;
using ops::GradMode;
using testing::Golden;

template <int Rank>
using Floats = Tensor<float, Rank, HostSpace>;

Golden golden(const std::string& file) { return Golden((support::golden_dir() / file).string()); }

template <class Got, class Expected>
void expect_close(const std::string& what, const Got& got, const Expected& expected, double atol = 2e-6,
                  double rtol = 2e-5) {
  const auto answer = testing::allclose(got, expected, atol, rtol);
  INFO(what << ": " << answer.message);
  CHECK(answer.ok);
}

/// A case of the norm file: operands by name, in rows.
struct NormCase {
  const Golden& file;
  std::string name;
  Exec<Cpu>& exec;
  io::Json parameters = file.parameters(name);

  bool has(const std::string& tensor) const { return file.contains(name + "." + tensor); }
  Floats<3> activations(const std::string& tensor) const { return file.tensor<float, 3>(exec, name + "." + tensor); }
  Floats<2> rows(const std::string& tensor) const {
    const auto x = activations(tensor);
    return x.reshape({x.extent(0) * x.extent(1), x.extent(2)});
  }
  Floats<1> vector(const std::string& tensor) const {
    return has(tensor) ? file.tensor<float, 1>(exec, name + "." + tensor) : Floats<1>();
  }
  Floats<1> statistics(const std::string& tensor) const {
    const auto x = file.tensor<float, 2>(exec, name + "." + tensor);
    return x.reshape({x.size()});
  }
  /// Slot `row` of the (B, G, 6, D) table, as rows that lie 6·D apart.
  View<float, 2, HostSpace> slot(const Floats<4>& table, const std::string& row) const {
    const auto i = parameters.get<std::int64_t>(row, file.path());
    const std::int64_t d = table.extent(3);
    return {table.data_handle() + i * d, {table.extent(0) * table.extent(1), d}, {6 * d, 1}};
  }
  Floats<4> table(const std::string& tensor = "table") const {
    return file.tensor<float, 4>(exec, name + "." + tensor);
  }
  /// Rows of the table by token, over all samples.
  Tensor<std::int32_t, 1, HostSpace> groups(std::int64_t groups_per_sample) const {
    const auto local = file.tensor<std::int32_t, 2>(exec, name + ".group");
    const auto out = exec.empty<std::int32_t, 1>({local.size()});
    for (std::int64_t b = 0; b < local.extent(0); ++b)
      for (std::int64_t t = 0; t < local.extent(1); ++t)
        out(b * local.extent(1) + t) = static_cast<std::int32_t>(b * groups_per_sample + local(b, t));
    return out;
  }
};

Tensor<std::byte, 1, HostSpace> scratch(Exec<Cpu>& exec) { return exec.empty<std::byte, 1>({1 << 16}); }

void check_norm(const Golden& file, const std::string& name) {
  Exec<Cpu> exec({.threads = 2});
  const NormCase c{file, name, exec};
  const auto eps = c.parameters.get<double>("eps", file.path());
  const auto x = c.rows("x"), dy = c.rows("dy");
  const Shape<2> shape = x.shape();
  const auto y = support::poisoned<float>(exec, shape), dx = support::poisoned<float>(exec, shape);
  const auto mean = support::poisoned<float>(exec, Shape<1>{shape[0]}),
             rstd = support::poisoned<float>(exec, Shape<1>{shape[0]});
  const auto weight = c.vector("weight"), bias = c.vector("bias");
  const auto dweight = c.has("dweight") ? support::poisoned<float>(exec, Shape<1>{shape[1]}) : Floats<1>();
  const auto dbias = c.has("dbias") ? support::poisoned<float>(exec, Shape<1>{shape[1]}) : Floats<1>();
  ops::Modulation<float, HostSpace> modulation;
  Floats<4> table, dtable;
  Tensor<std::int32_t, 1, HostSpace> group;
  View<float, 2, HostSpace> dscale, dshift;
  if (c.has("table")) {
    table = c.table();
    dtable = exec.empty<float, 4>(table.shape());
    ops::fill(exec, 0, dtable.view());
    group = c.groups(table.extent(1));
    modulation = {c.slot(table, "scale_row"), c.slot(table, "shift_row"), group, 0};
    dscale = c.slot(dtable, "scale_row");
    dshift = c.slot(dtable, "shift_row");
  }
  const auto overwrite = GradMode::overwrite;
  if (c.has("mean")) {
    ops::layer_norm_forward(exec, x, weight.view(), bias, modulation, eps, y.view(), mean, rstd);
    expect_close(name + ".mean", mean, c.statistics("mean"));
    ops::layer_norm_backward(exec, dy, x, mean, rstd, weight.view(), bias, modulation, dx.view(), overwrite,
                             dweight.view(), dbias, overwrite, dscale, dshift, overwrite, scratch(exec).view());
  } else {
    ops::rms_norm_forward(exec, x, weight.view(), modulation, eps, y.view(), rstd);
    ops::rms_norm_backward(exec, dy, x, rstd, weight.view(), modulation, dx.view(), overwrite, dweight.view(),
                           overwrite, dscale, dshift, overwrite, scratch(exec).view());
  }
  // Rows that sit at 1000 with a spread of one lose what float loses.
  const bool offset = name.ends_with("_offset");
  const double atol = offset ? 2e-4 : 2e-6, rtol = offset ? 2e-4 : 2e-5;
  expect_close(name + ".rstd", rstd, c.statistics("rstd"), atol, rtol);
  expect_close(name + ".y", y, c.rows("y"), atol, rtol);
  // Rows with next to no variance have gradients of 1/sqrt(eps).
  double largest = 0;
  for (const double v : file.values(name + ".dx")) largest = std::max(largest, std::abs(v));
  expect_close(name + ".dx", dx, c.rows("dx"), atol * std::max(1.0, largest), rtol);
  if (dweight) expect_close(name + ".dweight", dweight, c.vector("dweight"), 10 * atol, rtol);
  if (dbias) expect_close(name + ".dbias", dbias, c.vector("dbias"), 10 * atol, rtol);
  if (dtable) expect_close(name + ".dtable", dtable, c.table("dtable"), 10 * atol, rtol);
}

}  // namespace

TEST_CASE("golden: norms") {
  const Golden file = golden("ops_norm.safetensors");
  for (const char* name :
       {"layer_norm", "layer_norm_affine", "layer_norm_affine_offset", "layer_norm_affine_tiny", "layer_norm_offset",
        "layer_norm_tiny", "rms_norm", "rms_norm_affine", "rms_norm_affine_offset", "rms_norm_affine_tiny",
        "rms_norm_offset", "rms_norm_tiny", "modulate_layer_norm_affine_g2", "modulate_layer_norm_g1",
        "modulate_layer_norm_g2", "modulate_layer_norm_g2_shared", "modulate_layer_norm_per_token",
        "modulate_rms_norm_affine_g2", "modulate_rms_norm_g1"})
    check_norm(file, name);
}

TEST_CASE("golden: gated residuals") {
  const Golden file = golden("ops_norm.safetensors");
  Exec<Cpu> exec({.threads = 2});
  for (const char* name : {"gated_residual_g1", "gated_residual_g2", "gated_residual_g2_shared"}) {
    const NormCase c{file, name, exec};
    const auto x = c.rows("x"), branch = c.rows("branch"), dy = c.rows("dy");
    const auto table = c.table(), dtable = exec.empty<float, 4>(table.shape());
    ops::fill(exec, 0, dtable.view());
    const auto group = c.groups(table.extent(1));
    const ops::Gate<float, HostSpace> gate{c.slot(table, "gate_row"), group, 0};
    const auto y = support::poisoned<float>(exec, x.shape()), dbranch = support::poisoned<float>(exec, x.shape());
    ops::gated_residual_forward(exec, x, branch, gate, y.view());
    ops::gated_residual_backward(exec, dy, branch, gate, dbranch.view(), GradMode::overwrite,
                                 c.slot(dtable, "gate_row"), GradMode::overwrite, scratch(exec).view());
    expect_close(c.name + ".y", y, c.rows("y"));
    expect_close(c.name + ".dbranch", dbranch, c.rows("dbranch"));
    expect_close(c.name + ".dtable", dtable, c.table("dtable"));
    expect_close(c.name + ".dx", dy, c.rows("dx"), 0, 0);
  }
}

TEST_CASE("golden: RMSNorm and rotary embedding") {
  const Golden file = golden("ops_norm.safetensors");
  Exec<Cpu> exec({.threads = 2});
  for (const char* name : {"rms_norm_rope_d12", "rms_norm_rope_d16", "rms_norm_rope_d64", "rms_norm_rope_d128"}) {
    const NormCase c{file, name, exec};
    const auto grid = c.parameters.get<std::vector<std::int64_t>>("grid", file.path());
    const int heads = c.parameters.get<int>("heads", file.path()),
              head_dim = c.parameters.get<int>("head_dim", file.path());
    const auto split = c.parameters.get<std::vector<int>>("split", file.path());
    const ops::RopeAxes axes = ops::rope_axes(head_dim);
    CHECK(std::vector<int>{axes.frame, axes.height, axes.width} == split);
    const Shape<2> table{grid[0] * grid[1] * grid[2], head_dim / 2};
    const auto cos = support::poisoned<float>(exec, table), sin = support::poisoned<float>(exec, table);
    ops::rope_table(exec, {grid[0], grid[1], grid[2]}, axes, c.parameters.get<double>("theta", file.path()), cos.view(),
                    sin.view());
    expect_close(c.name + ".cos", cos, file.tensor<float, 2>(exec, c.name + ".cos"), 6e-8, 0);
    expect_close(c.name + ".sin", sin, file.tensor<float, 2>(exec, c.name + ".sin"), 6e-8, 0);

    const auto x = c.rows("x"), dy = c.rows("dy");
    const auto weight = c.vector("weight"), dweight = support::poisoned<float>(exec, Shape<1>{x.extent(1)});
    const auto y = support::poisoned<float>(exec, x.shape()), dx = support::poisoned<float>(exec, x.shape());
    const auto rstd = support::poisoned<float>(exec, Shape<1>{x.extent(0)});
    ops::rms_norm_rope_forward(exec, x, weight.view(), 1e-6, cos, sin, heads, y.view(), rstd);
    ops::rms_norm_rope_backward(exec, dy, x, rstd, weight.view(), cos, sin, heads, dx.view(), GradMode::overwrite,
                                dweight.view(), GradMode::overwrite, scratch(exec).view());
    expect_close(c.name + ".y", y, c.rows("y"));
    expect_close(c.name + ".rstd", rstd, c.statistics("rstd"));
    expect_close(c.name + ".dx", dx, c.rows("dx"));
    expect_close(c.name + ".dweight", dweight, c.vector("dweight"), 2e-5);
    ops::rms_norm_rope_forward(exec, x, weight.view(), 1e-6, {}, {}, heads, y.view(), rstd);
    expect_close(c.name + ".normed", y, c.rows("normed"));
  }
}

TEST_CASE("golden: patches") {
  const Golden file = golden("ops_patch.safetensors");
  Exec<Cpu> exec({.threads = 2});
  for (const ops::PatchSize patch : {ops::PatchSize{1, 2, 2}, {1, 8, 8}, {2, 2, 2}}) {
    const std::string suffix =
        std::to_string(patch.frames) + "x" + std::to_string(patch.height) + "x" + std::to_string(patch.width);
    const auto x = file.tensor<float, 5>(exec, "patch_embed_" + suffix + ".x");
    const auto tokens = file.tensor<float, 3>(exec, "patch_embed_" + suffix + ".tokens");
    const auto got = support::poisoned<float>(exec, tokens.shape());
    ops::patchify(exec, patch, ops::PatchOrder::channel_first, x, got.view());
    expect_close("tokens " + suffix, got, tokens, 0, 0);

    const auto in = file.tensor<float, 3>(exec, "unpatchify_" + suffix + ".x");
    const auto y = file.tensor<float, 5>(exec, "unpatchify_" + suffix + ".y");
    const auto clip = support::poisoned<float>(exec, y.shape());
    ops::unpatchify(exec, patch, ops::PatchOrder::channel_last, in, clip.view());
    expect_close("clip " + suffix, clip, y, 0, 0);
    const auto dx = support::poisoned<float>(exec, in.shape());
    ops::patchify(exec, patch, ops::PatchOrder::channel_last,
                  file.tensor<float, 5>(exec, "unpatchify_" + suffix + ".dy"), dx.view());
    expect_close("gradient " + suffix, dx, file.tensor<float, 3>(exec, "unpatchify_" + suffix + ".dx"), 0, 0);
  }
}

TEST_CASE("golden: time embedding") {
  const Golden file = golden("ops_elementwise.safetensors");
  Exec<Cpu> exec;
  for (const std::string name : {"timestep_embedding_20", "timestep_embedding_256"}) {
    const auto t = file.tensor<float, 1>(exec, name + ".t");
    const auto y = file.tensor<float, 2>(exec, name + ".y");
    const auto got = support::poisoned<float>(exec, y.shape());
    ops::sinusoidal_embedding(exec, t, got.view());
    // An ulp of a frequency, which PyTorch's exponential may be off by, is 6e-5 at t = 1000.
    expect_close(name, got, y, 6.5e-5, 0);
    expect_close(name + " exact", got, file.tensor<float, 2>(exec, name + ".y_exact"), 6.5e-5, 0);
  }
}

TEST_CASE("golden: elementwise operators") {
  const Golden file = golden("ops_elementwise.safetensors");
  Exec<Cpu> exec({.threads = 2});
  const auto load = [&](const std::string& name) { return file.tensor<float, 3>(exec, "elementwise_" + name); };
  const auto fresh = [&] { return support::poisoned<float>(exec, Shape<3>{2, 5, 21}); };
  for (const auto& [name, activation] :
       {std::pair<std::string, ops::Activation>{"gelu_tanh", ops::Activation::gelu_tanh},
        {"gelu_exact", ops::Activation::gelu},
        {"silu", ops::Activation::silu}}) {
    const auto x = load(name + ".x"), y = fresh(), dx = fresh();
    ops::activation_forward(exec, activation, x, y.view());
    ops::activation_backward(exec, activation, x, load(name + ".dy"), dx.view(), GradMode::overwrite);
    expect_close(name + ".y", y, load(name + ".y"), 1e-6, 1e-6);
    expect_close(name + ".dx", dx, load(name + ".dx"), 1e-6, 2e-6);
  }
  auto y = fresh();
  ops::add(exec, load("add.x"), load("add.z"), y.view());
  expect_close("add", y, load("add.y"), 0, 1e-7);
  y = fresh();
  ops::multiply(exec, load("mul.x"), load("mul.z"), y.view());
  expect_close("mul", y, load("mul.y"), 0, 1e-7);
  y = fresh();
  ops::scale(exec, 0.37, load("scale.x"), y.view());
  expect_close("scale", y, load("scale.y"), 0, 2e-7);
  y = load("sub.z");
  ops::axpby(exec, 1, load("sub.x").view(), -1, y.view());
  expect_close("sub", y, load("sub.y"), 0, 1e-7);

  // Sums that broadcasting needs.
  const auto rows = load("add_row.dy").reshape({10, 21});
  const auto dz = support::poisoned<float>(exec, Shape<1>{21});
  ops::sum_rows(exec, rows.view(), dz.view(), GradMode::overwrite, scratch(exec).view());
  expect_close("add_row.dz", dz, file.tensor<float, 1>(exec, "elementwise_add_row.dz"));
  const auto x = file.tensor<float, 1>(exec, "sum_long.x");
  const auto total = support::poisoned<double>(exec, Shape<1>{1});
  ops::sum(exec, x.view(), total.view());
  expect_close("sum", total, file.tensor<float, 1>(exec, "sum_long.y"), 0, 1e-7);
  ops::sum_of_squares(exec, x.view(), total.view());
  expect_close("sum of squares", total, file.tensor<float, 1>(exec, "sum_long.sum_of_squares"), 0, 1e-7);
}

TEST_CASE("golden: guidance") {
  const Golden file = golden("ops_elementwise.safetensors");
  Exec<Cpu> exec;
  for (const std::string name : {"guidance_0", "guidance_1", "guidance_5"}) {
    const io::Json p = file.parameters(name);
    const auto load = [&](const std::string& tensor) { return file.tensor<float, 5>(exec, name + "." + tensor); };
    const auto x = load("x");
    ops::guided_euler_step(exec, x.view(), load("cond").view(), load("uncond"), p.get<double>("guidance_scale", name),
                           p.get<double>("sigma_next", name) - p.get<double>("sigma", name));
    expect_close(name, x, load("euler"), 1e-6, 0);
  }
}

TEST_CASE("golden: squared error") {
  const Golden file = golden("ops_elementwise.safetensors");
  Exec<Cpu> exec({.threads = 2});
  const Shape<4> shape{2, 3, 5, 24};
  const auto x = file.tensor<float, 4>(exec, "mse.x", shape), target = file.tensor<float, 4>(exec, "mse.target", shape);
  const auto one = support::operand<double>(exec, Shape<1>{1}, {1});
  const View<const float, 1, HostSpace> none{};
  for (const auto& [name, first] : {std::pair<std::string, std::int64_t>{"mse", 0}, {"mse_skip_first_frame", 1}}) {
    const auto loss = support::poisoned<double>(exec, Shape<1>{1});
    const auto dx = support::poisoned<float>(exec, shape);
    ops::mse_forward(exec, x.view(), target, none, first, loss.view());
    ops::mse_backward(exec, x, target, none, first, one, dx.view(), GradMode::overwrite);
    CHECK(std::abs(loss(0) - file.value(name + ".loss")) < 1e-7);
    expect_close(name + ".dx", dx, file.tensor<float, 4>(exec, name + ".dx", shape), 1e-9, 1e-6);
  }
}

TEST_CASE("golden: casts, bit for bit") {
  const Golden file = golden("ops_elementwise.safetensors");
  Exec<Cpu> exec;
  const auto word = [&](const std::string& name) { return file.values(name); };
  const auto check = [&]<class Narrow>(const std::string& name, Narrow) {
    const auto bits = word("cast_from_f32.bits"), nan = word("cast_from_f32.is_nan");
    const auto narrow = word("cast_from_f32." + name), wide = word("cast_from_f32." + name + "_to_f32_bits");
    const auto count = static_cast<std::int64_t>(bits.size());
    const auto x = exec.empty<float, 1>({count}), back = exec.empty<float, 1>({count});
    const auto low = exec.empty<Narrow, 1>({count});
    for (std::int64_t i = 0; i < count; ++i)
      x(i) = std::bit_cast<float>(static_cast<std::uint32_t>(bits[static_cast<std::size_t>(i)]));
    ops::copy(exec, x.view(), low.view());
    ops::copy(exec, low.view(), back.view());
    int wrong = 0;
    for (std::int64_t i = 0; i < count; ++i) {
      const auto k = static_cast<std::size_t>(i);
      if (nan[k] != 0)
        wrong += !std::isnan(back(i));
      else
        wrong += low(i).bits != narrow[k] || std::bit_cast<std::uint32_t>(back(i)) != wide[k] ||
                 cast<Narrow>(x(i)).bits != narrow[k];
    }
    CHECK(wrong == 0);
  };
  check("bf16", bfloat16());
  check("f16", float16());

  const auto halves = word("cast_f16_to_f32.f16"), floats = word("cast_f16_to_f32.f32_bits");
  const auto count = static_cast<std::int64_t>(halves.size());
  const auto h = exec.empty<float16, 1>({count});
  const auto f = exec.empty<float, 1>({count});
  for (std::int64_t i = 0; i < count; ++i) h(i).bits = static_cast<std::uint16_t>(halves[static_cast<std::size_t>(i)]);
  ops::copy(exec, h.view(), f.view());
  int wrong = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    const auto expected = static_cast<std::uint32_t>(floats[static_cast<std::size_t>(i)]);
    wrong +=
        std::isnan(std::bit_cast<float>(expected)) ? !std::isnan(f(i)) : std::bit_cast<std::uint32_t>(f(i)) != expected;
  }
  CHECK(wrong == 0);
}

TEST_CASE("golden: AdamW and clipping") {
  const Golden file = golden("ops_optimizer.safetensors");
  Exec<Cpu> exec;
  using View1 = View<const float, 1, HostSpace>;
  for (const std::string name : {"adamw", "adamw_clipped"}) {
    const auto lr = file.values(name + ".lr_f64");
    std::vector<Floats<1>> params, m, v, grads, recorded;
    for (int k = 0; k < 3; ++k) {
      const std::string n = std::to_string(k);
      const auto count = static_cast<std::int64_t>(file.values(name + ".exp_avg" + n).size());
      recorded.push_back(file.tensor<float, 1>(exec, name + ".param" + n, {11 * count}));
      grads.push_back(file.tensor<float, 1>(exec, name + ".grad" + n, {10 * count}));
      params.push_back(exec.empty<float, 1>({count}));
      ops::copy(exec, recorded.back().slice(0, 0, count).view(), params.back().view());
      for (auto* list : {&m, &v}) {
        list->push_back(exec.empty<float, 1>({count}));
        ops::fill(exec, 0, list->back().view());
      }
    }
    const auto norms = file.values(name + ".grad_norm");
    for (std::int64_t step = 1; step <= 10; ++step) {
      std::vector<ops::AdamWTensor<float, float>> tensors;
      std::vector<View1> views;
      for (std::size_t k = 0; k < 3; ++k) {
        const std::int64_t count = params[k].size();
        const float* const grad = grads[k].data_handle() + (step - 1) * count;
        tensors.push_back({params[k].data_handle(), grad, m[k].data_handle(), v[k].data_handle(), count, true});
        views.push_back({grad, {count}});
      }
      const double norm = ops::global_norm(exec, std::span<const View1>(views));
      const auto at = static_cast<std::size_t>(step - 1);
      CHECK(std::abs(norm / norms[at] - 1) < 1e-6);
      const double scale = name == "adamw" ? 1.0 : ops::clip_coefficient(norm, 1.0);
      ops::adamw_step(exec, std::span<const ops::AdamWTensor<float, float>>(tensors),
                      {.lr = lr[at], .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.01}, step, scale);
      for (std::size_t k = 0; k < 3; ++k)
        expect_close(name + " step " + std::to_string(step), params[k],
                     recorded[k].slice(0, step * params[k].size(), (step + 1) * params[k].size()), 3e-7, 1e-6);
    }
    for (std::size_t k = 0; k < 3; ++k) {
      const auto count = params[k].size();
      expect_close(name + ".m", m[k], file.tensor<float, 1>(exec, name + ".exp_avg" + std::to_string(k), {count}), 1e-8,
                   1e-5);
      expect_close(name + ".v", v[k], file.tensor<float, 1>(exec, name + ".exp_avg_sq" + std::to_string(k), {count}),
                   1e-9, 1e-5);
    }
  }
}
