// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

// Adapter files: read what diffusers and PEFT wrote, write what they would have written, refuse the rest.

#include <algorithm>
#include <fstream>

#include "adapters/files_support.hpp"
#include "segue/adapters/diffusers_file.hpp"
#include "segue/adapters/peft_folder.hpp"

using namespace segue;
using namespace support;

namespace {

io::Json parse_file(const std::string& path) { return io::parse_json(read_text_file(path), path); }

io::Json metadata_of(const std::string& path) {
  const io::SafetensorsFile file(path);
  const std::string* text = io::find_metadata(file.metadata(), "lora_adapter_metadata");
  REQUIRE(text);
  return io::parse_json(*text, path);
}

/// Names, dtypes, shapes and bytes.
void check_same_tensors(const std::string& ours, const std::string& theirs) {
  const io::SafetensorsFile a(ours), b(theirs);
  REQUIRE(a.tensors().size() == b.tensors().size());
  for (std::size_t i = 0; i < a.tensors().size(); ++i) {
    const auto &x = a.tensors()[i], &y = b.tensors()[i];
    CHECK(x.name == y.name);
    CHECK(x.dtype == y.dtype);
    CHECK(x.shape == y.shape);
    CHECK(std::equal(x.data.begin(), x.data.end(), y.data.begin(), y.data.end()));
  }
}

/// Every key that we write is one that PEFT writes, with its value; targets are spelled otherwise.
void check_same_config(const io::Json& ours, const io::Json& theirs, const std::string& prefix) {
  CHECK(ours.size() > 15);
  for (std::size_t i = 0; i < ours.size(); ++i) {
    const std::string& key = ours.keys()[i];
    INFO(key);
    REQUIRE(theirs.find(key));
    if (key != prefix + "target_modules" && key != prefix + "auto_mapping") CHECK(ours.items()[i] == *theirs.find(key));
  }
}

/// The modules that PEFT would wrap: names that are a target or end with ".target".
std::set<std::string> wrapped(Model& model, const io::Json& targets) {
  std::set<std::string> names;
  for (const std::string& name : adapters::detail::linear_names(model))
    for (const auto& target : targets.as<std::vector<std::string>>("targets"))
      if (name == target || name.ends_with("." + target)) names.insert(name);
  return names;
}

void write_text(const std::string& path, const std::string& text) { write_file_atomically(path, text); }

}  // namespace

TEST_CASE("the three golden layouts hold one adapter") {
  const testing::Golden recorded(golden("wan_t2v.safetensors"));
  for (const char* folder : {"adapters/diffusers", "adapters/diffusers_model", "adapters/peft"}) {
    INFO(folder);
    Subject s;
    const auto names = adapters::load_adapter(s.model, s.exec, golden(folder), "mine");
    CHECK(names.size() == 20);
    CHECK(adapted(s.model, "mine").size() == 20);
    adapters::for_each_lora(s.model, [&](std::string_view name, auto& linear) {
      const auto* adapter = linear.find("mine");
      REQUIRE(adapter);
      CHECK(adapter->spec.rank == 4);
      CHECK(adapter->spec.alpha == 8.0);
      CHECK(adapter->spec.scale() == 2.0);
      const std::string base = "train_final." + std::string(name);
      const auto a = recorded.tensor<float, 2>(s.exec, base + ".lora_A.weight");
      const auto b = recorded.tensor<float, 2>(s.exec, base + ".lora_B.weight");
      CHECK(testing::relative_error(adapter->a.value().cview()[0], a) == 0.0);
      CHECK(testing::relative_error(adapter->b.value().cview()[0], b) == 0.0);
    });
  }
}

TEST_CASE("ranks, alphas and rsLoRA that differ by module are read") {
  Subject s;
  CHECK(adapters::load_adapter(s.model, s.exec, golden("adapters/peft_pattern")).size() == 10);
  const auto& first = s.linear("blocks.0.attn1.to_q").find("default")->spec;
  CHECK(first.rank == 2);
  CHECK(first.alpha == 8.0);
  CHECK(first.scale() == 8.0 / std::sqrt(2.0));
  const auto& second = s.linear("blocks.1.attn2.to_v").find("default")->spec;
  CHECK(second.rank == 4);
  CHECK(second.alpha == 3.0);
  CHECK(second.scale() == 1.5);
  CHECK(s.linear("blocks.0.ffn.net.0.proj").find("default")->spec.scale() == 4.0);
  CHECK(!s.linear("blocks.0.attn1.to_k").find("default"));
}

