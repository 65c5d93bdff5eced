// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "segue/core/config.hpp"
#include "segue/tasks/draws.hpp"
#include "segue/tasks/generate/blocks.hpp"
#include "segue/tasks/generate/finish.hpp"
#include "segue/tasks/generate/motion.hpp"
#include "segue/tasks/generate/palette.hpp"
#include "segue/tasks/generate/scene.hpp"

SEGUE_NAMESPACE_BEGIN
namespace tasks {

namespace detail {

struct Actor {
  Body body;
  Motion motion;
};

struct Stage {
  Texture ground;
  Motion ground_motion;
  std::vector<Actor> actors;
};

/// Makes one clip: draws what happens, then the frames.
class ClipMaker {
 public:
  ClipMaker(std::uint64_t seed, std::uint64_t index, const ClipSpec& spec)
      : draws_(seed, index),
        spec_(spec),
        width_(spec.width * 256),
        height_(spec.height * 256),
        unit_(std::min(width_, height_) / 64),
        canvas_(spec.width, spec.height) {}

  void make(std::span<std::uint8_t> out) {
    out_ = out;
    const int kind = draws_.below(256);
    if (kind < 90) {
      objects();
    } else if (kind < 130) {
      camera_move();
    } else if (kind < 152) {
      figures();
    } else if (kind < 214) {
      change_of_scene();
    } else if (kind < 236) {
      draw_block_clip(draws_, canvas_, spec_.frames, out_);
    } else {
      moving_light();
    }
    finish_clip(draws_, spec_, out_);
  }

 private:
  std::span<std::uint8_t> frame(int f) { return clip_frame(spec_, out_, f); }

  Stage random_stage(int low, int high, int flat_chance = 60) {
    Stage stage;
    stage.ground = random_ground(draws_);
    stage.ground_motion.start = {width_ / 2, height_ / 2, 0, std::min(width_, height_) / 2, 256, 256};
    if (draws_.chance(50)) {
      stage.ground_motion.vx = draws_.between(-48, 48) * unit_ / 16;
      stage.ground_motion.vy = draws_.between(-48, 48) * unit_ / 16;
    }
    const int count = draws_.between(low, high);
    for (int k = 0; k < count; ++k) {
      const std::int32_t size = draws_.between(count > 4 ? 3 : 5, count > 3 ? 14 : 24) * unit_;
      Body body = random_body(draws_, flat_chance);
      if (k > 0 && draws_.chance(50)) body.outline = stage.actors.back().body.outline;
      if (k > 0 && draws_.chance(60)) body.texture = stage.actors.back().body.texture;
      stage.actors.push_back({body, random_motion(draws_, spec_.frames, width_, height_, unit_, size)});
    }
    return stage;
  }

  void show(const Stage& stage, int f, const Camera* camera) {
    const auto view = [&](const Motion& m) {
      const Placement p = place(m, f, width_, height_);
      return camera == nullptr ? p : seen(*camera, p, width_, height_);
    };
    canvas_.draw_background(stage.ground, view(stage.ground_motion));
    for (const Actor& actor : stage.actors) canvas_.draw(actor.body, view(actor.motion));
  }

  /// The same without a camera, which leaves out what stays: only where nothing but the placements changes.
  void take(Takes& takes, const Stage& stage, int f, std::span<std::uint8_t> out) {
    std::vector<Shown> shown = {{nullptr, place(stage.ground_motion, f, width_, height_)}};
    for (const Actor& actor : stage.actors) shown.push_back({&actor, place(actor.motion, f, width_, height_)});
    takes.take(
        shown, [&] { canvas_.draw_background(stage.ground, shown.front().at); },
        [&] {
          for (std::size_t k = 0; k < stage.actors.size(); ++k) canvas_.draw(stage.actors[k].body, shown[k + 1].at);
        },
        out);
  }

  void objects() {
    Stage stage = random_stage(1, 6);
    if (draws_.chance(40)) {  // a world of balls under one gravity
      for (Actor& a : stage.actors) {
        a.motion.path = Path::Bounce;
        a.motion.gravity = 20 * unit_ / 16;
      }
    }
    Takes takes(canvas_);
    for (int f = 0; f < spec_.frames; ++f) take(takes, stage, f, frame(f));
  }

