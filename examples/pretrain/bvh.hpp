// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numbers>
#include <string>
#include <string_view>
#include <vector>

#include "segue/core/error.hpp"
#include "segue/core/nearest_name.hpp"

namespace pretrain {

using Point3 = std::array<float, 3>;

/// A joint of a skeleton. End sites are joints without channels, named after their parent.
struct BvhJoint {
  std::string name;
  int parent = -1;
  Point3 offset{};            ///< from the parent, in its frame
  std::vector<int> channels;  ///< 0 … 2: X, Y, Z position, 3 … 5: X, Y, Z rotation in degrees, in the file's order
};

/// A motion of a skeleton (Biovision hierarchy).
struct BvhMotion {
  std::vector<BvhJoint> joints;  ///< parents before children
  int frames = 0;
  double frame_seconds = 0;
  std::size_t channels = 0;
  std::vector<float> values;  ///< (frames, channels)

  /// Where the joints are in a frame. A joint's rotations apply in the order of its channels, each in the frame that
  /// the ones before it have turned: R = R1 R2 R3; place = parent's place + parent's R (offset + own position).
  std::vector<Point3> places(int frame) const {
    using Matrix = std::array<Point3, 3>;
    std::vector<Point3> out(joints.size());
    std::vector<Matrix> turn(joints.size());
    const float* value = values.data() + static_cast<std::size_t>(frame) * channels;
    for (std::size_t j = 0; j < joints.size(); ++j) {
      const BvhJoint& joint = joints[j];
      Point3 offset = joint.offset;
      Matrix own = {{{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}};
      for (const int channel : joint.channels) {
        const float v = *value++;
        if (channel < 3) {
          offset[static_cast<std::size_t>(channel)] += v;
          continue;
        }
        const float c = std::cos(v * std::numbers::pi_v<float> / 180),
                    s = std::sin(v * std::numbers::pi_v<float> / 180);
        // Columns a and b of R change: about X they are Y and Z, about Y Z and X, about Z X and Y.
        const auto a = static_cast<std::size_t>((channel - 3 + 1) % 3),
                   b = static_cast<std::size_t>((channel - 3 + 2) % 3);
        for (Point3& row : own) {
          const float x = row[a], y = row[b];
          row[a] = x * c + y * s;
          row[b] = y * c - x * s;
        }
      }
      if (joint.parent < 0) {
        out[j] = offset;
        turn[j] = own;
        continue;
      }
      const auto p = static_cast<std::size_t>(joint.parent);
      for (std::size_t r = 0; r < 3; ++r) {
        out[j][r] = out[p][r];
        for (std::size_t k = 0; k < 3; ++k) {
          out[j][r] += turn[p][r][k] * offset[k];
          turn[j][r][k] = 0;
          for (std::size_t m = 0; m < 3; ++m) turn[j][r][k] += turn[p][r][m] * own[m][k];
        }
      }
    }
    return out;
  }
};

namespace detail {

/// Words of a text, with the line they are on.
class BvhWords {
 public:
  BvhWords(std::string_view text, std::string_view where) : text_(text), where_(where) {}

  /// The next word; empty at the end.
  std::string_view next() {
    while (at_ < text_.size() && is_space(text_[at_])) line_ += text_[at_++] == '\n' ? 1 : 0;
    const std::size_t begin = at_;
    while (at_ < text_.size() && !is_space(text_[at_])) ++at_;
    return text_.substr(begin, at_ - begin);
  }
  void expect(std::string_view word) {
    const std::string_view found = next();
    if (found != word) fail(found, std::string(word));
  }
  float number() {
    const std::string_view word = next();
    float v = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), v);
    if (error != std::errc() || end != word.data() + word.size() || !(std::abs(v) < 1e6f)) {
      fail(word, "a number below a million");
    }
    return v;
  }
  int count(int most) {
    const std::string_view word = next();
    int v = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), v);
    if (error != std::errc() || end != word.data() + word.size() || v < 0 || v > most) {
      fail(word, "a number from 0 to " + std::to_string(most));
    }
    return v;
  }
  [[noreturn]] void fail(std::string_view found, const std::string& expected) const {
    segue::throw_input(where_, "line " + std::to_string(line_),
                       found.empty() ? "the end of the file" : segue::in_quotes(found.substr(0, 40)), expected);
  }

 private:
  static bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

  std::string_view text_, where_;
  std::size_t at_ = 0;
  int line_ = 1;
};

}  // namespace detail

/// Reads a BVH text of one skeleton. Raises InputError, one sentence with `where` and the line: a word that does not
/// belong there, a number that is none, a missing number, more than 512 joints or 100,000 frames, no joint or no frame.
inline BvhMotion parse_bvh(std::string_view text, std::string_view where) {
  constexpr std::array<std::string_view, 6> names = {"Xposition", "Yposition", "Zposition",
                                                     "Xrotation", "Yrotation", "Zrotation"};
  detail::BvhWords words(text, where);
  BvhMotion motion;
  words.expect("HIERARCHY");
  words.expect("ROOT");
  int parent = -1;
  bool end_site = false;
  std::string name(words.next());
  for (;;) {  // a joint from its name on
    if (motion.joints.size() >= 512) words.fail(name, "at most 512 joints");
    if (name.empty()) words.fail(name, "the name of a joint");
    BvhJoint joint{name, parent, {}, {}};
    words.expect("{");
    words.expect("OFFSET");
    for (float& v : joint.offset) v = words.number();
    if (!end_site) {
      words.expect("CHANNELS");
      const int count = words.count(6);
      for (int k = 0; k < count; ++k) {
        const std::string_view channel = words.next();
        int which = 0;
        while (which < 6 && names[static_cast<std::size_t>(which)] != channel) ++which;
        if (which == 6) words.fail(channel, "a channel such as Xrotation");
        joint.channels.push_back(which);
      }
      motion.channels += static_cast<std::size_t>(count);
    }
    parent = static_cast<int>(motion.joints.size());
    motion.joints.push_back(std::move(joint));
    std::string_view word = words.next();
    while (word == "}" && parent >= 0) {
      parent = motion.joints[static_cast<std::size_t>(parent)].parent;
      word = words.next();
    }
    if (parent < 0) {
      if (word != "MOTION") words.fail(word, "MOTION");
      break;
    }
    end_site = word == "End";
    if (end_site) {
      words.expect("Site");
      name = motion.joints[static_cast<std::size_t>(parent)].name + " end";
    } else if (word == "JOINT") {
      name = words.next();
    } else {
      words.fail(word, "JOINT, End Site or }");
    }
    if (motion.joints[static_cast<std::size_t>(parent)].name.ends_with(" end")) words.fail(word, "}");
  }
  words.expect("Frames:");
  motion.frames = words.count(100000);
  if (motion.frames == 0) words.fail("0", "1 frame or more");
  words.expect("Frame");
  words.expect("Time:");
  motion.frame_seconds = words.number();
  if (!(motion.frame_seconds > 0)) words.fail("no positive time", "the seconds of a frame");
  const std::size_t count = static_cast<std::size_t>(motion.frames) * motion.channels;
  // A number takes two bytes at least: a short text cannot make a large table.
  if (count > text.size()) words.fail("a table of " + std::to_string(count) + " numbers", "no more than the text has");
  motion.values.reserve(count);
  for (std::size_t i = 0; i < count; ++i) motion.values.push_back(words.number());
  const std::string_view rest = words.next();
  if (!rest.empty()) words.fail(rest, "the end of the file");
  return motion;
}

}  // namespace pretrain
