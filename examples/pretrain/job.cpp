// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#include "job.hpp"

#include <algorithm>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>

#include "clip_source.hpp"
#include "common/device.hpp"
#include "segue/adapters/maps.hpp"
#include "segue/core/posix.hpp"
#include "segue/io/image.hpp"
#include "segue/models/wan.hpp"
#include "segue/models/wan_folder.hpp"
#include "segue/models/wan_init.hpp"
#include "segue/schedulers/sampler.hpp"
#include "segue/train/clip_spec.hpp"
#include "segue/train/codec.hpp"
#include "segue/train/trainer.hpp"

namespace pretrain {

namespace train = segue::train;
namespace tasks = segue::tasks;
using segue::join_path;
using segue::Tensor;

namespace {

using example::device_name;
using example::Policy;
using Device = Policy::Device;
using Patches = segue::ops::PatchSet<segue::ops::Patch<1, 8, 8>>;
using Model = segue::models::Wan<Policy, segue::adapters::Trainable, Patches>;
using Objective = train::FlowMatchingObjective<segue::schedulers::LogitNormalTime>;
using Trainer = train::Trainer<Policy, Model, ClipSource<Policy>, Objective>;

/// Clips of the held-out losses, and those of them that the sheet shows.
constexpr int kHeldOut = 64, kShown = 8;

segue::models::WanConfig model_config(const Options& options) {
  segue::models::WanConfig config;
  config.patch_size = {1, 8, 8};
  config.num_attention_heads = options.heads;
  config.attention_head_dim = 64;
  config.num_layers = options.layers;
  config.ffn_dim = options.ffn;
  config.in_channels = 7;
  config.out_channels = 3;
  config.text_dim = 64;
  return config;
}

train::TrainerOptions trainer_options(const Options& options) {
  train::TrainerOptions t;
  t.steps = options.steps;
  t.stop_at = options.stop_at;
  t.lr = options.lr;
  const std::int64_t warmup = options.warmup >= 0 ? options.warmup : std::min(200, options.steps / 20 + 1);
  t.schedule = {.decay = train::LrDecay::cosine,
                .warmup = warmup,
                .decay_steps = std::max<std::int64_t>(
                    1, static_cast<std::int64_t>(options.decay_share * static_cast<double>(options.steps - warmup)))};
  t.adamw = {.beta1 = 0.9, .beta2 = 0.95, .weight_decay = options.weight_decay, .decay = train::Decay::matrices};
  t.ema_decay = options.ema;
  t.seed = options.seed;
  t.checkpoint_seconds = options.checkpoint_seconds;
  t.held_out_every = options.sheet_every;
  t.settings["layers"] = options.layers;
  t.settings["heads"] = options.heads;
  t.settings["ffn"] = options.ffn;
  t.settings["init"] = options.init;
  t.checkpoint_path = join_path(options.out, "checkpoint.safetensors");
  t.log_path = join_path(options.out, "log.jsonl");
  return t;
}

/// Rows of held-out clips and what the model makes of their first frames, one below the other.
void save_samples(segue::Context<Policy>& ctx, const Model& model, const train::Batch<Policy>& batch, double shift,
                  const std::string& path) {
  auto& exec = ctx.exec();
  segue::Shape<5> shape = batch.clips.shape();
  shape[0] = std::min<std::int64_t>(shape[0], kShown);
  auto noise = exec.empty<Policy::accum, 5>(shape);
  segue::ops::fill_normal(exec, noise.view(), segue::RandomKey{0, 0xA0000000u, 0});
  segue::schedulers::FlowMatching<> scheduler{.grid = {.shift = shift}};
  const auto drawn = segue::schedulers::sample(ctx, model, scheduler, noise, batch.condition.slice(0, 0, shape[0]),
                                               batch.text.slice(0, 0, shape[0]), {.steps = 20});
  const int frames = static_cast<int>(shape[2]), h = static_cast<int>(shape[3]), w = static_cast<int>(shape[4]),
            rows = static_cast<int>(shape[0]);
  segue::io::Image sheet{frames * w, 2 * rows * h, 3, {}};
  sheet.pixels.resize(static_cast<std::size_t>(sheet.width) * static_cast<std::size_t>(sheet.height) * 3);
  const auto put = [&](const auto& clips, int from, int row) {
    using T = typename std::remove_cvref_t<decltype(clips)>::value_type;
    const tasks::Clip clip =
        train::IdentityCodec{}.decode<Policy>(exec, Tensor<T, 4, Policy::Space>(clips.buffer(), clips.view()[from]));
    for (int f = 0; f < frames; ++f) {
      for (int y = 0; y < h; ++y) {
        const auto line = clip.frame(f).subspan(static_cast<std::size_t>(y * w * 3), static_cast<std::size_t>(w * 3));
        std::copy(line.begin(), line.end(), sheet.pixels.begin() + ((row * h + y) * sheet.width + f * w) * 3);
      }
    }
  };
  for (int i = 0; i < rows; ++i) {
    put(batch.clips, i, 2 * i);
    put(drawn, i, 2 * i + 1);
  }
  segue::io::save_png(path, sheet);
}

/// Passes a run's reports on, and tells the speed and draws a sheet with every held-out loss.
class Reporter final : public train::ProgressSink {
 public:
  Reporter(std::int64_t batch, std::function<void()> draw_sheet)
      : batch_(batch),
        draw_sheet_(std::move(draw_sheet)),
        text_(stdout, segue::is_terminal(1) ? train::TextProgress::Style::bar : train::TextProgress::Style::lines) {}

