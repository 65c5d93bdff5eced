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

/// Samples are the first axis of x, which their number divides; neighbours with one slot are multiplied together.
inline std::vector<SlotRun> slot_runs(std::span<const std::int32_t> sample_slots, std::int64_t rows,
                                      std::int64_t slot_count) {
  if (sample_slots.empty()) return {{0, rows, 0}};
  const auto samples = static_cast<std::int64_t>(sample_slots.size());
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

/// Whether A lies below the weight and B to its right, as in the one buffer [W, B; A, ·]. Then [x, t]·[W, B]ᵀ is the
/// whole forward and [dy, u]·[W; A] the whole gradient of x, one product each.
template <class T, class Space, class Delta>
bool extends_weight(const Tensor<T, 2, Space>& w, const Delta& d) {
  const auto& a = d.a.value();
  const auto& b = d.b.value();
  const std::int64_t stride = w.stride(0);
  return d.dropout == 0.0 && a.extent(0) == 1 && a.stride(1) == stride && b.stride(1) == stride &&
         b.data_handle() == w.data_handle() + w.extent(1) && a.data_handle() == w.data_handle() + w.extent(0) * stride;
}

/// The weight with `rows` more rows and `columns` more columns of its buffer.
template <class T, class Space>
Tensor<T, 2, Space> widened(const Tensor<T, 2, Space>& w, std::int64_t rows, std::int64_t columns) {
  return {w.buffer(), View<T, 2, Space>(w.data_handle(), {w.extent(0) + rows, w.extent(1) + columns}, w.strides())};
}

/// Rows of a tensor together with the first `rank` of its spare columns, and these columns alone.
template <class T, int Rank, class Space>
View<T, 2, Space> with_spare(const Tensor<T, Rank, Space>& x, std::int64_t rank) {
  const auto rows = rows_of(x.view());
  return {rows.data_handle(), {rows.extent(0), rows.extent(1) + rank}, rows.strides()};
}
template <class T, int Rank, class Space>
View<T, 2, Space> spare_of(const Tensor<T, Rank, Space>& x, std::int64_t rank) {
  return with_spare(x, rank).slice(1, x.extent(Rank - 1), x.extent(Rank - 1) + rank);
}

}  // namespace detail

