// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "segue/core/error.hpp"
#include "segue/core/posix.hpp"
#include "segue/io/image.hpp"
#include "segue/io/json.hpp"

SEGUE_NAMESPACE_BEGIN
namespace tasks {

/// A place in a picture: x to the right, y down, the top left corner of the picture is (0, 0), pixel (i, j) covers
/// [i, i+1) x [j, j+1).
struct Point {
  double x = 0, y = 0;
};

/// The points of one picture, one entry a part; empty where the part is not labelled (or was not found).
using Pose = std::vector<std::optional<Point>>;

using Colour = std::array<std::uint8_t, 3>;

/// What `keypoints.json` holds: {parts, colours, size, points: {train|test: {stem: [[x, y]|null, …]}}}.
struct Keypoints {
  std::vector<std::string> parts;
  std::vector<Colour> colours;
  double size = 0;  ///< the side of the square picture in whose pixels the points are given
  std::map<std::string, Pose> train, test;
};

/// Reads `keypoints.json`. Raises InputError that names the file and the field.
inline Keypoints read_keypoints(const std::string& path) {
  const io::Json json = io::parse_json(read_text_file(path), path);
  Keypoints out;
  out.parts = json.get<std::vector<std::string>>("parts", path);
  const auto colours = json.get<std::vector<std::vector<int>>>("colours", path);
  if (out.parts.empty()) throw_input(path, "key 'parts'", "empty", "one name a part");
  if (colours.size() != out.parts.size()) {
    throw_input(path, "number of colours", std::to_string(colours.size()),
                std::to_string(out.parts.size()) + ", one a part");
  }
  for (const std::vector<int>& colour : colours) {
    const auto is_byte = [](int v) { return v >= 0 && v <= 255; };
    const bool good = colour.size() == 3 && std::all_of(colour.begin(), colour.end(), is_byte);
    if (!good) throw_input(path, "an entry of 'colours' is not three numbers from 0 to 255");
    out.colours.push_back({static_cast<std::uint8_t>(colour[0]), static_cast<std::uint8_t>(colour[1]),
                           static_cast<std::uint8_t>(colour[2])});
  }
  out.size = json.get<double>("size", path);
  if (!(out.size > 0)) throw_input(path, "key 'size'", std::to_string(out.size), "more than 0");
  const io::Json& points = json.at("points", path);
  for (const auto& [split, poses] : {std::pair{"train", &out.train}, std::pair{"test", &out.test}}) {
    const io::Json* table = points.find(split);
    if (table == nullptr) continue;
    for (std::size_t i = 0; i < table->keys().size(); ++i) {
      const std::string what = "points of " + std::string(split) + "/" + table->keys()[i];
      const io::Json& row = table->items()[i];
      if (!row.is_array() || row.size() != out.parts.size()) {
        throw_input(path, what, row.describe(), std::to_string(out.parts.size()) + " entries, one a part");
      }
      Pose pose;
      for (const io::Json& entry : row.items()) {
        if (entry.is_null()) {
          pose.emplace_back();
          continue;
        }
        const auto xy = entry.as<std::vector<double>>(path, what);
        if (xy.size() != 2) throw_input(path, what, entry.describe(), "[x, y] or null");
        pose.emplace_back(Point{xy[0], xy[1]});
      }
      poses->emplace(table->keys()[i], std::move(pose));
    }
  }
  return out;
}

/// Scales a pose from pixels of `size` x `size` to pixels of width x height.
inline Pose scale_pose(const Pose& pose, double size, int width, int height) {
  Pose out = pose;
  for (std::optional<Point>& p : out) {
    if (p) p = Point{p->x * width / size, p->y * height / size};
  }
  return out;
}

/// Draws a pose on black: a disc a part in its colour, later parts over earlier ones. The disc of a point is centred
/// in the pixel that holds it; its radius is 3/128 of the picture's shorter side (and a quarter pixel, so that the
/// smallest discs are round).
inline io::Image draw_pose(const Pose& pose, std::span<const Colour> colours, int width, int height) {
  io::Image image;
  image.width = width;
  image.height = height;
  image.channels = 3;
  image.pixels.assign(static_cast<std::size_t>(width) * static_cast<std::size_t>(height) * 3, 0);
  const double radius = std::min(width, height) * 3.0 / 128.0 + 0.25;
  const int reach = static_cast<int>(radius);
  for (std::size_t k = 0; k < pose.size() && k < colours.size(); ++k) {
    if (!pose[k]) continue;
    const int cx = static_cast<int>(std::floor(pose[k]->x)), cy = static_cast<int>(std::floor(pose[k]->y));
    for (int dy = -reach; dy <= reach; ++dy) {
      for (int dx = -reach; dx <= reach; ++dx) {
        const int x = cx + dx, y = cy + dy;
        if (dx * dx + dy * dy > radius * radius || x < 0 || y < 0 || x >= width || y >= height) continue;
        const std::size_t at =
            (static_cast<std::size_t>(y) * static_cast<std::size_t>(width) + static_cast<std::size_t>(x)) * 3;
        for (std::size_t c = 0; c < 3; ++c) image.pixels[at + c] = colours[k][c];
      }
    }
  }
  return image;
}

/// Reads a pose off a picture: every pixel whose largest channel is above 128 votes, with that channel as its weight,
/// for the part of the nearest colour (squared RGB distance, the first of equals); a part is the centroid of its
/// votes, or absent without any. In pixels of the picture.
inline Pose decode_pose(const io::Image& image, std::span<const Colour> colours) {
  if (image.channels < 3) throw_input("decode_pose", "channels", std::to_string(image.channels), "3 or more");
  struct Votes {
    double x = 0, y = 0, weight = 0;
  };
  std::vector<Votes> votes(colours.size());
  const std::uint8_t* pixel = image.pixels.data();
  for (int y = 0; y < image.height; ++y) {
    for (int x = 0; x < image.width; ++x, pixel += image.channels) {
      const int brightest = std::max({pixel[0], pixel[1], pixel[2]});
      if (brightest <= 128) continue;
      std::size_t best = 0;
      int best_distance = 1 << 30;
      for (std::size_t k = 0; k < colours.size(); ++k) {
        int distance = 0;
        for (std::size_t c = 0; c < 3; ++c) {
          const int difference = pixel[c] - colours[k][c];
          distance += difference * difference;
        }
        if (distance < best_distance) {
          best_distance = distance;
          best = k;
        }
      }
      if (colours.empty()) continue;
      votes[best].x += brightest * (x + 0.5);
      votes[best].y += brightest * (y + 0.5);
      votes[best].weight += brightest;
    }
  }
  Pose pose(colours.size());
  for (std::size_t k = 0; k < votes.size(); ++k) {
    if (votes[k].weight > 0) pose[k] = Point{votes[k].x / votes[k].weight, votes[k].y / votes[k].weight};
  }
  return pose;
}

/// Counts for the percentage of correct keypoints; `+=` pools pictures.
struct PckCount {
  std::int64_t hits = 0;      ///< labelled points found within the threshold
  std::int64_t labelled = 0;  ///< labelled points: an absent dot is a miss
  std::int64_t spurious = 0;  ///< dots for points that are not labelled

  double value() const { return labelled > 0 ? static_cast<double>(hits) / static_cast<double>(labelled) : 0.0; }
  PckCount& operator+=(const PckCount& other) {
    hits += other.hits;
    labelled += other.labelled;
    spurious += other.spurious;
    return *this;
  }
};

/// PCK@share: a labelled point is hit if the prediction is within `share` of the picture's diagonal. Both poses in
/// pixels of the width x height picture.
inline PckCount count_pck(const Pose& prediction, const Pose& label, int width, int height, double share = 0.05) {
  if (prediction.size() != label.size()) {
    throw_input("pck", "number of parts", std::to_string(prediction.size()), std::to_string(label.size()));
  }
  const double reach = share * std::hypot(static_cast<double>(width), static_cast<double>(height));
  PckCount count;
  for (std::size_t k = 0; k < label.size(); ++k) {
    if (!label[k]) {
      count.spurious += prediction[k] ? 1 : 0;
      continue;
    }
    ++count.labelled;
    if (prediction[k] && std::hypot(prediction[k]->x - label[k]->x, prediction[k]->y - label[k]->y) <= reach) {
      ++count.hits;
    }
  }
  return count;
}

}  // namespace tasks
SEGUE_NAMESPACE_END
