// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "pretrain/media.hpp"
#include "segue/tasks/generate/finish.hpp"

namespace pretrain {

/// What a clip shows.
enum class ClipKind : std::uint8_t {
  generated,  ///< `segue::tasks::generate_clip`
  blocks,     ///< `segue::tasks::draw_block_world`
  flows,      ///< flowing textures and warped pictures
  sprites,
  cutouts,
  camera,
  bodies,
  scenes,
  figures,
  films,
};
inline constexpr std::array<std::string_view, 10> clip_kinds = {"generated", "blocks", "flows",  "sprites", "cutouts",
                                                                "camera",    "bodies", "scenes", "figures", "films"};

/// An endless corpus of clips of (F, H, W, 3) bytes: clip `index` of `seed` is always the same.
///
/// A configuration (JSON) says what it is made of:
///   root     the folder in which the media are, relative to the file
///   media    lists of folders: sheets, animations, cutouts, characters, motions, films (see `load_media`)
///   shares   a number a kind of `clip_kinds`; kinds without one are not drawn
///   sources  where the media come from, for the model card; not read here
///
/// Nothing changes after construction: threads may share a corpus.
class Corpus {
 public:
  /// @param config a path; empty: the kinds that need no media, with equal shares but for half of generated clips.
  /// @param root takes the place of the configuration's where it is not empty.
  /// Raises InputError for a bad configuration, a bad media file, a spec that no generator draws, or if no kind is
  /// left.
  Corpus(const std::string& config, const std::string& root, const tasks::ClipSpec& spec);

  const tasks::ClipSpec& spec() const { return spec_; }

  /// Draws a clip. Raises InputError for `pixels` of another size.
  void clip(std::uint64_t seed, std::uint64_t index, std::span<std::uint8_t> pixels) const;
  /// The same of one kind. Raises InputError for a kind whose media are missing.
  void clip(ClipKind kind, std::uint64_t seed, std::uint64_t index, std::span<std::uint8_t> pixels) const;
  /// The kind of a clip.
  ClipKind kind_of(std::uint64_t seed, std::uint64_t index) const;

  /// The share of a kind, 0 … 1; the shares sum to 1.
  double share(ClipKind kind) const;
  /// Whether a kind can be drawn.
  bool has(ClipKind kind) const;

  const Media& media() const { return media_; }
  /// What is in it and what is not, in one line, for a log.
  const std::string& describe() const { return description_; }

 private:
  tasks::ClipSpec spec_;
  Media media_;
  std::array<double, clip_kinds.size()> shares_{};
  std::array<std::uint32_t, clip_kinds.size()> below_{};  ///< a word under this is of this kind or an earlier one
  std::string description_;
};

}  // namespace pretrain
