// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "pretrain/bvh.hpp"
#include "segue/io/json.hpp"
#include "segue/tasks/generate/sprite.hpp"

// What clips are made from, read from the folders that a configuration names.
namespace pretrain {

namespace tasks = segue::tasks;

/// A sheet of 13 x 21 cells of 64 x 64 pixels, cut to what is in each cell (Liberated Pixel Cup).
struct Sheet {
  static constexpr int columns = 13, rows = 21, cell = 64;
  struct Cut {
    int x = 0, y = 0, width = 0, height = 0;
    std::size_t first = 0;  ///< of its pixels
  };

  std::string path;
  bool poses_all = true;  ///< false: nothing is drawn for thrusting and shooting
  std::vector<Cut> cuts;
  std::vector<tasks::PackedPixel> pixels;

  /// Lays a cell over 64 x 64 pixels.
  void lay(int row, int column, std::vector<tasks::PackedPixel>& onto) const;
};

/// The layers of one sex, lowest first; any but the body may be empty.
struct Wardrobe {
  static constexpr std::array<const char*, 9> slots = {"body", "feet", "legs",  "torso",  "belt",
                                                       "head", "hair", "hands", "weapons"};
  std::array<std::vector<Sheet>, slots.size()> layers;
};

/// Frames of one size, one after the other: an animation with alpha or a film.
struct Sequence {
  std::string name;
  std::vector<tasks::Sprite> frames;
};

/// A drawn figure cut along its bones. Bone k leads from joint `parent[k]` to joint k.
struct Character {
  std::vector<std::string> joints;
  std::vector<int> parent;
  std::vector<std::array<float, 2>> places;  ///< pixels of the shrunk drawing
  std::vector<tasks::Sprite> parts;          ///< of a joint's bone: origin at its middle, its half is the unit
  float height = 0;                          ///< pixels
};

/// A recorded motion as places of joints; the axis that points up is found, the start is moved to the origin.
struct Motion3 {
  std::vector<std::string> joints;
  std::vector<int> parent;
  int frames = 0;
  double frame_seconds = 0;
  float height = 1;            ///< of the skeleton
  std::vector<Point3> places;  ///< (frames, joints): right, down, away

  const Point3& at(int frame, std::size_t joint) const {
    return places[static_cast<std::size_t>(frame) * joints.size() + joint];
  }
  int find(std::string_view joint) const;
};

/// All of it. Nothing changes after loading, so that threads may share it.
struct Media {
  std::array<Wardrobe, 2> wardrobes;
  std::vector<Sequence> animations;
  std::vector<tasks::Sprite> cutouts;
  std::vector<Character> characters;
  std::vector<Motion3> motions;
  std::vector<Sequence> films;

  bool has_sprites() const { return !wardrobes[0].layers[0].empty() || !animations.empty(); }
  std::size_t bytes() const;
};

/// Reads the folders of `config`, an object of lists: "sheets", "animations", "cutouts", "characters", "motions",
/// "films"; relative ones are looked for in `root`.
/// A folder that is not there is left out, and `missing` gets its name. Raises InputError for a file that is there but
/// is not what it should be. Pictures are decoded by several threads; the result does not depend on how many.
Media load_media(const segue::io::Json& config, const std::string& root, const std::string& where,
                 std::vector<std::string>& missing);

}  // namespace pretrain
