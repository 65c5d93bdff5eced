// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <span>
#include <string>
#include <vector>

#include "segue/functional/lora_linear.hpp"
#include "segue/nn/linear.hpp"

SEGUE_NAMESPACE_BEGIN
namespace adapters {

/// How A is drawn; B is zero, so that a fresh adapter changes nothing. As PEFT: `kaiming` is kaiming_uniform(a = √5),
/// that is U(±1/√in); `gaussian` is N(0, 1/rank).
enum class LoraInit { kaiming, gaussian };

/// alpha/rank, or alpha/√rank ("rank-stabilised", Kalajdzievski 2023).
enum class LoraScaling { standard, rank_stabilised };

struct LoraSpec {
  std::string name = "default";
  int rank = 16;
  double alpha = 16;
  LoraScaling scaling = LoraScaling::standard;
  LoraInit init = LoraInit::kaiming;
  double dropout = 0.0;
  int slots = 1;  ///< independent adapters stacked in A and B; samples choose

  double scale() const {
    return scaling == LoraScaling::standard ? alpha / rank : alpha / std::sqrt(static_cast<double>(rank));
  }
};

/// One low-rank update of one linear. A: (slots, rank, in), B: (slots, out, rank), computed with in the policy's
/// compute type and trained in its master type, whatever the base is kept in.
template <PolicyLike P>
struct LoraAdapter {
  using Leaf = nn::Parameter<typename P::compute, 3, typename P::Space, typename P::grad, typename P::master>;
  LoraSpec spec;
  Leaf a;
  Leaf b;
  bool enabled = true;
};

/// A frozen linear with any number of named low-rank updates; with none it is the linear.
///   y = epilogue(x·Wᵀ + bias + Σ scale·(dropout(x)·Aᵀ)·Bᵀ)
/// Source: Hu et al., "LoRA", 2021.
template <PolicyLike P, class Base = nn::Linear<P>>
class LoraLinear {
 public:
  using Adapter = LoraAdapter<P>;
  static constexpr bool is_lora = true;

  LoraLinear() = default;
  LoraLinear(Exec<typename P::Device>& exec, std::int64_t in, std::int64_t out, nn::Bias bias = nn::Bias::present)
      : base_(exec, in, out, bias) {}
  /// Over a linear that exists, whatever its weight is kept as.
  explicit LoraLinear(Base base) : base_(std::move(base)) {}

  /// Samples use the slots of A and B that `ctx.sample_slots()` names.
  template <class C, Value X>
  auto operator()(C& ctx, const X& x, ops::Activation epilogue = ops::Activation::none) const {
    using Delta = functional::LoraDelta<typename P::compute, typename P::Space, typename P::grad>;
    std::vector<Delta> deltas;
    if (!merged_)
      for (const Adapter& adapter : adapters_)
        if (adapter.enabled)
          deltas.push_back({adapter.a.var(), adapter.b.var(), adapter.spec.scale(),
                            ctx.grad_enabled() ? adapter.spec.dropout : 0.0});
    return functional::lora_linear(ctx, x, base_.weight(), base_.bias(), std::span<const Delta>(deltas), epilogue,
                                   ctx.sample_slots());
  }

  /// Adds an adapter; rank 0 adds nothing. `key` makes the draws of A its own.
  /// @throws InputError for a name that is taken, a negative rank or a dropout outside [0, 1).
  void add(Exec<typename P::Device>& exec, const LoraSpec& spec, const RandomKey& key) {
    if (spec.rank == 0) return;
    detail::check(spec.rank > 0 && spec.slots > 0, "LoraLinear::add", "rank and slots must not be negative");
    detail::check(spec.dropout >= 0.0 && spec.dropout < 1.0, "LoraLinear::add",
                  "dropout must be at least 0 and below 1");
    detail::check(!find(spec.name), "LoraLinear::add", "an adapter named " + spec.name + " is here already");
    detail::check(!merged_, "LoraLinear::add", "unmerge the present adapters first");
    Adapter adapter = place(exec, spec);
    adapter.a.set(exec, [&](const auto& a) {
      if (spec.init == LoraInit::kaiming) {
        const double bound = 1.0 / std::sqrt(static_cast<double>(base_.in_features()));
        ops::fill_uniform(exec, a, key, -bound, bound);
      } else {
        ops::fill_normal(exec, a, key, 0.0, 1.0 / spec.rank);
      }
    });
    adapter.b.set(exec, [&](const auto& b) { ops::fill(exec, 0.0, b); });
    adapters_.push_back(std::move(adapter));
  }

