// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

// The names and the configuration of Wan's own repository.

#include "segue/models/wan_names.hpp"
#include "models/wan_support.hpp"

using namespace segue;
using support::contains;
using support::message_of;

namespace {

using Frozen = models::Wan<Policy<Fp32, Cpu>, adapters::Frozen>;

/// diffusers' name and the original one, from their two sources.
const std::pair<const char*, const char*> names[] = {
    {"patch_embedding.weight", "patch_embedding.weight"},
    {"patch_embedding.bias", "patch_embedding.bias"},
    {"condition_embedder.time_embedder.linear_1.weight", "time_embedding.0.weight"},
    {"condition_embedder.time_embedder.linear_2.bias", "time_embedding.2.bias"},
    {"condition_embedder.time_proj.weight", "time_projection.1.weight"},
    {"condition_embedder.text_embedder.linear_1.weight", "text_embedding.0.weight"},
    {"condition_embedder.text_embedder.linear_2.bias", "text_embedding.2.bias"},
    {"condition_embedder.image_embedder.norm1.weight", "img_emb.proj.0.weight"},
    {"condition_embedder.image_embedder.ff.net.0.proj.weight", "img_emb.proj.1.weight"},
    {"condition_embedder.image_embedder.ff.net.2.bias", "img_emb.proj.3.bias"},
    {"condition_embedder.image_embedder.norm2.bias", "img_emb.proj.4.bias"},
    {"condition_embedder.image_embedder.pos_embed", "img_emb.emb_pos"},
    {"blocks.0.attn1.to_q.weight", "blocks.0.self_attn.q.weight"},
    {"blocks.7.attn1.to_k.bias", "blocks.7.self_attn.k.bias"},
    {"blocks.39.attn1.to_v.weight", "blocks.39.self_attn.v.weight"},
    {"blocks.0.attn1.to_out.0.weight", "blocks.0.self_attn.o.weight"},
    {"blocks.0.attn1.norm_q.weight", "blocks.0.self_attn.norm_q.weight"},
    {"blocks.0.attn1.norm_k.weight", "blocks.0.self_attn.norm_k.weight"},
    {"blocks.0.attn2.to_q.weight", "blocks.0.cross_attn.q.weight"},
    {"blocks.0.attn2.to_k.weight", "blocks.0.cross_attn.k.weight"},
    {"blocks.0.attn2.to_v.weight", "blocks.0.cross_attn.v.weight"},
    {"blocks.0.attn2.to_out.0.bias", "blocks.0.cross_attn.o.bias"},
    {"blocks.0.attn2.norm_q.weight", "blocks.0.cross_attn.norm_q.weight"},
    {"blocks.0.attn2.norm_k.weight", "blocks.0.cross_attn.norm_k.weight"},
    {"blocks.0.attn2.add_k_proj.weight", "blocks.0.cross_attn.k_img.weight"},
    {"blocks.0.attn2.add_v_proj.bias", "blocks.0.cross_attn.v_img.bias"},
    {"blocks.0.attn2.norm_added_k.weight", "blocks.0.cross_attn.norm_k_img.weight"},
    {"blocks.0.norm2.weight", "blocks.0.norm3.weight"},
    {"blocks.0.norm2.bias", "blocks.0.norm3.bias"},
    {"blocks.0.ffn.net.0.proj.weight", "blocks.0.ffn.0.weight"},
    {"blocks.0.ffn.net.2.bias", "blocks.0.ffn.2.bias"},
    {"blocks.0.scale_shift_table", "blocks.0.modulation"},
    {"scale_shift_table", "head.modulation"},
    {"proj_out.weight", "head.head.weight"},
    // Modules, and what stands beside them.
    {"blocks.12.attn1.to_out.0", "blocks.12.self_attn.o"},
    {"blocks.12.ffn.net.0.proj.lora_A.weight", "blocks.12.ffn.0.lora_A.weight"},
};

std::string original(const std::string& diffusers) {
  for (const auto& [ours, theirs] : names)
    for (const std::string block : {"0", "1"}) {
      // Each name of a block stands for both blocks, each linear's weight for its bias.
      std::string a = ours, b = theirs;
      for (std::string* name : {&a, &b}) {
        if (name->starts_with("blocks.")) name->replace(7, name->find('.', 7) - 7, block);
        for (const std::string end : {".weight", ".bias"})
          if (name->ends_with(end)) name->resize(name->size() - end.size());
      }
      for (const std::string end : {"", ".weight", ".bias"})
        if (diffusers == a + end) return b + end;
    }
  FAIL(diffusers << " has no original name");
  return {};
}

/// The golden checkpoint under its original names behind a prefix; `change` may rename or reshape a tensor.
template <class Change>
std::string original_checkpoint(const support::TempDir& dir, const std::string& prefix, Change&& change) {
  const io::Checkpoint golden((support::golden_dir() / "wan_t2v").string());
  io::SafetensorsWriter writer;
  for (const std::string& name : golden.names()) {
    const io::TensorInfo& info = golden.at(name);
    std::string theirs = original(name);
    std::vector<std::int64_t> shape = info.shape;
    if (change(theirs, shape)) writer.add(prefix + theirs, info.dtype, shape, info.data);
  }
  const std::string path = (dir / "diffusion_pytorch_model.safetensors").string();
  writer.write(path);
  return path;
}

const auto keep = [](auto&, auto&) { return true; };

const char* const config_text = R"({
  "_class_name": "WanModel", "_diffusers_version": "0.30.0", "dim": 1536, "eps": 1e-05, "ffn_dim": 8960,
  "freq_dim": 128, "in_dim": 48, "model_type": "t2v", "num_heads": 12, "num_layers": 30, "out_dim": 24, "text_len": 512})";

