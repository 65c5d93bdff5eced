// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

// Figures that move as recorded people did: skeletons of capsules, and drawn characters whose parts follow the bones.
#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <string_view>
#include <utility>

#include "pretrain/media_clips.hpp"

namespace pretrain {

using tasks::Placement;

namespace {

constexpr int angle_of(float dx, float dy) {
  return static_cast<int>(std::atan2(dy, dx) * (32768 / std::numbers::pi_v<float>));
}

enum class Group : std::uint8_t { Trunk, Head, Arm, Leg, None };

/// What a bone that ends in the joint belongs to. Fingers are not drawn: they are smaller than a pixel.
Group group_of(std::string_view joint) {
  const auto has = [&](std::string_view part) { return joint.find(part) != std::string_view::npos; };
  if (has("Thumb") || has("Finger") || has("HandEnd") || has("LeftHand end") || has("RightHand end"))
    return Group::None;
  if (has("Head")) return Group::Head;
  if (has("Arm") || has("Hand") || has("hand") || has("Elbow") || has("Wrist")) return Group::Arm;
  if (has("Leg") || has("Foot") || has("Toe") || has("Knee") || has("Ankle")) return Group::Leg;
  return Group::Trunk;
}

/// Bones of drawn characters and the joints of recorded skeletons between which they run, in two vocabularies.
struct Likeness {
  std::string_view joint;
  std::array<std::array<std::string_view, 2>, 2> ends;
};
constexpr std::array<Likeness, 11> likenesses = {{
    {"torso", {{{"Hips", "Spine3"}, {"Hips", "Chest2"}}}},
    {"neck", {{{"Spine3", "Head"}, {"Chest2", "Head"}}}},
    {"right_shoulder", {{{"Spine3", "RightArm"}, {"Chest2", "RightCollar"}}}},
    {"right_elbow", {{{"RightArm", "RightForeArm"}, {"RightCollar", "RightElbow"}}}},
    {"right_hand", {{{"RightForeArm", "RightHand"}, {"RightElbow", "RightWrist"}}}},
    {"left_shoulder", {{{"Spine3", "LeftArm"}, {"Chest2", "LeftCollar"}}}},
    {"left_elbow", {{{"LeftArm", "LeftForeArm"}, {"LeftCollar", "LeftElbow"}}}},
    {"left_hand", {{{"LeftForeArm", "LeftHand"}, {"LeftElbow", "LeftWrist"}}}},
    {"right_knee", {{{"RightUpLeg", "RightLeg"}, {"RightHip", "RightKnee"}}}},
    {"left_knee", {{{"LeftUpLeg", "LeftLeg"}, {"LeftHip", "LeftKnee"}}}},
    {"root", {{{"Hips", "Hips"}, {"Hips", "Hips"}}}},
}};
constexpr std::array<Likeness, 2> feet = {{
    {"right_foot", {{{"RightLeg", "RightFoot"}, {"RightKnee", "RightAnkle"}}}},
    {"left_foot", {{{"LeftLeg", "LeftFoot"}, {"LeftKnee", "LeftAnkle"}}}},
}};

}  // namespace

struct MediaClip::Figure {
  const Motion3* motion = nullptr;
  const Character* character = nullptr;  ///< null: limbs
  float start = 0, step = 1;             ///< frames of the recording
  float yaw = 0, yaw_step = 0, pitch = 0, travel = 1;
  float scale = 1;  ///< canvas pixels in a unit of the recording
  float x = 0, y = 0;
  std::array<tasks::Texture, 4> textures{};
  std::array<float, 4> width{};  ///< of trunk, head, arms and legs, as a share of the height
  bool tapered = false;
  std::int32_t border = 0;
  tasks::Rgb border_colour;
  tasks::SpriteLook look;
};

MediaClip::Figure MediaClip::random_figure() {
  Figure figure;
  const Motion3& motion = pick(media_.motions);
  figure.motion = &motion;
  const auto real = [&](float low, float high) {
    return low + (high - low) * static_cast<float>(draws_.below(4096)) / 4095;
  };
  // A clip shows half a second to a second and a half.
  figure.step =
      real(0.4f, 1.5f) / static_cast<float>(std::max(spec_.frames - 1, 1)) / static_cast<float>(motion.frame_seconds);
  // Recordings pause: of a few moments, the liveliest is shown.
  const float length = figure.step * static_cast<float>(spec_.frames - 1);
  float most = -1;
  for (int k = 0; k < 3; ++k) {
    const float start = real(0, std::max(static_cast<float>(motion.frames - 1) - length, 0.0f));
    const int a = static_cast<int>(start), b = std::min(static_cast<int>(start + length / 2), motion.frames - 1);
    float moved = 0;
    for (std::size_t j = 0; j < motion.joints.size(); ++j) {
      for (std::size_t c = 0; c < 3; ++c) moved += std::abs(motion.at(b, j)[c] - motion.at(a, j)[c]);
    }
    if (moved > most) figure.start = start;
    most = std::max(most, moved);
  }
  figure.yaw = real(-1.2f, 1.2f) + (draws_.chance(60) ? std::numbers::pi_v<float> : 0.0f);
  figure.yaw_step = draws_.chance(50) ? real(-0.25f, 0.25f) : 0.0f;
  figure.pitch = real(-0.1f, 0.35f);
  figure.travel = real(0.2f, 1.0f);
  const float height = real(26, 54) * static_cast<float>(unit_) / 256;
  figure.scale = height / motion.height;
  figure.x = static_cast<float>(spec_.width) * real(0.3f, 0.7f);
  figure.y = static_cast<float>(spec_.height) * real(0.42f, 0.58f);
  const bool one = draws_.chance(60);
  for (std::size_t g = 0; g < 4; ++g) {
    figure.textures[g] = g > 0 && one ? figure.textures[0] : tasks::random_texture(draws_, 150);
  }
  const float stout = real(0.6f, 1.5f);
  figure.width = {0.085f * stout, real(0.06f, 0.11f), 0.034f * stout, 0.045f * stout};
  figure.tapered = draws_.chance(60);
  if (draws_.chance(60)) {
    figure.border = draws_.between(150, 300);
    figure.border_colour = draws_.chance(128) ? tasks::Rgb{} : tasks::random_colour(draws_);
  }
  if (!media_.characters.empty() && draws_.chance(110)) {
    figure.character = &pick(media_.characters);
    figure.look = random_look();
    figure.yaw = real(-0.7f, 0.7f);
  }
  return figure;
}

/// Joints in canvas pixels: right, down, and how far away.
std::vector<Point3> MediaClip::pose(const Figure& figure, int f) const {
  const Motion3& m = *figure.motion;
  const float at = std::min(figure.start + figure.step * static_cast<float>(f), static_cast<float>(m.frames - 1));
  const int k = static_cast<int>(at), next = std::min(k + 1, m.frames - 1);
  const float t = at - static_cast<float>(k), yaw = figure.yaw + figure.yaw_step * static_cast<float>(f);
  const float cy = std::cos(yaw), sy = std::sin(yaw), cp = std::cos(figure.pitch), sp = std::sin(figure.pitch);
  const Point3 origin = m.at(static_cast<int>(figure.start), 0);
  const Point3 here = m.at(k, 0);
  std::vector<Point3> out;
  for (std::size_t j = 0; j < m.joints.size(); ++j) {
    const Point3 &a = m.at(k, j), &b = m.at(next, j);
    Point3 p{};
    for (std::size_t c = 0; c < 3; ++c) {
      p[c] = a[c] + (b[c] - a[c]) * t - here[c] + (here[c] - origin[c]) * figure.travel;
    }
    const float x = p[0] * cy + p[2] * sy, z = p[2] * cy - p[0] * sy;
    const float y = p[1] * cp + z * sp;
    out.push_back({figure.x + x * figure.scale, figure.y + y * figure.scale, z * figure.scale});
  }
  return out;
}

void MediaClip::draw_limbs(const Figure& figure, const std::vector<Point3>& joints) {
  const Motion3& m = *figure.motion;
  const float height = m.height * figure.scale;
  std::vector<std::pair<float, std::size_t>> order;
  for (std::size_t j = 0; j < joints.size(); ++j) {
    if (m.parent[j] < 0 || group_of(m.joints[j]) == Group::None) continue;
    order.emplace_back(-(joints[j][2] + joints[static_cast<std::size_t>(m.parent[j])][2]), j);
  }
  std::sort(order.begin(), order.end());
  for (const auto& [depth, j] : order) {
    const auto group = static_cast<std::size_t>(group_of(m.joints[j]));
    const Point3 &a = joints[static_cast<std::size_t>(m.parent[j])], &b = joints[j];
    const float length = std::hypot(b[0] - a[0], b[1] - a[1]);
    const float radius = std::max(figure.width[group] * height, 0.6f);
    tasks::Body body;
    body.texture = figure.textures[group];
    body.border = figure.border;
    body.border_colour = figure.border_colour;
    const bool is_head = group == static_cast<std::size_t>(Group::Head);
    const float reach = is_head ? radius : length / 2 + radius;
    tasks::Part part;
    const auto local = [reach](float v) { return static_cast<std::int32_t>(v * 4096 / reach); };
    if (is_head) {
      if (m.joints[j] != "Head") continue;  // one ball, not two
      part.half_x = 4600;
    } else if (figure.tapered && length > 2 * radius) {
      part.half_y = local(radius * 1.2f);
    } else {
      part.kind = tasks::PartKind::Capsule;
      part.half_x = local(length / 2);
      part.half_y = local(radius);
    }
    body.outline.add(part);
    Placement p;
    const float mx = is_head ? b[0] + (b[0] - a[0]) * 0.3f : (a[0] + b[0]) / 2;
    const float my = is_head ? b[1] + (b[1] - a[1]) * 0.3f : (a[1] + b[1]) / 2;
    p.x = static_cast<std::int32_t>(mx * 256);
    p.y = static_cast<std::int32_t>(my * 256);
    p.angle = angle_of(b[0] - a[0], b[1] - a[1]);
    p.size = static_cast<std::int32_t>(reach * 256);
    canvas_.draw(body, p);
  }
}

void MediaClip::draw_character(const Figure& figure, const std::vector<Point3>& joints) {
  const Character& c = *figure.character;
  const Motion3& m = *figure.motion;
  const float scale = m.height * figure.scale / c.height;
  // From the drawing's own pose, bones are turned as the recorded ones; unknown ones keep their own direction.
  std::vector<std::array<float, 2>> places(c.joints.size());
  std::vector<std::pair<float, std::size_t>> order;
  for (std::size_t j = 0; j < c.joints.size(); ++j) {
    if (c.parent[j] < 0) {
      places[j] = {joints[0][0], joints[0][1]};
      continue;
    }
    const auto parent = static_cast<std::size_t>(c.parent[j]);
    std::array<float, 2> bone = {(c.places[j][0] - c.places[parent][0]) * scale,
                                 (c.places[j][1] - c.places[parent][1]) * scale};
    float depth = 0;
    const auto follow = [&](const Likeness& like) {
      if (like.joint != c.joints[j]) return;
      for (const auto& [from, to] : like.ends) {
        const int a = m.find(from), b = m.find(to);
        if (a < 0 || b < 0 || a == b) continue;
        const Point3 &p = joints[static_cast<std::size_t>(a)], &q = joints[static_cast<std::size_t>(b)];
        const float flat = std::hypot(q[0] - p[0], q[1] - p[1]), whole = std::hypot(flat, q[2] - p[2]);
        const float length = std::hypot(bone[0], bone[1]) * std::max(flat / std::max(whole, 1e-3f), 0.4f);
        if (flat > 1e-3f) bone = {(q[0] - p[0]) / flat * length, (q[1] - p[1]) / flat * length};
        depth = p[2] + q[2];
        return;
      }
    };
    std::for_each(likenesses.begin(), likenesses.end(), follow);
    std::for_each(feet.begin(), feet.end(), follow);
    places[j] = {places[parent][0] + bone[0], places[parent][1] + bone[1]};
    order.emplace_back(-depth, j);
  }
  std::stable_sort(order.begin(), order.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  for (const auto& [depth, j] : order) {
    const tasks::Sprite& part = c.parts[j];
    if (part.levels().empty()) continue;
    const auto& a = places[static_cast<std::size_t>(c.parent[j])];
    const auto& b = places[j];
    const float length = std::max(std::hypot(b[0] - a[0], b[1] - a[1]), 0.5f);
    const float rest = static_cast<float>(part.unit) / 128 * scale;  // the drawn bone's length on the canvas
    const auto parent = static_cast<std::size_t>(c.parent[j]);
    Placement p;
    p.x = static_cast<std::int32_t>((a[0] + b[0]) * 128);
    p.y = static_cast<std::int32_t>((a[1] + b[1]) * 128);
    p.angle = angle_of(b[0] - a[0], b[1] - a[1]) -
              angle_of(c.places[j][0] - c.places[parent][0], c.places[j][1] - c.places[parent][1]);
    // Foreshortened bones shrink as a whole: parts are not drawn along their bones, so they cannot shrink in length
    // alone.
    p.size = static_cast<std::int32_t>(std::sqrt(length * rest) * 128);
    tasks::draw_sprite(canvas_, part, p, figure.look);
  }
}

void MediaClip::figures() {
  Stage stage = random_stage(0, 2, 128);
  const int count = draws_.chance(190) ? 1 : 2;
  std::vector<Figure> people;
  for (int k = 0; k < count; ++k) people.push_back(random_figure());
  tasks::Takes takes(canvas_);
  for (int f = 0; f < spec_.frames; ++f) {
    const auto draw_ground = [&] { draw(stage.ground, f, nullptr); };
    if (stage.ground.picture == nullptr) {
      takes.ground(ground_at(stage, f), draw_ground);
    } else {  // its rim may let through what was on the canvas before
      draw_ground();
    }
    for (const Thing& thing : stage.things) draw(thing, f, tasks::place(thing.motion, f, width_, height_));
    for (const Figure& figure : people) {
      const std::vector<Point3> joints = pose(figure, f);
      if (figure.character != nullptr) {
        draw_character(figure, joints);
      } else {
        draw_limbs(figure, joints);
      }
    }
    canvas_.write(frame(f));
  }
}

}  // namespace pretrain
