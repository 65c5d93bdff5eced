// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
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
      if (k >= pose.size() || !pose[k]) continue;
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

/// The weights of a Gaussian of standard deviation `sigma` pixels at distances 0, 1, 2, … up to four of these.
inline std::vector<double> gaussian_taps(double sigma) {
  std::vector<double> taps;
  double total = 0;
  for (int i = 0; i <= static_cast<int>(std::ceil(4 * sigma)); ++i) {
    taps.push_back(std::exp(-i * i / (2 * sigma * sigma)));
    total += (i > 0 ? 2 : 1) * taps.back();
  }
  for (double& tap : taps) tap /= total;
  return taps;
}

/// A map over a picture, smoothed along one axis; zero outside.
inline std::vector<double> smoothed(const std::vector<double>& map, int width, int height, int dx, int dy,
                                    std::span<const double> taps) {
  const int reach = static_cast<int>(taps.size()) - 1;
  std::vector<double> out(map.size(), 0.0);
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      double sum = 0;
      for (int i = -reach; i <= reach; ++i) {
        const int u = x + i * dx, v = y + i * dy;
        if (u < 0 || v < 0 || u >= width || v >= height) continue;
        sum += taps[static_cast<std::size_t>(std::abs(i))] * map[static_cast<std::size_t>(v * width + u)];
      }
      out[static_cast<std::size_t>(y * width + x)] = sum;
    }
  }
  return out;
}

/// What a picture shows of each part's colour, and where most of it is.
class DotMaps {
 public:
  DotMaps(const io::Image& image, std::span<const Colour> colours, const PosePrior& prior)
      : width_(image.width),
        height_(image.height),
        radius_(disc_radius(width_, height_)),
        taps_(gaussian_taps(radius_)),
        prior_(prior) {
    for (const Colour& colour : colours) {
      const double length = std::hypot(1.0 * colour[0], 1.0 * colour[1], 1.0 * colour[2]);
      // In the middle of a drawn disc: its colour's length times the share of the Gaussian inside it.
      maps_.push_back({.full = std::max(1.0, length) * (1 - std::exp(-0.5))});
      units_.push_back(
          {colour[0] / std::max(1.0, length), colour[1] / std::max(1.0, length), colour[2] / std::max(1.0, length)});
    }
    gather(image);
    for (std::size_t k = 0; k < maps_.size(); ++k) {
      maps_[k].shown =
          smoothed(smoothed(maps_[k].evidence, width_, height_, 1, 0, taps_), width_, height_, 0, 1, taps_);
      find(k);
    }
  }

  /// The part whose best place is the best of all parts' that are left; empty if none shows.
  std::optional<std::size_t> next() const {
    std::optional<std::size_t> best;
    for (std::size_t k = 0; k < maps_.size(); ++k) {
      if (!maps_[k].taken && maps_[k].found && (!best || maps_[k].value > maps_[*best].value)) best = k;
    }
    return best;
  }

  /// The centroid of a part's colour in a disc about its best place, which tells the other parts nothing any more.
  Point take(std::size_t k) {
    Map& map = maps_[k];
    map.taken = true;
    Point sum;
    double weight = 0;
    for_disc(map.x, map.y, [&](int x, int y) {
      const double w = map.evidence[at(x, y)];
      sum.x += w * (x + 0.5);
      sum.y += w * (y + 0.5);
      weight += w;
    });
    for (std::size_t other = 0; other < maps_.size(); ++other) {
      if (!maps_[other].taken) clear(other, map.x, map.y);
    }
    return weight > 0 ? Point{sum.x / weight, sum.y / weight} : Point{map.x + 0.5, map.y + 0.5};
  }

 private:
  struct Map {
    double full = 0;
    std::vector<double> evidence{}, shown{};
    bool taken = false, found = false;
    double value = 0;
    int x = 0, y = 0;
  };

  std::size_t at(int x, int y) const { return static_cast<std::size_t>(y * width_ + x); }

  template <class Use>
  void for_disc(int cx, int cy, const Use& use) const {
    const int reach = static_cast<int>(radius_);
    for (int y = std::max(0, cy - reach); y <= std::min(height_ - 1, cy + reach); ++y) {
      for (int x = std::max(0, cx - reach); x <= std::min(width_ - 1, cx + reach); ++x) {
        if ((x - cx) * (x - cx) + (y - cy) * (y - cy) <= radius_ * radius_) use(x, y);
      }
    }
  }

  /// Of a pixel, a part has the length of its colour along the part's, less its distance from that line (nothing at 45
  /// degrees and beyond); half of it where another part's colour is nearer. Dim dots count by as much as they are
  /// bright.
  void gather(const io::Image& image) {
    for (Map& map : maps_) map.evidence.reserve(static_cast<std::size_t>(width_) * static_cast<std::size_t>(height_));
    std::vector<double> along(maps_.size());
    const std::uint8_t* pixel = image.pixels.data();
    for (int i = 0; i < width_ * height_; ++i, pixel += image.channels) {
      double square = 0;
      for (std::size_t c = 0; c < 3; ++c) square += 1.0 * pixel[c] * pixel[c];
      for (std::size_t k = 0; k < maps_.size(); ++k) {
        along[k] = pixel[0] * units_[k][0] + pixel[1] * units_[k][1] + pixel[2] * units_[k][2];
      }
      const auto nearest = static_cast<std::size_t>(std::max_element(along.begin(), along.end()) - along.begin());
      for (std::size_t k = 0; k < maps_.size(); ++k) {
        const double across = std::sqrt(std::max(0.0, square - along[k] * along[k]));
        maps_[k].evidence.push_back((k == nearest ? 1.0 : 0.5) * std::max(0.0, along[k] - across));
      }
    }
  }

