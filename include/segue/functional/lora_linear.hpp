// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <vector>

#include "segue/functional/linear.hpp"
#include "segue/ops/random_fill.hpp"

SEGUE_NAMESPACE_BEGIN
namespace functional {

/// One low-rank update of a linear, as the operator sees it.
///   a: (slots, rank, in), b: (slots, out, rank); y += scale·(dropout(x)·aᵀ)·bᵀ with the slot of the sample.
template <class TA, class Space, class Grad>
struct LoraDelta {
  Var<TA, 3, Space, Grad> a;
  Var<TA, 3, Space, Grad> b;
  double scale = 1.0;
  double dropout = 0.0;
};

namespace detail {

/// Rows [begin, end) that use one slot.
struct SlotRun {
  std::int64_t begin, end;
  std::int32_t slot;
};

/// Samples are the first axis of x; neighbours with one slot are multiplied together.
inline std::vector<SlotRun> slot_runs(std::span<const std::int32_t> sample_slots, std::int64_t rows,
                                      std::int64_t slot_count) {
  if (sample_slots.empty()) return {{0, rows, 0}};
  const auto samples = static_cast<std::int64_t>(sample_slots.size());
  if (rows % samples != 0)
    throw_input("lora_linear", "length of sample_slots", std::to_string(samples), "the number of samples");
  const std::int64_t per_sample = rows / samples;
  std::vector<SlotRun> runs;
  for (std::int64_t i = 0; i < samples; ++i) {
    const std::int32_t slot = sample_slots[static_cast<std::size_t>(i)];
    if (slot < 0 || slot >= slot_count)
      throw_input("lora_linear", "an entry of sample_slots", std::to_string(slot),
                  "0 to " + std::to_string(slot_count - 1));
    if (!runs.empty() && runs.back().slot == slot)
      runs.back().end += per_sample;
    else
      runs.push_back({i * per_sample, (i + 1) * per_sample, slot});
  }
  return runs;
}

template <class Device, class TX, class TW, class TY, class Space>
void multiply(Exec<Device>& exec, View<TX, 2, Space> x, ops::Transpose tx, View<TW, 2, Space> w, ops::Transpose tw,
              View<TY, 2, Space> y, ops::GemmScale scale) {
  using XV = std::remove_cv_t<TX>;
  using WV = std::remove_cv_t<TW>;
  const std::int64_t k = tx == ops::Transpose::no ? x.extent(1) : x.extent(0);
  const auto s = scratch(exec, ops::gemm_workspace_bytes<XV, WV, TY>(exec, y.extent(0), y.extent(1), k, tx, tw));
  ops::gemm(exec, View<const XV, 2, Space>(x), tx, View<const WV, 2, Space>(w), tw, y, scale,
            ops::Epilogue<TY, TY, Space>{}, s.view());
}

}  // namespace detail

/// y = activation(x·Wᵀ + bias + Σ scaleᵢ·(xAᵢᵀ)Bᵢᵀ) with a frozen W.
/// x: (batch, ..., in); y: (batch, ..., out) in x's dtype, whatever the adapters' dtype is.
/// `sample_slots` gives the slot of each sample; empty: slot 0 for all.
/// Keeps x (or its recipe) if an A trains, and x·Aᵀ (rows × rank). B sees its gradient before A does.
/// Cost over the frozen linear: 2·rows·rank·(in + out) flops forward, twice that backward.
template <class C, Value X, FrozenWeight W, class TB, class TA, class Grad>
auto lora_linear(C& ctx, const X& x, const W& w, const Tensor<TB, 1, typename C::Space>& bias,
                 std::span<const LoraDelta<TA, typename C::Space, Grad>> deltas, ops::Activation activation,
                 std::span<const std::int32_t> sample_slots = {}) {
  using T = detail::value_t<X>;
  constexpr int Rank = detail::rank_of<X>;
  using Space = typename C::Space;
  using Delta = LoraDelta<TA, Space, Grad>;
  static_assert(detail::lives_in<W, Space>,
                "lora_linear: the weight is in the memory of another device than the context; copy it there first");
  constexpr auto keep = ops::Transpose::no;
  constexpr auto flip = ops::Transpose::yes;
  auto& exec = ctx.exec();
  const auto& xt = value_of(x);
  const std::int64_t in = FrozenOps<W>::in_features(w), out = FrozenOps<W>::out_features(w);
  if (xt.extent(Rank - 1) != in)
    throw_input("lora_linear", "last extent of x", std::to_string(xt.extent(Rank - 1)), std::to_string(in));
  if (!sample_slots.empty() && xt.extent(0) % static_cast<std::int64_t>(sample_slots.size()) != 0)
    throw_input("lora_linear", "length of sample_slots", std::to_string(sample_slots.size()),
                "a divisor of the first extent of x, " + std::to_string(xt.extent(0)));

  bool records = ctx.records(x);
  for (const Delta& d : deltas) records = records || ctx.records(d.a, d.b);
  auto y = ctx.template empty<T, Rank>(detail::with_last<Rank>(xt.shape(), out));
  Tensor<T, Rank, Space> pre;
  if (records && activation != ops::Activation::none) pre = ctx.template empty<T, Rank>(y.shape());
  const auto x_rows = rows_of(xt.cview(), "lora_linear");
  const auto y_rows = rows_of(y.view());
  const ops::Epilogue<T, TB, Space> epilogue{bias.cview(), activation, detail::rows(pre.view())};

  // What the backward needs of one delta.
  struct Kept {
    Tensor<TA, 3, Space> a, b;
    GradTarget<Grad, 3, Space> ga, gb;
    Tensor<TA, 2, Space> t;  // dropout(x)·Aᵀ
    RandomKey dropout_key;
    double scale, dropout;
    std::vector<detail::SlotRun> runs;
  };
  std::vector<Kept> kept;
  kept.reserve(deltas.size());
  for (std::size_t i = 0; i < deltas.size(); ++i) {
    const Delta& d = deltas[i];
    const std::int64_t rank = d.a.extent(1);
    Kept k{d.a.value(), d.b.value(), {}, {}, {}, {}, d.scale, d.dropout,
           detail::slot_runs(sample_slots, x_rows.extent(0), d.a.extent(0))};
    if (records) {
      k.ga = ctx.target(d.a);
      k.gb = ctx.target(d.b);
    }
    k.t = ctx.template empty<TA, 2>({x_rows.extent(0), rank});
    Tensor<T, 2, Space> dropped;
    View<const T, 2, Space> source = x_rows;
    if (d.dropout > 0.0) {
      k.dropout_key = exec.random().next();
      dropped = ctx.template empty<T, 2>(x_rows.shape());
      ops::dropout_forward(exec, x_rows, d.dropout, k.dropout_key, dropped.view());
      source = dropped.cview();
    }
    for (const auto& run : k.runs) {
      const auto t = k.t.view().slice(0, run.begin, run.end);
      detail::multiply(exec, source.slice(0, run.begin, run.end), keep, k.a.cview()[run.slot], flip, t, {});
      detail::multiply(exec, t, keep, k.b.cview()[run.slot], flip, y_rows.slice(0, run.begin, run.end),
                       {d.scale, i == 0 ? 0.0 : 1.0});
    }
    if (records) kept.push_back(std::move(k));
  }
  // The deltas come first: they are small, so that a narrow y loses little by holding them, and the large product is
  // rounded once, together with bias and activation. A fresh adapter (B = 0) then changes no bit in any precision.
  FrozenOps<W>::forward(exec, w, x_rows, y_rows, epilogue,
                        deltas.empty() ? ops::GradMode::overwrite : ops::GradMode::accumulate);
  if (!records) return Var<T, Rank, Space>(std::move(y));

  bool any_a = false;
  for (const Kept& k : kept) any_a = any_a || static_cast<bool>(k.ga);
  Saved<T, Rank, Space> saved;
  if (any_a) saved = save(x);
  auto backward = [activation, pre, saved, any_a, w, kept = std::move(kept), x_shape = xt.shape(),
                   gx = ctx.target(x)](auto& ex, const Tensor<T, Rank, Space>& dy) {
    const auto dpre = detail::through_activation(ex, activation, pre, dy);
    const auto dy_rows = rows_of(dpre.cview());
    View<T, 2, Space> dx_rows;
    typename GradSlot<T, Rank, Space>::Target dx{};
    if (gx) {
      dx = gx.open(ex, x_shape);
      dx_rows = rows_of(dx.value.view());
      FrozenOps<W>::backward_input(ex, w, dy_rows, dx_rows, dx.mode);
    }
    const auto x_again = any_a ? saved.get(ex) : Tensor<T, Rank, Space>();
    for (const Kept& k : kept) {
      const std::int64_t rank = k.a.extent(1);
      const auto db = detail::open(ex, k.gb, k.b.shape());
      const auto da = detail::open(ex, k.ga, k.a.shape());
      const bool all_slots_written = k.runs.size() == 1 && k.a.extent(0) == 1;
      if (!all_slots_written) {
        if (db.view.data_handle() && db.mode == ops::GradMode::overwrite) ops::fill(ex, 0.0, db.view);
        if (da.view.data_handle() && da.mode == ops::GradMode::overwrite) ops::fill(ex, 0.0, da.view);
      }
      const auto beta = [&](ops::GradMode mode) {
        return !all_slots_written || mode == ops::GradMode::accumulate ? 1.0 : 0.0;
      };
      // u = scale·dy·B, the gradient of x·Aᵀ
      const auto u = ex.template empty<TA, 2>({dy_rows.extent(0), rank});
      Tensor<T, 2, Space> dropped;
      View<const T, 2, Space> source = detail::rows(x_again.cview());
      if (k.ga && k.dropout > 0.0) {
        dropped = ex.template empty<T, 2>(source.shape());
        ops::dropout_forward(ex, source, k.dropout, k.dropout_key, dropped.view());
        source = dropped.cview();
      }
      for (const auto& run : k.runs) {
        const auto dy_run = dy_rows.slice(0, run.begin, run.end);
        const auto u_run = u.view().slice(0, run.begin, run.end);
        if (db.view.data_handle())
          detail::multiply(ex, dy_run, flip, k.t.cview().slice(0, run.begin, run.end), keep, db.view[run.slot],
                           {k.scale, beta(db.mode)});
        detail::multiply(ex, dy_run, keep, k.b.cview()[run.slot], keep, u_run, {k.scale, 0.0});
        if (da.view.data_handle())
          detail::multiply(ex, u_run, flip, source.slice(0, run.begin, run.end), keep, da.view[run.slot],
                           {1.0, beta(da.mode)});
        if (gx && k.dropout == 0.0)
          detail::multiply(ex, u_run, keep, k.a.cview()[run.slot], keep, dx_rows.slice(0, run.begin, run.end),
                           {1.0, 1.0});
      }
      if (gx && k.dropout > 0.0) {
        const auto masked = ex.template empty<T, 2>(dx_rows.shape());
        for (const auto& run : k.runs)
          detail::multiply(ex, u.view().slice(0, run.begin, run.end), keep, k.a.cview()[run.slot], keep,
                           masked.view().slice(0, run.begin, run.end), {});
        ops::dropout_forward(ex, masked.cview(), k.dropout, k.dropout_key, masked.view());
        ops::add(ex, View<const T, 2, Space>(dx_rows), masked.cview(), dx_rows);
      }
    }
  };
  auto result = ctx.record(std::move(y), std::move(backward));
  detail::offer_activation_recipe(ctx, result, activation, pre);
  return result;
}

}  // namespace functional
SEGUE_NAMESPACE_END
