// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

// Trains a small Wan from nothing on generated clips: the backbone that `fewshot` adapts. `pretrain --help` says how.
#include <cstdio>
#include <string>

#include "common/command_line.hpp"
#include "common/program.hpp"
#include "segue/adapters/maps.hpp"
#include "segue/cpu.hpp"
#include "segue/io/image.hpp"
#include "segue/models/wan.hpp"
#include "segue/models/wan_folder.hpp"
#include "segue/models/wan_init.hpp"
#include "segue/ops/cpu/parallel.hpp"
#include "segue/schedulers/sampler.hpp"
#include "segue/tasks/generate/clips.hpp"
#include "segue/train/clip_spec.hpp"
#include "segue/train/codec.hpp"
#include "segue/train/trainer.hpp"

namespace {

namespace train = segue::train;
namespace tasks = segue::tasks;
using segue::HostSpace;
using segue::join_path;
using segue::Tensor;

using Policy = segue::Policy<segue::Fp32, segue::Cpu>;
using Patches = segue::ops::PatchSet<segue::ops::Patch<1, 8, 8>>;
using Model = segue::models::Wan<Policy, segue::adapters::Trainable, Patches>;
using Objective = train::FlowMatchingObjective<segue::schedulers::LogitNormalTime>;

struct Options {
  std::string out = "out/pretrain";
  int heads = 5;
  int layers = 6;
  int ffn = 960;
  int frames = 5;
  int size = 64;
  int steps = 2000;
  int stop_at = 0;
  int batch = 32;
  double lr = 1e-3;
  double ema = 0.999;
  double shift = 3.0;
  std::uint64_t seed = 0;
  int threads = 0;
  int sheet_every = 500;
  double checkpoint_seconds = 60;
  bool resume = false;
  bool help = false;
};

example::CommandLine<Options> command_line() {
  example::CommandLine<Options> c;
  c.text("--out", "DIR", "where checkpoint, log, samples and weights go (default out/pretrain)", &Options::out);
  c.number("--heads", "N", "attention heads of 64 (default 5)", &Options::heads, 1, 64);
  c.number("--layers", "N", "blocks (default 6)", &Options::layers, 1, 100);
  c.number("--ffn", "N", "width of the feed-forward layers (default 960)", &Options::ffn, 1, 100000);
  c.number("--frames", "N", "frames of a clip (default 5)", &Options::frames, 2, 1000);
  c.number("--size", "N", "height and width in pixels, a multiple of 8 (default 64)", &Options::size, 8, 4096);
  c.number("--steps", "N", "training steps (default 2000)", &Options::steps, 1, 100000000);
  c.number("--stop-at", "N", "stop after step N of --steps, ready to --resume", &Options::stop_at, 1, 100000000);
  c.number("--batch", "N", "clips a step (default 32)", &Options::batch, 1, 65536);
  c.number("--lr", "X", "peak learning rate (default 1e-3)", &Options::lr, 1e-9, 1.0);
  c.number("--ema", "X", "decay of the averaged weights (default 0.999)", &Options::ema, 0.0, 0.999999);
  c.number("--shift", "X", "timestep shift (default 3)", &Options::shift, 0.01, 100.0);
  c.number("--seed", "N", "initialisation, clips and noise (default 0)", &Options::seed, 0, ~std::uint64_t{0} >> 1);
  c.number("--threads", "N", "threads (default: all); results do not depend on it", &Options::threads, 1, 4096);
  c.number("--sheet-every", "N", "steps between held-out losses (default 500)", &Options::sheet_every, 1, 100000000);
  c.number("--checkpoint-seconds", "X", "seconds between checkpoints (default 60)", &Options::checkpoint_seconds, 1.0,
           1e9);
  c.flag("--resume", "go on from the checkpoint in --out", &Options::resume);
  c.flag("--help", "this text", &Options::help);
  return c;
}

/// Clips drawn as they are needed; clip number i of the run is always the same.
class GeneratedClips {
 public:
  GeneratedClips(std::uint64_t seed, std::int64_t batch, const tasks::ClipSpec& spec, std::int64_t text_dim)
      : seed_(seed), batch_(batch), spec_(spec), text_dim_(text_dim) {}

