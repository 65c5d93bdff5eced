// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

// Weights go in and out under diffusers' names, and whatever does not fit is refused in one sentence.

#include <filesystem>
#include <fstream>

#include "models/wan_support.hpp"

using namespace segue;
using support::contains;
using support::message_of;
using support::weights_of;

namespace {

using P = Policy<Fp32, Cpu>;
using Frozen = models::Wan<P, adapters::Frozen>;

/// A copy of the golden checkpoint after `change` saw every tensor (name, shape, data, and dtype if it asks for it, by
/// reference); it says which stay.
template <class Change>
std::string changed_checkpoint(const support::TempDir& dir, Change&& change) {
  const io::Checkpoint golden((support::golden_dir() / "wan_t2v").string());
  io::SafetensorsWriter writer;
  for (const std::string& name : golden.names()) {
    const io::TensorInfo& info = golden.at(name);
    std::string new_name = name;
    std::vector<std::int64_t> shape = info.shape;
    std::vector<std::byte> data(info.data.begin(), info.data.end());
    DType dtype = info.dtype;
    if constexpr (std::is_invocable_v<Change&, std::string&, std::vector<std::int64_t>&, std::vector<std::byte>&,
                                      DType&>) {
      if (!change(new_name, shape, data, dtype)) continue;
    } else {
      if (!change(new_name, shape, data)) continue;
    }
    writer.add_owned(new_name, dtype, shape, data);
  }
  const std::string path = (dir / "changed.safetensors").string();
  writer.write(path);
  return path;
}

std::string load_message(const std::string& path) {
  Exec<Cpu> exec({.threads = 1});
  const auto folder = models::open_wan_folder((support::golden_dir() / "wan_t2v").string());
  Frozen model(exec, folder.config);
  models::randomize_wan(model, exec, 3);
  const auto before = weights_of(model);
  const std::string message = message_of<InputError>([&] { models::load_weights(model, exec, io::Checkpoint(path)); });
  CHECK(weights_of(model) == before);
  return message;
}

}  // namespace

TEST_CASE("a diffusers folder is opened and its config read") {
  const auto t2v = models::open_wan_folder((support::golden_dir() / "wan_t2v").string());
  CHECK(t2v.config.patch_size == ops::PatchSize{1, 2, 2});
  CHECK(t2v.config.num_attention_heads == 2);
  CHECK(t2v.config.attention_head_dim == 12);
  CHECK(t2v.config.dim() == 24);
  CHECK(t2v.config.ffn_dim == 56);
  CHECK(t2v.config.num_layers == 2);
  CHECK(t2v.config.text_dim == 20);
  CHECK(t2v.weights.names().size() > 50);
  const support::TempDir dir;
  CHECK(contains(message_of<InputError>([&] { models::open_wan_folder(dir.path().string()); }), "config.json"));
  std::filesystem::copy(support::golden_dir() / "wan_i2v", dir / "transformer");
  CHECK(models::open_wan_folder(dir.path().string()).config.in_channels == 7);
  CHECK(contains(message_of<InputError>([&] { models::open_wan_folder((dir / "nothing").string()); }), "no folder"));
}

TEST_CASE("shards hold the same weights as one file") {
  Exec<Cpu> exec({.threads = 1});
  const auto one = models::open_wan_folder((support::golden_dir() / "wan_t2v").string());
  const auto many = models::open_wan_folder((support::golden_dir() / "wan_t2v_sharded").string());
  Frozen a(exec, one.config), b(exec, many.config);
  models::randomize_wan(a, exec, 1);
  models::randomize_wan(b, exec, 2);
  models::load_weights(a, exec, one.weights);
  models::load_weights(b, exec, many.weights);
  CHECK(weights_of(a).size() > 10000);
  CHECK(weights_of(a) == weights_of(b));
}

