// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

// The layouts that call modules as Wan's authors do: ComfyUI's and kohya's.

#include <functional>
#include <limits>

#include "adapters/files_support.hpp"
#include "segue/adapters/comfyui_file.hpp"
#include "segue/adapters/diffusers_file.hpp"
#include "segue/adapters/kohya_file.hpp"

using namespace segue;
using namespace support;

namespace {

/// A layout: its writer, and what the test expects its keys to look like, written out by hand.
struct Layout {
  std::string name;
  std::function<void(Subject&, const std::string&, const adapters::AdapterFileOptions&)> write;
  std::string prefix, a, b;
  bool underscores;

  std::string module(std::string original) const {
    if (underscores) std::replace(original.begin(), original.end(), '.', '_');
    return original;
  }
  std::string key(const std::string& original) const { return prefix + module(original); }
};

const Layout layouts[] = {
    {"ComfyUI",
     [](Subject& s, const std::string& path, const auto& o) {
       adapters::write_comfyui_adapter(s.model, s.exec, path, o);
     },
     "diffusion_model.", ".lora_A.weight", ".lora_B.weight", false},
    {"kohya",
     [](Subject& s, const std::string& path, const auto& o) {
       adapters::write_kohya_adapter(s.model, s.exec, path, o);
     },
     "lora_unet_", ".lora_down.weight", ".lora_up.weight", true},
};

/// The linears of a block, as its authors and as diffusers call them.
const std::pair<const char*, const char*> block_linears[] = {
    {"self_attn.q", "attn1.to_q"},  {"self_attn.k", "attn1.to_k"},
    {"self_attn.v", "attn1.to_v"},  {"self_attn.o", "attn1.to_out.0"},
    {"cross_attn.q", "attn2.to_q"}, {"cross_attn.k", "attn2.to_k"},
    {"cross_attn.v", "attn2.to_v"}, {"cross_attn.o", "attn2.to_out.0"},
    {"ffn.0", "ffn.net.0.proj"},    {"ffn.2", "ffn.net.2"}};

/// The same linears, A, B and scales (within `tolerance` of each).
void check_same_adapters(Subject& s, Subject& t, double tolerance = 0.0) {
  REQUIRE(adapted(s.model) == adapted(t.model));
  for (const std::string& name : adapted(s.model)) {
    INFO(name);
    const auto &x = *s.linear(name).find("default"), &y = *t.linear(name).find("default");
    CHECK(x.spec.rank == y.spec.rank);
    CHECK(std::fabs(x.spec.scale() - y.spec.scale()) <= tolerance * x.spec.scale());
    CHECK(testing::relative_error(x.a.value().cview()[0], y.a.value().cview()[0]) == 0.0);
    CHECK(testing::relative_error(x.b.value().cview()[0], y.b.value().cview()[0]) == 0.0);
  }
}

/// Two linears, one of which the model's authors have no name for.
struct Unnamed {
  adapters::LoraLinear<P> known, added;
  explicit Unnamed(Exec<Cpu>& exec) : known(exec, 4, 4), added(exec, 4, 4) {}
  static std::optional<std::string> original_name(std::string_view name) {
    return name == "known" ? std::optional<std::string>("theirs") : std::nullopt;
  }
  void visit(auto&& v) {
    v("known", known);
    v("added", added);
  }
};

/// Underscores for dots make one name of two.
struct Ambiguous {
  adapters::LoraLinear<P> inner, outer;
  explicit Ambiguous(Exec<Cpu>& exec) : inner(exec, 4, 4), outer(exec, 4, 4) {}
  void visit(auto&& v) {
    v("a.b", inner);
    v("a_b", outer);
  }
};

}  // namespace