TEST_CASE("what is written is what diffusers and PEFT write") {
  Subject s;
  adapters::load_adapter(s.model, s.exec, golden("adapters/peft"));
  const support::TempDir dir;
  const std::string file = (dir / "adapter.safetensors").string(), folder = (dir / "peft").string();
  adapters::write_diffusers_adapter(s.model, s.exec, file);
  adapters::write_peft_adapter(s.model, s.exec, folder);

  const std::string theirs = golden("adapters/diffusers/pytorch_lora_weights.safetensors");
  check_same_tensors(file, theirs);
  check_same_config(metadata_of(file), metadata_of(theirs), "transformer.");
  check_same_tensors(folder + "/adapter_model.safetensors", golden("adapters/peft/adapter_model.safetensors"));
  const io::Json config = parse_file(folder + "/adapter_config.json");
  check_same_config(config, parse_file(golden("adapters/peft/adapter_config.json")), "");
  CHECK(*config.find("target_modules") ==
        io::Json(std::vector<std::string>{"net.0.proj", "net.2", "to_k", "to_out.0", "to_q", "to_v"}));
  const io::SafetensorsFile opened(file);
  CHECK(*io::find_metadata(opened.metadata(), "format") == "pt");
  CHECK(opened.metadata().size() == 2);

  // Nothing of the time, the place or the machine: another model, another folder, the same bytes.
  Subject other;
  adapters::load_adapter(other.model, other.exec, file, "renamed");
  const std::string again = (dir / "again.safetensors").string();
  adapters::write_diffusers_adapter(other.model, other.exec, again, {.adapter = "renamed"});
  CHECK(read_text_file(file) == read_text_file(again));
  CHECK(adapted(other.model, "renamed") == adapted(s.model));
}

TEST_CASE("patterns are written so that PEFT wraps the same modules at the same scales") {
  Subject s;
  adapters::load_adapter(s.model, s.exec, golden("adapters/peft_pattern"));
  const support::TempDir dir;
  adapters::write_peft_adapter(s.model, s.exec, dir.path().string());
  check_same_tensors((dir / "adapter_model.safetensors").string(),
                     golden("adapters/peft_pattern/adapter_model.safetensors"));
  const io::Json config = parse_file((dir / "adapter_config.json").string());
  check_same_config(config, parse_file(golden("adapters/peft_pattern/adapter_config.json")), "");
  CHECK(config.get<bool>("use_rslora", ""));
  CHECK(wrapped(s.model, *config.find("target_modules")) == adapted(s.model));

  SECTION("also where the targets have no common end") {
    Subject t;
    adapters::LoraConfig wanted;
    wanted.spec.rank = 3;
    wanted.spec.alpha = 4.5;
    wanted.layers = {1};
    wanted.targets = {"attn1.to_q", "attn2.to_v"};
    adapters::add_lora(t.model, t.exec, wanted);
    adapters::write_peft_adapter(t.model, t.exec, dir.path().string());
    const io::Json json = parse_file((dir / "adapter_config.json").string());
    CHECK(wrapped(t.model, *json.find("target_modules")) == adapted(t.model));
    CHECK(json.get<double>("lora_alpha", "") == 4.5);
    CHECK(json.get<int>("r", "") == 3);
  }
  SECTION("and rsLoRA in diffusers' file") {
    const std::string file = (dir / "file.safetensors").string();
    adapters::write_diffusers_adapter(s.model, s.exec, file);
    CHECK(metadata_of(file).get<bool>("transformer.use_rslora", ""));
    Subject t;
    adapters::load_adapter(t.model, t.exec, file);
    CHECK(t.linear("blocks.1.attn2.to_v").find("default")->spec.scale() == 1.5);
    CHECK(t.linear("blocks.0.attn1.to_q").find("default")->spec.scale() == 8.0 / std::sqrt(2.0));
  }
}

TEST_CASE("two scaling rules in one adapter are written as one") {
  Subject s;
  adapters::LoraConfig plain;
  plain.spec.rank = 4;
  plain.spec.alpha = 8;
  plain.targets = {"to_q", "to_k"};
  adapters::add_lora(s.model, s.exec, plain);
  adapters::LoraConfig stabilised = plain;
  stabilised.spec.scaling = adapters::LoraScaling::rank_stabilised;
  stabilised.targets = {"to_v"};
  adapters::add_lora(s.model, s.exec, stabilised);
  const support::TempDir dir;
  adapters::write_peft_adapter(s.model, s.exec, dir.path().string());
  Subject t;
  adapters::load_adapter(t.model, t.exec, dir.path().string());
  CHECK(t.linear("blocks.1.attn1.to_q").find("default")->spec.scale() == 2.0);
  CHECK(t.linear("blocks.1.attn1.to_v").find("default")->spec.scale() == 4.0);
}