TEST_CASE("a checkpoint that does not fit is refused and nothing is written") {
  const support::TempDir dir;
  SECTION("missing") {
    const auto path = changed_checkpoint(dir, [](std::string& name, auto&, auto&) {
      return name != "blocks.1.attn1.to_q.weight" && name != "proj_out.bias";
    });
    CHECK(load_message(path) == path +
                                    ": tensor 'blocks.1.attn1.to_q.weight' is missing (and 1 more), the nearest name "
                                    "in the file is 'blocks.0.attn1.to_q.weight'");
  }
  SECTION("renamed") {
    const auto path = changed_checkpoint(dir, [](std::string& name, auto&, auto&) {
      if (name == "blocks.1.attn1.to_q.weight") name = "blocks.1.attn1.q.weight";
      return true;
    });
    CHECK(load_message(path) ==
          path + ": tensor 'blocks.1.attn1.to_q.weight' is missing, did you mean 'blocks.1.attn1.q.weight'?");
  }
  SECTION("extra") {
    bool first = true;
    const auto path = changed_checkpoint(dir, [&](std::string&, auto&, auto&) { return true; });
    io::SafetensorsWriter writer;
    const io::Checkpoint golden(path);
    for (const std::string& name : golden.names()) {
      const auto& info = golden.at(name);
      if (first) writer.add("blocks.1.attn2.add_k_proj.weight", info.dtype, info.shape, info.data);
      first = false;
      writer.add(name, info.dtype, info.shape, info.data);
    }
    const std::string more = (dir / "more.safetensors").string();
    writer.write(more);
    const std::string message = load_message(more);
    CHECK(contains(message, more + ": tensor 'blocks.1.attn2.add_k_proj.weight' is no part of the model"));
    CHECK(contains(message, "whose nearest name is 'blocks.1.attn2."));
  }
  SECTION("mis-shaped") {
    const auto path = changed_checkpoint(dir, [](std::string& name, std::vector<std::int64_t>& shape, auto&) {
      if (name == "patch_embedding.weight") shape = {24, 16};
      return true;
    });
    CHECK(load_message(path) ==
          path + ": the shape of tensor 'patch_embedding.weight' is (24, 16), expected (24, 4, 1, 2, 2)");
  }
  SECTION("of another tensor's shape") {
    const auto path = changed_checkpoint(dir, [](std::string& name, auto&, auto&) {
      if (name == "blocks.1.ffn.net.0.proj.weight")
        name = "blocks.1.ffn.net.2.weight";
      else if (name == "blocks.1.ffn.net.2.weight")
        name = "blocks.1.ffn.net.0.proj.weight";
      return true;
    });
    CHECK(load_message(path) == path +
                                    ": the shape of tensor 'blocks.1.ffn.net.0.proj.weight' is (24, 56), that of "
                                    "'blocks.1.ffn.net.2.weight', expected (56, 24)");
  }
  SECTION("of numbers that are no weights") {
    const auto path = changed_checkpoint(dir, [](const std::string& name, auto&, auto&, DType& dtype) {
      if (name == "proj_out.weight") dtype = DType::I32;
      return true;
    });
    CHECK(load_message(path) ==
          path + ": the dtype of tensor 'proj_out.weight' is I32, expected F32, BF16, F16 or F64");
  }
}

TEST_CASE("a part of a model is loaded alone, from one file and from shards") {
  Exec<Cpu> exec({.threads = 1});
  for (const char* name : {"wan_t2v", "wan_t2v_sharded"}) {
    INFO(name);
    const auto folder = models::open_wan_folder((support::golden_dir() / name).string());
    Frozen whole(exec, folder.config);
    models::load_weights(whole, exec, folder.weights);
    Frozen::Block block(exec, folder.config);
    models::randomize_wan(block, exec, 5);
    models::load_weights(block, exec, folder.weights, "blocks.1");
    CHECK(weights_of(block) == weights_of(whole.blocks()[1]));
    CHECK(weights_of(block) != weights_of(whole.blocks()[0]));
  }
}

TEST_CASE("a part of a model is checked alone") {
  Exec<Cpu> exec({.threads = 1});
  const support::TempDir dir;
  const auto config = models::open_wan_folder((support::golden_dir() / "wan_t2v").string()).config;
  Frozen::Block block(exec, config);
  const auto message = [&](const std::string& path, const char* prefix) {
    return message_of<InputError>([&] { models::load_weights(block, exec, io::Checkpoint(path), prefix); });
  };
  const auto path = changed_checkpoint(dir, [](std::string& name, std::vector<std::int64_t>& shape, auto&) {
    if (name == "blocks.1.norm2.bias") shape = {2, 12};
    if (name == "proj_out.weight") name = "blocks.0.attn1.to_w.weight";
    return name != "proj_out.bias";
  });
  CHECK(message(path, "blocks.1") == path + ": the shape of tensor 'blocks.1.norm2.bias' is (2, 12), expected (24,)");
  CHECK(message(path, "blocks.0") == path +
                                         ": tensor 'blocks.0.attn1.to_w.weight' is no part of the model, whose nearest "
                                         "name is 'blocks.0.attn1.to_k.weight'");
  CHECK(message(path, "blocks.2") ==
        path +
            ": tensor 'blocks.2.attn1.norm_k.weight' is missing (and 26 more), the nearest "
            "name in the file is 'blocks.0.attn1.norm_k.weight'");
  // 'blocks.1' is no beginning of a name but a part of a model.
  CHECK(contains(message(path, "block"), "tensor 'block.attn1.norm_k.weight' is missing"));
}