models::WanConfig read(const std::string& text) {
  return models::read_wan_config(io::parse_json(text, "config.json"), "config.json");
}
std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const std::size_t at = text.find(from);
  REQUIRE(at != std::string::npos);
  return text.replace(at, from.size(), to);
}
std::string read_message(const std::string& from, const std::string& to) {
  return message_of<InputError>([&] { read(replaced(config_text, from, to)); });
}

}  // namespace

TEST_CASE("names go from diffusers to the original and back") {
  for (const auto& [diffusers, original_name] : names) {
    INFO(diffusers);
    CHECK(models::wan_original_name(diffusers) == original_name);
    CHECK(models::wan_diffusers_name(original_name) == diffusers);
  }
  for (const char* other : {"", "blocks", "blocks.0", "blocks.0.attn1", "blocks.0.attn1.to_qq", "blocks.x.attn1.to_q",
                            "blocks..attn1.to_q", "blocks.0attn1.to_q", "blocks.0.norm1.weight",
                            "blocks.0.norm3.weight", "proj_outer", "head.head.weight", "x.proj_out.weight"}) {
    INFO(other);
    CHECK(!models::wan_original_name(other));
  }
  for (const char* other : {"blocks.0.norm2.weight", "blocks.0.self_attn.qk", "blocks.0.attn1.to_q.weight", "head",
                            "head.norm.weight", "proj_out.weight"}) {
    INFO(other);
    CHECK(!models::wan_diffusers_name(other));
  }
}

TEST_CASE("every module and leaf of the model has an original name that leads back") {
  Exec<Cpu> exec({.threads = 1});
  Frozen model(exec, models::open_wan_folder((support::golden_dir() / "wan_t2v").string()).config);
  int leaves = 0;
  nn::for_each_leaf(model, [&](const auto& leaf) {
    INFO(leaf.name);
    const auto theirs = nn::original_name(model, leaf.name);
    REQUIRE(theirs);
    CHECK(*theirs == original(std::string(leaf.name)));
    CHECK(models::wan_diffusers_name(*theirs) == leaf.name);
    ++leaves;
  });
  CHECK(leaves == 69);
}

TEST_CASE("a checkpoint under original names holds the same weights") {
  Exec<Cpu> exec({.threads = 1});
  const auto golden = models::open_wan_folder((support::golden_dir() / "wan_t2v").string());
  Frozen a(exec, golden.config);
  models::load_weights(a, exec, golden.weights);
  for (const std::string prefix : {"", "model.diffusion_model.", "diffusion_model."}) {
    INFO(prefix);
    const support::TempDir dir;
    const std::string path = original_checkpoint(dir, prefix, keep);
    CHECK(io::Checkpoint(path).contains(prefix + "blocks.1.self_attn.q.weight"));
    Frozen b(exec, golden.config);
    models::randomize_wan(b, exec, 2);
    models::load_weights(b, exec, io::Checkpoint(path));
    CHECK(support::weights_of(b) == support::weights_of(a));
  }
}

