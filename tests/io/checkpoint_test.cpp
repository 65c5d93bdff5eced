// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#include "segue/io/checkpoint.hpp"

#include <string>
#include <vector>

#include "io/files.hpp"
#include "segue/io/read_as.hpp"
#include "segue/io/safetensors_writer.hpp"
#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/paths.hpp"

using namespace segue;
using support::contains;
using support::message_of;

namespace {

/// Writes a file whose tensors are named as given; each holds its first letter.
void write_shard(const std::string& path, const std::vector<std::string>& names) {
  io::SafetensorsWriter writer;
  for (const std::string& name : names) {
    writer.add_owned(name, DType::U8, {1}, std::vector<std::byte>(1, static_cast<std::byte>(name[0])));
  }
  writer.metadata("file", path.substr(path.rfind('/') + 1));
  writer.write(path);
}

struct Sharded {
  support::TempDir dir;
  std::string folder = dir.path().string();
  std::string index = join_path(folder, "diffusion_pytorch_model.safetensors.index.json");

  Sharded() {
    write_shard(join_path(folder, "m-1.safetensors"), {"c", "a"});
    write_shard(join_path(folder, "m-2.safetensors"), {"b"});
    map(R"("a":"m-1.safetensors","b":"m-2.safetensors","c":"m-1.safetensors")");
  }
  void map(const std::string& entries) const {
    write_file_atomically(index, R"({"metadata":{"total_size":3},"weight_map":{)" + entries + "}}");
  }
  std::string error() const {
    return message_of<InputError>([&] { io::Checkpoint(folder).verify(); });
  }
};

}  // namespace

TEST_CASE("A sharded checkpoint is one set of tensors", "[io]") {
  const Sharded files;
  const std::string start = GENERATE(false, true) ? files.folder : files.index;
  const io::Checkpoint checkpoint(start);
  CHECK(checkpoint.path() == files.index);
  CHECK(checkpoint.names() == std::vector<std::string>{"a", "b", "c"});
  for (const std::string name : {"a", "b", "c"}) {
    REQUIRE(checkpoint.find(name) != nullptr);
    CHECK(io::read_vector<std::uint8_t>(checkpoint.at(name))[0] == static_cast<std::uint8_t>(name[0]));
  }
  CHECK(checkpoint.contains("a"));
  CHECK(!checkpoint.contains("d"));
  CHECK(checkpoint.find("d") == nullptr);
  CHECK(*io::find_metadata(checkpoint.metadata(), "file") == "m-1.safetensors");
  checkpoint.verify();
}

TEST_CASE("Shards are opened when they are needed", "[io]") {
  const Sharded files;
  write_file_atomically(join_path(files.folder, "m-2.safetensors"), "damaged");
  const io::Checkpoint checkpoint(files.folder);
  CHECK(checkpoint.find("a") != nullptr);
  CHECK(contains(message_of<InputError>([&] { checkpoint.find("b"); }), "m-2.safetensors: the file is 7 bytes long"));
}

TEST_CASE("An index that does not match its shards is refused", "[io]") {
  const Sharded files;
  REQUIRE(files.error() == "(nothing was thrown)");
  const auto with = [&](const std::string& entries) {
    files.map(entries);
    return files.error();
  };
  const std::string a = R"("a":"m-1.safetensors",)";
  const std::string c = R"("c":"m-1.safetensors",)";
  CHECK(contains(with(a + c + R"("b":"m-3.safetensors")"), "shard 'm-3.safetensors' is missing"));
  CHECK(contains(with(a + c + R"("b":"m-1.safetensors")"), "m-1.safetensors: tensor 'b' is missing, though"));
  CHECK(contains(with(a + R"("b":"m-2.safetensors")"), "m-1.safetensors: tensor 'c' is not what"));
  CHECK(contains(with(a + c + R"("d":"m-2.safetensors")"), "m-2.safetensors: tensor 'd' is missing, though"));
  CHECK(contains(with(a + c + R"("b":"m-2.safetensors","b":"m-2.safetensors")"), "key 'b' is given twice"));
  CHECK(contains(with(a + c + R"("b":2)"), "weight_map entry 'b' is the number 2, expected a string"));
  CHECK(contains(with(""), "weight_map is empty"));
  const std::string plain = "expected the name of a .safetensors file in the same folder";
  for (const std::string name : {"../m-2.safetensors", "/tmp/m-2.safetensors", "./m-2.safetensors", "m-2.bin", "", "..",
                                 "m-2.safetensors\\u0000.safetensors"}) {
    INFO(name);
    CHECK(contains(with(a + c + R"("b":")" + name + "\""), plain));
  }
  write_file_atomically(files.index, R"({"weight_map":[]})");
  CHECK(contains(files.error(), "weight_map is an array of 0, expected an object"));
  write_file_atomically(files.index, R"({"weightmap":{}})");
  CHECK(contains(files.error(), "key 'weight_map' is missing, did you mean 'weightmap'?"));
  write_file_atomically(files.index, "{");
  CHECK(contains(files.error(), "not valid JSON"));
}

TEST_CASE("A folder is searched for the names that the field uses", "[io]") {
  const support::TempDir dir;
  const std::string folder = dir.path().string();
  CHECK(contains(message_of<InputError>([&] { io::Checkpoint c(folder); }), "holds no .safetensors file"));
  write_shard(join_path(folder, "some.safetensors"), {"some"});
  CHECK(io::Checkpoint(folder).names() == std::vector<std::string>{"some"});
  write_shard(join_path(folder, "other.safetensors"), {"other"});
  CHECK(contains(message_of<InputError>([&] { io::Checkpoint c(folder); }),
                 "holds 2 .safetensors files (other.safetensors, some.safetensors) and no index"));
  for (const std::string name : {"pytorch_lora_weights", "adapter_model", "model", "diffusion_pytorch_model"}) {
    write_shard(join_path(folder, name + ".safetensors"), {name});
    CHECK(io::Checkpoint(folder).names() == std::vector<std::string>{name});
  }
  CHECK(io::Checkpoint(join_path(folder, "other.safetensors")).names() == std::vector<std::string>{"other"});
  CHECK(contains(message_of<InputError>([&] { io::Checkpoint c(join_path(folder, "none")); }),
                 "cannot be read: No such"));
}

TEST_CASE("A missing tensor is named with its nearest neighbour", "[io]") {
  const support::TempDir dir;
  const std::string path = (dir / "m.safetensors").string();
  write_shard(path, {"blocks.0.attn1.to_q.weight", "blocks.0.attn1.to_k.weight"});
  const io::Checkpoint checkpoint(path);
  CHECK(message_of<InputError>([&] { checkpoint.at("blocks.0.attn1.to_q.weigth"); }) ==
        path + ": tensor 'blocks.0.attn1.to_q.weigth' is missing, did you mean 'blocks.0.attn1.to_q.weight'?");
  CHECK(message_of<InputError>([&] { checkpoint.at("scale"); }) == path + ": tensor 'scale' is missing");
}