  /// A still collage seen by a moving camera; sometimes its objects move as well.
  void camera_move() {
    Stage stage = random_stage(4, 12);
    stage.ground_motion = Motion{};
    stage.ground_motion.start = {width_ / 2, height_ / 2, 0, std::min(width_, height_) / 2, 256, 256};
    const bool still = draws_.chance(190);
    for (Actor& a : stage.actors) {
      const Placement start = a.motion.start;
      if (still) a.motion = Motion{};
      a.motion.start = start;
      a.motion.start.alpha = 256;
      a.motion.start.x = draws_.between(-width_ / 2, width_ * 3 / 2);
      a.motion.start.y = draws_.between(-height_ / 2, height_ * 3 / 2);
    }
    Camera camera{width_ / 2 + draws_.between(-8, 8) * unit_, height_ / 2 + draws_.between(-8, 8) * unit_,
                  draws_.between(160, 420), draws_.chance(90) ? draws_.between(-6000, 6000) : 0};
    const std::int32_t vx = draws_.between(-80, 80) * unit_ / 16, vy = draws_.between(-80, 80) * unit_ / 16;
    const std::int32_t zoom = draws_.chance(140) ? draws_.between(224, 296) : 256;
    const std::int32_t spin = draws_.chance(90) ? draws_.between(-1800, 1800) : 0;
    for (int f = 0; f < spec_.frames; ++f) {
      show(stage, f, &camera);
      canvas_.write(frame(f));
      camera.x += vx;
      camera.y += vy;
      camera.zoom = clamp_int((camera.zoom * zoom) >> 8, 64, 2048);
      camera.angle += spin;
    }
  }

  /// Figures of a trunk and limbs that swing at their joints.
  void figures() {
    Stage stage = random_stage(0, 2);
    struct Limb {
      std::int32_t x, y, length, amplitude, phase, rest;
      Body body;
    };
    const int count = draws_.between(1, 3);
    struct Figure {
      Body trunk;
      Motion motion;
      std::vector<Limb> limbs;
      std::int32_t pace;
    };
    std::vector<Figure> figures;
    for (int k = 0; k < count; ++k) {
      const std::int32_t size = draws_.between(6, 13) * unit_;
      Figure figure{random_body(draws_),
                    random_motion(draws_, spec_.frames, width_, height_, unit_, size),
                    {},
                    draws_.between(3000, 12000)};
      figure.motion.start.x = draws_.between(width_ / 5, width_ * 4 / 5);
      figure.motion.start.y = draws_.between(height_ / 5, height_ * 4 / 5);
      figure.motion.start.stretch = 256;
      const int limbs = draws_.between(2, 6);
      for (int i = 0; i < limbs; ++i) {
        const Direction at = direction(65536 * i / limbs + draws_.between(-3000, 3000));
        Part bone;
        bone.kind = draws_.chance(180) ? PartKind::Capsule : PartKind::Ellipse;
        bone.x = 2600;
        bone.half_x = 2600;
        bone.half_y = draws_.between(700, 1500);
        Limb limb{at.cos * 3 / 4,      at.sin * 3 / 4,    0,           draws_.between(1000, 8000),
                  draws_.below(65536), 65536 * i / limbs, figure.trunk};
        limb.body.outline = Outline{};
        limb.body.outline.add(bone);
        if (draws_.chance(100)) limb.body.texture = random_texture(draws_, 160);
        figure.limbs.push_back(limb);
      }
      figures.push_back(figure);
    }
    for (int f = 0; f < spec_.frames; ++f) {
      show(stage, f, nullptr);
      for (const Figure& figure : figures) {
        const Placement trunk = place(figure.motion, f, width_, height_);
        const Direction turned = direction(trunk.angle);
        for (const Limb& limb : figure.limbs) {
          Placement p = trunk;
          p.x += (((limb.x * turned.cos - limb.y * turned.sin) >> 12) * (trunk.size >> 4)) >> 8;
          p.y += (((limb.x * turned.sin + limb.y * turned.cos) >> 12) * (trunk.size >> 4)) >> 8;
          p.angle = trunk.angle + limb.rest + ((limb.amplitude * direction(limb.phase + figure.pace * f).sin) >> 12);
          p.size = trunk.size * 3 / 4;
          canvas_.draw(limb.body, p);
        }
        canvas_.draw(figure.trunk, trunk);
      }
      canvas_.write(frame(f));
    }
  }