TEST_CASE("bf16 files are rounded once and read back") {
  Subject s, t;
  adapters::load_adapter(s.model, s.exec, golden("adapters/peft"));
  const support::TempDir dir;
  const std::string file = (dir / "half.safetensors").string();
  adapters::write_diffusers_adapter(s.model, s.exec, file, {.dtype = DType::BF16});
  CHECK(io::SafetensorsFile(file).tensors()[0].dtype == DType::BF16);
  adapters::load_adapter(t.model, t.exec, file);
  const auto a = s.linear("blocks.1.ffn.net.2").find("default")->a.value();
  const auto b = t.linear("blocks.1.ffn.net.2").find("default")->a.value();
  for (std::int64_t i = 0; i < a.size(); ++i)
    REQUIRE(b.data_handle()[i] == static_cast<float>(bfloat16(a.data_handle()[i])));
}

TEST_CASE("one slot of a stack is written where it is named") {
  Subject s, t;
  adapters::LoraConfig config;
  config.spec.rank = 2;
  config.spec.slots = 3;
  adapters::add_lora(s.model, s.exec, config);
  const support::TempDir dir;
  const std::string file = (dir / "slot.safetensors").string();
  const auto write = [&](int slot) { adapters::write_diffusers_adapter(s.model, s.exec, file, {.slot = slot}); };
  CHECK(contains(message_of<InputError>([&] { write(-1); }), "the number of slots"));
  CHECK(contains(message_of<InputError>([&] { write(3); }), "slot is 3, expected below 3"));
  CHECK(!is_file(file));
  write(1);
  adapters::load_adapter(t.model, t.exec, file);
  const auto stack = s.linear("blocks.0.attn2.to_k").find("default")->a.value();
  const auto one = t.linear("blocks.0.attn2.to_k").find("default")->a.value();
  CHECK(one.shape() == Shape<3>{1, 2, 24});
  CHECK(testing::relative_error(one.cview()[0], stack.cview()[1]) == 0.0);
  CHECK(testing::relative_error(one.cview()[0], stack.cview()[0]) > 0.1);
  CHECK(contains(
      message_of<InputError>([&] { adapters::write_diffusers_adapter(s.model, s.exec, file, {.adapter = "other"}); }),
      "adapter 'other'"));
}

TEST_CASE("the patch embedding's adapter is a convolution in files") {
  Exec<Cpu> exec({.threads = 1});
  models::Wan<P, adapters::LoraOnAll> a(exec, config()), b(exec, config());
  models::randomize_wan(a, exec, 1);
  models::randomize_wan(b, exec, 1);
  adapters::LoraConfig wanted;
  wanted.spec.rank = 3;
  wanted.targets = {"patch_embedding", "proj_out"};
  adapters::add_lora(a, exec, wanted);
  const support::TempDir dir;
  const std::string file = (dir / "conv.safetensors").string();
  adapters::write_diffusers_adapter(a, exec, file);
  const io::SafetensorsFile opened(file);
  CHECK(opened.find("transformer.patch_embedding.lora_A.weight")->shape == std::vector<std::int64_t>{3, 4, 1, 2, 2});
  CHECK(opened.find("transformer.patch_embedding.lora_B.weight")->shape == std::vector<std::int64_t>{24, 3, 1, 1, 1});
  CHECK(opened.find("transformer.proj_out.lora_A.weight")->shape == std::vector<std::int64_t>{3, 24});
  CHECK(adapters::load_adapter(b, exec, file).size() == 2);
}

TEST_CASE("without metadata alpha is the rank") {
  const support::TempDir dir;
  const std::string file = changed(dir, golden("adapters/diffusers/pytorch_lora_weights.safetensors"), keep,
                                   [](const std::string& key, std::string&) { return key == "format"; });
  Subject s;
  adapters::load_adapter(s.model, s.exec, file);
  CHECK(s.linear("blocks.0.attn1.to_q").find("default")->spec.alpha == 4.0);
  CHECK(s.linear("blocks.0.attn1.to_q").find("default")->spec.scale() == 1.0);
}

