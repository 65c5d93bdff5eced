// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#include "results.hpp"

#include "segue/core/posix.hpp"

namespace experiments {

using segue::io::Json;

namespace {

constexpr std::size_t kKeyDigits = 16;
constexpr std::string_view kSuffix = ".json";

}  // namespace

std::map<std::string, std::string> cell_files(const std::string& out) {
  std::map<std::string, std::string> files;
  const std::string folder = segue::join_path(out, "cells");
  if (!segue::is_directory(folder)) return files;
  for (const std::string& name : segue::list_directory(folder)) {
    if (!name.ends_with(kSuffix) || name.size() < kSuffix.size() + kKeyDigits) continue;
    const std::string key = name.substr(name.size() - kSuffix.size() - kKeyDigits, kKeyDigits);
    if (key.find_first_not_of("0123456789abcdef") != std::string::npos) continue;
    files.emplace(key, segue::join_path(folder, name));
  }
  return files;
}

Json read_cell(const std::string& path) {
  Json json = segue::io::parse_json(segue::read_text_file(path), path);
  for (const char* key : {"settings", "identity"}) {
    if (!json.at(key, path).is_object()) {
      segue::throw_input(path, "key " + segue::in_quotes(key), json.at(key, path).describe(), "an object");
    }
  }
  return json;
}

std::string cell_path(const std::string& out, const Cell& cell, const std::string& key) {
  return segue::join_path(segue::join_path(out, "cells"), cell.label() + "-" + key + std::string(kSuffix));
}

Tried tried_of(const Json& cell, const std::string& path) {
  Tried tried;
  tried.lr = cell.at("settings", path).get<double>("lr", path);
  tried.augmentation =
      segue::tasks::augmentation_from_name(cell.at("settings", path).get_or<std::string>("augment", "none", path));
  tried.failed = cell.contains("failed");
  if (tried.failed) return tried;
  tried.score = cell.get<double>("score", path);
  tried.loss = cell.get<double>("held_out_loss", path);
  return tried;
}

}  // namespace experiments
