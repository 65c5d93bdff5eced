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

/// The radius of the disc that stands for a point: 3/128 of the picture's shorter side (and a quarter pixel, so that
/// the smallest discs are round).
constexpr double disc_radius(int width, int height) { return std::min(width, height) * 3.0 / 128.0 + 0.25; }

/// Draws a pose on black: a disc a part in its colour, later parts over earlier ones. The disc of a point is centred
/// in the pixel that holds it.
inline io::Image draw_pose(const Pose& pose, std::span<const Colour> colours, int width, int height) {
  io::Image image;
  image.width = width;
  image.height = height;
  image.channels = 3;
  image.pixels.assign(static_cast<std::size_t>(width) * static_cast<std::size_t>(height) * 3, 0);
  const double radius = disc_radius(width, height);
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

/// Where the parts of the training poses are: a mean and a variance an axis, in pixels. Parts that no pose has are
/// empty.
struct PosePrior {
  struct Part {
    Point mean, variance;
  };
  std::vector<std::optional<Part>> parts;
};

/// The prior of some poses in pixels of a width x height picture. To each variance a 32nd of the shorter
/// side, squared, is added: a few poses say little about where a part cannot be.
inline PosePrior pose_prior(std::span<const Pose> poses, int width, int height) {
  PosePrior prior;
  const double floor = std::min(width, height) / 32.0;
  for (std::size_t k = 0; !poses.empty() && k < poses[0].size(); ++k) {
    double n = 0;
    Point sum, squares;
    for (const Pose& pose : poses) {
      if (!pose[k]) continue;
      n += 1;
      sum.x += pose[k]->x;
      sum.y += pose[k]->y;
      squares.x += pose[k]->x * pose[k]->x;
      squares.y += pose[k]->y * pose[k]->y;
    }
    prior.parts.emplace_back();
    if (n == 0) continue;
    const Point mean{sum.x / n, sum.y / n};
    const auto spread = [&](double square, double m) { return std::max(0.0, square / n - m * m) + floor * floor; };
    prior.parts[k] = PosePrior::Part{mean, {spread(squares.x, mean.x), spread(squares.y, mean.y)}};
  }
  return prior;
}

namespace detail {

/// A map over a picture, smoothed by a Gaussian of standard deviation `sigma` pixels; zero outside.
inline std::vector<double> smoothed(const std::vector<double>& map, int width, int height, double sigma) {
  const int reach = static_cast<int>(std::ceil(4 * sigma));
  std::vector<double> taps(static_cast<std::size_t>(2 * reach + 1));
  double total = 0;
  for (int i = -reach; i <= reach; ++i)
    total += taps[static_cast<std::size_t>(i + reach)] = std::exp(-i * i / (2 * sigma * sigma));
  for (double& tap : taps) tap /= total;
  const auto pass = [&](const std::vector<double>& from, int dx, int dy) {
    std::vector<double> to(from.size(), 0.0);
    for (int y = 0; y < height; ++y) {
      for (int x = 0; x < width; ++x) {
        double sum = 0;
        for (int i = -reach; i <= reach; ++i) {
          const int u = x + i * dx, v = y + i * dy;
          if (u < 0 || v < 0 || u >= width || v >= height) continue;
          sum += taps[static_cast<std::size_t>(i + reach)] * from[static_cast<std::size_t>(v * width + u)];
        }
        to[static_cast<std::size_t>(y * width + x)] = sum;
      }
    }
    return to;
  };
  return pass(pass(map, 1, 0), 0, 1);
}

/// How much of a part's colour each pixel shows: the length of its colour along the part's, less its distance from that
/// line (0 at 45 degrees and beyond). Dim dots count too, by as much as they are bright.
inline std::vector<double> colour_evidence(const io::Image& image, const Colour& colour) {
  const double length =
      std::max(1.0, std::sqrt(1.0 * colour[0] * colour[0] + 1.0 * colour[1] * colour[1] + 1.0 * colour[2] * colour[2]));
  std::vector<double> out;
  const std::uint8_t* pixel = image.pixels.data();
  for (int i = 0; i < image.width * image.height; ++i, pixel += image.channels) {
    double along = 0, square = 0;
    for (std::size_t c = 0; c < 3; ++c) {
      along += pixel[c] * (colour[c] / length);
      square += 1.0 * pixel[c] * pixel[c];
    }
    out.push_back(std::max(0.0, along - std::sqrt(std::max(0.0, square - along * along))));
  }
  return out;
}

}  // namespace detail

/// Reads a pose off a picture, in its pixels. A part is where the picture shows most of its colour, over the area of a
/// disc (a Gaussian as wide as one), times how likely the training poses have it there; its point is the centroid of
/// that colour in a disc about this place. Only places that show the colour by a twentieth of a drawn disc or more are
/// looked at; a part without one is absent. Without a prior every place is as likely.
///
/// A network that is unsure draws dots dim, smeared, or in a neighbour's colour: taking every pixel for the nearest
/// colour and the centroid of all that took part would throw such answers away.
inline Pose decode_pose(const io::Image& image, std::span<const Colour> colours, const PosePrior& prior = {}) {
  if (image.channels < 3) throw_input("decode_pose", "channels", std::to_string(image.channels), "3 or more");
  const int width = image.width, height = image.height;
  const double radius = disc_radius(width, height);
  Pose pose(colours.size());
  for (std::size_t k = 0; k < colours.size(); ++k) {
    const std::vector<double> evidence = detail::colour_evidence(image, colours[k]);
    const std::vector<double> shown = detail::smoothed(evidence, width, height, radius);
    const PosePrior::Part* part = k < prior.parts.size() && prior.parts[k] ? &*prior.parts[k] : nullptr;
    // In the middle of a drawn disc: its colour's length times the share of the Gaussian inside it.
    const double full =
        std::hypot(1.0 * colours[k][0], 1.0 * colours[k][1], 1.0 * colours[k][2]) * (1 - std::exp(-0.5));
    double best = 0;
    int best_x = -1, best_y = -1;
    for (int y = 0; y < height; ++y) {
      for (int x = 0; x < width; ++x) {
        const double here = shown[static_cast<std::size_t>(y * width + x)];
        if (here <= 0 || here < full / 20) continue;
        // As logarithms: far from the mean the prior is smaller than any number.
        double value = std::log(here);
        if (part != nullptr) {
          const double dx = x + 0.5 - part->mean.x, dy = y + 0.5 - part->mean.y;
          value -= 0.5 * (dx * dx / part->variance.x + dy * dy / part->variance.y);
        }
        if (best_x >= 0 && value <= best) continue;
        best = value;
        best_x = x;
        best_y = y;
      }
    }
    if (best_x < 0) continue;
    double x_sum = 0, y_sum = 0, weight = 0;
    for (int y = 0; y < height; ++y) {
      for (int x = 0; x < width; ++x) {
        const double dx = x - best_x, dy = y - best_y;
        if (dx * dx + dy * dy > radius * radius) continue;
        const double w = evidence[static_cast<std::size_t>(y * width + x)];
        x_sum += w * (x + 0.5);
        y_sum += w * (y + 0.5);
        weight += w;
      }
    }
    pose[k] = weight > 0 ? Point{x_sum / weight, y_sum / weight} : Point{best_x + 0.5, best_y + 0.5};
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
