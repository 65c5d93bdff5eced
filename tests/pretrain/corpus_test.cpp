// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#include "pretrain/corpus.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "segue/core/posix.hpp"
#include "segue/tasks/draws.hpp"
#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/paths.hpp"

using pretrain::ClipKind;
using pretrain::Corpus;
using segue::tasks::ClipSpec;

namespace {

/// A blob with alpha: a disc of one colour with a spot.
segue::io::Image blob(int width, int height, std::uint8_t r, std::uint8_t g, std::uint8_t b, double shift = 0) {
  segue::io::Image image{width, height, 4, std::vector<std::uint8_t>(static_cast<std::size_t>(4 * width * height))};
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      const double dx = (x + 0.5) / width - 0.5 - shift, dy = (y + 0.5) / height - 0.5;
      std::uint8_t* p = image.pixels.data() + static_cast<std::size_t>(4 * (y * width + x));
      if (dx * dx + dy * dy > 0.16) continue;
      const bool spot = dx > 0.1;
      p[0] = spot ? b : r;
      p[1] = g;
      p[2] = spot ? r : b;
      p[3] = 255;
    }
  }
  return image;
}

/// Media of every sort, small and made here.
void make_media(const std::filesystem::path& root) {
  const auto folder = [&](const std::string& name) {
    segue::make_directories((root / name).string());
    return (root / name).string();
  };
  const std::string body = folder("sheets/body/male"), hair = folder("sheets/hair/female");
  const std::string female = folder("sheets/body/female"), animations = folder("animations");
  const std::string cutouts = folder("cutouts"), films = folder("films/street"), motions = folder("motions");
  segue::io::Image sheet{832, 1344, 4, std::vector<std::uint8_t>(4 * 832 * 1344)};
  for (int row = 0; row < 21; ++row) {
    for (int column = 0; column < 13; ++column) {
      const auto cell = blob(64, 64, 200, 120, 40, 0.02 * column - 0.1);
      for (int y = 0; y < 64; ++y) {
        std::copy_n(cell.pixels.begin() + y * 256, 256,
                    sheet.pixels.begin() + ((row * 64 + y) * 832 + column * 64) * 4);
      }
    }
  }
  for (const std::string& f : {body, hair, female}) segue::io::save_png(f + "/a.png", sheet);
  for (int f = 1; f <= 11; ++f) {
    segue::io::save_png(animations + "/jump-" + std::to_string(f) + ".png", blob(72, 72, 30, 200, 90, 0.03 * f - 0.15));
  }
  segue::io::save_png(cutouts + "/apple.png", blob(150, 120, 220, 30, 40));
  segue::io::save_png(cutouts + "/leaf.png", blob(40, 90, 40, 180, 60));
  for (int f = 0; f < 12; ++f) {
    segue::io::Image frame{90, 70, 3, std::vector<std::uint8_t>(90 * 70 * 3)};
    for (int i = 0; i < 90 * 70; ++i) {
      for (int c = 0; c < 3; ++c) {
        frame.pixels[static_cast<std::size_t>(3 * i + c)] =
            static_cast<std::uint8_t>((i % 90 + 6 * f) * (c + 1) + i / 90 * 2);
      }
    }
    segue::io::save_png(films + "/" + std::to_string(1000 + f) + ".png", frame);
  }
  std::string bvh =
      "HIERARCHY\nROOT Hips\n{\nOFFSET 0 0 0\nCHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation\n"
      "JOINT Head\n{\nOFFSET 0 10 0\nCHANNELS 3 Zrotation Xrotation Yrotation\nEnd Site\n{\nOFFSET 0 3 0\n}\n}\n"
      "JOINT LeftUpLeg\n{\nOFFSET 2 -10 0\nCHANNELS 3 Zrotation Xrotation Yrotation\nEnd Site\n{\nOFFSET 0 -8 0\n}\n}\n"
      "}\nMOTION\nFrames: 40\nFrame Time: 0.04\n";
  for (int f = 0; f < 40; ++f) {
    bvh += "0 0 0 " + std::to_string(10 * f) + " 0 0  0 0 0  " + std::to_string(7 * f) + " 0 0\n";
  }
  segue::write_file_atomically(motions + "/turn.bvh", bvh);
}

std::string write_config(const support::TempDir& folder, const std::string& text) {
  const std::string path = (folder / "corpus.json").string();
  segue::write_file_atomically(path, text);
  return path;
}

const std::string all_media = R"({"root": "media", "media": {"sheets": ["sheets"], "animations": ["animations"],
  "cutouts": ["cutouts"], "motions": ["motions"], "films": ["films"]}, "shares": {"generated": 1, "blocks": 1,
  "flows": 1, "sprites": 1, "cutouts": 2, "camera": 1, "bodies": 1, "scenes": 1, "figures": 1, "films": 0}})";

