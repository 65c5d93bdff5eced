// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#include "engine.hpp"

#include <algorithm>

#include "segue/adapters/inject.hpp"
#include "segue/models/wan_folder.hpp"
#include "segue/schedulers/recorded_sampler.hpp"
#include "segue/tasks/transition.hpp"
#include "segue/train/codec.hpp"

namespace fewshot {

namespace train = segue::train;
namespace tasks = segue::tasks;
using segue::Tensor;
using segue::io::Image;

namespace {

constexpr int kHeadDims[] = {16, 32, 64, 128};
/// Items that are sampled together.
constexpr std::size_t kSampleBatch = 10;
/// Noise of answers is drawn at sites that training does not use.
constexpr std::uint32_t kAnswerSite = 0xA0000000u;

/// Refuses what the program is not compiled for or cannot feed; the model itself checks the patch.
segue::models::WanFolder open_backbone(const std::string& path) {
  segue::models::WanFolder folder = segue::models::open_wan_folder(path);
  const int head_dim = folder.config.attention_head_dim;
  if (std::find(std::begin(kHeadDims), std::end(kHeadDims), head_dim) == std::end(kHeadDims)) {
    segue::throw_input(folder.path, "attention_head_dim", std::to_string(head_dim),
                       "one of 16, 32, 64, 128, which this program is compiled for");
  }
  return folder;
}

train::ClipSpec read_spec(const segue::models::WanFolder& folder, const Options& options) {
  const std::string path = segue::join_path(folder.path, "segue.json");
  const bool latents = !options.latents.empty();
  if (!segue::is_file(path)) {
    // Encoded clips say themselves how large they are.
    if (latents) return {.channels = {"noisy"}};
    segue::throw_input(folder.path,
                       "has no segue.json, which says how pictures enter the model; models that need an autoencoder "
                       "take --latents DIR");
  }
  train::ClipSpec spec = train::read_clip_spec(path);
  if (latents) return spec;
  if (spec.codec != train::IdentityCodec::name) {
    segue::throw_input(path, "codec", segue::in_quotes(spec.codec),
                       "\"identity\": autoencoders are not part of this program, encoded clips go in by --latents DIR");
  }
  const segue::models::WanConfig& c = folder.config;
  if (c.out_channels != 3 || c.in_channels != 7) {
    segue::throw_input(folder.path, "channels",
                       std::to_string(c.in_channels) + " in, " + std::to_string(c.out_channels) + " out",
                       "7 in (3 noisy, 1 mask, 3 first frame) and 3 out, which is pixel space");
  }
  if (!spec.is_conditioned()) {
    segue::throw_input(path, "channels", "[\"noisy\"]", "[\"noisy\", \"mask\", \"first_frame\"]");
  }
  if (spec.frames < 2) segue::throw_input(path, "frames", std::to_string(spec.frames), "2 or more");
  return spec;
}

using T = Policy::compute;

Tensor<T, 4, Policy::Space> encode(segue::Exec<Device>& exec, const tasks::Clip& clip) {
  return train::IdentityCodec{}.encode<Policy>(exec, clip);
}

Image last_frame(const tasks::Clip& clip) {
  const auto frame = clip.frame(clip.frames - 1);
  return {clip.width, clip.height, clip.channels, std::vector<std::uint8_t>(frame.begin(), frame.end())};
}

}  // namespace

std::string default_model() { return segue::join_path(SEGUE_WEIGHTS_DIR, "wan-small"); }

Engine::Engine(const std::string& path, const Options& options) : Engine(open_backbone(path), options) {
  if (!options.device.empty() && options.device != device_name)
    segue::throw_input("--device", "its value", segue::in_quotes(options.device),
                       std::string(device_name) +
                           ", which this program was built for; examples/run.sh --device cuda builds and runs the one "
                           "for a GPU");
}

Engine::Engine(const segue::models::WanFolder& folder, const Options& options)
    : exec_(segue::Exec<Device>::Options{.threads = options.threads, .seed = options.seed}),
      ctx_(exec_),
      spec_(read_spec(folder, options)),
      model_(exec_, folder.config) {
  segue::models::load_weights(model_, exec_, folder.weights);
}

void Engine::add_adapter(const Options& options) {
  segue::adapters::LoraConfig config;
  config.spec.rank = options.rank;
  config.spec.alpha = options.alpha > 0 ? options.alpha : options.rank;
  config.spec.dropout = options.dropout;
  config.targets = options.targets;
  if (config.targets.empty()) config.targets = {"to_q", "to_k", "to_v", "to_out.0", "ffn.net.0.proj", "ffn.net.2"};
  config.seed = options.seed;
  segue::adapters::add_lora(model_, exec_, config);
}

train::InMemoryDataset<Policy> Engine::dataset(std::span<const tasks::Pair> pairs, const Options& options) {
  auto text = exec_.empty<T, 2>({1, model_.config().text_dim});
  segue::ops::fill(exec_, 0.0, text.view());
  train::InMemoryDataset<Policy> set(options.batch, options.seed, text);
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    const tasks::Clip clip =
        tasks::make_transition(options.transition, pairs[i].input, pairs[i].target, spec_.frames, options.seed + i);
    const auto latents = encode(exec_, clip);
    set.add(latents, train::first_frame_condition(exec_, latents), {}, pairs[i].name);
  }
  return set;
}

std::vector<Image> Engine::answer(std::span<const tasks::Pair> items, const Options& options, int attempt,
                                  const std::function<void(std::size_t)>& watch) {
  namespace schedulers = segue::schedulers;
  schedulers::FlowMatching<> scheduler{.grid = {.shift = options.shift}};
  schedulers::RecordedSampler<Policy, Model, schedulers::FlowMatching<>> sample(
      ctx_, model_, scheduler, {.steps = options.sample_steps, .guidance = options.guidance});
  const train::IdentityCodec codec;
  std::vector<Image> answers;
  for (std::size_t begin = 0; begin < items.size(); begin += kSampleBatch) {
    const std::size_t count = std::min(kSampleBatch, items.size() - begin);
    const auto b = static_cast<std::int64_t>(count);
    auto noise = exec_.empty<Policy::accum, 5>({b, 3, spec_.frames, spec_.height, spec_.width});
    auto condition = exec_.empty<T, 5>({b, 4, spec_.frames, spec_.height, spec_.width});
    auto text = exec_.empty<T, 3>({b, 1, model_.config().text_dim});
    segue::ops::fill(exec_, 0.0, text.view());
    for (std::size_t i = 0; i < count; ++i) {
      const Image& input = items[begin + i].input;
      const auto at = static_cast<std::int64_t>(i);
      const segue::RandomKey key{options.seed, kAnswerSite + static_cast<std::uint32_t>(attempt),
                                 static_cast<std::uint32_t>(begin + i)};
      segue::ops::fill_normal(exec_, noise.view()[at], key);
      const tasks::Clip still{1, input.height, input.width, 3, input.pixels};
      segue::ops::copy(exec_, train::first_frame_condition(exec_, encode(exec_, still), spec_.frames).cview(),
                       condition.view()[at]);
    }
    const auto& clips = sample(noise, condition, text, text);
    for (std::size_t i = 0; i < count; ++i) {
      const auto at = static_cast<std::int64_t>(i);
      const Tensor<Policy::accum, 4, Policy::Space> one(clips.buffer(), clips.view()[at]);
      answers.push_back(last_frame(codec.decode<Policy>(exec_, one)));
    }
    if (watch) watch(answers.size());
  }
  return answers;
}

}  // namespace fewshot
