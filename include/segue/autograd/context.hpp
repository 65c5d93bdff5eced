// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <utility>

#include "segue/autograd/tape.hpp"
#include "segue/autograd/var.hpp"
#include "segue/ops/elementwise.hpp"
#include "segue/policy/policy.hpp"

SEGUE_NAMESPACE_BEGIN

/// What a backward keeps: every activation; recipes for the cheap ones; only the inputs of blocks.
enum class Recompute { none, cheap, block };

/// The input of an operator as its backward sees it: where the gradient goes, or nowhere.
template <class Grad, int Rank, class Space>
class GradTarget {
 public:
  using Slot = GradSlot<Grad, Rank, Space>;
  GradTarget() = default;
  explicit GradTarget(Slot* slot) : slot_(slot) {}
  explicit operator bool() const { return slot_ != nullptr; }
  template <class Device>
  typename Slot::Target open(Exec<Device>& exec, const Shape<Rank>& shape) const {
    return slot_->open(exec, shape);
  }
  template <class Device>
  void add(Exec<Device>& exec, Tensor<Grad, Rank, Space> contribution) const {
    slot_->add(exec, std::move(contribution));
  }
  /// Where the gradient is gathered; none where nobody wants it or nothing came yet.
  Buffer buffer() const { return slot_ ? slot_->grad().buffer() : Buffer(); }

 private:
  Slot* slot_ = nullptr;
};

/// An Exec plus the tape: what everything above the operators takes. Used by one thread.
template <PolicyLike P>
class Context {
 public:
  using Policy = P;
  using Device = typename P::Device;
  using Space = typename P::Space;

  /// Sets how the Exec's products multiply, where a device has a choice.
  explicit Context(Exec<Device>& exec) : exec_(&exec) {
    if constexpr (requires { exec.set_gemm_math(P::Precision::gemm_math); })
      exec.set_gemm_math(P::Precision::gemm_math);
  }
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  Exec<Device>& exec() { return *exec_; }
  Tape& tape() { return *tape_; }
  bool grad_enabled() const { return grad_enabled_; }
  void set_grad_enabled(bool on) { grad_enabled_ = on; }
  /// False while a checkpointed block runs forward: gradients are wanted, and dropout is drawn, but its nodes are
  /// recorded when it runs again.
  bool recording() const { return recording_; }
  Recompute recompute() const { return recompute_; }
  int recompute_every() const { return recompute_every_; }
  /// Says what is kept. With `every` above 1 that holds for one of so many blocks of a model, and the others keep more:
  /// recipes where the level is `block`, everything where it is `cheap`.
  void set_recompute(Recompute level, int every = 1) {
    if (every < 1) throw_input("Context::set_recompute", "every", std::to_string(every), "1 or more");
    recompute_ = level;
    recompute_every_ = every;
  }
  /// Whether block number `i` of a model is to be run again in the backward.
  bool reruns_block(std::size_t i) const { return recompute_ == Recompute::block && is_turn(i); }
  /// Which slot of stacked adapters each sample of the batch uses; empty: slot 0 for all. The caller keeps the array
  /// alive until the backward ran.
  std::span<const std::int32_t> sample_slots() const { return sample_slots_; }
  void set_sample_slots(std::span<const std::int32_t> slots) { sample_slots_ = slots; }
  bool keeps_recipes() const { return recompute_ != Recompute::none && !keeps_all_; }

  template <class T, int Rank>
  Tensor<T, Rank, Space> empty(const Shape<Rank>& shape) {
    return exec_->template empty<T, Rank>(shape);
  }

  /// Rows of features: what linear layers read and write.
  template <class T, int Rank>
  Tensor<T, Rank, Space> rows(const Shape<Rank>& shape) {
    return exec_->template rows<T, Rank>(shape);
  }

  /// True when an operator over these inputs must record a node.
  template <class... X>
  bool records(const X&... x) const {
    if (!grad_enabled_ || !(requires_grad(x) || ...)) return false;
    if (!recording_) skipped_ = true;
    return recording_;
  }

  /// Where the gradient of `x` goes; empty for constants.
  /// @throws Error if `x` was recorded by a tape that ran already.
  template <class T, int Rank, class Grad>
  GradTarget<Grad, Rank, Space> target(const Var<T, Rank, Space, Grad>& x) const {
    if (x.requires_grad() && x.tape() != 0 && x.tape() != tape_->id())
      throw Error("autograd: a value was used after its tape ran backward; run the forward again");
    return GradTarget<Grad, Rank, Space>(x.slot());
  }
  template <class T, int Rank>
  GradTarget<T, Rank, Space> target(const Tensor<T, Rank, Space>&) const {
    return {};
  }

  /// Records an operator with one output. `backward(exec, grad)` gets the output's gradient.
  template <class T, int Rank, class F>
  Var<T, Rank, Space> record(Tensor<T, Rank, Space> value, F backward) {
    using Slot = GradSlot<T, Rank, Space>;
    auto run = [f = std::move(backward)](Exec<Device>& exec, Slot& out) mutable { f(exec, out.take()); };
    auto* node = tape_->template emplace<detail::OpNode<Exec<Device>, decltype(run), Slot>>(std::move(run));
    std::get<0>(node->outputs).lay_out_like(value);
    return Var<T, Rank, Space>(std::move(value), &std::get<0>(node->outputs), tape_->id());
  }