TEST_CASE("a whole folder is checked without memory for its weights") {
  const auto golden = models::open_wan_folder((support::golden_dir() / "wan_t2v_sharded").string());
  models::check_wan_folder<Frozen>(golden);
  models::check_wan_folder<models::Wan<Policy<Bf16, Cpu>, adapters::LoraOnBlocks>>(golden);

  const support::TempDir dir;
  const auto refused = [&](auto&& change) {
    const std::string path = changed_checkpoint(dir, change);
    const models::WanFolder folder{dir.path().string(), golden.config, io::Checkpoint(path)};
    return message_of<InputError>([&] { models::check_wan_folder<Frozen>(folder); });
  };
  CHECK(contains(refused([](std::string& name, auto&, auto&) { return name != "proj_out.bias"; }),
                 "tensor 'proj_out.bias' is missing"));
  CHECK(contains(refused([](std::string& name, std::vector<std::int64_t>& shape, auto&) {
                   if (name == "blocks.0.norm2.bias") shape = {24, 1};
                   return true;
                 }),
                 "the shape of tensor 'blocks.0.norm2.bias' is (24, 1), expected (24,)"));

  // A shape of which no machine here could hold the weights.
  models::WanFolder huge{golden.path, golden.config, io::Checkpoint(golden.path)};
  huge.config.ffn_dim = 2'000'000'000;
  const std::int64_t before = peak_resident_bytes();
  CHECK(contains(message_of<InputError>([&] { models::check_wan_folder<Frozen>(huge); }), "expected (2000000000,"));
  CHECK(peak_resident_bytes() - before < 100'000'000);
}

TEST_CASE("what is saved is loaded again, bit for bit, and in diffusers' words") {
  Exec<Cpu> exec({.threads = 1});
  const auto golden = models::open_wan_folder((support::golden_dir() / "wan_i2v").string());
  Frozen model(exec, golden.config);
  models::load_weights(model, exec, golden.weights);
  const support::TempDir dir;
  const std::string folder = (dir / "a/b").string();
  models::save_wan_folder(model, exec, folder, DType::F32, {{"made_by", "a test"}});
  const auto again = models::open_wan_folder(folder);
  CHECK(again.config == golden.config);
  CHECK(again.weights.names() == golden.weights.names());
  for (const std::string& name : golden.weights.names()) {
    INFO(name);
    const auto &x = golden.weights.at(name), &y = again.weights.at(name);
    CHECK(x.shape == y.shape);
    CHECK(x.dtype == y.dtype);
    CHECK(std::equal(x.data.begin(), x.data.end(), y.data.begin(), y.data.end()));
  }
  REQUIRE(io::find_metadata(again.weights.metadata(), "format"));
  CHECK(*io::find_metadata(again.weights.metadata(), "format") == "pt");
  CHECK(*io::find_metadata(again.weights.metadata(), "made_by") == "a test");

  // config.json: every key of ours as diffusers writes it, none missing but the version.
  const auto read = [](const std::filesystem::path& path) {
    return io::parse_json(read_text_file(path.string()), path.string());
  };
  const io::Json ours = read(std::filesystem::path(folder) / "config.json");
  const io::Json theirs = read(support::golden_dir() / "wan_i2v" / "config.json");
  for (std::size_t i = 0; i < theirs.size(); ++i) {
    INFO(theirs.keys()[i]);
    if (theirs.keys()[i] == "_diffusers_version") continue;
    REQUIRE(ours.find(theirs.keys()[i]));
    CHECK(*ours.find(theirs.keys()[i]) == theirs.items()[i]);
  }
  CHECK(ours.size() + 1 == theirs.size());

  models::save_wan_folder(model, exec, folder, DType::BF16);
  const auto half = models::open_wan_folder(folder);
  CHECK(half.weights.at("proj_out.bias").dtype == DType::BF16);
  Frozen rounded(exec, half.config);
  models::load_weights(rounded, exec, half.weights);
  const auto a = weights_of(model), b = weights_of(rounded);
  REQUIRE(a.size() == b.size());
  bool all = true;
  for (std::size_t i = 0; i < a.size(); ++i) all = all && b[i] == static_cast<float>(bfloat16(a[i]));
  CHECK(all);
  CHECK(contains(message_of<InputError>([&] { models::save_wan_folder(model, exec, folder, DType::I32); }), "I32"));
  CHECK(contains(message_of<InputError>([&] { models::save_wan_folder(model, exec, "/proc/none"); }), "/proc/none"));
}