/// y = activation(x·Wᵀ + bias + Σ scaleᵢ·(xAᵢᵀ)Bᵢᵀ) with a frozen W.
/// x: (batch, ..., in); y: (batch, ..., out) in x's dtype, whatever the adapters' dtype is.
/// `sample_slots` gives the slot of each sample; empty: slot 0 for all.
/// Where the one adapter lies in the weight's buffer (see adapters::LoraLinear), x·Aᵀ goes to the spare columns of x
/// and scale·dy·B to those of dy: a tensor with spare columns is used by one Exec at a time.
///
/// Keeps x (or its recipe) if an A trains, and x·Aᵀ (rows × rank). B sees its gradient before A does.
///
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
  constexpr bool may_extend = std::is_same_v<W, Tensor<TA, 2, Space>> && std::is_same_v<T, TA>;
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
  auto y = ctx.template rows<T, Rank>(detail::with_last<Rank>(xt.shape(), out));
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
    bool extends = false;  // t holds the scale already
  };
  std::vector<Kept> kept;
  kept.reserve(deltas.size());
  for (std::size_t i = 0; i < deltas.size(); ++i) {
    const Delta& d = deltas[i];
    const std::int64_t rank = d.a.extent(1);
    Kept k{d.a.value(), d.b.value(), {},
           {},          {},          {},
           d.scale,     d.dropout,   detail::slot_runs(sample_slots, x_rows.extent(0), d.a.extent(0))};
    if (records) {
      k.ga = ctx.target(d.a);
      k.gb = ctx.target(d.b);
    }
    k.t = ctx.template empty<TA, 2>({x_rows.extent(0), rank});
    if constexpr (may_extend) {
      if (deltas.size() == 1 && detail::extends_weight(w, d) && xt.spare_columns() >= rank) {
        detail::multiply(exec, x_rows, keep, k.a.cview()[0], flip, k.t.view(), {d.scale, 0.0});
        ops::copy(exec, k.t.cview(), detail::spare_of(xt, rank));
        FrozenOps<W>::forward(exec, detail::widened(w, 0, rank), detail::with_spare(xt, rank), y_rows, epilogue);
        k.extends = true;
        kept.push_back(std::move(k));
        break;
      }
    }
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
  // rounded once, together with bias and activation. A fresh adapter (B = 0) then changes no bit in any precision; one
  // that lies beside the weight leaves the value, but may lead the library to an algorithm that rounds otherwise.
  if (kept.empty() || !kept[0].extends)
    FrozenOps<W>::forward(exec, w, x_rows, y_rows, epilogue,
                          deltas.empty() ? ops::GradMode::overwrite : ops::GradMode::accumulate);
  if (!records) return Var<T, Rank, Space>(std::move(y));

  bool any_a = false;
  for (const Kept& k : kept) any_a = any_a || static_cast<bool>(k.ga);
  Saved<T, Rank, Space> saved;
  if (any_a) saved = save(x);
  auto backward = [activation, pre, saved, any_a, w, kept = std::move(kept), x_shape = xt.shape(), gx = ctx.target(x)](
                      auto& ex, const Tensor<T, Rank, Space>& dy) {
    const auto dpre = detail::through_activation(ex, activation, pre, dy);
    const auto dy_rows = rows_of(dpre.cview());
    const auto x_again = any_a ? saved.get(ex) : Tensor<T, Rank, Space>();
    // The gradient of x·Aᵀ of each delta: u = scale·dy·B.
    std::vector<Tensor<TA, 2, Space>> us;
    us.reserve(kept.size());
    for (const Kept& k : kept) {
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
      const std::int64_t rank = k.a.extent(1);
      const bool beside_dy = k.extends && dpre.spare_columns() >= rank;
      // What was put aside may still read the spare columns.
      if (beside_dy && ex.holds(dpre.buffer())) ex.join();
      auto& u = us.emplace_back();
      if constexpr (may_extend) {
        if (beside_dy) u = Tensor<TA, 2, Space>(dpre.buffer(), detail::spare_of(dpre, rank));
      }
      if (!u) u = ex.template empty<TA, 2>({dy_rows.extent(0), rank});
      for (const auto& run : k.runs)
        detail::multiply(ex, dy_rows.slice(0, run.begin, run.end), keep, k.b.cview()[run.slot], keep,
                         u.view().slice(0, run.begin, run.end), {k.scale, 0.0});
      if (!db.view.data_handle() && !da.view.data_handle()) continue;
      // Nothing waits for the parameters' gradients but the optimizer.
      ex.aside(
          [&] {
            Tensor<T, 2, Space> dropped;
            View<const T, 2, Space> source = detail::rows(x_again.cview());
            if (k.ga && k.dropout > 0.0) {
              dropped = ex.template empty<T, 2>(source.shape());
              ops::dropout_forward(ex, source, k.dropout, k.dropout_key, dropped.view());
              source = dropped.cview();
            }
            for (const auto& run : k.runs) {
              if (db.view.data_handle())
                detail::multiply(ex, dy_rows.slice(0, run.begin, run.end), flip,
                                 k.t.cview().slice(0, run.begin, run.end), keep, db.view[run.slot],
                                 {k.extends ? 1.0 : k.scale, beta(db.mode)});
              if (da.view.data_handle())
                detail::multiply(ex, u.view().slice(0, run.begin, run.end), flip, source.slice(0, run.begin, run.end),
                                 keep, da.view[run.slot], {1.0, beta(da.mode)});
            }
          },
          std::array{k.ga.buffer(), k.gb.buffer()}, dpre, x_again, k.t, u);
    }
    if (!gx) return;
    const auto dx = gx.open(ex, x_shape);
    const auto dx_rows = rows_of(dx.value.view());
    if constexpr (may_extend) {
      if (kept.size() == 1 && kept[0].extends && us[0].data_handle() == dpre.data_handle() + dpre.extent(Rank - 1)) {
        const std::int64_t rank = kept[0].a.extent(1);
        FrozenOps<W>::backward_input(ex, detail::widened(w, rank, 0), detail::with_spare(dpre, rank), dx_rows, dx.mode);
        return;
      }
    }
    FrozenOps<W>::backward_input(ex, w, dy_rows, dx_rows, dx.mode);
    for (std::size_t i = 0; i < kept.size(); ++i) {
      const Kept& k = kept[i];
      if (k.dropout == 0.0) {
        for (const auto& run : k.runs)
          detail::multiply(ex, us[i].view().slice(0, run.begin, run.end), keep, k.a.cview()[run.slot], keep,
                           dx_rows.slice(0, run.begin, run.end), {1.0, 1.0});
        continue;
      }
      const auto masked = ex.template empty<T, 2>(dx_rows.shape());
      for (const auto& run : k.runs)
        detail::multiply(ex, us[i].view().slice(0, run.begin, run.end), keep, k.a.cview()[run.slot], keep,
                         masked.view().slice(0, run.begin, run.end), {});
      ops::dropout_forward(ex, masked.cview(), k.dropout, k.dropout_key, masked.view());
      ops::add(ex, View<const T, 2, Space>(dx_rows), masked.cview(), dx_rows);
    }
  };
  auto result = ctx.record(std::move(y), std::move(backward));
  detail::offer_activation_recipe(ctx, result, activation, pre);
  return result;
}

}  // namespace functional
SEGUE_NAMESPACE_END
