// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cmath>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "segue/core/posix.hpp"
#include "segue/core/replay.hpp"
#include "segue/train/batch.hpp"
#include "segue/train/checkpoint.hpp"
#include "segue/train/jsonl_log.hpp"
#include "segue/train/lr_schedule.hpp"
#include "segue/train/objective.hpp"
#include "segue/train/progress.hpp"

SEGUE_NAMESPACE_BEGIN
namespace train {

struct TrainerOptions {
  std::int64_t steps = 1000;
  double lr = 1e-4;
  LrSchedule schedule{};
  double clip = 1.0;  ///< the global norm that gradients are clipped to; 0: not at all
  AdamWSettings adamw{};
  double ema_decay = 0.0;  ///< 0: no moving average
  int accumulation = 1;    ///< batches a step
  std::uint64_t seed = 0;
  std::string log_path{};             ///< a JSON line a step; empty: none
  std::string checkpoint_path{};      ///< empty: none
  std::int64_t checkpoint_every = 0;  ///< steps; 0: not by steps
  double checkpoint_seconds = 0;      ///< 0: not by time
  std::int64_t stop_at = 0;           ///< save and return after this step; 0: at the end
  std::int64_t held_out_every = 0;    ///< steps; 0: never
  std::vector<double> held_out_sigmas = {0.1, 0.3, 0.5, 0.7, 0.9};
  int max_consecutive_skips = 10;
  /// A device that can record a step does, once it ran: on CUDA it becomes one graph, or with accumulation three.
  bool graph = true;
  io::Json settings = io::Json::object();  ///< more that a continuation must agree on (rank, transition, …)
};

struct StepResult {
  double loss = 0;
  double grad_norm = 0;
  double lr = 0;
  bool skipped = false;
};

struct TrainReport {
  std::int64_t step = 0;   ///< steps done
  std::int64_t steps = 0;  ///< steps of the whole run
  std::int64_t skipped = 0;
  double final_loss = 0;     ///< of the last step that was not skipped
  double seconds = 0;        ///< training time, earlier parts included; held-out losses are not
  double held_out_loss = 0;  ///< the last one
  bool finished() const { return step >= steps; }
};

/// Fits what trains in a model. Everything random derives from (seed, step), so `steps` in one go and the same with any
/// stop, crash and resume between give the same bits, at any thread count.
/// A step whose loss or gradient is not finite changes nothing, is counted and reported.
template <PolicyLike P, class Model, class Source, class Objective>
class Trainer {
  static_assert(BatchSource<Source, P>,
                "Trainer: the source needs fill(exec, index, Batch<P>&) and batch_size(); see train/batch.hpp");

 public:
  /// All arguments but the options must outlive the trainer; what trains in the model must not change.
  /// @throws InputError for an option out of its range, or if steps are to be recorded on CUDA's default stream.
  Trainer(Context<P>& ctx, Model& model, Source& source, Objective objective, TrainerOptions options)
      : ctx_(ctx),
        model_(model),
        source_(source),
        objective_(std::move(objective)),
        options_(std::move(options)),
        optimizer_((check(options_, ctx.exec()), ctx.exec()), model, options_.adamw) {
    if (options_.ema_decay > 0) ema_ = std::make_unique<Ema<P>>(ctx.exec(), optimizer_, options_.ema_decay);
  }
  Trainer(const Trainer&) = delete;
  Trainer& operator=(const Trainer&) = delete;

  /// Clips whose loss at fixed sigmas and noise is reported every `held_out_every` steps.
  void set_held_out(Batch<P> batch) { held_out_ = std::move(batch); }

  /// Goes on from the checkpoint, if there is one. @returns whether there was.
  /// @throws InputError if it does not fit this run.
  bool resume() {
    if (options_.checkpoint_path.empty() || !is_file(options_.checkpoint_path)) return false;
    state_ = load_checkpoint(options_.checkpoint_path, ctx_.exec(), optimizer_, ema_.get(), settings());
    return true;
  }