TEST_CASE("an adapter under its authors' names is the same adapter") {
  for (const Layout& layout : layouts) {
    INFO(layout.name);
    Subject s, t;
    adapters::load_adapter(s.model, s.exec, golden("adapters/diffusers"));
    const support::TempDir dir;
    const std::string file = (dir / "adapter.safetensors").string();
    layout.write(s, file, {});
    const io::Checkpoint opened(file);
    CHECK(opened.metadata() == io::Metadata{{"format", "pt"}});
    CHECK(opened.names().size() == 60);
    for (const std::string block : {"blocks.0.", "blocks.1."})
      for (const auto& [original, diffusers] : block_linears) {
        INFO(block << original);
        const std::string key = layout.key(block + original);
        const auto &a = opened.at(key + layout.a), &b = opened.at(key + layout.b), &alpha = opened.at(key + ".alpha");
        CHECK(alpha.shape.empty());
        CHECK(alpha.dtype == DType::F32);
        CHECK(io::read_vector<float>(alpha)[0] == 8.0f);
        const auto& adapter = *s.linear(block + diffusers).find("default");
        CHECK(a.shape == std::vector<std::int64_t>{4, adapter.a.value().extent(2)});
        CHECK(b.shape == std::vector<std::int64_t>{adapter.b.value().extent(1), 4});
        const auto in_file = io::read_vector<float>(a);
        CHECK(std::equal(in_file.begin(), in_file.end(), adapter.a.value().data_handle()));
      }
    CHECK(adapters::load_adapter(t.model, t.exec, file).size() == 20);
    check_same_adapters(s, t);

    const std::string again = (dir / "again.safetensors").string();
    layout.write(t, again, {});
    CHECK(read_text_file(file) == read_text_file(again));
  }
}

TEST_CASE("rank-stabilised scales and ranks that differ by module are in alpha") {
  for (const Layout& layout : layouts) {
    INFO(layout.name);
    Subject s, t, exact;
    adapters::load_adapter(s.model, s.exec, golden("adapters/peft_pattern"));
    const support::TempDir dir;
    const std::string file = (dir / "adapter.safetensors").string();
    layout.write(s, file, {});
    const io::Checkpoint opened(file);
    const auto alpha = [&](const char* module) {
      return io::read_vector<float>(opened.at(layout.key(module) + ".alpha"))[0];
    };
    // scale · rank
    CHECK(alpha("blocks.0.self_attn.q") == static_cast<float>(8.0 * std::sqrt(2.0)));
    CHECK(alpha("blocks.1.cross_attn.v") == 6.0f);
    CHECK(alpha("blocks.0.ffn.0") == 16.0f);
    CHECK(adapters::load_adapter(t.model, t.exec, file).size() == 10);
    check_same_adapters(s, t, 1e-7);
    CHECK(t.linear("blocks.0.attn1.to_q").find("default")->spec.rank == 2);

    layout.write(s, file, {.dtype = DType::F64});
    CHECK(io::Checkpoint(file).at(layout.key("blocks.0.self_attn.q") + ".alpha").dtype == DType::F64);
    adapters::load_adapter(exact.model, exact.exec, file);
    check_same_adapters(s, exact, 1e-15);
  }
}

TEST_CASE("alpha is not rounded to sixteen bits with the rest") {
  for (const Layout& layout : layouts) {
    INFO(layout.name);
    Subject s, t;
    adapters::LoraConfig wanted;
    wanted.spec.rank = 3;
    wanted.spec.alpha = 1.001;
    wanted.targets = {"to_q"};
    adapters::add_lora(s.model, s.exec, wanted);
    const support::TempDir dir;
    const std::string file = (dir / "adapter.safetensors").string();
    layout.write(s, file, {.dtype = DType::BF16});
    CHECK(io::Checkpoint(file).at(layout.key("blocks.0.self_attn.q") + layout.a).dtype == DType::BF16);
    adapters::load_adapter(t.model, t.exec, file);
    const auto &x = *s.linear("blocks.1.attn2.to_q").find("default"),
               &y = *t.linear("blocks.1.attn2.to_q").find("default");
    CHECK(y.spec.alpha == static_cast<double>(1.001f));
    for (std::int64_t i = 0; i < x.a.value().size(); ++i)
      REQUIRE(y.a.value().data_handle()[i] == static_cast<float>(bfloat16(x.a.value().data_handle()[i])));
  }
}

