// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

// What a model is given beside noise and text: an encoded image, the first frames of a clip.

#include "segue/models/wan_conditioning.hpp"
#include "models/wan_support.hpp"
#include "segue/schedulers/flow_matching.hpp"
#include "segue/schedulers/sampler.hpp"
#include "segue/train/objective.hpp"

using namespace segue;
using support::error_against;
using support::GoldenWan;
using support::message_of;

namespace {

using Golden = GoldenWan<Fp32, adapters::Frozen>;

io::Json config_with(const std::string& key, io::Json value, const std::string& folder = "wan_flf2v") {
  const std::string path = (support::golden_dir() / folder / "config.json").string();
  io::Json json = io::parse_json(read_text_file(path), path);
  json[key] = std::move(value);
  return json;
}

std::string config_message(const std::string& key, io::Json value, const std::string& folder = "wan_flf2v") {
  return message_of<InputError>([&] { models::read_wan_config(config_with(key, std::move(value), folder), "here"); });
}

/// The first latent frame of a clip on a tensor of its own.
Tensor<float, 5, HostSpace> first_frame_of(Exec<Cpu>& exec, const Tensor<float, 5, HostSpace>& clip) {
  auto shape = clip.shape();
  shape[2] = 1;
  auto out = exec.empty<float, 5>(shape);
  ops::copy(exec, clip.cview().slice(2, 0, 1), out.view());
  return out;
}

}  // namespace

TEST_CASE("a configuration with an image branch is read, written and refused as diffusers would build it") {
  for (const char* name : {"wan_i2v_clip", "wan_flf2v", "wan_ti2v"}) {
    const auto config = models::open_wan_folder((support::golden_dir() / name).string()).config;
    CHECK(models::read_wan_config(models::write_wan_config(config), "here") == config);
  }
  const auto config = models::open_wan_folder((support::golden_dir() / "wan_flf2v").string()).config;
  CHECK(config.image_dim == 20);
  CHECK(config.pos_embed_seq_len == 14);
  CHECK(config_message("added_kv_proj_dim", 23) ==
        "here: key 'added_kv_proj_dim' is 23, expected 24, the model's width, where 'image_dim' is given");
  CHECK(config_message("added_kv_proj_dim", io::Json()) ==
        "here: key 'added_kv_proj_dim' is null, expected 24, the model's width, where 'image_dim' is given");
  CHECK(config_message("added_kv_proj_dim", 24, "wan_ti2v") ==
        "here: key 'added_kv_proj_dim' is 24, expected null where 'image_dim' is null");
  CHECK(config_message("pos_embed_seq_len", 14, "wan_ti2v") ==
        "here: key 'pos_embed_seq_len' is 14, expected null where 'image_dim' is null");
  CHECK(config_message("image_dim", -1) == "here: key 'image_dim' is -1, expected a positive integer");
}

TEST_CASE("an image is given where the configuration wants one, and nowhere else") {
  Golden with("wan_flf2v"), without("wan_ti2v");
  Context<Golden::P> ctx(with.exec);
  CHECK(message_of<InputError>([&] { with.model(ctx, with.hidden, with.time, with.text); }) ==
        "Wan: encoder_hidden_states_image is none, expected (B, L, image_dim) as the configuration says");
  Context<Golden::P> other(without.exec);
  CHECK(message_of<InputError>([&] {
          without.model(other, without.hidden, without.time, without.text, without.text);
        }) == "Wan: encoder_hidden_states_image is a tensor, expected none: the configuration has no image_dim");
  const auto half = with.image.reshape<3>({4, 7, 20});
  CHECK(message_of<InputError>([&] { with.model(ctx, with.hidden, with.time, with.text, half); }) ==
        "Wan: shape of encoder_hidden_states_image is (4, 7, 20), expected (2, 14, 20)");
}

TEST_CASE("a model bound to its image is what samplers call") {
  Golden g("wan_i2v_clip");
  Context<Golden::P> ctx(g.exec);
  const models::WithImage bound(g.model, g.image);
  CHECK(error_against(bound(ctx, g.hidden, g.time, g.text), g.recorded, "forward.y") < 1e-5);
}

