// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The members of BasicEngine. A program instantiates them once for each adapter map that it uses.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <type_traits>

#include "engine.hpp"
#include "segue/adapters/inject.hpp"
#include "segue/models/load.hpp"
#include "segue/models/wan_init.hpp"
#include "segue/schedulers/recorded_sampler.hpp"
#include "segue/tasks/transition.hpp"
#include "segue/train/codec.hpp"

namespace fewshot {

namespace detail {

/// Noise of answers is drawn at sites that training does not use.
inline constexpr std::uint32_t kAnswerSite = 0xA0000000u;
/// Where an output projection is drawn that does not begin at zero: a site that no other weight has.
inline constexpr std::uint32_t kOutputSite = 0xFFFF0000u;

inline segue::Tensor<Policy::compute, 4, Policy::Space> encode(segue::Exec<Device>& exec,
                                                               const segue::tasks::Clip& clip) {
  return segue::train::IdentityCodec{}.encode<Policy>(exec, clip);
}

inline segue::io::Image last_frame(const segue::tasks::Clip& clip) {
  const auto frame = clip.frame(clip.frames - 1);
  return {clip.width, clip.height, clip.channels, std::vector<std::uint8_t>(frame.begin(), frame.end())};
}

/// The mean of pictures of one size, to the nearest byte.
class Mean {
 public:
  void add(const segue::io::Image& image) {
    if (count_++ == 0) {
      first_ = image;
      sums_.assign(image.pixels.size(), 0);
    }
    for (std::size_t i = 0; i < sums_.size(); ++i) sums_[i] += image.pixels[i];
  }
  segue::io::Image image() const {
    segue::io::Image out = first_;
    for (std::size_t i = 0; i < sums_.size(); ++i)
      out.pixels[i] = static_cast<std::uint8_t>((sums_[i] + count_ / 2) / count_);
    return out;
  }

 private:
  std::uint32_t count_ = 0;
  segue::io::Image first_;
  std::vector<std::uint32_t> sums_;
};

}  // namespace detail

template <class Adapters>
BasicEngine<Adapters>::BasicEngine(const std::string& path, const Options& options, Start start)
    : BasicEngine(open_backbone(path), options, start) {
  if (!options.device.empty() && options.device != device_name)
    segue::throw_input("--device", "its value", segue::in_quotes(options.device),
                       std::string(device_name) +
                           ", which this program was built for; examples/run.sh --device cuda builds and runs the one "
                           "for a GPU");
  if (!options.precision.empty() && options.precision != precision_name)
    segue::throw_input("--precision", "its value", segue::in_quotes(options.precision),
                       std::string(precision_name) +
                           ", which this program was built for: on a CPU examples/run.sh builds and runs the one for "
                           "bf16-weights, fp32 or bf16, on a GPU there is bf16 only");
  if (options.guidance != 1.0) {
    char given[32];
    std::snprintf(given, sizeof given, "%g", options.guidance);
    segue::throw_input("--guidance", "its value", given,
                       "1: the text of a model in pixel space is one zero token, with which there is no other to "
                       "guide away from");
  }
}

template <class Adapters>
BasicEngine<Adapters>::BasicEngine(const segue::models::WanFolder& folder, const Options& options, Start start)
    : exec_(segue::Exec<Device>::Options{.threads = options.threads, .seed = options.seed}),
      ctx_(exec_),
      folder_(folder.path),
      spec_(read_spec(folder, options)),
      weights_rounded_(rounds_weights(folder)),
      model_(exec_, folder.config) {
  if (start == Start::pretrained) segue::models::load_weights(model_, exec_, folder.weights);
}

template <class Adapters>
void BasicEngine<Adapters>::draw_weights(std::uint64_t seed) {
  segue::models::initialize_wan(model_, exec_, seed);
  if constexpr (!std::is_same_v<Adapters, segue::adapters::Trainable>) {
    // Frozen at zero, as a fresh model has it, the output projection would let no gradient through.
    segue::nn::for_each_leaf(model_, [&](const auto& leaf) {
      if (leaf.kind != segue::nn::LeafKind::base || leaf.name != "proj_out.weight") return;
      const auto x = segue::nn::tensor_of(leaf.tensor).view();
      constexpr int rank = std::remove_cvref_t<decltype(x)>::rank();
      const double bound = std::sqrt(6.0 / static_cast<double>(x.extent(0) + x.extent(rank - 1)));
      segue::ops::fill_uniform(exec_, x, segue::RandomKey{seed, detail::kOutputSite, 0xFFFFFFFEu}, -bound, bound);
    });
  }
}

template <class Adapters>
void BasicEngine<Adapters>::remove_adapters() {
  segue::adapters::for_each_lora(model_, [](std::string_view, auto& linear) { linear.clear_adapters(); });
}

template <class Adapters>
void BasicEngine<Adapters>::add_adapter(const Options& options) {
  segue::adapters::LoraConfig config;
  config.spec.rank = options.rank;
  config.spec.alpha = options.alpha > 0 ? options.alpha : options.rank;
  config.spec.dropout = options.dropout;
  config.targets = options.targets;
  if (config.targets.empty()) config.targets = {"to_q", "to_k", "to_v", "to_out.0", "ffn.net.0.proj", "ffn.net.2"};
  config.seed = options.seed;
  segue::adapters::add_lora(model_, exec_, config);
}

template <class Adapters>
segue::train::InMemoryDataset<Policy> BasicEngine<Adapters>::dataset(std::span<const segue::tasks::Pair> pairs,
                                                                     const Options& options) {
  using T = Policy::compute;
  auto text = exec_.empty<T, 2>({1, model_.config().text_dim});
  segue::ops::fill(exec_, 0.0, text.view());
  segue::train::InMemoryDataset<Policy> set(options.batch, options.seed, text);
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    const segue::tasks::Clip clip = segue::tasks::make_transition(options.transition, pairs[i].input, pairs[i].target,
                                                                  spec_.frames, options.seed + i);
    const auto latents = detail::encode(exec_, clip);
    set.add(latents, segue::train::first_frame_condition(exec_, latents), {}, pairs[i].name);
  }
  return set;
}