  void on_start(std::int64_t first, std::int64_t steps) override { text_.on_start(first, steps); }
  void on_step(const train::StepInfo& info) override {
    text_.on_step(info);
    step_ = info.step;
    seconds_ = info.seconds;
  }
  void on_held_out(std::int64_t step, double loss) override {
    text_.on_held_out(step, loss);
    if (step_ > told_step_ && seconds_ > told_seconds_) {
      char text[80];
      std::snprintf(text, sizeof text, "%.1f clips/s since",
                    static_cast<double>((step_ - told_step_) * batch_) / (seconds_ - told_seconds_));
      text_.on_message(text);
    }
    told_step_ = step_;
    told_seconds_ = seconds_;
    draw_sheet_();
  }
  void on_message(std::string_view message) override { text_.on_message(message); }
  void on_end() override { text_.on_end(); }

 private:
  std::int64_t batch_;
  std::function<void()> draw_sheet_;
  train::TextProgress text_;
  std::int64_t step_ = 0, told_step_ = 0;
  double seconds_ = 0, told_seconds_ = 0;
};

/// A Wan folder with what says how pictures get in.
void save_backbone(Model& model, segue::Exec<Device>& exec, const std::string& folder, segue::DType dtype,
                   const tasks::ClipSpec& spec) {
  segue::models::save_wan_folder(model, exec, folder, dtype);
  const train::ClipSpec clip_spec{.frames = spec.frames, .height = spec.height, .width = spec.width};
  segue::write_file_atomically(join_path(folder, "segue.json"),
                               segue::io::dump_json(train::write_clip_spec(clip_spec)) + "\n");
}

}  // namespace

void train_backbone(const Options& options) {
  if (options.size % 8 != 0) segue::throw_input("--size", "its value", std::to_string(options.size), "a multiple of 8");
  if (!options.device.empty() && options.device != device_name)
    segue::throw_input("--device", "its value", segue::in_quotes(options.device),
                       std::string(device_name) + ", which this program was built for");
  const segue::models::WanConfig config = model_config(options);
  const tasks::ClipSpec spec{options.frames, options.size, options.size};
  const Corpus corpus(options.corpus, options.media, spec);
  std::printf("%s\n", corpus.describe().c_str());

  segue::Exec<Device> exec(segue::Exec<Device>::Options{.threads = options.threads, .seed = options.seed});
  segue::Context<Policy> ctx(exec);
  // A GPU has the memory to keep what a processor's caches would rather see again.
  if constexpr (!Policy::Space::host_accessible) ctx.set_recompute(segue::Recompute::none);
  Model model(exec, config);
  if (options.init.empty()) {
    segue::models::initialize_wan(model, exec, options.seed);
  } else {
    segue::models::load_weights(model, exec, segue::models::open_wan_folder(options.init).weights);
  }

  ClipStreamOptions stream{
      .seed = options.seed, .batch = options.batch, .threads = options.workers, .reuse = options.reuse};
  ClipSource<Policy> source(corpus, stream, config.text_dim);
  segue::make_directories(options.out);
  Objective objective;
  objective.times.shift = options.shift;
  Trainer trainer(ctx, model, source, objective, trainer_options(options));

  // Clips of another seed: no training step ever sees them.
  train::Batch<Policy> held_out;
  stream.seed += 0x9E3779B97F4A7C15u;
  stream.batch = kHeldOut;
  ClipSource<Policy>(corpus, stream, config.text_dim).fill(exec, 0, held_out);
  trainer.set_held_out(held_out);

  if (options.resume && !trainer.resume()) segue::throw_input("--resume", "there is no checkpoint in " + options.out);
  // What is shown and ships are the averaged weights, of a run that was stopped early too.
  const auto averaged = [&] {
    return trainer.ema() ? std::make_unique<train::EmaScope<Policy>>(exec, *trainer.ema()) : nullptr;
  };
  Reporter progress(options.batch, [&] {
    const auto scope = averaged();
    save_samples(ctx, model, held_out, options.shift, join_path(options.out, "samples.png"));
  });
  std::string stopped;
  try {
    trainer.run(progress);
  } catch (const segue::Interrupted& stop) {
    stopped = stop.what();
  }

  save_backbone(model, exec, join_path(options.out, "master"), segue::DType::F32, spec);
  const auto scope = averaged();
  const std::string weights = join_path(options.out, "weights");
  save_backbone(model, exec, weights, segue::DType::BF16, spec);
  save_samples(ctx, model, held_out, options.shift, join_path(options.out, "samples.png"));
  const double loss =
      objective.held_out_loss(ctx, model, held_out, std::span<const double>(trainer.options().held_out_sigmas));
  std::printf("after step %lld: held-out loss %.5f (averaged weights), %.1f clips/s; weights are in %s\n",
              static_cast<long long>(trainer.state().step), loss,
              static_cast<double>(trainer.state().step) * options.batch / trainer.state().seconds, weights.c_str());
  if (!stopped.empty()) throw segue::Interrupted(stopped);
}

}  // namespace pretrain
