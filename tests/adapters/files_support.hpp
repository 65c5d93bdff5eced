// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "models/wan_support.hpp"
#include "segue/adapters/load_adapter.hpp"

namespace support {

using P = Policy<Fp32, Cpu>;
using Model = models::Wan<P, adapters::LoraOnBlocks>;

inline std::string golden(const std::string& name) { return (golden_dir() / name).string(); }

inline models::WanConfig config() { return models::open_wan_folder(golden("wan_t2v")).config; }

/// A fresh model with random weights; what is tested here does not depend on them.
struct Subject {
  Exec<Cpu> exec{Exec<Cpu>::Options{.threads = 1}};
  Model model{exec, config()};
  Subject() { models::randomize_wan(model, exec, 5); }

  auto& linear(const std::string& wanted) {
    Model::Block* none = nullptr;
    decltype(none->attn1.to_q)* found = nullptr;
    adapters::for_each_lora(model, [&](std::string_view name, auto& module) {
      if (name == wanted) found = &module;
    });
    REQUIRE(found);
    return *found;
  }
};

inline std::set<std::string> adapted(Model& model, const std::string& adapter = "default") {
  std::set<std::string> names;
  adapters::for_each_lora(model, [&](std::string_view name, auto& linear) {
    if (linear.find(adapter)) names.emplace(name);
  });
  return names;
}

inline std::string load_message(const std::string& path) {
  Subject s;
  const std::string message = message_of<InputError>([&] { adapters::load_adapter(s.model, s.exec, path); });
  CHECK(adapted(s.model).empty());
  return message;
}

/// A copy of a safetensors file; `change` may rename, reshape or drop tensors, and change the metadata.
template <class Change, class ChangeMetadata>
std::string changed(const TempDir& dir, const std::string& path, Change&& change, ChangeMetadata&& change_metadata) {
  const io::SafetensorsFile file(path);
  io::SafetensorsWriter writer;
  for (const io::TensorInfo& info : file.tensors()) {
    std::string name = info.name;
    std::vector<std::int64_t> shape = info.shape;
    std::vector<std::byte> data(info.data.begin(), info.data.end());
    if (change(name, shape, data)) writer.add_owned(name, info.dtype, shape, data);
  }
  for (const auto& [key, value] : file.metadata()) {
    std::string text = value;
    if (change_metadata(key, text)) writer.metadata(key, text);
  }
  const std::string out = (dir / "changed.safetensors").string();
  writer.write(out);
  return out;
}
template <class Change>
std::string changed(const TempDir& dir, const std::string& path, Change&& change) {
  return changed(dir, path, change, [](auto&, auto&) { return true; });
}
inline const auto keep = [](auto&, auto&, auto&) { return true; };

inline std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const std::size_t at = text.find(from);
  REQUIRE(at != std::string::npos);
  return text.replace(at, from.size(), to);
}

}  // namespace support