  /// Trains up to the last step or `stop_at`, saves, and reports.
  /// @throws Interrupted after a save if an InterruptGuard of the caller's caught a signal.
  /// @throws Error if too many steps in a row are not finite.
  TrainReport run(ProgressSink& progress) {
    const std::int64_t until =
        options_.stop_at > 0 && options_.stop_at < options_.steps ? options_.stop_at : options_.steps;
    std::unique_ptr<JsonlLog> log;
    if (!options_.log_path.empty()) log = std::make_unique<JsonlLog>(options_.log_path, state_.step);
    progress.on_start(state_.step, options_.steps);
    if (state_.step == 0) held_out(progress, log.get());
    const std::int64_t first = state_.step;
    const double seconds_before = state_.seconds;
    double unsaved_seconds = 0;
    std::int64_t saved_step = -1;
    const auto save_now = [&] {
      save();
      saved_step = state_.step;
      unsaved_seconds = 0;
    };
    while (state_.step < until) {
      const double begin = monotonic_seconds();
      const StepResult result = step();
      const double spent = monotonic_seconds() - begin;
      state_.seconds += spent;
      unsaved_seconds += spent;

      StepInfo info{state_.step, options_.steps, result.loss,   result.lr, result.grad_norm, state_.seconds, 0.0,
                    0.0,         result.skipped, state_.skipped};
      const double here = state_.seconds - seconds_before;
      info.steps_per_second = here > 0 ? static_cast<double>(state_.step - first) / here : 0.0;
      info.eta_seconds = static_cast<double>(until - state_.step) / info.steps_per_second;
      if (log) log->write(line(info));
      progress.on_step(info);
      if (state_.consecutive_skipped >= options_.max_consecutive_skips) stop_for(result, progress);
      if (options_.held_out_every > 0 && state_.step % options_.held_out_every == 0) held_out(progress, log.get());

      if (interrupted()) {
        save_now();
        progress.on_end();
        throw Interrupted("training was interrupted after step " + std::to_string(state_.step) +
                          (options_.checkpoint_path.empty() ? "" : "; its state is in " + options_.checkpoint_path));
      }
      if ((options_.checkpoint_every > 0 && state_.step % options_.checkpoint_every == 0) ||
          (options_.checkpoint_seconds > 0 && unsaved_seconds >= options_.checkpoint_seconds))
        save_now();
    }
    if (saved_step != state_.step && state_.step != first) save();
    progress.on_end();
    return {state_.step, options_.steps, state_.skipped, state_.last_loss, state_.seconds, held_out_loss_};
  }

  /// One step: `accumulation` batches, their gradients, clipping, the update, the average. While planning nothing is
  /// computed and the result is zero.
  StepResult step() {
    auto& exec = ctx_.exec();
    const StepScope scope{exec};
    StepResult result;
    result.lr = options_.lr * options_.schedule.factor(state_.step, options_.steps);
    optimizer_.begin(exec, result.lr);
    const bool warm = options_.graph && warm_;
    if (options_.accumulation == 1) {
      load_batch(0);
      whole_.run(exec, warm, [&] {
        gradients(false);
        update();
        optimizer_.drop_grads();
      });
    } else {
      if (!whole_.recorded()) optimizer_.drop_grads();
      for (std::int64_t micro = 0; micro < options_.accumulation; ++micro) {
        load_batch(micro);
        (micro == 0 ? whole_ : more_).run(exec, warm, [&] { gradients(micro > 0); });
      }
      update_.run(exec, warm, [&] { update(); });
      // Gradients of recorded work lie in its memory, at the same places in every step.
      if (!update_.recorded()) optimizer_.drop_grads();
    }
    warm_ = true;
    const ops::UpdateState after = optimizer_.fetch(exec);
    result.loss = after.loss;
    result.grad_norm = after.grad_norm;
    result.skipped = after.skip != 0;
    ++state_.step;
    state_.skipped = after.skipped;
    state_.consecutive_skipped = after.consecutive_skipped;
    if (!result.skipped) state_.last_loss = result.loss;
    if (ema_) ema_->set_updates(after.updates);
    return result;
  }

  /// What a recorded step holds beside the pool of the Exec; nothing where steps are not recorded.
  PoolStatistics recorded_memory() const {
    PoolStatistics sum;
    for (const PoolStatistics& part : {whole_.memory(), more_.memory(), update_.memory()}) {
      sum.current_bytes += part.current_bytes;
      sum.peak_bytes += part.peak_bytes;
      sum.reserved_bytes += part.reserved_bytes;
      sum.system_allocations += part.system_allocations;
    }
    return sum;
  }