template <class Adapters>
std::vector<segue::io::Image> BasicEngine<Adapters>::answer(std::span<const segue::tasks::Pair> items,
                                                            const Options& options, int attempt,
                                                            const std::function<void(std::size_t)>& watch) {
  using T = Policy::compute;
  const auto sample_batch = static_cast<std::size_t>(options.sample_batch);
  namespace schedulers = segue::schedulers;
  schedulers::FlowMatching<> scheduler{.grid = {.shift = options.shift}};
  schedulers::RecordedSampler<Policy, Model, schedulers::FlowMatching<>> sample(
      ctx_, model_, scheduler, {.steps = options.sample_steps, .guidance = options.guidance});
  const segue::train::IdentityCodec codec;
  std::vector<segue::io::Image> answers;
  for (std::size_t begin = 0; begin < items.size(); begin += sample_batch) {
    const std::size_t count = std::min(sample_batch, items.size() - begin);
    const auto b = static_cast<std::int64_t>(count);
    auto noise = exec_.empty<Policy::accum, 5>({b, 3, spec_.frames, spec_.height, spec_.width});
    auto condition = exec_.empty<T, 5>({b, 4, spec_.frames, spec_.height, spec_.width});
    auto text = exec_.empty<T, 3>({b, 1, model_.config().text_dim});
    segue::ops::fill(exec_, 0.0, text.view());
    for (std::size_t i = 0; i < count; ++i) {
      const segue::io::Image& input = items[begin + i].input;
      const segue::tasks::Clip still{1, input.height, input.width, 3, input.pixels};
      segue::ops::copy(exec_,
                       segue::train::first_frame_condition(exec_, detail::encode(exec_, still), spec_.frames).cview(),
                       condition.view()[static_cast<std::int64_t>(i)]);
    }
    std::vector<detail::Mean> means(count);
    for (int draw = 0; draw < options.average; ++draw) {
      for (std::size_t i = 0; i < count; ++i) {
        const segue::RandomKey key{options.seed,
                                   detail::kAnswerSite + static_cast<std::uint32_t>(attempt * options.average + draw),
                                   static_cast<std::uint32_t>(begin + i)};
        segue::ops::fill_normal(exec_, noise.view()[static_cast<std::int64_t>(i)], key);
      }
      const auto& clips = sample(noise, condition, text, text);
      for (std::size_t i = 0; i < count; ++i) {
        const segue::Tensor<Policy::accum, 4, Policy::Space> one(clips.buffer(),
                                                                 clips.view()[static_cast<std::int64_t>(i)]);
        means[i].add(detail::last_frame(codec.decode<Policy>(exec_, one)));
      }
    }
    for (const detail::Mean& mean : means) answers.push_back(mean.image());
    if (watch) watch(answers.size());
  }
  return answers;
}

}  // namespace fewshot