  std::int64_t batch_size() const { return batch_; }

  void fill(segue::Exec<segue::Cpu>& exec, std::uint64_t index, train::Batch<Policy>& batch) const {
    if (!batch.clips) {
      const std::int64_t f = spec_.frames, h = spec_.height, w = spec_.width;
      batch.clips = exec.empty<float, 5>({batch_, 3, f, h, w});
      batch.condition = exec.empty<float, 5>({batch_, 4, f, h, w});
      batch.text = exec.empty<float, 3>({batch_, 1, text_dim_});
      segue::ops::fill(exec, 0.0, batch.text.view());
      segue::ops::fill(exec, 0.0, batch.condition.view());
      for (std::int64_t i = 0; i < batch_; ++i)
        segue::ops::fill(exec, 1.0, batch.condition.view()[i].slice(0, 0, 1).slice(1, 0, 1));
    }
    if (exec.planning()) return;
    const tasks::ClipShape shape{spec_.frames, spec_.height, spec_.width, 3};
    segue::detail::parallel_for(
        exec, batch_,
        [&](std::int64_t begin, std::int64_t end) {
          std::vector<std::uint8_t> pixels(spec_.size());
          for (std::int64_t i = begin; i < end; ++i) {
            tasks::generate_clip(seed_, index * static_cast<std::uint64_t>(batch_) + static_cast<std::uint64_t>(i),
                                 spec_, pixels);
            tasks::to_model_space(pixels, shape, {batch.clips.view()[i].data_handle(), spec_.size()});
          }
        },
        1);
    segue::ops::copy(exec, batch.clips.cview().slice(2, 0, 1), batch.condition.view().slice(1, 1, 4).slice(2, 0, 1));
  }

  std::string describe() const { return "generated clips of seed " + std::to_string(seed_); }

