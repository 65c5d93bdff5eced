// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#include "pretrain/corpus.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <vector>

#include "pretrain/media_clips.hpp"
#include "segue/core/posix.hpp"
#include "segue/tasks/draws.hpp"
#include "segue/tasks/generate/block_worlds.hpp"
#include "segue/tasks/generate/clips.hpp"
#include "segue/tasks/generate/flows.hpp"

namespace pretrain {

namespace {

/// Keeps the choice of the kind apart from the draws of `generate_clip`, which uses the seed as it is.
constexpr std::uint64_t kind_salt = 0xA24BAED4963EE407u, clip_salt = 0x9FB21C651E98DF25u;

/// Whether a part of 1 / `rarest` of the clip or more is seen to change, and its first frame is no plain colour.
bool shows_something(const tasks::ClipSpec& spec, std::span<const std::uint8_t> clip, std::size_t rarest) {
  const std::size_t frame = spec.size() / static_cast<std::size_t>(spec.frames);
  if (std::equal(clip.begin() + 3, clip.begin() + static_cast<std::ptrdiff_t>(frame), clip.begin())) return false;
  if (spec.frames == 1) return true;
  // In blocks, since most clips show enough in the first ones.
  constexpr std::size_t block = 512;
  std::array<std::uint8_t, block> low, high;
  std::size_t changed = 0;
  for (std::size_t begin = 0; begin < frame; begin += block) {
    const std::size_t n = std::min(block, frame - begin);
    const std::uint8_t* from = clip.data() + begin;
    std::copy_n(from, n, low.begin());
    std::copy_n(from, n, high.begin());
    for (int f = 1; f < spec.frames; ++f) {
      from += frame;
      for (std::size_t i = 0; i < n; ++i) {
        low[i] = std::min(low[i], from[i]);
        high[i] = std::max(high[i], from[i]);
      }
    }
    for (std::size_t i = 0; i < n; ++i) changed += high[i] - low[i] > 12 ? 1 : 0;
    if (changed * rarest > frame) return true;
  }
  return false;
}

}  // namespace

Corpus::Corpus(const std::string& config, const std::string& root, const tasks::ClipSpec& spec) : spec_(spec) {
  tasks::check_clip(spec, std::vector<std::uint8_t>(spec.size()), "Corpus");
  if (!root.empty() && config.empty()) segue::throw_input("--media", "needs --corpus FILE");
  if (!root.empty() && !segue::is_directory(root))
    segue::throw_input("--media", segue::in_quotes(root) + " is no folder");
  std::vector<std::string> missing;
  if (config.empty()) {
    shares_[static_cast<std::size_t>(ClipKind::generated)] = 2;
    shares_[static_cast<std::size_t>(ClipKind::blocks)] = shares_[static_cast<std::size_t>(ClipKind::flows)] = 1;
  } else {
    const segue::io::Json json = segue::io::parse_json(segue::read_text_file(config), config);
    json.allow_only(std::vector<std::string>{"root", "media", "shares", "sources"}, config);
    const std::size_t slash = config.rfind('/');
    const std::string folder = slash == std::string::npos ? "." : config.substr(0, slash);
    std::string where = root.empty() ? json.get_or<std::string>("root", "", config) : root;
    if (root.empty() && !where.starts_with('/')) where = where.empty() ? folder : segue::join_path(folder, where);
    media_ =
        load_media(json.get_or<segue::io::Json>("media", segue::io::Json::object(), config), where, config, missing);
    const segue::io::Json& shares = json.at("shares", config);
    shares.allow_only(clip_kinds, config);
    for (std::size_t k = 0; k < clip_kinds.size(); ++k) {
      shares_[k] = shares.get_or<double>(clip_kinds[k], 0.0, config);
      if (!(shares_[k] >= 0 && shares_[k] < 1e6)) {
        segue::throw_input(config, "the share of " + std::string(clip_kinds[k]), std::to_string(shares_[k]),
                           "a number from 0 to a million");
      }
    }
  }
  std::string left_out;
  double total = 0;
  for (std::size_t k = 0; k < clip_kinds.size(); ++k) {
    if (shares_[k] > 0 && !has(static_cast<ClipKind>(k))) {
      left_out += (left_out.empty() ? "" : ", ") + std::string(clip_kinds[k]);
      shares_[k] = 0;
    }
    total += shares_[k];
  }
  if (!(total > 0)) {
    segue::throw_input(config, "the shares", "0" + (left_out.empty() ? "" : " without media for " + left_out),
                       "a share above 0 for some kind that can be drawn");
  }
  double sum = 0;
  for (std::size_t k = 0; k < clip_kinds.size(); ++k) {
    shares_[k] /= total;
    sum += shares_[k];
    below_[k] = static_cast<std::uint32_t>(std::min(sum * 4294967296.0, 4294967295.0));
    if (shares_[k] > 0) {
      description_ += (description_.empty() ? "" : ", ") + std::string(clip_kinds[k]) + " " +
                      std::to_string(static_cast<int>(std::lround(shares_[k] * 100))) + "%";
    }
  }
  description_ += "; media: " + std::to_string(media_.bytes() >> 20) + " MiB";
  if (!left_out.empty()) description_ += "; left out for lack of media: " + left_out;
  for (std::size_t i = 0; i < missing.size(); ++i) {
    description_ += (i == 0 ? "; not found: " : ", ") + missing[i];
  }
}

bool Corpus::has(ClipKind kind) const {
  switch (kind) {
    case ClipKind::generated:
    case ClipKind::blocks:
    case ClipKind::flows: return true;
    case ClipKind::sprites: return media_.has_sprites();
    case ClipKind::cutouts:
    case ClipKind::camera:
    case ClipKind::bodies:
    case ClipKind::scenes: return !media_.cutouts.empty() || media_.has_sprites();
    case ClipKind::figures: return !media_.motions.empty() && (!media_.cutouts.empty() || media_.has_sprites());
    case ClipKind::films: return !media_.films.empty();
  }
  return false;
}

double Corpus::share(ClipKind kind) const { return shares_[static_cast<std::size_t>(kind)]; }

ClipKind Corpus::kind_of(std::uint64_t seed, std::uint64_t index) const {
  const std::uint32_t word = tasks::Draws(seed ^ kind_salt, index).word();
  std::size_t k = 0;
  while (k + 1 < below_.size() && (word >= below_[k] || shares_[k] == 0)) ++k;
  // The last word of all may lie above a rounded sum.
  while (shares_[k] == 0) --k;
  return static_cast<ClipKind>(k);
}

void Corpus::clip(std::uint64_t seed, std::uint64_t index, std::span<std::uint8_t> pixels) const {
  clip(kind_of(seed, index), seed, index, pixels);
}

void Corpus::clip(ClipKind kind, std::uint64_t seed, std::uint64_t index, std::span<std::uint8_t> pixels) const {
  tasks::check_clip(spec_, pixels, "Corpus::clip");
  if (!has(kind)) {
    segue::throw_input("Corpus::clip", "kind", std::string(clip_kinds[static_cast<std::size_t>(kind)]),
                       "one whose media were found");
  }
  if (kind == ClipKind::generated) return tasks::generate_clip(seed, index, spec_, pixels);
  tasks::Draws draws(seed ^ clip_salt, index);
  const bool any_media = has(ClipKind::cutouts);
  // Chance may hide everything or let nothing move: such clips teach nothing and are drawn again.
  for (int attempt = 0; attempt < 6; ++attempt) {
    const auto media = [&] { return MediaClip(media_, draws, spec_, pixels); };
    switch (kind) {
      case ClipKind::generated: break;
      case ClipKind::blocks: tasks::draw_block_world(draws, spec_, pixels); break;
      case ClipKind::flows:
        if (any_media && draws.chance(120)) {
          media().warps();
        } else {
          tasks::draw_flow(draws, spec_, pixels);
        }
        break;
      case ClipKind::sprites: media().sprites(); break;
      case ClipKind::cutouts: media().cutouts(); break;
      case ClipKind::camera: media().camera(); break;
      case ClipKind::bodies: media().bodies(); break;
      case ClipKind::scenes: media().scenes(); break;
      case ClipKind::figures: media().figures(); break;
      case ClipKind::films: media().films(); break;
    }
    // A single cell of a block world is small, and still what matters.
    if (shows_something(spec_, pixels, kind == ClipKind::blocks ? 200 : 70)) break;
  }
  tasks::finish_clip(draws, spec_, pixels);
}

}  // namespace pretrain