TEST_CASE("files that do not fit are refused in one sentence, and nothing is added") {
  const support::TempDir dir;
  const std::string file = golden("adapters/diffusers/pytorch_lora_weights.safetensors");
  const auto with_metadata = [&](const std::string& from, const std::string& to) {
    return changed(dir, file, keep, [&](const std::string& key, std::string& text) {
      if (key == "lora_adapter_metadata") text = replaced(text, from, to);
      return true;
    });
  };
  SECTION("a module that the model does not have") {
    const auto path = changed(dir, file, [](std::string& name, auto&, auto&) {
      if (contains(name, "blocks.1.attn1.to_q")) name = replaced(name, "to_q", "to_qq");
      return true;
    });
    CHECK(load_message(path) ==
          path + ": module 'blocks.1.attn1.to_qq' is no linear of the model, did you mean 'blocks.1.attn1.to_q'?");
  }
  SECTION("a module that cannot carry an adapter in this map") {
    const auto path = changed(dir, file, [](std::string& name, auto&, auto&) {
      if (contains(name, "blocks.1.attn1.to_q")) name = replaced(name, "blocks.1.attn1.to_q", "proj_out");
      return true;
    });
    CHECK(contains(load_message(path), "module 'proj_out' cannot carry an adapter in this model's adapter map"));
  }
  SECTION("half a pair") {
    const auto path = changed(
        dir, file, [](std::string& name, auto&, auto&) { return !contains(name, "blocks.0.attn2.to_v.lora_B"); });
    CHECK(contains(load_message(path),
                   "tensor 'transformer.blocks.0.attn2.to_v.lora_B.weight' is missing beside the others"));
  }
  SECTION("ranks of A and B that disagree") {
    const auto path = changed(dir, file, [](std::string& name, auto& shape, auto& data) {
      if (contains(name, "blocks.0.attn2.to_v.lora_B")) {
        shape[1] = 2;
        data.resize(data.size() / 2);
      }
      return true;
    });
    CHECK(contains(load_message(path), "blocks.0.attn2.to_v.lora_B.weight' is (24, 2), expected (out, 4)"));
  }
  SECTION("a shape of another model") {
    const auto path = changed(dir, file, [](std::string& name, auto& shape, auto& data) {
      if (contains(name, "blocks.0.attn2.to_v.lora_A")) {
        shape[1] = 12;
        data.resize(data.size() / 2);
      }
      return true;
    });
    CHECK(contains(load_message(path), "blocks.0.attn2.to_v.lora_A.weight' is (4, 12), expected (4, 24)"));
  }
  SECTION("a rank that the configuration contradicts") {
    CHECK(contains(load_message(with_metadata("\"transformer.r\": 4", "\"transformer.r\": 5")),
                   "' is 4, expected 5 as its configuration says"));
  }
  SECTION("DoRA") {
    CHECK(contains(load_message(with_metadata("\"transformer.use_dora\": false", "\"transformer.use_dora\": true")),
                   "key 'transformer.use_dora' is true, expected null or false"));
    const auto path = changed(dir, file, [](std::string& name, auto&, auto&) {
      if (contains(name, "blocks.0.attn2.to_v.lora_A")) name = replaced(name, "lora_A.weight", "lora_magnitude_vector");
      return true;
    });
    CHECK(contains(load_message(path), "lora_magnitude_vector' has a name that is not read"));
  }
  SECTION("an initialisation that changed the base") {
    CHECK(contains(load_message(with_metadata("\"transformer.init_lora_weights\": true",
                                              "\"transformer.init_lora_weights\": \"pissa\"")),
                   "\"pissa\", expected an initialisation that leaves the base weights as they are"));
  }
  SECTION("a regular expression as a pattern") {
    CHECK(contains(load_message(with_metadata("\"transformer.alpha_pattern\": {}",
                                              "\"transformer.alpha_pattern\": {\"blocks.*to_q\": 3}")),
                   "'blocks.*to_q' of transformer.alpha_pattern is a regular expression"));
  }
  SECTION("a PEFT file without its configuration") {
    const auto path = changed(dir, golden("adapters/peft/adapter_model.safetensors"), keep);
    CHECK(contains(load_message(path), "adapter_config.json"));
    write_text((dir / "adapter_config.json").string(), "{\"peft_type\": \"LOHA\"}");
    CHECK(contains(load_message(path), "\"LOHA\", expected \"LORA\""));
  }
  SECTION("a name that is taken") {
    Subject s;
    adapters::load_adapter(s.model, s.exec, file);
    CHECK(contains(message_of<InputError>([&] { adapters::load_adapter(s.model, s.exec, file); }),
                   "carries an adapter named 'default' already"));
  }
}
