// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "segue/core/config.hpp"
#include "segue/core/error.hpp"
#include "segue/core/nearest_name.hpp"
#include "segue/core/posix.hpp"
#include "segue/io/json.hpp"
#include "segue/io/safetensors.hpp"

SEGUE_NAMESPACE_BEGIN
namespace io {

/// The tensors of a model or an adapter, wherever they lie: one safetensors file, an index of shards
/// (`*.safetensors.index.json`), or a folder that holds one of them under a name that diffusers, transformers or PEFT
/// give it (an index before a single file, as they do), or exactly one `.safetensors` file of any name.
/// Shards are mapped when a tensor of theirs is asked for first, and must then hold exactly the tensors that the index
/// gives them. Used by one thread at a time.
class Checkpoint {
 public:
  /// Raises InputError: nothing found, several candidates, a malformed index, a shard that is missing or whose name
  /// leaves the folder, a malformed single file.
  explicit Checkpoint(const std::string& path) : path_(is_directory(path) ? resolve(path) : path) {
    if (path_.ends_with(".json")) {
      read_index();
    } else {
      shards_.push_back({path_, std::make_unique<SafetensorsFile>(path_)});
      for (const TensorInfo& info : shards_[0].file->tensors()) {
        names_.push_back(info.name);
        shard_of_.push_back(0);
      }
    }
  }

  /// All names, in byte order. Opens no shard.
  const std::vector<std::string>& names() const { return names_; }
  bool contains(std::string_view name) const { return index_of(name) < names_.size(); }

  /// The tensor with this name, or nullptr. Raises InputError when its shard is malformed or contradicts the index.
  /// The result lives as long as the checkpoint.
  const TensorInfo* find(std::string_view name) const {
    const std::size_t i = index_of(name);
    return i < names_.size() ? open(shard_of_[i]).find(name) : nullptr;
  }
  /// The same; a name that is not there is an InputError that proposes the nearest one.
  const TensorInfo& at(std::string_view name) const {
    if (const TensorInfo* info = find(name)) return *info;
    throw_input(path_, "tensor " + in_quotes(name) + " is missing" + did_you_mean(name, names_));
  }

  /// The metadata of the single file, or of the first shard in byte order.
  const Metadata& metadata() const { return open(0).metadata(); }
  /// The file that was found: a safetensors file or an index.
  const std::string& path() const { return path_; }
  /// Maps and checks every shard now.
  void verify() const {
    for (std::size_t i = 0; i < shards_.size(); ++i) open(i);
  }

 private:
  struct Shard {
    std::string path;
    std::unique_ptr<SafetensorsFile> file;
  };

  static std::string resolve(const std::string& folder) {
    static constexpr std::string_view known[] = {
        "diffusion_pytorch_model.safetensors.index.json",
        "diffusion_pytorch_model.safetensors",
        "model.safetensors.index.json",
        "model.safetensors",
        "adapter_model.safetensors",
        "pytorch_lora_weights.safetensors",
    };
    for (const std::string_view name : known) {
      std::string path = join_path(folder, name);
      if (is_file(path)) return path;
    }
    std::vector<std::string> found;
    for (const std::string& name : list_directory(folder)) {
      if (name.ends_with(".safetensors")) found.push_back(name);
    }
    if (found.empty()) throw_input(folder, "holds no .safetensors file");
    if (found.size() > 1) {
      throw_input(folder, "holds " + std::to_string(found.size()) + " .safetensors files (" + found[0] + ", " +
                              found[1] + (found.size() > 2 ? ", …" : "") +
                              ") and no index, expected one: name the file instead of the folder");
    }
    return join_path(folder, found[0]);
  }

  void read_index() {
    const Json index = parse_json(read_text_file(path_), path_);
    const Json& map = index.at("weight_map", path_);
    if (!map.is_object()) throw_input(path_, "weight_map", map.describe(), "an object");
    std::vector<std::pair<std::string, std::string>> entries;
    entries.reserve(map.size());
    for (std::size_t i = 0; i < map.size(); ++i) {
      const std::string& tensor = map.keys()[i];
      std::string shard = map.items()[i].as<std::string>(path_, "weight_map entry " + in_quotes(tensor));
      // A shard is a plain file beside the index: an index from elsewhere must not make us read other files.
      if (!shard.ends_with(".safetensors") || shard.find('/') != std::string::npos ||
          shard.find('\0') != std::string::npos) {
        throw_input(path_, "weight_map entry " + in_quotes(tensor), in_quotes(shard),
                    "the name of a .safetensors file in the same folder");
      }
      entries.emplace_back(tensor, std::move(shard));
    }
    std::sort(entries.begin(), entries.end());

    std::vector<std::string> files;
    for (const auto& entry : entries) files.push_back(entry.second);
    std::sort(files.begin(), files.end());
    files.erase(std::unique(files.begin(), files.end()), files.end());
    if (files.empty()) throw_input(path_, "weight_map is empty");
    const std::size_t slash = path_.rfind('/');
    const std::string folder = slash == std::string::npos ? "" : path_.substr(0, slash);
    for (const std::string& file : files) {
      std::string path = slash == 0 ? "/" + file : join_path(folder, file);
      if (!is_file(path)) throw_input(path_, "shard " + in_quotes(file) + " is missing");
      shards_.push_back({std::move(path), nullptr});
    }
    for (auto& [tensor, file] : entries) {
      names_.push_back(tensor);
      shard_of_.push_back(static_cast<std::size_t>(std::lower_bound(files.begin(), files.end(), file) - files.begin()));
    }
  }

  const SafetensorsFile& open(std::size_t shard) const {
    Shard& s = shards_[shard];
    if (s.file) return *s.file;
    auto file = std::make_unique<SafetensorsFile>(s.path);
    std::size_t listed = 0;
    for (std::size_t i = 0; i < names_.size(); ++i) {
      if (shard_of_[i] != shard) continue;
      ++listed;
      if (file->find(names_[i]) == nullptr) {
        throw_input(s.path, "tensor " + in_quotes(names_[i]) + " is missing, though " + path_ + " lists it");
      }
    }
    if (listed != file->tensors().size()) {
      for (const TensorInfo& info : file->tensors()) {
        const std::size_t i = index_of(info.name);
        if (i == names_.size() || shard_of_[i] != shard) {
          throw_input(s.path, "tensor " + in_quotes(info.name) + " is not what " + path_ + " lists for this file");
        }
      }
    }
    s.file = std::move(file);
    return *s.file;
  }

  std::size_t index_of(std::string_view name) const {
    const auto it = std::lower_bound(names_.begin(), names_.end(), name);
    return it != names_.end() && *it == name ? static_cast<std::size_t>(it - names_.begin()) : names_.size();
  }

  std::string path_;
  mutable std::vector<Shard> shards_;
  std::vector<std::string> names_;
  std::vector<std::size_t> shard_of_;
};

}  // namespace io
SEGUE_NAMESPACE_END