TEST_CASE("a prefix goes with the library's names, too") {
  Exec<Cpu> exec({.threads = 1});
  const auto golden = models::open_wan_folder((support::golden_dir() / "wan_t2v").string());
  const support::TempDir dir;
  io::SafetensorsWriter writer;
  for (const std::string& name : golden.weights.names()) {
    const auto& info = golden.weights.at(name);
    writer.add("diffusion_model." + name, info.dtype, info.shape, info.data);
  }
  writer.write((dir / "all.safetensors").string());
  Frozen a(exec, golden.config), b(exec, golden.config);
  models::load_weights(a, exec, golden.weights);
  models::randomize_wan(b, exec, 2);
  models::load_weights(b, exec, io::Checkpoint(dir.path().string()));
  CHECK(support::weights_of(b) == support::weights_of(a));
}

TEST_CASE("what does not fit under original names is named by these") {
  const support::TempDir dir;
  const auto load_message = [&](const std::string& path) {
    Exec<Cpu> exec({.threads = 1});
    Frozen model(exec, models::open_wan_folder((support::golden_dir() / "wan_t2v").string()).config);
    models::randomize_wan(model, exec, 3);
    const auto before = support::weights_of(model);
    const std::string message =
        message_of<InputError>([&] { models::load_weights(model, exec, io::Checkpoint(path)); });
    CHECK(support::weights_of(model) == before);
    return message;
  };
  for (const std::string prefix : {"", "model.diffusion_model."}) {
    INFO(prefix);
    auto path =
        original_checkpoint(dir, prefix, [](const std::string& name, auto&) { return name != "blocks.1.norm3.bias"; });
    CHECK(contains(load_message(path), path + ": tensor '" + prefix + "blocks.1.norm3.bias' is missing"));
    path = original_checkpoint(dir, prefix, [](std::string& name, auto&) {
      if (name == "blocks.1.self_attn.q.weight") name = "blocks.1.self_attn.to_q.weight";
      return true;
    });
    CHECK(load_message(path) == path + ": tensor '" + prefix +
                                    "blocks.1.self_attn.q.weight' is missing, did you mean '" + prefix +
                                    "blocks.1.self_attn.to_q.weight'?");
    path = original_checkpoint(dir, prefix, [](const std::string& name, std::vector<std::int64_t>& shape) {
      if (name == "head.modulation") shape = {2, 1, 24};
      return true;
    });
    CHECK(load_message(path) ==
          path + ": the shape of tensor '" + prefix + "head.modulation' is (2, 1, 24), expected (1, 2, 24)");
  }
  const io::Checkpoint whole(original_checkpoint(dir, "", keep));
  io::SafetensorsWriter writer;
  for (const std::string& name : whole.names()) {
    const auto& info = whole.at(name);
    writer.add(name, info.dtype, info.shape, info.data);
    if (name == "blocks.1.cross_attn.k.weight")
      writer.add("blocks.1.cross_attn.k_img.weight", info.dtype, info.shape, info.data);
  }
  const std::string more = (dir / "more.safetensors").string();
  writer.write(more);
  CHECK(load_message(more) == more +
                                  ": tensor 'blocks.1.cross_attn.k_img.weight' is no part of the model, whose nearest "
                                  "name is 'blocks.1.cross_attn.k.weight'");
}

