// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#include "pretrain/media_clips.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "segue/tasks/generate/flows.hpp"

namespace pretrain {

using tasks::Motion;
using tasks::Path;
using tasks::Placement;
using tasks::Rgb;
using tasks::Sprite;

namespace {

/// Rows of a sheet and what they show: spell, thrust, walk, slash, shoot, each up, left, down and right, and hurt.
constexpr std::array<int, Sheet::rows> row_frames = {7, 7, 7, 7, 8, 8, 8, 8, 9, 9, 9, 9, 6, 6, 6, 6, 13, 13, 13, 13, 6};
constexpr bool is_walk(int row) { return row >= 8 && row < 12; }
constexpr bool is_thrust_or_shot(int row) { return (row >= 4 && row < 8) || (row >= 16 && row < 20); }

/// Of 256, how often a layer is worn, by slot.
constexpr std::array<int, Wardrobe::slots.size()> worn = {256, 160, 200, 210, 60, 70, 200, 60, 110};

}  // namespace

MediaClip::MediaClip(const Media& media, tasks::Draws& draws, const tasks::ClipSpec& spec, std::span<std::uint8_t> out)
    : media_(media),
      draws_(draws),
      spec_(spec),
      width_(spec.width * 256),
      height_(spec.height * 256),
      unit_(std::min(width_, height_) / 64),
      canvas_(spec.width, spec.height),
      out_(out) {}

MediaClip::Ground MediaClip::random_ground() {
  Ground ground;
  ground.motion.start = {width_ / 2, height_ / 2, 0, std::min(width_, height_) / 2, 256, 256};
  if (!media_.films.empty() && draws_.chance(50)) {
    ground.picture = &pick(pick(media_.films).frames);
    ground.window = random_window(*ground.picture);
    if (draws_.chance(128)) ground.look = random_look();
    return ground;
  }
  ground.texture = tasks::random_ground(draws_);
  if (draws_.chance(40)) ground.texture = tasks::flat_texture(draws_.chance(60) ? Rgb{} : tasks::random_colour(draws_));
  if (draws_.chance(40)) {
    ground.motion.vx = draws_.between(-48, 48) * unit_ / 16;
    ground.motion.vy = draws_.between(-48, 48) * unit_ / 16;
  }
  return ground;
}

MediaClip::Ground MediaClip::plain_ground(const Rgb& colour) {
  Ground ground;
  ground.texture = tasks::flat_texture(colour);
  ground.motion.start = {width_ / 2, height_ / 2, 0, std::min(width_, height_) / 2, 256, 256};
  return ground;
}

tasks::SpriteLook MediaClip::random_look() {
  tasks::SpriteLook look;
  if (draws_.chance(70)) {
    for (std::int32_t& g : look.gain) g = draws_.between(110, 330);
  } else if (draws_.chance(50)) {
    look.gain.fill(draws_.between(110, 340));
  }
  if (draws_.chance(24)) {
    look.colour = tasks::random_colour(draws_);
    look.share = draws_.between(40, 160);
  }
  return look;
}

std::int32_t MediaClip::random_size(int count) {
  return draws_.between(count > 4 ? 7 : 9, count > 3 ? 17 : 28) * unit_;
}

/// A sprite a frame: a character in some clothes, or a creature.
std::vector<const Sprite*> MediaClip::performance() {
  std::vector<const Sprite*> frames;
  const int stride = draws_.chance(90) ? 2 : 1;
  const bool has_animations = !media_.animations.empty();
  if (has_animations && (media_.wardrobes[0].layers[0].empty() || draws_.chance(90))) {
    const Sequence& sequence = pick(media_.animations);
    const int n = static_cast<int>(sequence.frames.size());
    const int start = draws_.below(std::max(n - (spec_.frames - 1) * stride, 1));
    for (int f = 0; f < spec_.frames; ++f) {
      frames.push_back(&sequence.frames[static_cast<std::size_t>(std::min(start + f * stride, n - 1))]);
    }
    return frames;
  }
  const auto sex = static_cast<std::size_t>(draws_.below(2));
  const Wardrobe& wardrobe = media_.wardrobes[media_.wardrobes[sex].layers[0].empty() ? 0 : sex];
  const int row = draws_.chance(110) ? draws_.between(8, 11) : draws_.below(Sheet::rows);
  std::vector<const Sheet*> layers;
  for (std::size_t slot = 0; slot < worn.size(); ++slot) {
    if (wardrobe.layers[slot].empty() || !draws_.chance(worn[slot])) continue;
    const Sheet& sheet = pick(wardrobe.layers[slot]);
    if (sheet.poses_all || !is_thrust_or_shot(row)) layers.push_back(&sheet);
  }
  const int n = row_frames[static_cast<std::size_t>(row)];
  const int start = is_walk(row) ? draws_.below(8) : draws_.below(std::max(n - (spec_.frames - 1) * stride, 1));
  for (int f = 0; f < spec_.frames; ++f) {
    // Column 0 of a walk stands still; the eight steps that follow are a circle.
    const int column = is_walk(row) ? 1 + (start + f * stride) % 8 : std::min(start + f * stride, n - 1);
    std::vector<tasks::PackedPixel> pixels(static_cast<std::size_t>(Sheet::cell * Sheet::cell));
    for (const Sheet* sheet : layers) sheet->lay(row, column, pixels);
    made_.emplace_back(Sheet::cell, Sheet::cell, pixels);
    frames.push_back(&made_.back());
  }
  return frames;
}

/// Any single sprite.
const Sprite& MediaClip::still() {
  if (!media_.cutouts.empty() && (!media_.has_sprites() || draws_.chance(190))) return pick(media_.cutouts);
  if (!media_.animations.empty()) return pick(pick(media_.animations).frames);
  return *performance().front();
}

MediaClip::Thing MediaClip::random_thing(int count, int shape_chance) {
  Thing thing;
  const std::int32_t size = random_size(count);
  if (draws_.chance(shape_chance)) {
    thing.body = tasks::random_body(draws_);
    thing.motion = tasks::random_motion(draws_, spec_.frames, width_, height_, unit_, size * 3 / 4);
  } else {
    thing.frames = {&still()};
    thing.look = random_look();
    thing.motion = tasks::random_motion(draws_, spec_.frames, width_, height_, unit_, size);
    thing.motion.start.stretch = draws_.chance(60) ? draws_.between(215, 305) : 256;
    if (draws_.chance(128)) thing.motion.start.angle = draws_.between(-4000, 4000);
  }
  if (draws_.chance(40) && thing.motion.fade == 0) thing.motion.start.alpha = draws_.between(110, 230);
  return thing;
}

MediaClip::Stage MediaClip::random_stage(int low, int high, int shape_chance) {
  Stage stage{random_ground(), {}};
  const int count = draws_.between(low, high);
  for (int k = 0; k < count; ++k) stage.things.push_back(random_thing(count, shape_chance));
  return stage;
}

/// Where a picture must be so that its place (cx, cy) is in the middle; `scale` is canvas pixels a picture pixel.
Placement MediaClip::window(const Sprite& picture, float cx, float cy, float scale, int angle) const {
  const tasks::Direction d = tasks::direction(angle);
  const float dx = (cx - static_cast<float>(picture.origin_x) / 256) * scale * 256;
  const float dy = (cy - static_cast<float>(picture.origin_y) / 256) * scale * 256;
  const float c = static_cast<float>(d.cos) / 4096, s = static_cast<float>(d.sin) / 4096;
  Placement p;
  p.x = width_ / 2 - static_cast<std::int32_t>(dx * c - dy * s);
  p.y = height_ / 2 - static_cast<std::int32_t>(dx * s + dy * c);
  p.angle = angle;
  p.size = static_cast<std::int32_t>(static_cast<float>(picture.unit) * scale);
  return p;
}

/// A part of a picture that covers the canvas.
Placement MediaClip::random_window(const Sprite& picture) {
  const auto w = static_cast<float>(picture.width()), h = static_cast<float>(picture.height());
  const auto cw = static_cast<float>(spec_.width), ch = static_cast<float>(spec_.height);
  const float least = std::max(cw / (w - 2), ch / (h - 2));
  const float scale = least * static_cast<float>(draws_.between(256, 420)) / 256;
  const float free_x = w - 2 - cw / scale, free_y = h - 2 - ch / scale;
  const float cx = 1 + cw / scale / 2 + free_x * static_cast<float>(draws_.below(257)) / 256;
  const float cy = 1 + ch / scale / 2 + free_y * static_cast<float>(draws_.below(257)) / 256;
  return window(picture, cx, cy, scale, 0);
}

const Sprite* MediaClip::sprite_of(const Thing& thing, int f) {
  return thing.frames.empty() ? nullptr : thing.frames[std::min(static_cast<std::size_t>(f), thing.frames.size() - 1)];
}

void MediaClip::draw(const Thing& thing, int f, const Placement& at) {
  if (const Sprite* sprite = sprite_of(thing, f)) {
    tasks::draw_sprite(canvas_, *sprite, at, thing.look);
  } else {
    canvas_.draw(thing.body, at);
  }
}

void MediaClip::draw(const Ground& ground, int f, const tasks::Camera* camera) {
  if (ground.picture != nullptr) {
    tasks::draw_sprite(canvas_, *ground.picture, ground.window, ground.look);
    return;
  }
  const Placement at = tasks::place(ground.motion, f, width_, height_);
  canvas_.draw_background(ground.texture, camera == nullptr ? at : tasks::seen(*camera, at, width_, height_));
}

tasks::Shown MediaClip::ground_at(const Stage& stage, int f) const {
  return {nullptr, tasks::place(stage.ground.motion, f, width_, height_)};
}

void MediaClip::show(const Stage& stage, int f, const tasks::Camera* camera) {
  draw(stage.ground, f, camera);
  for (const Thing& thing : stage.things) {
    const Placement at = tasks::place(thing.motion, f, width_, height_);
    draw(thing, f, camera == nullptr ? at : tasks::seen(*camera, at, width_, height_));
  }
}

void MediaClip::take(tasks::Takes& takes, const Stage& stage, int f, std::span<std::uint8_t> out) {
  std::vector<tasks::Shown> shown = {ground_at(stage, f)};
  for (const Thing& thing : stage.things) {
    shown.push_back({sprite_of(thing, f), tasks::place(thing.motion, f, width_, height_)});
  }
  takes.take(
      shown, [&] { draw(stage.ground, f, nullptr); },
      [&] {
        for (std::size_t k = 0; k < stage.things.size(); ++k) draw(stage.things[k], f, shown[k + 1].at);
      },
      out);
}

/// All frames of a stage.
void MediaClip::shoot(const Stage& stage) {
  tasks::Takes takes(canvas_);
  for (int f = 0; f < spec_.frames; ++f) take(takes, stage, f, frame(f));
}

void MediaClip::sprites() {
  Stage stage = random_stage(0, 2, 128);
  for (Thing& thing : stage.things) {  // props
    const Placement start = thing.motion.start;
    if (draws_.chance(200)) thing.motion = Motion{};
    thing.motion.start = start;
    thing.motion.start.alpha = 256;
  }
  const int count = draws_.chance(150) ? 1 : draws_.between(2, 3);
  for (int k = 0; k < count; ++k) {
    Thing thing;
    thing.frames = performance();
    if (draws_.chance(50)) thing.look = random_look();
    thing.motion.start.size = draws_.between(count > 1 ? 18 : 22, count > 1 ? 32 : 46) * unit_;
    thing.motion.start.x = width_ / 2 + draws_.between(-20, 20) * unit_;
    thing.motion.start.y = height_ / 2 + draws_.between(-14, 14) * unit_;
    if (draws_.chance(128)) {
      thing.motion.vx = draws_.between(-60, 60) * unit_ / 16;
      if (draws_.chance(100)) thing.motion.vy = draws_.between(-40, 40) * unit_ / 16;
    }
    if (draws_.chance(24)) thing.motion.spin = draws_.between(-1500, 1500);
    stage.things.push_back(std::move(thing));
  }
  shoot(stage);
}

void MediaClip::cutouts() {
  Stage stage = random_stage(1, 5, 80);
  if (draws_.chance(60)) {  // a crowd of one kind
    const auto frames = stage.things.front().frames;
    for (Thing& thing : stage.things) {
      if (!frames.empty()) thing.frames = frames;
    }
  }
  shoot(stage);
}

void MediaClip::camera() {
  if (!media_.films.empty() && draws_.chance(110)) return pan_over_picture(pick(pick(media_.films).frames));
  Stage stage = random_stage(4, 11, 60);
  stage.ground.picture = nullptr;
  const bool still_things = draws_.chance(190);
  for (Thing& thing : stage.things) {
    const Placement start = thing.motion.start;
    if (still_things) thing.motion = Motion{};
    thing.motion.start = start;
    thing.motion.start.alpha = 256;
    thing.motion.start.x = draws_.between(-width_ / 2, width_ * 3 / 2);
    thing.motion.start.y = draws_.between(-height_ / 2, height_ * 3 / 2);
  }
  stage.ground.motion.vx = stage.ground.motion.vy = 0;
  tasks::Camera camera{width_ / 2 + draws_.between(-8, 8) * unit_, height_ / 2 + draws_.between(-8, 8) * unit_,
                       draws_.between(180, 400), draws_.chance(60) ? draws_.between(-5000, 5000) : 0};
  const std::int32_t vx = draws_.between(-80, 80) * unit_ / 16, vy = draws_.between(-80, 80) * unit_ / 16;
  const std::int32_t zoom = draws_.chance(140) ? 256 + draws_.between(-112, 128) / std::max(spec_.frames - 1, 1) : 256;
  const std::int32_t spin = draws_.chance(80) ? draws_.between(-1500, 1500) : 0;
  for (int f = 0; f < spec_.frames; ++f) {
    show(stage, f, &camera);
    canvas_.write(frame(f));
    camera.x += vx;
    camera.y += vy;
    camera.zoom = std::clamp((camera.zoom * zoom) >> 8, 96, 1024);
    camera.angle += spin;
  }
}

void MediaClip::pan_over_picture(const Sprite& picture) {
  const auto w = static_cast<float>(picture.width()), h = static_cast<float>(picture.height());
  const auto cw = static_cast<float>(spec_.width), ch = static_cast<float>(spec_.height);
  const bool turns = draws_.chance(70);
  // Turned windows stay inside if their diagonal fits.
  const float least = turns ? std::hypot(cw, ch) / (std::min(w, h) - 2) : std::max(cw / (w - 2), ch / (h - 2));
  struct View {
    float scale, cx, cy;
    int angle;
  };
  const auto view = [&](float scale) {
    const float half_x = turns ? std::hypot(cw, ch) / scale / 2 : cw / scale / 2;
    const float half_y = turns ? half_x : ch / scale / 2;
    const auto place = [&](float extent, float half) {
      return 1 + half + (extent - 2 - 2 * half) * static_cast<float>(draws_.below(257)) / 256;
    };
    const float cx = place(w, half_x);
    return View{scale, cx, place(h, half_y), turns ? draws_.between(-5000, 5000) : 0};
  };
  // The scale changes by less than a half: no clip may show a picture becoming twice as large.
  const float scale = least * static_cast<float>(draws_.between(280, 460)) / 256;
  const View a = view(scale), b = view(std::max(least, scale * static_cast<float>(draws_.between(190, 350)) / 256));
  const tasks::SpriteLook look = draws_.chance(80) ? random_look() : tasks::SpriteLook{};
  for (int f = 0; f < spec_.frames; ++f) {
    const float t = spec_.frames > 1 ? static_cast<float>(f) / static_cast<float>(spec_.frames - 1) : 0;
    const auto between = [t](float from, float to) { return from + (to - from) * t; };
    const int angle = a.angle + static_cast<int>(static_cast<float>(b.angle - a.angle) * t);
    tasks::draw_sprite(canvas_, picture,
                       window(picture, between(a.cx, b.cx), between(a.cy, b.cy), between(a.scale, b.scale), angle),
                       look);
    canvas_.write(frame(f));
  }
}

void MediaClip::bodies() {
  Stage stage = random_stage(1, 4, 110);
  stage.ground.motion.vx = stage.ground.motion.vy = 0;
  const bool swings = draws_.chance(100);
  const std::int32_t gravity = draws_.chance(180) ? draws_.between(8, 40) * unit_ / 16 : 0;
  std::vector<Thing> things;
  for (Thing& thing : stage.things) {
    Motion& m = thing.motion;
    const Placement start = m.start;
    m = Motion{};
    m.start = start;
    m.start.alpha = 256;
    m.start.size = std::min(m.start.size, 18 * unit_);
    if (swings) {
      m.path = Path::Swing;
      m.vy = draws_.between(16, 38) * unit_;
      m.start.y = draws_.between(-8, 16) * unit_;
      m.amplitude = draws_.between(4000, 14000);
      m.spin = draws_.between(2500, 9000);
      m.phase = draws_.below(65536);
      Thing rod;
      rod.body.texture = tasks::flat_texture(tasks::random_colour(draws_));
      tasks::Part bar;
      bar.kind = tasks::PartKind::Box;
      bar.half_x = draws_.between(60, 200);
      rod.body.outline.add(bar);
      rod.motion = m;
      // A bar as long as the rod around a place half as far from the pivot.
      rod.motion.vy = m.vy / 2;
      rod.motion.start.size = m.vy / 2;
      rod.motion.start.stretch = 256;
      rod.motion.start.angle = 0;
      things.push_back(std::move(rod));
    } else {
      m.path = Path::Bounce;
      m.vx = draws_.between(-110, 110) * unit_ / 16;
      m.vy = draws_.between(-110, 60) * unit_ / 16;
      m.gravity = gravity;
      if (draws_.chance(128)) m.spin = draws_.between(-5000, 5000);
    }
    things.push_back(std::move(thing));
  }
  stage.things = std::move(things);
  shoot(stage);
}

void MediaClip::films() {
  const Sequence& film = pick(media_.films);
  const int n = static_cast<int>(film.frames.size());
  const int most = std::max((n - 1) / std::max(spec_.frames - 1, 1), 1);
  const int stride = draws_.between(1, std::min(most, 6));
  const int start = draws_.below(std::max(n - (spec_.frames - 1) * stride, 1));
  const Placement at = random_window(film.frames.front());
  const tasks::SpriteLook look = draws_.chance(60) ? random_look() : tasks::SpriteLook{};
  for (int f = 0; f < spec_.frames; ++f) {
    const int k = std::min(start + f * stride, n - 1);
    tasks::draw_sprite(canvas_, film.frames[static_cast<std::size_t>(k)], at, look);
    canvas_.write(frame(f));
  }
}

void MediaClip::warps() {
  if (!media_.films.empty() && draws_.chance(128)) {
    const Sprite& picture = pick(pick(media_.films).frames);
    tasks::draw_sprite(canvas_, picture, random_window(picture));
  } else {
    show(random_stage(2, 6, 80), 0);
  }
  canvas_.write(frame(0));
  const tasks::Flow flow = tasks::random_flow(draws_, spec_.frames);
  const int w = spec_.width, h = spec_.height, side = std::min(w, h), stride = w + 1;
  // A column and a row more than the picture has: at its last ones, their share is 0.
  std::vector<tasks::PackedPixel> base(static_cast<std::size_t>(stride) * static_cast<std::size_t>(h + 1));
  const std::uint8_t* from = frame(0).data();
  for (int y = 0; y < h; ++y) {
    tasks::PackedPixel* line = base.data() + static_cast<std::ptrdiff_t>(y) * stride;
    for (int x = 0; x < w; ++x, from += 3) line[x] = from[0] | from[1] << 8 | from[2] << 16;
  }
  // Places outside the picture are found by reflection, in 1/256 pixels. Most are inside and need no division.
  const auto reflected = [](std::int32_t x, int n) {
    return x >= 0 && x < (n - 1) * 256 ? x : tasks::detail::reflect(x, 0, (n - 1) * 256);
  };
  const std::vector<std::int32_t> across = tasks::flow_places(w, side), down = tasks::flow_places(h, side);
  constexpr int chunk = tasks::detail::sample_chunk;
  std::array<std::int32_t, chunk> u, v, place;
  tasks::detail::Corners corners;
  for (int f = 0; f < spec_.frames; ++f) {
    std::uint8_t* to = frame(f).data();
    for (int y = 0; y < h; ++y) {
      for (int x = 0; x < w; x += chunk) {
        const int n = std::min(chunk, w - x);
        std::copy_n(across.begin() + x, n, u.begin());
        std::fill_n(v.begin(), n, down[static_cast<std::size_t>(y)]);
        flow.carry(f, n, u.data(), v.data());
        for (std::size_t i = 0; i < static_cast<std::size_t>(n); ++i) {
          u[i] = reflected(((u[i] * side) >> 5) + w * 128 - 128, w);
          v[i] = reflected(((v[i] * side) >> 5) + h * 128 - 128, h);
          place[i] = (v[i] >> 8) * stride + (u[i] >> 8);
        }
        corners.fetch(base.data(), stride, place.data(), n);
        for (std::size_t i = 0; i < static_cast<std::size_t>(n); ++i, to += 3) {
          const auto fx = static_cast<std::uint32_t>(u[i] & 255), fy = static_cast<std::uint32_t>(v[i] & 255);
          const auto channel = [&](int shift) {
            const auto byte = [shift](tasks::PackedPixel p) { return (p >> shift) & 255u; };
            const std::uint32_t top = byte(corners.a(i)) * (256 - fx) + byte(corners.b(i)) * fx;
            const std::uint32_t bottom = byte(corners.c(i)) * (256 - fx) + byte(corners.d(i)) * fx;
            return static_cast<std::uint8_t>((top * (256 - fy) + bottom * fy + 32768) >> 16);
          };
          to[0] = channel(0);
          to[1] = channel(8);
          to[2] = channel(16);
        }
      }
    }
  }
}

void MediaClip::scenes() {
  Stage before = random_stage(2, 6, 70);
  // Some things are of one kind, so that all of a kind can change at once.
  Thing kind = random_thing(4, 70);
  std::vector<bool> chosen;
  const bool still_things = draws_.chance(200);
  for (Thing& thing : before.things) {
    chosen.push_back(chosen.empty() || draws_.chance(90));
    const Motion motion = thing.motion;
    if (chosen.back()) {
      thing.frames = kind.frames;
      thing.body = kind.body;
      thing.look = kind.look;
    }
    if (still_things) {
      thing.motion = Motion{};
      thing.motion.start = motion.start;
    }
    thing.motion.start.alpha = 256;
    thing.motion.fade = 0;
    thing.motion.appears = 0;
  }
  if (still_things) before.ground.motion.vx = before.ground.motion.vy = 0;
  const auto is_flat = [](const Ground& ground) {
    return ground.picture == nullptr && ground.texture.pattern == tasks::Pattern::Flat;
  };
  if (is_flat(before.ground)) before.ground = plain_ground(tasks::plain_ground(draws_));
  Stage after = before;
  const int ground_edit = draws_.below(5), chosen_edit = draws_.below(6), other_edit = draws_.below(6);
  if (ground_edit == 1 || ground_edit == 2) after.ground = plain_ground(tasks::plain_ground(draws_));
  if (ground_edit == 3) after.ground = random_ground();
  if (is_flat(after.ground) && ground_edit == 3) after.ground = plain_ground(tasks::plain_ground(draws_));
  if (ground_edit == 4 && before.ground.picture != nullptr) after.ground.look = random_look();
  // Neither silhouettes nor what is behind them are black or white: those would be masks.
  const Rgb chosen_flat = tasks::plain_ground(draws_), other_flat = tasks::plain_ground(draws_);
  const Thing chosen_new = random_thing(4, 70), other_new = random_thing(4, 70);
  const tasks::SpriteLook chosen_look = random_look(), other_look = random_look();
  for (std::size_t k = 0; k < after.things.size(); ++k) {
    Thing& thing = after.things[k];
    switch (chosen[k] ? chosen_edit : other_edit) {
      case 1:
      case 2:  // its silhouette
        thing.look.colour = chosen[k] ? chosen_flat : other_flat;
        thing.look.share = 256;
        thing.body.texture = tasks::flat_texture(thing.look.colour);
        if (draws_.chance(128)) thing.body.border = 0;
        break;
      case 3: {
        const Thing& other = chosen[k] ? chosen_new : other_new;
        thing.frames = other.frames;
        thing.body = other.body;
        thing.look = other.look;
        break;
      }
      case 4: thing.motion.start.alpha = 0; break;
      case 5: thing.look = chosen[k] ? chosen_look : other_look; break;
      default: break;
    }
  }
  tasks::SceneChange change(draws_, spec_);
  change.cut = tasks::frames_before_cut(spec_);  // where few-shot tasks have theirs
  std::vector<std::uint8_t> other(frame(0).size());
  tasks::Takes takes_before(canvas_), takes_after(canvas_);
  const auto picture = [&](tasks::Takes& takes, const Stage& stage, int f, std::span<std::uint8_t> to) {
    if (stage.ground.picture == nullptr) return take(takes, stage, f, to);
    // The rim of a halved picture may let through what was on the canvas before.
    show(stage, f);
    canvas_.write(to);
  };
  for (int f = 0; f < spec_.frames; ++f) {
    const std::span<std::uint8_t> to = frame(f);
    if (change.cuts() && change.is_after(f)) {
      picture(takes_after, after, f, to);
    } else {
      picture(takes_before, before, f, to);
    }
    if (change.cuts()) continue;
    picture(takes_after, after, f, other);
    change.mix_into(spec_, f, to, other);
  }
}

}  // namespace pretrain
