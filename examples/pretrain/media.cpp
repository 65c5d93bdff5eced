// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#include "pretrain/media.hpp"

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cmath>
#include <exception>
#include <functional>
#include <limits>
#include <map>
#include <mutex>
#include <string_view>
#include <thread>
#include <utility>

#include "segue/core/posix.hpp"
#include "segue/io/image.hpp"

namespace pretrain {

namespace io = segue::io;

namespace {

constexpr int cutout_side = 96, figure_side = 160, film_side = 112;

/// Calls `work(i)` for i < count from several threads; the error of the lowest i leaves.
void in_parallel(std::size_t count, const std::function<void(std::size_t)>& work) {
  std::atomic<std::size_t> next{0};
  std::mutex mutex;
  std::exception_ptr error;
  std::size_t error_at = count;
  const auto loop = [&] {
    for (std::size_t i = next++; i < count; i = next++) {
      try {
        work(i);
      } catch (...) {
        const std::scoped_lock lock(mutex);
        if (i < error_at) error = std::current_exception();
        error_at = std::min(error_at, i);
      }
    }
  };
  std::vector<std::jthread> threads;
  const unsigned most = std::min(std::max(std::thread::hardware_concurrency(), 1u), 32u);
  for (unsigned t = 1; t < most && t < count; ++t) threads.emplace_back(loop);
  loop();
  threads.clear();
  if (error) std::rethrow_exception(error);
}

/// The files below a folder that end in one of the endings, in byte order of their paths.
std::vector<std::string> files_below(const std::string& folder, std::initializer_list<std::string_view> endings) {
  std::vector<std::string> out;
  for (const std::string& name : segue::list_directory(folder)) {
    const std::string path = segue::join_path(folder, name);
    if (segue::is_directory(path)) {
      for (std::string& file : files_below(path, endings)) out.push_back(std::move(file));
    } else if (std::any_of(endings.begin(), endings.end(), [&](std::string_view e) { return name.ends_with(e); })) {
      out.push_back(path);
    }
  }
  return out;
}

bool has(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

struct Box {
  int x = 0, y = 0, width = 0, height = 0;
};

/// Of a part of a picture, the smallest box around what is not transparent; without extent if all is.
Box content(const std::vector<tasks::PackedPixel>& pixels, int stride, int left, int top, int width, int height) {
  int x0 = left + width, y0 = top + height, x1 = left, y1 = top;
  for (int y = top; y < top + height; ++y) {
    for (int x = left; x < left + width; ++x) {
      if (pixels[static_cast<std::size_t>(y * stride + x)] >> 24 == 0) continue;
      x0 = std::min(x0, x);
      x1 = std::max(x1, x + 1);
      y0 = std::min(y0, y);
      y1 = std::max(y1, y + 1);
    }
  }
  return x1 > x0 ? Box{x0, y0, x1 - x0, y1 - y0} : Box{left, top, 0, 0};
}

Sheet read_sheet(const std::string& path) {
  const io::Image image = io::load_image(path, 4);
  if (image.width != Sheet::columns * Sheet::cell || image.height != Sheet::rows * Sheet::cell) {
    segue::throw_input(path, "its size", std::to_string(image.width) + "x" + std::to_string(image.height),
                       "832x1344, 13 x 21 cells of 64 pixels");
  }
  Sheet sheet{path, !has(path, "no_th-sh"), {}, {}};
  const std::vector<tasks::PackedPixel> packed = tasks::premultiply(image);
  for (int row = 0; row < Sheet::rows; ++row) {
    for (int column = 0; column < Sheet::columns; ++column) {
      const Box box = content(packed, image.width, column * Sheet::cell, row * Sheet::cell, Sheet::cell, Sheet::cell);
      const Sheet::Cut cut{box.x - column * Sheet::cell, box.y - row * Sheet::cell, box.width, box.height,
                           sheet.pixels.size()};
      for (int y = box.y; y < box.y + box.height; ++y) {
        const auto line = packed.begin() + y * image.width + box.x;
        sheet.pixels.insert(sheet.pixels.end(), line, line + box.width);
      }
      sheet.cuts.push_back(cut);
    }
  }
  sheet.pixels.shrink_to_fit();
  return sheet;
}

/// Sheets say by a folder what they are and by a word whom they fit: `torso/plate/chest_female.png`.
void load_sheets(const std::string& folder, Media& media) {
  const std::vector<std::string> files = files_below(folder, {".png"});
  std::vector<Sheet> sheets(files.size());
  in_parallel(files.size(), [&](std::size_t i) { sheets[i] = read_sheet(files[i]); });
  for (std::size_t i = 0; i < files.size(); ++i) {
    const std::string_view name = std::string_view(files[i]).substr(folder.size());
    const bool female = has(name, "female"), male = !female && has(name, "male");
    for (std::size_t slot = 0; slot < Wardrobe::slots.size(); ++slot) {
      if (!has(name, std::string("/") + Wardrobe::slots[slot] + "/")) continue;
      if (!male) media.wardrobes[0].layers[slot].push_back(sheets[i]);
      if (!female) media.wardrobes[1].layers[slot].push_back(sheets[i]);
    }
  }
}

/// `die-9.png` comes before `die-10.png`: a name and the number at its end.
std::pair<std::string, int> stem_and_number(const std::string& path) {
  const std::size_t dot = path.rfind('.');
  std::size_t begin = dot;
  while (begin > 0 && path[begin - 1] >= '0' && path[begin - 1] <= '9') --begin;
  int number = 0;
  std::from_chars(path.data() + begin, path.data() + dot, number);
  return {path.substr(0, begin), number};
}

/// Files whose names differ in the number at the end alone are the frames of one sequence; at least two.
std::vector<Sequence> load_sequences(const std::string& folder, int longest) {
  std::map<std::string, std::vector<std::pair<int, std::string>>> groups;
  for (const std::string& path : files_below(folder, {".png", ".jpg", ".jpeg"})) {
    const auto [stem, number] = stem_and_number(path);
    groups[stem].emplace_back(number, path);
  }
  std::vector<std::pair<std::string, std::pair<std::size_t, std::size_t>>> jobs;
  std::vector<Sequence> out;
  for (auto& [stem, files] : groups) {
    if (files.size() < 2) continue;
    std::sort(files.begin(), files.end());
    for (std::size_t f = 0; f < files.size(); ++f) jobs.push_back({files[f].second, {out.size(), f}});
    out.push_back({stem, std::vector<tasks::Sprite>(files.size())});
  }
  in_parallel(jobs.size(), [&](std::size_t i) {
    const io::Image image = io::load_image(jobs[i].first, 4);
    // The short side counts, since a film is cropped to a square.
    const int side = std::min(image.width, image.height), most = std::max(image.width, image.height);
    out[jobs[i].second.first].frames[jobs[i].second.second] =
        tasks::Sprite(image, side > longest ? std::min(most * longest / side, 1024) : 1024);
  });
  for (const Sequence& s : out) {
    for (const tasks::Sprite& frame : s.frames) {
      if (frame.width() != s.frames.front().width() || frame.height() != s.frames.front().height()) {
        segue::throw_input(s.name, "the size of a frame",
                           std::to_string(frame.width()) + "x" + std::to_string(frame.height()),
                           "that of the first frame");
      }
    }
  }
  return out;
}

void load_cutouts(const std::string& folder, Media& media) {
  const std::vector<std::string> files = files_below(folder, {".png"});
  std::vector<tasks::Sprite> sprites(files.size());
  in_parallel(files.size(),
              [&](std::size_t i) { sprites[i] = tasks::Sprite(io::load_image(files[i], 4), cutout_side); });
  for (tasks::Sprite& sprite : sprites) media.cutouts.push_back(std::move(sprite));
}

/// The joints of a `char_cfg.yaml`, which is a list of entries `loc` (two numbers), `name` and `parent`.
void read_joints(const std::string& path, Character& character) {
  const std::string text = segue::read_text_file(path, std::size_t{1} << 20);
  std::vector<std::string> parents;
  std::vector<float> numbers;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    std::string_view line = std::string_view(text).substr(begin, end - begin);
    begin = end + 1;
    while (!line.empty() && (line.back() == ' ' || line.back() == '\r')) line.remove_suffix(1);
    line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
    if (line.starts_with("name: ")) character.joints.emplace_back(line.substr(6));
    if (line.starts_with("parent: ")) parents.emplace_back(line.substr(8));
    int value = 0;
    if (line.starts_with("- ")) {
      const auto [stop, error] = std::from_chars(line.data() + 2, line.data() + line.size(), value);
      if (error == std::errc() && stop == line.data() + line.size()) numbers.push_back(static_cast<float>(value));
    }
  }
  const std::size_t count = character.joints.size();
  if (count == 0 || parents.size() != count || numbers.size() != 2 * count) {
    segue::throw_input(path, "the skeleton",
                       std::to_string(count) + " names, " + std::to_string(parents.size()) + " parents and " +
                           std::to_string(numbers.size()) + " numbers",
                       "a name, a parent and two numbers for each joint");
  }
  for (std::size_t j = 0; j < count; ++j) {
    const auto found = std::find(character.joints.begin(), character.joints.end(), parents[j]);
    character.parent.push_back(found == character.joints.end() ? -1
                                                               : static_cast<int>(found - character.joints.begin()));
    character.places.push_back({numbers[2 * j], numbers[2 * j + 1]});
  }
}

/// Gives each pixel of the drawing to the bones it is nearest to: to several where they meet, so that no gap opens.
void cut_along_bones(const io::Image& rgba, Character& character) {
  const std::vector<tasks::PackedPixel> packed = tasks::premultiply(rgba);
  const std::size_t bones = character.joints.size();
  std::vector<std::vector<tasks::PackedPixel>> pixels(bones, std::vector<tasks::PackedPixel>(packed.size()));
  std::vector<float> distance(bones);
  const auto ends = [&](std::size_t k) {
    const auto p = static_cast<std::size_t>(character.parent[k]);
    return std::pair(character.places[p], character.places[k]);
  };
  const auto length = [&](std::size_t k) {
    const auto [a, b] = ends(k);
    return std::hypot(b[0] - a[0], b[1] - a[1]);
  };
  for (int y = 0; y < rgba.height; ++y) {
    for (int x = 0; x < rgba.width; ++x) {
      const auto at = static_cast<std::size_t>(y * rgba.width + x);
      if (packed[at] >> 24 == 0) continue;
      float nearest = std::numeric_limits<float>::max();
      for (std::size_t k = 0; k < bones; ++k) {
        distance[k] = std::numeric_limits<float>::max();
        if (character.parent[k] < 0 || length(k) < 1) continue;
        const auto [a, b] = ends(k);
        const float dx = b[0] - a[0], dy = b[1] - a[1];
        const float px = static_cast<float>(x) + 0.5f - a[0], py = static_cast<float>(y) + 0.5f - a[1];
        const float along = std::clamp((px * dx + py * dy) / (dx * dx + dy * dy), 0.0f, 1.0f);
        distance[k] = std::hypot(px - along * dx, py - along * dy);
        nearest = std::min(nearest, distance[k]);
      }
      for (std::size_t k = 0; k < bones; ++k) {
        if (distance[k] <= nearest + 3) pixels[k][at] = packed[at];
      }
    }
  }
  character.parts.resize(bones);
  for (std::size_t k = 0; k < bones; ++k) {
    if (character.parent[k] < 0 || length(k) < 1) continue;
    const auto [a, b] = ends(k);
    const Box box = content(pixels[k], rgba.width, 0, 0, rgba.width, rgba.height);
    if (box.width == 0) continue;
    std::vector<tasks::PackedPixel> cropped;
    for (int y = box.y; y < box.y + box.height; ++y) {
      const auto row = pixels[k].begin() + y * rgba.width + box.x;
      cropped.insert(cropped.end(), row, row + box.width);
    }
    tasks::Sprite part(box.width, box.height, cropped);
    part.origin_x = static_cast<std::int32_t>((a[0] + b[0]) * 128) - box.x * 256;
    part.origin_y = static_cast<std::int32_t>((a[1] + b[1]) * 128) - box.y * 256;
    part.unit = static_cast<std::int32_t>(length(k) * 128);
    character.parts[k] = std::move(part);
  }
}

/// A folder with `texture.png`, `mask.png` and `char_cfg.yaml`. Figures of other skeletons than sixteen joints with
/// arms and legs stay whole, as cut-outs.
void load_character(const std::string& folder, Media& media) {
  io::Image image = io::load_image(segue::join_path(folder, "texture.png"), 4);
  const io::Image mask = io::load_image(segue::join_path(folder, "mask.png"), 1);
  if (mask.width != image.width || mask.height != image.height) {
    segue::throw_input(segue::join_path(folder, "mask.png"), "its size",
                       std::to_string(mask.width) + "x" + std::to_string(mask.height), "that of texture.png");
  }
  for (std::size_t i = 0; i < mask.pixels.size(); ++i) {
    if (mask.pixels[i] < 128)
      std::fill_n(image.pixels.begin() + static_cast<std::ptrdiff_t>(4 * i), 4, std::uint8_t{0});
  }
  Character character;
  read_joints(segue::join_path(folder, "char_cfg.yaml"), character);
  const int side = std::max(image.width, image.height);
  const float scale = std::min(static_cast<float>(figure_side) / static_cast<float>(side), 1.0f);
  media.cutouts.emplace_back(image, cutout_side);
  const bool known =
      std::find(character.joints.begin(), character.joints.end(), "right_elbow") != character.joints.end();
  if (!known) return;
  for (auto& place : character.places) {
    for (float& v : place) v *= scale;
  }
  if (side > figure_side) {
    // What the mask has cleared is black already: averaging straight colours at the rim only darkens the outline.
    image = tasks::stretch(image, std::max(image.width * figure_side / side, 1),
                           std::max(image.height * figure_side / side, 1));
  }
  character.height = static_cast<float>(image.height);
  cut_along_bones(image, character);
  media.characters.push_back(std::move(character));
}

Motion3 load_motion(const std::string& path) {
  const BvhMotion bvh = parse_bvh(segue::read_text_file(path), path);
  Motion3 motion;
  motion.frames = bvh.frames;
  motion.frame_seconds = bvh.frame_seconds;
  for (const BvhJoint& joint : bvh.joints) {
    motion.joints.push_back(joint.name);
    motion.parent.push_back(joint.parent);
  }
  for (int f = 0; f < bvh.frames; ++f) {
    for (const Point3& p : bvh.places(f)) motion.places.push_back(p);
  }
  // Up is where the head is from the hips, on average: files disagree about the axis.
  const int head = std::max(motion.find("Head"), 0);
  Point3 mean{}, low = motion.places.front(), high = low;
  for (int f = 0; f < motion.frames; ++f) {
    for (std::size_t k = 0; k < 3; ++k) mean[k] += motion.at(f, static_cast<std::size_t>(head))[k] - motion.at(f, 0)[k];
  }
  for (std::size_t j = 0; j < motion.joints.size(); ++j) {
    for (std::size_t k = 0; k < 3; ++k) {
      low[k] = std::min(low[k], motion.at(0, j)[k]);
      high[k] = std::max(high[k], motion.at(0, j)[k]);
    }
  }
  const std::size_t up = std::abs(mean[2]) > std::abs(mean[1]) ? 2 : 1;
  const float sign = mean[up] < 0 ? 1.0f : -1.0f;  // pictures grow downwards
  const std::size_t away = up == 2 ? 1 : 2;
  motion.height = std::max(high[up] - low[up], 1e-3f);
  const Point3 start = motion.places.front();
  for (Point3& p : motion.places) {
    p = {p[0] - start[0], sign * (p[up] - start[up]), p[away] - start[away]};
  }
  return motion;
}

}  // namespace

void Sheet::lay(int row, int column, std::vector<tasks::PackedPixel>& onto) const {
  const Cut& cut = cuts[static_cast<std::size_t>(row * columns + column)];
  const tasks::PackedPixel* from = pixels.data() + cut.first;
  for (int y = cut.y; y < cut.y + cut.height; ++y, from += cut.width) {
    tasks::PackedPixel* to = onto.data() + y * cell + cut.x;
    for (int x = 0; x < cut.width; ++x) to[x] = tasks::detail::lay_over(to[x], from[x]);
  }
}

int Motion3::find(std::string_view joint) const {
  const auto found = std::find(joints.begin(), joints.end(), joint);
  return found == joints.end() ? -1 : static_cast<int>(found - joints.begin());
}

std::size_t Media::bytes() const {
  std::size_t words = 0;
  const auto count = [&](const tasks::Sprite& s) {
    for (const auto& level : s.levels()) words += level.pixels.size();
  };
  for (const Wardrobe& w : wardrobes) {
    for (const auto& layer : w.layers) {
      for (const Sheet& s : layer) words += s.pixels.size();
    }
  }
  for (const auto* sequences : {&animations, &films}) {
    for (const Sequence& s : *sequences) std::for_each(s.frames.begin(), s.frames.end(), count);
  }
  std::for_each(cutouts.begin(), cutouts.end(), count);
  for (const Character& c : characters) std::for_each(c.parts.begin(), c.parts.end(), count);
  for (const Motion3& m : motions) words += 3 * m.places.size();
  return 4 * words;
}

Media load_media(const io::Json& config, const std::string& root, const std::string& where,
                 std::vector<std::string>& missing) {
  Media media;
  config.allow_only(std::vector<std::string>{"sheets", "animations", "cutouts", "characters", "motions", "films"},
                    where);
  const auto each = [&](const char* key, const std::function<void(const std::string&)>& load) {
    for (const std::string& name : config.get_or<std::vector<std::string>>(key, {}, where)) {
      const std::string folder = name.starts_with('/') ? name : segue::join_path(root, name);
      if (segue::is_directory(folder)) {
        load(folder);
      } else {
        missing.push_back(folder);
      }
    }
  };
  const auto append = [](std::vector<Sequence>& to, std::vector<Sequence> from) {
    for (Sequence& s : from) to.push_back(std::move(s));
  };
  each("sheets", [&](const std::string& f) { load_sheets(f, media); });
  each("animations", [&](const std::string& f) { append(media.animations, load_sequences(f, cutout_side)); });
  each("cutouts", [&](const std::string& f) { load_cutouts(f, media); });
  each("characters", [&](const std::string& f) {
    for (const std::string& name : segue::list_directory(f)) {
      if (segue::is_directory(segue::join_path(f, name))) load_character(segue::join_path(f, name), media);
    }
  });
  each("motions", [&](const std::string& f) {
    for (const std::string& path : files_below(f, {".bvh"})) media.motions.push_back(load_motion(path));
  });
  each("films", [&](const std::string& f) { append(media.films, load_sequences(f, film_side)); });
  return media;
}

}  // namespace pretrain