TEST_CASE("config.json of Wan's own repository is read") {
  const models::WanConfig c = read(config_text);
  models::WanConfig expected;
  expected.num_attention_heads = 12;
  expected.attention_head_dim = 128;
  expected.in_channels = 48;
  expected.out_channels = 24;
  expected.freq_dim = 128;
  expected.ffn_dim = 8960;
  expected.num_layers = 30;
  expected.eps = 1e-5;
  CHECK(c == expected);
  CHECK(c.patch_size == ops::PatchSize{1, 2, 2});
  CHECK(c.text_dim == 4096);
  // WanModel's own defaults are not those of diffusers.
  const models::WanConfig least = read(R"({"_class_name": "WanModel"})");
  CHECK(least.dim() == 2048);
  CHECK(least.num_attention_heads == 16);
  CHECK(least.num_layers == 32);
  CHECK(least.ffn_dim == 8192);
  CHECK(read(replaced(config_text, "\"t2v\"", "\"ti2v\"")) == expected);
  CHECK(read(replaced(config_text, "\"dim\"", "\"patch_size\": [1, 8, 8], \"text_dim\": 64, \"dim\"")).text_dim == 64);
  const models::WanConfig other =
      read(replaced(config_text, "\"dim\"", "\"cross_attn_norm\": false, \"patch_size\": [1, 8, 8], \"dim\""));
  CHECK(other.patch_size == ops::PatchSize{1, 8, 8});
  CHECK(!other.cross_attn_norm);

  CHECK(read(replaced(config_text, "\"t2v\"", "\"i2v\"")).image_dim == 1280);
  CHECK(read(replaced(config_text, "\"t2v\"", "\"i2v\"")).pos_embed_seq_len == 0);
  CHECK(read(replaced(config_text, "\"t2v\"", "\"flf2v\"")).pos_embed_seq_len == 514);
  CHECK(read_message("\"t2v\"", "\"vace\"") ==
        "config.json: key 'model_type' is 'vace', expected 't2v', 'i2v', 'flf2v' or 'ti2v'");
  CHECK(read_message("\"dim\": 1536", "\"dim\": 1548") ==
        "config.json: key 'dim' is 1548, expected an even number for each of num_heads = 12");
  CHECK(contains(read_message("\"num_heads\": 12", "\"num_heads\": 0"), "key 'num_heads' is 0"));
  CHECK(contains(read_message("\"dim\"", "\"qk_norm\": false, \"dim\""), "key 'qk_norm' is false, expected true"));
  CHECK(contains(read_message("\"dim\"", "\"window_size\": [4, 4], \"dim\""), "key 'window_size' is"));
  CHECK(contains(read_message("WanModel", "VaceWanModel"),
                 "key '_class_name' is 'VaceWanModel', expected 'WanTransformer3DModel' or 'WanModel'"));
}

TEST_CASE("a folder of Wan's own repository is opened, and answers as diffusers' does") {
  const auto golden = models::open_wan_folder((support::golden_dir() / "wan_t2v").string());
  const support::TempDir dir;
  original_checkpoint(dir, "", keep);
  write_file_atomically((dir / "config.json").string(),
                        R"({"_class_name": "WanModel", "dim": 24, "eps": 1e-06, "ffn_dim": 56, "freq_dim": 256,
  "in_dim": 4, "model_type": "t2v", "num_heads": 2, "num_layers": 2, "out_dim": 4, "text_dim": 20, "text_len": 512})");
  const auto folder = models::open_wan_folder(dir.path().string());
  CHECK(folder.config == golden.config);
  // Wan2.2's I2V says "i2v" and has no image branch: the weights tell.
  write_file_atomically((dir / "config.json").string(),
                        replaced(read_text_file((dir / "config.json").string()), "\"t2v\"", "\"i2v\""));
  CHECK(models::open_wan_folder(dir.path().string()).config == golden.config);
  support::GoldenWan<Fp32, adapters::Frozen> wan("wan_t2v", 1);
  models::randomize_wan(wan.model, wan.exec, 9);
  models::load_weights(wan.model, wan.exec, folder.weights);
  Context<Policy<Fp32, Cpu>> ctx(wan.exec);
  const auto y = wan.model(ctx, wan.hidden, wan.time, wan.text);
  CHECK(testing::relative_error(y, wan.recorded.tensor<float, 5>(wan.exec, "forward.y")) < 1e-5);
}

TEST_CASE("the image branch is read under the names of Wan's own repository, and what nobody uses is let be") {
  support::GoldenWan<Fp32, adapters::Frozen> wan("wan_flf2v", 1);
  const support::TempDir dir;
  io::SafetensorsWriter writer;
  for (const std::string& name : wan.folder.weights.names()) {
    const io::TensorInfo& info = wan.folder.weights.at(name);
    writer.add_owned(models::wan_original_name(name).value(), info.dtype, info.shape,
                     std::vector<std::byte>(info.data.begin(), info.data.end()));
  }
  writer.add_owned("blocks.1.attn2.norm_added_q.weight", DType::F32, {24}, std::vector<std::byte>(96));
  const std::string path = (dir / "wan.safetensors").string();
  writer.write(path);
  CHECK(io::Checkpoint(path).contains("blocks.1.cross_attn.k_img.weight"));
  CHECK(io::Checkpoint(path).contains("img_emb.emb_pos"));
  models::randomize_wan(wan.model, wan.exec, 9);
  models::load_weights(wan.model, wan.exec, io::Checkpoint(path));
  Context<Policy<Fp32, Cpu>> ctx(wan.exec);
  const auto y = wan.model(ctx, wan.hidden, wan.time, wan.text, wan.image);
  CHECK(testing::relative_error(y, wan.recorded.tensor<float, 5>(wan.exec, "forward.y")) < 1e-5);
}
