// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "common/device.hpp"
#include "options.hpp"
#include "segue/adapters/maps.hpp"
#include "segue/io/image.hpp"
#include "segue/models/wan.hpp"
#include "segue/models/wan_folder.hpp"
#include "segue/tasks/pair.hpp"
#include "segue/train/clip_spec.hpp"
#include "segue/train/dataset.hpp"

namespace fewshot {

using example::device_name;
using example::Policy;
using example::precision_name;
using Device = Policy::Device;
/// The closed set of patches this program is compiled for; a new one costs a line here.
using Patches = segue::ops::PatchSet<segue::ops::Patch<1, 1, 1>, segue::ops::Patch<1, 2, 2>, segue::ops::Patch<1, 4, 4>,
                                     segue::ops::Patch<1, 8, 8>, segue::ops::Patch<1, 16, 16>>;

/// Opens a Wan folder; refuses what this program is not compiled for (the model itself checks the patch).
segue::models::WanFolder open_backbone(const std::string& path);

/// Whether this program keeps the weights of a folder in a type that cannot hold all of its file's.
bool rounds_weights(const segue::models::WanFolder& folder);

/// How pictures get into the model of a folder. @throws segue::InputError for one that the options cannot feed.
segue::train::ClipSpec read_spec(const segue::models::WanFolder& folder, const Options& options);

/// Whether a model gets the folder's weights, or waits for `draw_weights`.
enum class Start { pretrained, random };

/// A backbone in pixel space, and how pictures get into it and out of it. `Adapters` says what of it can train.
template <class Adapters>
class BasicEngine {
 public:
  using Model = segue::models::Wan<Policy, Adapters, Patches>;

  /// Opens a Wan folder, checks that this program can feed it, and reads its weights.
  /// @throws segue::InputError in one sentence for a folder that is none, a patch, head size or channels that do not
  /// fit.
  BasicEngine(const std::string& folder, const Options& options, Start start = Start::pretrained);

  BasicEngine(const BasicEngine&) = delete;
  BasicEngine& operator=(const BasicEngine&) = delete;

  segue::Context<Policy>& context() { return ctx_; }
  segue::Exec<Device>& exec() { return exec_; }
  Model& model() { return model_; }
  const segue::train::ClipSpec& spec() const { return spec_; }
  bool weights_rounded() const { return weights_rounded_; }
  /// Where the weights' files lie, in a pipeline the folder of its transformer.
  const std::string& folder() const { return folder_; }

  /// Weights of a run from nothing (see models::initialize_wan), but an output projection that stays frozen is drawn
  /// as the other linears are.
  void draw_weights(std::uint64_t seed);

  void remove_adapters();
  /// Puts the fresh adapter that the options describe on the model.
  void add_adapter(const Options& options);

  /// Pairs as clips, ready for the trainer.
  segue::train::InMemoryDataset<Policy> dataset(std::span<const segue::tasks::Pair> pairs, const Options& options);

  /// The last frame that the model draws after each input, the mean of `options.average` draws. The noise of item i
  /// depends on seed, attempt, draw and i alone.
  /// `watch(done)` is told how many items are answered.
  std::vector<segue::io::Image> answer(std::span<const segue::tasks::Pair> items, const Options& options, int attempt,
                                       const std::function<void(std::size_t)>& watch = {});

 private:
  BasicEngine(const segue::models::WanFolder& folder, const Options& options, Start start);

  segue::Exec<Device> exec_;
  segue::Context<Policy> ctx_;
  std::string folder_;
  segue::train::ClipSpec spec_;
  bool weights_rounded_;
  Model model_;
};

/// The backbone is frozen; adapters train.
using Engine = BasicEngine<segue::adapters::LoraOnAll>;
using Model = Engine::Model;
extern template class BasicEngine<segue::adapters::LoraOnAll>;

}  // namespace fewshot