/// Whether the clip is one colour all over, or no byte changes from frame to frame.
bool is_dull(const ClipSpec& spec, const std::vector<std::uint8_t>& clip) {
  const std::size_t frame = spec.size() / static_cast<std::size_t>(spec.frames);
  bool plain = true, still = true;
  for (std::size_t i = 0; i < clip.size(); ++i) {
    plain = plain && clip[i] == clip[i % 3];
    still = still && clip[i] == clip[i % frame];
  }
  return plain || still;
}

}  // namespace

TEST_CASE("without a configuration the corpus needs no media", "[pretrain]") {
  const Corpus corpus("", "", {});
  CHECK(std::abs(corpus.share(ClipKind::generated) - 0.5) < 1e-9);
  CHECK(std::abs(corpus.share(ClipKind::blocks) - 0.25) < 1e-9);
  CHECK(std::abs(corpus.share(ClipKind::flows) - 0.25) < 1e-9);
  CHECK(corpus.describe() == "generated 50%, blocks 25%, flows 25%; media: 0 MiB");
  std::vector<std::uint8_t> clip(corpus.spec().size());
  CHECK(support::message_of([&] { corpus.clip(ClipKind::films, 0, 0, clip); }) ==
        "Corpus::clip: kind is films, expected one whose media were found");
  clip.pop_back();
  CHECK(support::message_of([&] { corpus.clip(0, 0, clip); }) == "Corpus::clip: out is 61439 bytes, expected 61440");
}

TEST_CASE("missing media shrink the corpus, and it says so", "[pretrain]") {
  const support::TempDir folder;
  const Corpus corpus(write_config(folder, all_media), "", {});
  CHECK(corpus.share(ClipKind::cutouts) == 0);
  CHECK(std::abs(corpus.share(ClipKind::blocks) - 1.0 / 3) < 1e-9);
  CHECK(support::contains(corpus.describe(),
                          "left out for lack of media: sprites, cutouts, camera, bodies, scenes, "
                          "figures; not found: "));
  CHECK(support::contains(corpus.describe(), (folder / "media/sheets").string()));
  for (std::uint64_t i = 0; i < 200; ++i) CHECK(corpus.has(corpus.kind_of(1, i)));
}

TEST_CASE("clips of all kinds are functions of seed and index, and show something", "[pretrain]") {
  const support::TempDir folder;
  make_media(folder / "media");
  for (const ClipSpec spec : {ClipSpec{5, 64, 64}, ClipSpec{3, 40, 56}, ClipSpec{5, 128, 128}, ClipSpec{1, 16, 16}}) {
    const Corpus corpus(write_config(folder, all_media), "", spec), again((folder / "corpus.json").string(), "", spec);
    std::vector<std::uint8_t> a(spec.size()), b(spec.size(), 99);
    const std::uint64_t count = spec.height > 64 ? 6 : 25;
    for (std::size_t k = 0; k < pretrain::clip_kinds.size(); ++k) {
      const auto kind = static_cast<ClipKind>(k);
      REQUIRE(corpus.has(kind));
      int dull = 0;
      for (std::uint64_t i = 0; i < count; ++i) {
        corpus.clip(kind, 5, i, a);
        again.clip(kind, 5, i, b);
        INFO(pretrain::clip_kinds[k] << " " << i);
        REQUIRE(a == b);
        dull += spec.frames > 1 && is_dull(spec, a) ? 1 : 0;
        corpus.clip(kind, 6, i, b);
        CHECK(a != b);
      }
      INFO(pretrain::clip_kinds[k] << " at " << spec.height);
      // Only the library's own clips may stand still now and then.
      CHECK(dull <= (kind == ClipKind::generated ? 3 : 0));
    }
  }
}

TEST_CASE("kinds come as often as the configuration says", "[pretrain]") {
  const support::TempDir folder;
  make_media(folder / "media");
  const Corpus corpus(write_config(folder, all_media), "", {});
  std::array<int, pretrain::clip_kinds.size()> count{};
  const int total = 20000;
  for (int i = 0; i < total; ++i) ++count[static_cast<std::size_t>(corpus.kind_of(2, static_cast<std::uint64_t>(i)))];
  for (std::size_t k = 0; k < count.size(); ++k) {
    const double expected = k == static_cast<std::size_t>(ClipKind::films)     ? 0.0
                            : k == static_cast<std::size_t>(ClipKind::cutouts) ? 0.2
                                                                               : 0.1;
    INFO(pretrain::clip_kinds[k]);
    CHECK(std::abs(count[k] / static_cast<double>(total) - expected) < 0.012);
    CHECK(std::abs(corpus.share(static_cast<ClipKind>(k)) - expected) < 1e-9);
  }
  std::vector<std::uint8_t> a(corpus.spec().size()), b(a.size());
  for (std::uint64_t i = 0; i < 20; ++i) {
    corpus.clip(2, i, a);
    corpus.clip(corpus.kind_of(2, i), 2, i, b);
    CHECK(a == b);
  }
}