  Adapter* find(std::string_view name) {
    for (Adapter& adapter : adapters_)
      if (adapter.spec.name == name) return &adapter;
    return nullptr;
  }
  std::vector<Adapter>& adapters() { return adapters_; }
  const std::vector<Adapter>& adapters() const { return adapters_; }
  void clear_adapters() { adapters_.clear(); }

  /// Adds the enabled adapters' slot 0 to the weight: no cost per call any more. The weight is kept aside, so that
  /// `unmerge` restores its bits.
  void merge(Exec<typename P::Device>& exec) {
    static_assert(
        is_tensor<typename Base::Weight>,
        "LoraLinear::merge: only a weight that is a dense tensor can take the update; keep the adapters apart");
    if (merged_ || adapters_.empty()) return;
    original_ = base_.weight();
    const std::int64_t out = base_.out_features(), in = base_.in_features();
    auto sum = exec.template empty<typename P::master, 2>({out, in});
    ops::copy(exec, original_.cview(), sum.view());
    for (const Adapter& adapter : adapters_)
      if (adapter.enabled)
        functional::detail::multiply(exec, adapter.b.master().cview()[0], ops::Transpose::no,
                                     adapter.a.master().cview()[0], ops::Transpose::no, sum.view(),
                                     {adapter.spec.scale(), 1.0});
    auto merged = exec.template empty<typename P::storage, 2>({out, in});
    ops::copy(exec, sum.cview(), merged.view());
    base_.weight() = merged;
    merged_ = true;
  }
  void unmerge() {
    if (!merged_) return;
    base_.weight() = std::exchange(original_, {});
    merged_ = false;
  }
  bool merged() const { return merged_; }

  std::int64_t in_features() const { return base_.in_features(); }
  std::int64_t out_features() const { return base_.out_features(); }
  const Base& base() const { return base_; }

  /// The base keeps its unwrapped name.
  void visit(auto&& v) {
    base_.visit(v);
    for (Adapter& adapter : adapters_) {
      v.adapter(adapter.spec.name, "lora_A.weight", adapter.a);
      v.adapter(adapter.spec.name, "lora_B.weight", adapter.b);
    }
  }

 private:
  using Leaf = typename Adapter::Leaf;

  /// A and B, uninitialised. Where a device multiplies faster by it, a first adapter moves into one buffer with the
  /// weight, [W, B; A, ·], so that its products are part of the weight's.
  Adapter place(Exec<typename P::Device>& exec, const LoraSpec& spec) {
    const std::int64_t in = base_.in_features(), out = base_.out_features(), rank = spec.rank;
    if constexpr (requires { exec.reserve_spare_columns(rank); } && is_tensor<typename Base::Weight>) {
      using T = typename Leaf::value_type;
      // A master copy of its own lies apart, as optimizers and files expect.
      if constexpr (sizeof(T) == 2 && Leaf::has_master && std::is_same_v<T, typename Base::Weight::value_type>) {
        // Rows and what lies beside them must begin at 16 bytes.
        if (adapters_.empty() && spec.slots == 1 && spec.dropout == 0.0 && in % 8 == 0 && out % 8 == 0 &&
            rank % 8 == 0) {
          exec.reserve_spare_columns(rank);
          // A plan leaves a weight that is there where it is.
          if (exec.planning() && !base_.weight().buffer().planned()) return apart(exec, spec);
          const auto whole = exec.template empty<T, 2>({out + rank, in + rank});
          const auto weight = whole.slice(0, 0, out).slice(1, 0, in);
          ops::copy(exec, base_.weight().cview(), weight.view());
          base_.weight() = weight;
          // A pool that runs out of memory gives back what is cached, so a plan need not count the old weights.
          if (exec.planning()) exec.pool().trim();
          const std::int64_t stride = in + rank;
          const Tensor<T, 3, typename P::Space> a(
              whole.buffer(), {whole.data_handle() + out * stride, {1, rank, in}, {rank * stride, stride, 1}});
          const Tensor<T, 3, typename P::Space> b(
              whole.buffer(), {whole.data_handle() + in, {1, out, rank}, {out * stride, stride, 1}});
          return {spec, Leaf(a), Leaf(b)};
        }
      }
    }
    return apart(exec, spec);
  }
  Adapter apart(Exec<typename P::Device>& exec, const LoraSpec& spec) {
    return {spec, nn::make_leaf<Leaf>(exec, {spec.slots, spec.rank, base_.in_features()}),
            nn::make_leaf<Leaf>(exec, {spec.slots, base_.out_features(), spec.rank})};
  }

  Base base_;
  std::vector<Adapter> adapters_;
  typename Base::Weight original_{};
  bool merged_ = false;
};

}  // namespace adapters
SEGUE_NAMESPACE_END