TEST_CASE("linears outside the blocks have original names, too") {
  using All = models::Wan<P, adapters::LoraOnAll>;
  Exec<Cpu> exec({.threads = 1});
  const auto keys = [&](auto&& write) {
    All a(exec, config()), b(exec, config());
    models::randomize_wan(a, exec, 1);
    models::randomize_wan(b, exec, 1);
    adapters::LoraConfig wanted;
    wanted.spec.rank = 3;
    wanted.layers = {0};
    wanted.rank_pattern = {{"to_q", 0},     {"to_k", 0},           {"to_v", 0},
                           {"to_out.0", 0}, {"ffn.net.0.proj", 0}, {"ffn.net.2", 0}};
    adapters::add_lora(a, exec, wanted);
    const support::TempDir dir;
    const std::string file = (dir / "all.safetensors").string();
    write(a, file);
    CHECK(adapters::load_adapter(b, exec, file).size() == 7);
    const io::SafetensorsFile opened(file);
    std::map<std::string, std::vector<std::int64_t>> shapes;
    for (const auto& info : opened.tensors()) shapes[info.name] = info.shape;
    return shapes;
  };
  const auto comfyui =
      keys([&](All& model, const std::string& file) { adapters::write_comfyui_adapter(model, exec, file); });
  const auto kohya =
      keys([&](All& model, const std::string& file) { adapters::write_kohya_adapter(model, exec, file); });
  CHECK(comfyui.size() == 21);
  CHECK(kohya.size() == 21);
  for (const char* module : {"patch_embedding", "time_embedding.0", "time_embedding.2", "time_projection.1",
                             "text_embedding.0", "text_embedding.2", "head.head"}) {
    INFO(module);
    CHECK(comfyui.contains(layouts[0].key(module) + ".lora_A.weight"));
    CHECK(kohya.contains(layouts[1].key(module) + ".lora_up.weight"));
  }
  CHECK(kohya.at("lora_unet_patch_embedding.lora_down.weight") == std::vector<std::int64_t>{3, 4, 1, 2, 2});
}

TEST_CASE("alpha may be absent, a vector of one or of another dtype, and A and B may be down and up") {
  const support::TempDir dir;
  Subject s;
  adapters::load_adapter(s.model, s.exec, golden("adapters/diffusers"));
  for (const Layout& layout : layouts) {
    INFO(layout.name);
    const std::string file = (dir / "adapter.safetensors").string();
    layout.write(s, file, {});
    const auto alpha_of = [&](const std::string& path) {
      Subject t;
      CHECK(adapters::load_adapter(t.model, t.exec, path).size() == 20);
      return t.linear("blocks.0.attn1.to_q").find("default")->spec.alpha;
    };
    CHECK(alpha_of(changed(dir, file, [](std::string& name, auto&, auto&) { return !name.ends_with(".alpha"); })) ==
          4.0);
    CHECK(alpha_of(changed(dir, file, [](std::string& name, auto& shape, auto&) {
            if (name.ends_with(".alpha")) shape = {1};
            return true;
          })) == 8.0);
    CHECK(alpha_of(changed(dir, file, [&](std::string& name, auto&, auto&) {
            if (name.ends_with(layout.a))
              name = replaced(name, layout.a, layout.underscores ? ".lora_A.weight" : ".lora_down.weight");
            if (name.ends_with(layout.b))
              name = replaced(name, layout.b, layout.underscores ? ".lora_B.weight" : ".lora_up.weight");
            return true;
          })) == 8.0);
    io::SafetensorsWriter writer;
    const io::SafetensorsFile opened(file);
    for (const io::TensorInfo& info : opened.tensors()) {
      if (info.name.ends_with(".alpha"))
        writer.add_owned(info.name, DType::BF16, {}, nn::detail::converted<bfloat16>(std::span<const float>({{2.5f}})));
      else
        writer.add(info.name, info.dtype, info.shape, info.data);
    }
    const std::string half = (dir / "half.safetensors").string();
    writer.write(half);
    CHECK(alpha_of(half) == 2.5);
  }
}