  /// Records the step anew, from the next but one on. A recorded step is the model as it was then: call this after
  /// adapters were switched or `Context::set_recompute` said something else.
  void forget_recording() {
    for (Replay<Device>* part : {&whole_, &more_, &update_}) part->reset();
    optimizer_.drop_grads();
    warm_ = false;
  }
  /// Kernels, copies and fills of a recorded step; zero where steps are not recorded.
  std::size_t recorded_nodes() const { return whole_.nodes() + more_.nodes() + update_.nodes(); }

  /// Writes the checkpoint now; nothing without a path.
  void save() const {
    if (!options_.checkpoint_path.empty())
      save_checkpoint(options_.checkpoint_path, ctx_.exec(), optimizer_, ema_.get(), state_, settings());
  }

  const RunState& state() const { return state_; }
  const TrainerOptions& options() const { return options_; }
  AdamW<P>& optimizer() { return optimizer_; }
  /// Null without `ema_decay`.
  const Ema<P>* ema() const { return ema_.get(); }

  /// What a continuation must agree on.
  io::Json settings() const {
    io::Json s = options_.settings;
    s["steps"] = options_.steps;
    s["lr"] = options_.lr;
    s["schedule"] = name(options_.schedule.decay);
    s["warmup"] = options_.schedule.warmup;
    s["decay_steps"] = options_.schedule.decay_steps;
    s["clip"] = options_.clip;
    s["beta1"] = options_.adamw.beta1;
    s["beta2"] = options_.adamw.beta2;
    s["eps"] = options_.adamw.eps;
    s["weight_decay"] = options_.adamw.weight_decay;
    s["decay"] = options_.adamw.decay == Decay::all ? "all" : "matrices";
    s["ema_decay"] = options_.ema_decay;
    s["accumulation"] = options_.accumulation;
    s["batch_size"] = static_cast<std::int64_t>(source_.batch_size());
    s["seed"] = std::to_string(options_.seed);
    s["precision"] = P::Precision::name;
    s["parameters"] = static_cast<std::int64_t>(optimizer_.parameters().size());
    if constexpr (requires { source_.describe(ctx_.exec()); }) s["data"] = source_.describe(ctx_.exec());
    if constexpr (requires { objective_.describe(); }) s["objective"] = objective_.describe();
    return s;
  }

 private:
  using Device = typename P::Device;
  using Space = typename P::Space;

  /// Ends with the step that reads the number of its batch from the device.
  struct StepScope {
    Exec<Device>& exec;
    ~StepScope() { exec.random().device_step = nullptr; }
  };

  /// Every batch of the run draws from its number on: what is recorded for one then serves another, which reads its
  /// number from the device.
  void begin_batch(std::uint64_t number) {
    auto& exec = ctx_.exec();
    const auto word = static_cast<std::uint32_t>(number);
    exec.random().seed = options_.seed;
    exec.random().begin_step(word);
    if constexpr (!Space::host_accessible) {
      if (!batch_number_) batch_number_ = exec.template empty<std::uint32_t, 1>({1});
      exec.upload(&word, batch_number_.view());
      exec.random().device_step = batch_number_.data_handle();
    }
  }

  /// Puts the next batch and its draws where recorded work finds them.
  void load_batch(std::int64_t micro) {
    auto& exec = ctx_.exec();
    const auto at = static_cast<std::uint64_t>(state_.step);
    const std::int64_t size = source_.batch_size();
    const auto places = [&] {
      return std::array<const void*, 5>{batch_.clips.data_handle(), batch_.condition.data_handle(),
                                        batch_.text.data_handle(), batch_.image.data_handle(), noise_.data_handle()};
    };
    const auto before = places();
    const std::uint64_t number =
        at * static_cast<std::uint64_t>(options_.accumulation) + static_cast<std::uint64_t>(micro);
    begin_batch(number);
    source_.fill(exec, number, batch_);
    const auto draws = objective_.draws(batch_.clips.extent(0),
                                        SampleNumbers{options_.seed, at, micro * size, options_.accumulation * size});
    const auto count = static_cast<std::int64_t>(draws.size());
    if (!noise_ || noise_.extent(0) != count) noise_ = exec.template empty<ops::NoiseDraw, 1>({count});
    exec.upload(draws.data(), noise_.view());
    if (places() != before && whole_.recorded())
      throw Error(
          "Trainer: the source moved its batch to other memory after the step was recorded; keep the tensors of "
          "the batch, or set TrainerOptions::graph to false");
  }