  void find(std::size_t k) {
    Map& map = maps_[k];
    map.found = false;
    const PosePrior::Part* part = k < prior_.parts.size() && prior_.parts[k] ? &*prior_.parts[k] : nullptr;
    for (int y = 0; y < height_; ++y) {
      for (int x = 0; x < width_; ++x) {
        const double share = map.shown[at(x, y)] / map.full;
        if (share < 0.02) continue;
        // As logarithms: far from the mean the prior is smaller than any number.
        double value = std::log(share);
        if (part != nullptr) {
          const double dx = x + 0.5 - part->mean.x, dy = y + 0.5 - part->mean.y;
          value -= 0.5 * (dx * dx / part->variance.x + dy * dy / part->variance.y);
        }
        if (map.found && value <= map.value) continue;
        map.found = true;
        map.value = value;
        map.x = x;
        map.y = y;
      }
    }
  }

  /// Takes what a part has in a disc out of its maps.
  void clear(std::size_t k, int cx, int cy) {
    Map& map = maps_[k];
    if (!map.found) return;
    const double before = map.shown[at(map.x, map.y)];
    const int reach = static_cast<int>(taps_.size()) - 1;
    for_disc(cx, cy, [&](int x, int y) {
      const double gone = std::exchange(map.evidence[at(x, y)], 0.0);
      if (gone == 0) return;
      for (int v = std::max(0, y - reach); v <= std::min(height_ - 1, y + reach); ++v) {
        for (int u = std::max(0, x - reach); u <= std::min(width_ - 1, x + reach); ++u) {
          map.shown[at(u, v)] -= gone * taps_[static_cast<std::size_t>(std::abs(u - x))] *
                                 taps_[static_cast<std::size_t>(std::abs(v - y))];
        }
      }
    });
    // Nothing has grown: a best place that lost nothing is the best one still.
    if (map.shown[at(map.x, map.y)] < before) find(k);
  }

  int width_, height_;
  double radius_;
  std::vector<double> taps_;
  const PosePrior& prior_;
  std::vector<std::array<double, 3>> units_;
  std::vector<Map> maps_;
};

}  // namespace detail

/// Reads a pose off a picture, in its pixels. A part is where the picture shows most of its colour, over the area of a
/// disc (a Gaussian as wide as one), times how likely the training poses have it there; its point is the centroid of
/// that colour in a disc about this place. The part that is surest of its place is read first, and what lies in its
/// disc tells nothing about the others. A part whose colour nowhere shows by a fiftieth of a drawn disc is absent.
/// Without a prior every place is as likely.
///
/// A network that is unsure draws dots dim, smeared, or in a neighbour's colour: taking every pixel for the nearest
/// colour and the centroid of all that took part would throw such answers away.
inline Pose decode_pose(const io::Image& image, std::span<const Colour> colours, const PosePrior& prior = {}) {
  if (image.channels < 3) throw_input("decode_pose", "channels", std::to_string(image.channels), "3 or more");
  detail::DotMaps maps(image, colours, prior);
  Pose pose(colours.size());
  while (const std::optional<std::size_t> part = maps.next()) pose[*part] = maps.take(*part);
  return pose;
}

/// The plain reading, which knows no training pose: a pixel whose largest channel is above 128 votes with it for the
/// part of the nearest colour (squared RGB distance, the first of equals); a part is the centroid of its votes, or
/// absent without any.
inline Pose decode_pose_by_votes(const io::Image& image, std::span<const Colour> colours) {
  if (image.channels < 3) throw_input("decode_pose_by_votes", "channels", std::to_string(image.channels), "3 or more");
  struct Votes {
    double x = 0, y = 0, weight = 0;
  };
  std::vector<Votes> votes(colours.size());
  const std::uint8_t* pixel = image.pixels.data();
  for (int i = 0; i < image.width * image.height; ++i, pixel += image.channels) {
    const int brightest = std::max({pixel[0], pixel[1], pixel[2]});
    if (brightest <= 128) continue;
    const auto distance = [&](const Colour& colour) {
      int sum = 0;
      for (std::size_t c = 0; c < 3; ++c) sum += (pixel[c] - colour[c]) * (pixel[c] - colour[c]);
      return sum;
    };
    const auto nearest = std::min_element(colours.begin(), colours.end(),
                                          [&](const Colour& a, const Colour& b) { return distance(a) < distance(b); });
    if (nearest == colours.end()) continue;
    Votes& of_part = votes[static_cast<std::size_t>(nearest - colours.begin())];
    of_part.x += brightest * (i % image.width + 0.5);
    of_part.y += brightest * (i / image.width + 0.5);
    of_part.weight += brightest;
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