TEST_CASE("no clip of media shows a picture becoming its mask", "[pretrain]") {
  const support::TempDir folder;
  make_media(folder / "media");
  const ClipSpec spec;
  const Corpus corpus(write_config(folder, all_media), "", spec);
  std::vector<std::uint8_t> clip(spec.size());
  for (std::uint64_t i = 0; i < 400; ++i) {
    corpus.clip(ClipKind::scenes, 1, i, clip);
    int masks = 0;
    for (std::size_t f = 0; f < 5; ++f) {
      int dark = 0, light = 0;
      for (std::size_t p = f * 64 * 64; p < (f + 1) * 64 * 64; ++p) {
        dark += std::max({clip[3 * p], clip[3 * p + 1], clip[3 * p + 2]}) < 48 ? 1 : 0;
        light += std::min({clip[3 * p], clip[3 * p + 1], clip[3 * p + 2]}) > 207 ? 1 : 0;
      }
      masks += dark > 0 && light > 0 && dark + light > 64 * 64 * 9 / 10 ? 1 : 0;
    }
    INFO("clip " << i);
    CHECK((masks == 0 || masks == 5));
  }
}

TEST_CASE("a good part of the changes of scene are cuts beside the middle frame", "[pretrain]") {
  const support::TempDir folder;
  make_media(folder / "media");
  const ClipSpec spec;
  const Corpus corpus(write_config(folder, all_media), "", spec);
  std::vector<std::uint8_t> clip(spec.size());
  const std::ptrdiff_t frame = 64 * 64 * 3;
  int cuts = 0;
  for (std::uint64_t i = 0; i < 200; ++i) {
    corpus.clip(ClipKind::scenes, 2, i, clip);
    std::array<bool, 4> steps{};
    for (std::size_t f = 0; f < 4; ++f) {
      const auto from = clip.begin() + static_cast<std::ptrdiff_t>(f) * frame;
      steps[f] = !std::equal(from, from + frame, from + frame);
    }
    // Reversed clips have theirs on the other side.
    cuts += steps == std::array{false, true, false, false} || steps == std::array{false, false, true, false} ? 1 : 0;
  }
  // Half of them, less those whose things move as well.
  CHECK(cuts > 60);
  CHECK(cuts < 110);
}

TEST_CASE("configurations and media that are wrong get one sentence", "[pretrain]") {
  const support::TempDir folder;
  const std::string path = (folder / "corpus.json").string();
  const auto message = [&](const std::string& text) {
    write_config(folder, text);
    return support::message_of<segue::InputError>([&] { Corpus(path, "", {}); });
  };
  CHECK(message(R"({"shares": {"block": 1}})") == path + ": key 'block' is not known, did you mean 'blocks'?");
  CHECK(message(R"({"shares": {"blocks": -1}})") ==
        path + ": the share of blocks is -1.000000, expected a number from 0 to a million");
  CHECK(message(R"({"shares": {"films": 1}})") ==
        path + ": the shares is 0 without media for films, expected a share above 0 for some kind that can be drawn");
  CHECK(message(R"({"media": {"sheet": []}, "shares": {"blocks": 1}})") ==
        path + ": key 'sheet' is not known, did you mean 'sheets'?");
  segue::make_directories((folder / "s/body").string());
  segue::io::save_png((folder / "s/body/a.png").string(), blob(64, 64, 1, 2, 3));
  CHECK(message(R"({"media": {"sheets": ["s"]}, "shares": {"blocks": 1}})") ==
        (folder / "s/body/a.png").string() + ": its size is 64x64, expected 832x1344, 13 x 21 cells of 64 pixels");
}

TEST_CASE("the corpus that ships reads the real media", "[pretrain]") {
  const auto data = support::data_dir();
  if (!data || !std::filesystem::exists(*data / "sprites-lpc")) return;
  const auto config = support::tests_dir().parent_path() / "examples" / "pretrain" / "corpus.json";
  const Corpus corpus(config.string(), data->string(), {});
  CHECK(corpus.media().wardrobes[0].layers[0].size() + corpus.media().wardrobes[1].layers[0].size() >= 10);
  CHECK(corpus.media().animations.size() >= 50);
  CHECK(corpus.media().cutouts.size() >= 90);
  CHECK(corpus.media().motions.size() == 5);
  CHECK(corpus.media().characters.size() >= 3);
  std::vector<std::uint8_t> clip(corpus.spec().size());
  for (std::uint64_t i = 0; i < 300; ++i) {
    corpus.clip(4, i, clip);
    if (corpus.kind_of(4, i) == ClipKind::generated) continue;
    INFO("clip " << i);
    CHECK_FALSE(is_dull(corpus.spec(), clip));
  }
}
