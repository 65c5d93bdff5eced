// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "segue/core/posix.hpp"
#include "segue/io/json.hpp"

SEGUE_NAMESPACE_BEGIN
namespace train {

/// `segue.json`, beside a model's config.json: what the config does not say, and what a program must know to feed it.
struct ClipSpec {
  int frames = 5;
  int height = 64;
  int width = 64;
  /// The network's input channels in their order: "noisy", and for image-to-video "mask" and "first_frame".
  std::vector<std::string> channels = {"noisy", "mask", "first_frame"};
  std::string codec = "identity";

  /// True if the first frame is given to the model.
  bool is_conditioned() const { return channels.size() > 1; }
  friend bool operator==(const ClipSpec&, const ClipSpec&) = default;
};

/// @throws InputError that names the key.
inline ClipSpec read_clip_spec(const io::Json& json, std::string_view where) {
  static constexpr std::string_view known[] = {"frames", "height", "width", "channels", "codec"};
  if (json.is_object()) json.allow_only(known, where);
  ClipSpec spec;
  const auto positive = [&](std::string_view key) {
    const int value = json.get<int>(key, where);
    if (value < 1) throw_input(where, "key '" + std::string(key) + "'", std::to_string(value), "a positive integer");
    return value;
  };
  spec.frames = positive("frames");
  spec.height = positive("height");
  spec.width = positive("width");
  spec.channels = json.get<std::vector<std::string>>("channels", where);
  const std::vector<std::string> plain = {"noisy"};
  if (spec.channels != plain && spec.channels != ClipSpec{}.channels)
    throw_input(where, "key 'channels'", "another order", "[\"noisy\"] or [\"noisy\", \"mask\", \"first_frame\"]");
  spec.codec = json.get<std::string>("codec", where);
  return spec;
}

inline ClipSpec read_clip_spec(const std::string& path) {
  return read_clip_spec(io::parse_json(read_text_file(path), path), path);
}

inline io::Json write_clip_spec(const ClipSpec& spec) {
  io::Json json = io::Json::object();
  json["frames"] = spec.frames;
  json["height"] = spec.height;
  json["width"] = spec.width;
  json["channels"] = spec.channels;
  json["codec"] = spec.codec;
  return json;
}

}  // namespace train
SEGUE_NAMESPACE_END