  /// A scene that becomes another: by a cut, a blend, a wipe or tiles. The other scene shares shapes with the first:
  /// surfaces change or go plain, the ground is replaced, things leave, come or move.
  void change_of_scene() {
    Stage before = random_stage(1, 6, 40);
    // One or two kinds of surface, so that "all of a kind" can change at once.
    const Texture kind = random_texture(draws_, 20);
    std::vector<bool> chosen;
    for (Actor& a : before.actors) {
      chosen.push_back(chosen.empty() || draws_.chance(90));
      if (chosen.back()) a.body.texture = kind;
      const bool moves = draws_.chance(60);
      const Placement start = a.motion.start;
      if (!moves) a.motion = Motion{};
      a.motion.start = start;
      a.motion.start.alpha = 256;
      a.motion.fade = 0;
    }
    if (draws_.chance(200)) before.ground_motion.vx = before.ground_motion.vy = 0;
    Stage after = before;
    const int ground_edit = draws_.below(4), chosen_edit = draws_.below(5), other_edit = draws_.below(5);
    if (ground_edit == 1 || ground_edit == 2) after.ground = flat_texture(plain_ground(draws_));
    if (ground_edit == 3) after.ground = random_ground(draws_);
    const Texture chosen_flat = flat_texture(random_colour(draws_)), other_flat = flat_texture(random_colour(draws_));
    const Texture chosen_new = random_texture(draws_), other_new = random_texture(draws_);
    for (std::size_t k = 0; k < after.actors.size(); ++k) {
      Actor& a = after.actors[k];
      const int edit = chosen[k] ? chosen_edit : other_edit;
      if (edit == 1 || edit == 2) a.body.texture = chosen[k] ? chosen_flat : other_flat;
      if (edit == 3) a.body.texture = chosen[k] ? chosen_new : other_new;
      if (edit == 4) a.motion.start.alpha = 0;
      if ((edit == 1 || edit == 2) && draws_.chance(128)) a.body.border = 0;
    }
    if (draws_.chance(24)) after.actors.push_back(random_stage(1, 1).actors.front());
    // Things that all move at once, but never to the places of a mirrored picture: that is a task of its own.
    if (draws_.chance(24)) {
      for (Actor& a : after.actors) a.motion.start.x += a.motion.start.x < width_ / 2 ? width_ / 2 : -width_ / 2;
    }
    const SceneChange change(draws_, spec_);
    std::vector<std::uint8_t> other(frame(0).size());
    Takes takes_before(canvas_), takes_after(canvas_);
    for (int f = 0; f < spec_.frames; ++f) {
      const std::span<std::uint8_t> to = frame(f);
      if (change.cuts() && change.is_after(f)) {
        take(takes_after, after, f, to);
      } else {
        take(takes_before, before, f, to);
      }
      if (change.cuts()) continue;
      take(takes_after, after, f, other);
      change.mix_into(spec_, f, to, other);
    }
  }

  /// Light, colour and pattern change while things stand still or move.
  void moving_light() {
    Stage stage = random_stage(0, 5);
    const Rgb tint_from = draws_.chance(128) ? Rgb{255, 255, 255} : random_colour(draws_);
    const Rgb tint_to = random_colour(draws_);
    const int style = draws_.below(3);
    const std::int32_t phase_step = draws_.between(-1800, 1800), turn = draws_.between(-2500, 2500);
    const std::int32_t start_turn = draws_.below(65536);
    for (int f = 0; f < spec_.frames; ++f) {
      if (style > 0) {
        std::vector<Texture*> textures = {&stage.ground};
        for (Actor& a : stage.actors) textures.push_back(&a.body.texture);
        for (Texture* t : textures) {
          t->phase_u += phase_step;
          if (style == 2) {
            const Direction d = direction(start_turn + turn * f);
            t->turn_cos = d.cos;
            t->turn_sin = d.sin;
          }
        }
      }
      show(stage, f, nullptr);
      if (style == 0) {
        const Rgb tint = mix(tint_from, tint_to, spec_.frames > 1 ? 256 * f / (spec_.frames - 1) : 0);
        const std::int32_t scale[3] = {tint.r, tint.g, tint.b};
        for (int c = 0; c < 3; ++c) {
          for (std::int32_t& v : canvas_.plane(c)) v = (v * (scale[c] + 1)) >> 8;
        }
      }
      canvas_.write(frame(f));
    }
  }

  Draws draws_;
  ClipSpec spec_;
  std::int32_t width_, height_, unit_;  // Q8 pixels
  Canvas canvas_;
  std::span<std::uint8_t> out_;
};

}  // namespace detail

/// Draws clip `index` of the endless corpus that `seed` names: (F, H, W, 3) bytes, the same with every compiler.
///
/// What is in it: objects of any outline and surface that move, bounce, swing, orbit, turn, grow, fade, appear and
/// cover each other over patterns and smooth noise; camera moves over stills; figures with swinging limbs; scenes that
/// become other scenes sharing shapes with them; blocks on a grid; changes of light and colour; then mirror, reversal,
/// channel permutation and contrast. No clip shows a picture turning into its white-on-black mask.
///
/// Cost: about 0.5 ms for 5 x 64 x 64 on one core. Raises InputError for a bad spec or an `out` of another size.
inline void generate_clip(std::uint64_t seed, std::uint64_t index, const ClipSpec& spec, std::span<std::uint8_t> out) {
  check_clip(spec, out, "generate_clip");
  detail::ClipMaker(seed, index, spec).make(out);
}

}  // namespace tasks
SEGUE_NAMESPACE_END