 private:
  std::uint64_t seed_;
  std::int64_t batch_;
  tasks::ClipSpec spec_;
  std::int64_t text_dim_;
};

/// Rows of held-out clips and what the model makes of their first frames, one below the other.
void save_samples(segue::Context<Policy>& ctx, const Model& model, const train::Batch<Policy>& batch, double shift,
                  const std::string& path) {
  auto& exec = ctx.exec();
  auto noise = exec.empty<float, 5>(batch.clips.shape());
  segue::ops::fill_normal(exec, noise.view(), segue::RandomKey{0, 0xA0000000u, 0});
  segue::schedulers::FlowMatching<> scheduler{.grid = {.shift = shift}};
  const auto drawn =
      segue::schedulers::sample(ctx, model, scheduler, noise, batch.condition, batch.text, {.steps = 20});
  const int frames = static_cast<int>(drawn.extent(2)), h = static_cast<int>(drawn.extent(3)),
            w = static_cast<int>(drawn.extent(4)), rows = static_cast<int>(drawn.extent(0));
  segue::io::Image sheet{frames * w, 2 * rows * h, 3, {}};
  sheet.pixels.resize(static_cast<std::size_t>(sheet.width) * static_cast<std::size_t>(sheet.height) * 3);
  const train::IdentityCodec codec;
  for (int row = 0; row < 2 * rows; ++row) {
    const auto& clips = row % 2 ? drawn : batch.clips;
    const tasks::Clip clip =
        codec.decode<Policy>(exec, Tensor<float, 4, HostSpace>(clips.buffer(), clips.view()[row / 2]));
    for (int f = 0; f < frames; ++f) {
      for (int y = 0; y < h; ++y) {
        const auto line = clip.frame(f).subspan(static_cast<std::size_t>(y * w * 3), static_cast<std::size_t>(w * 3));
        std::copy(line.begin(), line.end(), sheet.pixels.begin() + ((row * h + y) * sheet.width + f * w) * 3);
      }
    }
  }
  segue::io::save_png(path, sheet);
}

void pretrain(const Options& options) {
  segue::models::WanConfig config;
  config.patch_size = {1, 8, 8};
  config.num_attention_heads = options.heads;
  config.attention_head_dim = 64;
  config.num_layers = options.layers;
  config.ffn_dim = options.ffn;
  config.in_channels = 7;
  config.out_channels = 3;
  config.text_dim = 64;
  if (options.size % 8 != 0) segue::throw_input("--size", "its value", std::to_string(options.size), "a multiple of 8");

  segue::Exec<segue::Cpu> exec(segue::Exec<segue::Cpu>::Options{.threads = options.threads, .seed = options.seed});
  segue::Context<Policy> ctx(exec);
  Model model(exec, config);
  segue::models::initialize_wan(model, exec, options.seed);

  const tasks::ClipSpec spec{options.frames, options.size, options.size};
  GeneratedClips source(options.seed, options.batch, spec, config.text_dim);
  train::TrainerOptions t;
  t.steps = options.steps;
  t.stop_at = options.stop_at;
  t.lr = options.lr;
  t.schedule = {.decay = train::LrDecay::cosine, .warmup = std::min(200, options.steps / 20 + 1)};
  t.adamw = {.beta1 = 0.9, .beta2 = 0.95, .weight_decay = 0.01, .decay = train::Decay::matrices};
  t.ema_decay = options.ema;
  t.seed = options.seed;
  t.checkpoint_seconds = options.checkpoint_seconds;
  t.held_out_every = options.sheet_every;
  t.settings["layers"] = options.layers;
  t.settings["heads"] = options.heads;
  t.settings["ffn"] = options.ffn;
  segue::make_directories(options.out);
  t.checkpoint_path = join_path(options.out, "checkpoint.safetensors");
  t.log_path = join_path(options.out, "log.jsonl");
  Objective objective;
  objective.times.shift = options.shift;
  train::Trainer<Policy, Model, GeneratedClips, Objective> trainer(ctx, model, source, objective, t);

  // Clips of another seed: no training step ever sees them.
  train::Batch<Policy> held_out;
  GeneratedClips(options.seed + 0x9E3779B97F4A7C15u, 16, spec, config.text_dim).fill(exec, 0, held_out);
  trainer.set_held_out(held_out);

  if (options.resume && !trainer.resume()) segue::throw_input("--resume", "there is no checkpoint in " + options.out);
  train::TextProgress progress(
      stdout, segue::is_terminal(1) ? train::TextProgress::Style::bar : train::TextProgress::Style::lines);
  std::string stopped;
  try {
    trainer.run(progress);
  } catch (const segue::Interrupted& stop) {
    stopped = stop.what();
  }

  // What ships are the averaged weights, of a run that was stopped early too.
  const auto averaged = [&] {
    if (trainer.ema()) return std::make_unique<train::EmaScope<Policy>>(exec, *trainer.ema());
    return std::unique_ptr<train::EmaScope<Policy>>();
  }();
  const std::string weights = join_path(options.out, "weights");
  segue::models::save_wan_folder(model, exec, weights, segue::DType::BF16);
  const train::ClipSpec clip_spec{.frames = options.frames, .height = options.size, .width = options.size};
  segue::write_file_atomically(join_path(weights, "segue.json"),
                               segue::io::dump_json(train::write_clip_spec(clip_spec)) + "\n");
  train::Batch<Policy> shown;
  GeneratedClips(options.seed + 0x9E3779B97F4A7C15u, 8, spec, config.text_dim).fill(exec, 0, shown);
  save_samples(ctx, model, shown, options.shift, join_path(options.out, "samples.png"));
  const double loss = objective.held_out_loss(ctx, model, held_out, std::span<const double>(t.held_out_sigmas));
  std::printf("after step %lld: held-out loss %.5f (averaged weights), %.1f clips/s; weights are in %s\n",
              static_cast<long long>(trainer.state().step), loss,
              static_cast<double>(trainer.state().step) * options.batch / trainer.state().seconds, weights.c_str());
  if (!stopped.empty()) throw segue::Interrupted(stopped);
}

}  // namespace

int main(int argc, char** argv) {
  return example::run_program("pretrain", [&] {
    const auto line = command_line();
    const Options options = line.parse(argc, argv);
    if (!options.help) return pretrain(options);
    std::printf(
        "pretrain: train a small Wan on generated clips\n\n%s\nCtrl-C finishes the step, saves and exits with "
        "130; --resume goes on.\n",
        line.help().c_str());
  });
}