  /// The loss of the batch and its gradients, added to those that are there if `more`.
  void gradients(bool more) {
    auto& exec = ctx_.exec();
    const double share = 1.0 / options_.accumulation;
    const auto loss = objective_.loss(ctx_, model_, batch_, noise_);
    static_assert(is_var<std::remove_cvref_t<decltype(loss)>>,
                  "Trainer: nothing in this model can train; build it with an adapter map such as "
                  "adapters::LoraOnBlocks or adapters::Trainable");
    ops::axpby(exec, share, loss.value().cview(), more ? 1.0 : 0.0, optimizer_.state(&ops::UpdateState::loss));
    auto seed = exec.template empty<double, 1>({1});
    ops::scale(exec, share, View<const double, 1, Space>(optimizer_.state(&ops::UpdateState::loss_scale)), seed.view());
    ctx_.backward(loss, std::move(seed));
  }

  void update() {
    optimizer_.update(ctx_.exec(), options_.clip, options_.ema_decay);
    if (ema_) ema_->update(ctx_.exec(), View<const ops::UpdateState, 1, Space>(optimizer_.state()));
  }

  static void check(const TrainerOptions& o, const Exec<Device>& exec) {
    if constexpr (requires { exec.stream(); })
      if (o.graph && !exec.stream())
        throw_input("Trainer", "the stream of the Exec", "CUDA's default one, which cannot be recorded",
                    "another, or TrainerOptions::graph to be false");
    const auto positive = [](std::string_view what, double value) {
      if (!(value > 0)) throw_input("Trainer", what, std::to_string(value), "a positive number");
    };
    positive("steps", static_cast<double>(o.steps));
    positive("accumulation", o.accumulation);
    positive("max_consecutive_skips", o.max_consecutive_skips);
    if (!(o.lr >= 0)) throw_input("Trainer", "lr", std::to_string(o.lr), "0 or more");
    if (!(o.clip >= 0)) throw_input("Trainer", "clip", std::to_string(o.clip), "0 or more");
    if (o.schedule.warmup < 0) throw_input("Trainer", "warmup", std::to_string(o.schedule.warmup), "0 or more");
    if (o.schedule.decay_steps < 0)
      throw_input("Trainer", "decay_steps", std::to_string(o.schedule.decay_steps), "0 or more");
    if (o.stop_at < 0) throw_input("Trainer", "stop_at", std::to_string(o.stop_at), "0 or more");
  }

  static io::Json line(const StepInfo& info) {
    io::Json json = io::Json::object();
    json["step"] = info.step;
    json["loss"] = info.loss;
    json["lr"] = info.lr;
    json["grad_norm"] = info.grad_norm;
    json["seconds"] = info.seconds;
    if (info.skipped) json["skipped"] = true;
    return json;
  }

  void held_out(ProgressSink& progress, JsonlLog* log) {
    if (!held_out_.clips || options_.held_out_every <= 0) return;
    held_out_loss_ =
        objective_.held_out_loss(ctx_, model_, held_out_, std::span<const double>(options_.held_out_sigmas));
    progress.on_held_out(state_.step, held_out_loss_);
    if (log == nullptr) return;
    io::Json json = io::Json::object();
    json["step"] = state_.step;
    json["held_out_loss"] = held_out_loss_;
    log->write(json);
  }

  [[noreturn]] void stop_for(const StepResult& last, ProgressSink& progress) const {
    progress.on_end();
    const bool of_loss = !std::isfinite(last.loss);
    throw Error(
        "training stopped after step " + std::to_string(state_.step) + ": " + (of_loss ? "the loss" : "the gradient") +
        " was not finite in " + std::to_string(state_.consecutive_skipped) +
        " steps in a row; a lower learning rate helps, or the data or the weights hold values that are not finite");
  }

  Context<P>& ctx_;
  Model& model_;
  Source& source_;
  Objective objective_;
  TrainerOptions options_;
  AdamW<P> optimizer_;
  std::unique_ptr<Ema<P>> ema_;
  Batch<P> batch_{};
  Tensor<ops::NoiseDraw, 1, Space> noise_;
  Tensor<std::uint32_t, 1, Space> batch_number_;  // where steps are recorded
  Replay<Device> whole_, more_, update_;          // a step; or its first batch, each further one, and the update
  bool warm_ = false;
  Batch<P> held_out_{};
  RunState state_{};
  double held_out_loss_ = 0;
};

}  // namespace train
SEGUE_NAMESPACE_END