  /// Records an operator with several outputs; `backward(exec, slot...)` must read unfilled slots as zero.
  template <class F, class... T, int... Rank>
  std::tuple<Var<T, Rank, Space>...> record_many(F backward, Tensor<T, Rank, Space>... values) {
    auto* node =
        tape_->template emplace<detail::OpNode<Exec<Device>, F, GradSlot<T, Rank, Space>...>>(std::move(backward));
    return std::apply(
        [&](auto&... slot) {
          return std::tuple<Var<T, Rank, Space>...>(Var<T, Rank, Space>(std::move(values), &slot, tape_->id())...);
        },
        node->outputs);
  }

  /// Runs the tape with `seed` as the gradient of `y`.
  template <class T, int Rank>
  void backward(const Var<T, Rank, Space>& y, Tensor<T, Rank, Space> seed) {
    const auto to = target(y);
    if (!to) throw Error("autograd: backward was called on a constant; nothing it depends on requires a gradient");
    if (seed.shape() != y.shape())
      throw_input("autograd", "shape of the seed gradient", shape_string(seed.shape()), shape_string(y.shape()));
    to.add(*exec_, std::move(seed));
    try {
      tape_->run_backward(exec_);
    } catch (...) {
      // Gradients that are still being written must not be handed out again. The first failure is the one to tell.
      try {
        exec_->join();
      } catch (const Error&) {
      }
      throw;
    }
    exec_->join();
  }
  /// The same with a seed of ones: for a scalar loss, d loss / d everything.
  template <class T, int Rank>
  void backward(const Var<T, Rank, Space>& y) {
    auto seed = empty<T, Rank>(y.shape());
    ops::fill(*exec_, 1.0, seed.view());
    backward(y, std::move(seed));
  }

 private:
  template <PolicyLike>
  friend class TapeScope;
  template <PolicyLike>
  friend class Unrecorded;
  template <PolicyLike>
  friend class InBlock;

  bool is_turn(std::size_t i) const { return i % static_cast<std::size_t>(recompute_every_) == 0; }

  Exec<Device>* exec_;
  Tape own_;
  Tape* tape_ = &own_;
  bool grad_enabled_ = true;
  bool recording_ = true;
  mutable bool skipped_ = false;  // a node was not recorded since `recording_` is false
  Recompute recompute_ = Recompute::cheap;
  int recompute_every_ = 1;
  bool keeps_all_ = false;  // of the block that is running
  std::span<const std::int32_t> sample_slots_{};
};

/// Block number `i` of a model runs while it lives.
template <PolicyLike P>
class InBlock {
 public:
  InBlock(Context<P>& ctx, std::size_t i)
      : ctx_(ctx), before_(std::exchange(ctx.keeps_all_, ctx.recompute_ == Recompute::cheap && !ctx.is_turn(i))) {}
  ~InBlock() { ctx_.keeps_all_ = before_; }
  InBlock(const InBlock&) = delete;
  InBlock& operator=(const InBlock&) = delete;

 private:
  Context<P>& ctx_;
  bool before_;
};

/// No gradients are wanted while it lives: nothing is recorded, and layers behave as in inference.
template <PolicyLike P>
class NoGrad {
 public:
  explicit NoGrad(Context<P>& ctx) : ctx_(ctx), before_(ctx.grad_enabled()) { ctx.set_grad_enabled(false); }
  ~NoGrad() { ctx_.set_grad_enabled(before_); }
  NoGrad(const NoGrad&) = delete;
  NoGrad& operator=(const NoGrad&) = delete;

 private:
  Context<P>& ctx_;
  bool before_;
};

/// Records nothing while it lives, but layers behave as in training: for the forward of a block that will run again.
template <PolicyLike P>
class Unrecorded {
 public:
  explicit Unrecorded(Context<P>& ctx)
      : ctx_(ctx),
        recording_before_(std::exchange(ctx.recording_, false)),
        skipped_before_(std::exchange(ctx.skipped_, false)) {}
  ~Unrecorded() {
    ctx_.recording_ = recording_before_;
    ctx_.skipped_ = ctx_.skipped_ || skipped_before_;
  }
  Unrecorded(const Unrecorded&) = delete;
  Unrecorded& operator=(const Unrecorded&) = delete;

  /// Whether anything met so far would have been recorded: if not, there is nothing to run again.
  bool skipped() const { return ctx_.skipped_; }

 private:
  Context<P>& ctx_;
  bool recording_before_;
  bool skipped_before_;
};

/// Records into a tape of its own while it lives: for re-running a block inside a backward.
template <PolicyLike P>
class TapeScope {
 public:
  explicit TapeScope(Context<P>& ctx)
      : ctx_(ctx),
        outer_(std::exchange(ctx.tape_, &tape_)),
        grad_before_(std::exchange(ctx.grad_enabled_, true)),
        recording_before_(std::exchange(ctx.recording_, true)) {}
  ~TapeScope() {
    ctx_.tape_ = outer_;
    ctx_.grad_enabled_ = grad_before_;
    ctx_.recording_ = recording_before_;
  }
  TapeScope(const TapeScope&) = delete;
  TapeScope& operator=(const TapeScope&) = delete;

 private:
  Context<P>& ctx_;
  Tape tape_;
  Tape* outer_;
  bool grad_before_;
  bool recording_before_;
};

SEGUE_NAMESPACE_END