TEST_CASE("files of these layouts that do not fit are refused, and nothing is added") {
  const support::TempDir dir;
  Subject s;
  adapters::load_adapter(s.model, s.exec, golden("adapters/diffusers"));
  for (const Layout& layout : layouts) {
    INFO(layout.name);
    const std::string file = (dir / "adapter.safetensors").string();
    layout.write(s, file, {});
    const std::string key = layout.key("blocks.1.cross_attn.k"), module = layout.module("blocks.1.cross_attn.k");
    const auto renamed = [&](const std::string& from, const std::string& to) {
      return changed(dir, file, [&](std::string& name, auto&, auto&) {
        if (name.starts_with(from)) name = replaced(name, from, to);
        return true;
      });
    };
    const std::string path = renamed(key + ".", key + "k.");
    CHECK(load_message(path) ==
          path + ": module '" + module + "k' is no linear of the model, did you mean '" + module + "'?");
    // The name that diffusers gives the module is none of this layout.
    CHECK(contains(load_message(renamed(key + ".", layout.key("blocks.1.attn2.to_k") + ".")),
                   "module '" + layout.module("blocks.1.attn2.to_k") + "' is no linear of the model"));
    CHECK(contains(load_message(renamed(key + ".", layout.key("head.head") + ".")),
                   "module '" + layout.module("head.head") + "' cannot carry an adapter in this model's adapter map"));
    CHECK(load_message(changed(dir, file, [&](std::string& name, auto&, auto&) { return name != key + layout.b; })) ==
          path + ": tensor '" + key + layout.b + "' is missing beside the others of its module");
    CHECK(load_message(changed(dir, file, [&](std::string& name, auto&, auto&) {
            return name != key + layout.b && name != key + layout.a;
          })) == path + ": tensor '" + key + layout.a + "' is missing beside the others of its module");
    CHECK(load_message(renamed(key + layout.b, key + ".dora_scale")) ==
          path + ": tensor '" + key + ".dora_scale' has a name that is not read, expected " + layout.prefix +
              "<module>" + layout.a + ", " + layout.b + " or .alpha");
    CHECK(contains(load_message(renamed(key + ".alpha", "text_encoder.alpha")),
                   "tensor 'text_encoder.alpha' has a name that is not read"));
    CHECK(contains(
        load_message(renamed(key + ".alpha", key + (layout.underscores ? ".lora_A.weight" : ".lora_down.weight"))),
        "' are the same part of one adapter, expected one of them"));
    CHECK(load_message(changed(dir, file, [&](std::string& name, auto& shape, auto& data) {
            if (name == key + ".alpha") {
              shape = {2};
              data.resize(8);
            }
            return true;
          })) == path + ": the shape of tensor '" + key + ".alpha' is (2,), expected one number");
    CHECK(load_message(changed(dir, file, [&](std::string& name, auto&, auto& data) {
            const float bad = std::numeric_limits<float>::infinity();
            if (name == key + ".alpha") std::memcpy(data.data(), &bad, sizeof(bad));
            return true;
          })) == path + ": tensor '" + key + ".alpha' is inf, expected a finite number");
    CHECK(contains(load_message(changed(dir, file,
                                        [&](std::string& name, auto& shape, auto& data) {
                                          if (name == key + layout.b) {
                                            shape[1] = 2;
                                            data.resize(data.size() / 2);
                                          }
                                          return true;
                                        })),
                   key + layout.b + "' is (24, 2), expected (out, 4)"));
    // Eight bits cannot be read, and are refused before anything is added.
    for (const std::string& part : {layout.a, std::string(".alpha")}) {
      io::SafetensorsWriter eight;
      const io::SafetensorsFile whole(file);
      for (const io::TensorInfo& info : whole.tensors())
        eight.add(info.name, info.name == key + part ? DType::F8_E4M3 : info.dtype, info.shape,
                  info.data.first(info.name == key + part ? info.data.size() / 4 : info.data.size()));
      const std::string narrow = (dir / "eight.safetensors").string();
      eight.write(narrow);
      CHECK(load_message(narrow) == narrow + ": the dtype of tensor '" + key + part +
                                        "' is F8_E4M3, expected one that converts to floating point");
    }
    // Metadata whose scale nobody would apply.
    io::SafetensorsWriter writer;
    const io::SafetensorsFile opened(file);
    for (const io::TensorInfo& info : opened.tensors())
      if (info.name != key + ".alpha") writer.add(info.name, info.dtype, info.shape, info.data);
    writer.metadata("lora_adapter_metadata", "{}");
    const std::string with_metadata = (dir / "metadata.safetensors").string();
    writer.write(with_metadata);
    CHECK(load_message(with_metadata) == with_metadata + ": module '" + module +
                                             "' has no alpha, and lora_adapter_metadata is not read in this layout");
  }
}