TEST_CASE("given frames are seen clean, at timestep 0, and put into what was sampled") {
  Golden g("wan_ti2v");
  Context<Golden::P> ctx(g.exec);
  const auto given = first_frame_of(g.exec, g.hidden);
  const models::WithGivenFrames bound(g.model, given);
  auto spoilt = g.exec.empty<float, 5>(g.hidden.shape());
  ops::copy(g.exec, g.hidden.cview(), spoilt.view());
  const auto sevens = g.exec.empty<float, 5>(given.shape());
  ops::fill(g.exec, 7.0, sevens.view());
  ops::copy(g.exec, sevens.cview(), spoilt.view().slice(2, 0, 1));
  Golden::Model::Time time;
  time.timesteps = g.exec.empty<float, 1>({2});
  time.timesteps(0) = 412.75f, time.timesteps(1) = 903.5f;
  for (int again = 0; again < 2; ++again)
    CHECK(error_against(bound(ctx, spoilt, time, g.text), g.recorded, "forward.y") < 1e-5);
  CHECK(spoilt.view()(0, 0, 0, 0, 0) == 7.0f);  // the sampler's own clip is not written

  schedulers::FlowMatching<> scheduler;
  const auto drawn = schedulers::sample(ctx, bound, scheduler, g.hidden, {}, g.text, {.steps = 2});
  bound.put(g.exec, drawn);
  CHECK(support::values_of(first_frame_of(g.exec, drawn)) == support::values_of(given));

  CHECK(message_of<InputError>([&] { bound(ctx, spoilt, g.time, g.text); }) ==
        "WithGivenFrames: time is groups of tokens, expected one timestep a sample");
  CHECK(message_of<InputError>([&] { g.model.given_frames(ctx, time.timesteps, g.hidden.shape(), 3); }) ==
        "Wan: given frames is 3, expected a multiple of 1 below the clip's 3");
}

TEST_CASE("an objective with given frames noises the others alone") {
  Golden g("wan_ti2v");
  Context<Golden::P> ctx(g.exec);
  train::Batch<Golden::P> batch;
  batch.clips = g.hidden;
  batch.text = g.text;
  train::FlowMatchingObjective<> objective;
  objective.first_frame = objective.given_frames = 1;
  CHECK(support::contains(objective.describe(), "given frames 1"));

  // A model that tells what it is shown.
  struct Spy {
    using Time = Golden::Model::Time;
    const Golden::Model& model;
    mutable Tensor<float, 5, HostSpace> hidden{};
    mutable Time time{};
    Time given_frames(Context<Golden::P>& c, const Tensor<float, 1, HostSpace>& t, const Shape<5>& s,
                      std::int64_t n) const {
      return model.given_frames(c, t, s, n);
    }
    auto operator()(Context<Golden::P>& c, const Tensor<float, 5, HostSpace>& h, const Time& t,
                    const Tensor<float, 3, HostSpace>& text) const {
      hidden = h;
      time = t;
      return model(c, h, t, text);
    }
  };
  const Spy spy{g.model};
  const NoGrad<Golden::P> off(ctx);
  const auto loss =
      objective.loss(ctx, spy, batch, train::SampleNumbers{.seed = 3, .step = 1, .offset = 0, .count = 2});
  CHECK(std::isfinite(loss.data_handle()[0]));
  CHECK(support::values_of(first_frame_of(g.exec, spy.hidden)) == support::values_of(first_frame_of(g.exec, g.hidden)));
  CHECK(support::values_of(spy.hidden) != support::values_of(g.hidden));
  CHECK(spy.time.timesteps.size() == 4);
  CHECK(spy.time.timesteps(0) == 0.0f);
  CHECK(spy.time.timesteps(1) > 0.0f);
  CHECK(support::values_of(spy.time.group) == support::values_of(g.time.group));

  batch.image = g.text;
  CHECK(support::contains(message_of<InputError>([&] {
                            objective.loss(ctx, spy, batch,
                                           train::SampleNumbers{.seed = 3, .step = 1, .offset = 0, .count = 2});
                          }),
                          "the model takes no image"));
}
