// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <span>
#include <vector>

#include "pretrain/media.hpp"
#include "segue/tasks/draws.hpp"
#include "segue/tasks/generate/finish.hpp"
#include "segue/tasks/generate/motion.hpp"
#include "segue/tasks/generate/palette.hpp"
#include "segue/tasks/generate/scene.hpp"
#include "segue/tasks/generate/sprite.hpp"

namespace pretrain {

/// Draws one clip from media: what happens, then the frames. No clip shows a picture turning into its white-on-black
/// mask, its edges or its joints, nor a grey picture that gains colour.
class MediaClip {
 public:
  MediaClip(const Media& media, tasks::Draws& draws, const tasks::ClipSpec& spec, std::span<std::uint8_t> out);

  void sprites();  ///< characters and creatures that act
  void cutouts();  ///< pictures and shapes that move, turn, grow, come, go and cover each other
  void camera();   ///< a still collage or photograph under a moving camera
  void bodies();   ///< things that bounce and swing
  void figures();  ///< skeletons of limbs and drawn characters, moved by recorded motions
  void films();    ///< a window of a real clip
  void warps();    ///< a collage or a photograph that is bent by a flow
  void scenes();   ///< a scene that becomes another which shares things with it

 private:
  /// Something that is drawn: a sprite a frame, or a shape.
  struct Thing {
    std::vector<const tasks::Sprite*> frames;  ///< empty: the shape
    tasks::Body body;
    tasks::Motion motion;
    tasks::SpriteLook look;
  };
  struct Ground {
    tasks::Texture texture;
    tasks::Motion motion;
    const tasks::Sprite* picture = nullptr;  ///< instead of the texture
    tasks::Placement window;
    tasks::SpriteLook look;
  };
  struct Stage {
    Ground ground;
    std::vector<Thing> things;
  };

  std::span<std::uint8_t> frame(int f) { return tasks::clip_frame(spec_, out_, f); }
  template <class T>
  const T& pick(const std::vector<T>& from) {
    return from[static_cast<std::size_t>(draws_.below(static_cast<int>(from.size())))];
  }

  Ground random_ground();
  Ground plain_ground(const tasks::Rgb& colour);
  tasks::SpriteLook random_look();
  std::int32_t random_size(int count);
  std::vector<const tasks::Sprite*> performance();
  const tasks::Sprite& still();
  Thing random_thing(int count, int shape_chance);
  Stage random_stage(int low, int high, int shape_chance);
  tasks::Placement window(const tasks::Sprite& picture, float cx, float cy, float scale, int angle) const;
  tasks::Placement random_window(const tasks::Sprite& picture);

  void draw(const Thing& thing, int f, const tasks::Placement& at);
  void draw(const Ground& ground, int f, const tasks::Camera* camera);
  static const tasks::Sprite* sprite_of(const Thing& thing, int f);
  tasks::Shown ground_at(const Stage& stage, int f) const;
  void show(const Stage& stage, int f, const tasks::Camera* camera = nullptr);
  void take(tasks::Takes& takes, const Stage& stage, int f, std::span<std::uint8_t> out);
  void shoot(const Stage& stage);
  void pan_over_picture(const tasks::Sprite& picture);

  struct Figure;
  Figure random_figure();
  std::vector<Point3> pose(const Figure& figure, int f) const;
  void draw_limbs(const Figure& figure, const std::vector<Point3>& joints);
  void draw_character(const Figure& figure, const std::vector<Point3>& joints);

  const Media& media_;
  tasks::Draws& draws_;
  tasks::ClipSpec spec_;
  std::int32_t width_, height_, unit_;  // Q8 pixels
  tasks::Canvas canvas_;
  std::span<std::uint8_t> out_;
  std::deque<tasks::Sprite> made_;  // addresses stay
};

}  // namespace pretrain