TEST_CASE("masters follow the weights that are loaded and are what is saved") {
  using Bf16Policy = Policy<Bf16, Cpu>;
  Exec<Cpu> exec({.threads = 1});
  const auto golden = models::open_wan_folder((support::golden_dir() / "wan_t2v").string());
  models::Wan<Bf16Policy, adapters::Trainable> model(exec, golden.config);
  models::load_weights(model, exec, golden.weights);
  int masters = 0;
  nn::for_each_leaf(model, [&](const auto& leaf) {
    if constexpr (nn::is_parameter<std::remove_cvref_t<decltype(leaf.tensor)>>) {
      if constexpr (std::remove_cvref_t<decltype(leaf.tensor)>::has_master) {
        ++masters;
        const auto master = leaf.tensor.master();
        REQUIRE(master);
        // Nothing of the file is lost in the master, and the value is the master, rounded.
        const auto in_file = io::read_vector<float>(golden.weights.at(std::string(leaf.name)));
        bool exact = true, rounded = true;
        for (std::size_t i = 0; i < in_file.size(); ++i) {
          exact = exact && master.data_handle()[i] == in_file[i];
          rounded = rounded && leaf.tensor.value().data_handle()[i].bits == bfloat16(in_file[i]).bits;
        }
        CHECK(exact);
        CHECK(rounded);
        master.data_handle()[0] = 1.0f + 0x1p-20f;  // bf16 cannot hold it
      }
    }
  });
  CHECK(masters > 20);
  const support::TempDir dir;
  models::save_wan_folder(model, exec, dir.path().string());
  const auto saved = models::open_wan_folder(dir.path().string());
  CHECK(io::read_vector<float>(saved.weights.at("blocks.0.attn1.to_q.weight"))[0] == 1.0f + 0x1p-20f);
}

TEST_CASE("a model from nothing starts as Wan's does") {
  Exec<Cpu> exec({.threads = 1});
  auto config = models::open_wan_folder((support::golden_dir() / "wan_i2v").string()).config;
  Frozen model(exec, config), again(exec, config), other(exec, config);
  models::initialize_wan(model, exec, 7);
  models::initialize_wan(again, exec, 7);
  models::initialize_wan(other, exec, 8);
  CHECK(weights_of(model) == weights_of(again));
  CHECK(weights_of(model) != weights_of(other));
  const double dim = static_cast<double>(config.dim());
  nn::for_each_leaf(model, [&](const auto& leaf) {
    const std::string name(leaf.name);
    INFO(name);
    const auto& t = nn::tensor_of(leaf.tensor);
    double most = 0, squares = 0;
    for (std::int64_t i = 0; i < t.size(); ++i) {
      const double x = t.data_handle()[i];
      most = std::max(most, std::fabs(x));
      squares += x * x;
    }
    const double deviation = std::sqrt(squares / static_cast<double>(t.size()));
    if (name.ends_with("bias") || name == "proj_out.weight") {
      CHECK(most == 0.0);
    } else if (contains(name, "norm")) {
      CHECK((most == 1.0 && deviation == 1.0));
    } else if (name.ends_with("scale_shift_table")) {
      CHECK((deviation * std::sqrt(dim) > 0.7 && deviation * std::sqrt(dim) < 1.3));
    } else if (contains(name, "time_embedder") || contains(name, "text_embedder")) {
      CHECK((deviation > 0.019 && deviation < 0.021));
    } else {
      const double bound = std::sqrt(6.0 / static_cast<double>(t.extent(0) + t.extent(t.rank() - 1)));
      CHECK((most <= bound && most > 0.98 * bound));
      CHECK((deviation > 0.95 * bound / std::sqrt(3.0) && deviation < 1.05 * bound / std::sqrt(3.0)));
    }
  });
}