TEST_CASE("what these layouts cannot hold is not written") {
  const support::TempDir dir;
  const std::string file = (dir / "adapter.safetensors").string();
  for (const Layout& layout : layouts) {
    INFO(layout.name);
    Subject s;
    adapters::LoraConfig config;
    config.spec.rank = 2;
    config.spec.slots = 3;
    adapters::add_lora(s.model, s.exec, config);
    CHECK(contains(message_of<InputError>([&] { layout.write(s, file, {}); }),
                   "adapter 'default': the number of slots in 'blocks.0.attn1.to_q' is 3, expected 1"));
    CHECK(contains(message_of<InputError>([&] { layout.write(s, file, {.adapter = "other"}); }),
                   "adapter 'other': no linear of the model carries it"));
    CHECK(!is_file(file));
    Subject t;
    layout.write(s, file, {.slot = 2});
    adapters::load_adapter(t.model, t.exec, file);
    CHECK(testing::relative_error(t.linear("blocks.0.attn2.to_k").find("default")->a.value().cview()[0],
                                  s.linear("blocks.0.attn2.to_k").find("default")->a.value().cview()[2]) == 0.0);
    std::filesystem::remove(file);
  }
  Exec<Cpu> exec({.threads = 1});
  adapters::LoraConfig config;
  config.spec.rank = 2;
  SECTION("a linear without an original name") {
    Unnamed model(exec);
    config.targets = {"known"};
    adapters::add_lora(model, exec, config);
    adapters::write_comfyui_adapter(model, exec, file);
    CHECK(io::Checkpoint(file).find("diffusion_model.theirs.alpha"));
    Unnamed again(exec);
    CHECK(adapters::load_adapter(again, exec, file) == std::vector<std::string>{"known"});
    std::filesystem::remove(file);
    config.targets = {"added"};
    adapters::add_lora(model, exec, config);
    const std::string message =
        "adapter 'default': the model's authors have no name for its linear 'added', and this layout has no other";
    CHECK(message_of<InputError>([&] { adapters::write_comfyui_adapter(model, exec, file); }) == message);
    CHECK(message_of<InputError>([&] { adapters::write_kohya_adapter(model, exec, file); }) == message);
    CHECK(!is_file(file));
    adapters::write_diffusers_adapter(model, exec, file);
  }
  SECTION("two linears of one name") {
    Ambiguous model(exec), other(exec);
    adapters::add_lora(model, exec, config);
    CHECK(message_of<InputError>([&] { adapters::write_kohya_adapter(model, exec, file); }) ==
          "adapter 'default': the name 'a_b' of this layout stands for two linears of the model, 'a.b' and 'a_b'");
    CHECK(!is_file(file));
    adapters::write_comfyui_adapter(model, exec, file);
    CHECK(adapters::load_adapter(other, exec, file).size() == 2);
    const auto path = changed(dir, file, [](std::string& name, auto&, auto&) {
      if (!name.starts_with("diffusion_model.a_b")) return false;
      name = replaced(name, "diffusion_model.", "lora_unet_");
      return true;
    });
    Ambiguous fresh(exec);
    CHECK(message_of<InputError>([&] { adapters::load_adapter(fresh, exec, path); }) ==
          path + ": the name 'a_b' of this layout stands for two linears of the model, 'a.b' and 'a_b'");
  }
}
