// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <set>
#include <span>
#include <vector>

#include "segue/tasks/baselines.hpp"
#include "segue/tasks/generate/clips.hpp"
#include "segue/tasks/generate/textured_object.hpp"
#include "support/catch.hpp"

using namespace segue;

namespace {

std::uint64_t hash(std::span<const std::uint8_t> bytes) {
  std::uint64_t h = 1469598103934665603u;  // FNV-1a
  for (const std::uint8_t b : bytes) h = (h ^ b) * 1099511628211u;
  return h;
}

/// The share of pixels that differ visibly between two frames.
double changed(std::span<const std::uint8_t> a, std::span<const std::uint8_t> b) {
  std::size_t count = 0;
  for (std::size_t i = 0; i < a.size(); ++i) count += std::abs(a[i] - b[i]) > 8 ? 1 : 0;
  return static_cast<double>(count) / static_cast<double>(a.size());
}

}  // namespace

TEST_CASE("a generated clip is a function of seed and index", "[tasks]") {
  const tasks::ClipSpec spec;
  std::vector<std::uint8_t> a(spec.size()), b(spec.size(), 77);
  std::set<std::uint64_t> seen;
  for (std::uint64_t i = 0; i < 60; ++i) {
    tasks::generate_clip(3, i, spec, a);
    tasks::generate_clip(3, i, spec, b);
    CHECK(a == b);
    seen.insert(hash(a));
    tasks::generate_clip(4, i, spec, b);
    CHECK(a != b);
  }
  CHECK(seen.size() == 60);
}

TEST_CASE("generated clips are the same on every machine", "[tasks]") {
  const tasks::ClipSpec spec;
  std::vector<std::uint8_t> clip(spec.size());
  std::uint64_t all = 0;
  for (std::uint64_t i = 0; i < 200; ++i) {
    tasks::generate_clip(1, i, spec, clip);
    all = all * 31 + hash(clip);
  }
  CHECK(all == 0xe47dbe5dfbd572d2u);
}

TEST_CASE("clips move, but most of a frame stays like the one before", "[tasks]") {
  const tasks::ClipSpec spec;
  std::vector<std::uint8_t> clip(spec.size());
  const std::size_t frame = spec.size() / 5;
  int moving = 0;
  double mean = 0;
  const int count = 300;
  for (int i = 0; i < count; ++i) {
    tasks::generate_clip(9, static_cast<std::uint64_t>(i), spec, clip);
    double most = 0;
    for (std::size_t f = 1; f < 5; ++f) {
      const std::span<const std::uint8_t> all = clip;
      const double c = changed(all.subspan((f - 1) * frame, frame), all.subspan(f * frame, frame));
      most = std::max(most, c);
      mean += c / (4 * count);
    }
    moving += most > 0.005 ? 1 : 0;
  }
  CHECK(moving > count * 8 / 10);
  CHECK(mean > 0.05);
  CHECK(mean < 0.5);
}

TEST_CASE("no clip shows a picture and its mask", "[tasks]") {
  const tasks::ClipSpec spec;
  std::vector<std::uint8_t> clip(spec.size());
  const std::size_t frame = spec.size() / 5;
  for (std::uint64_t i = 0; i < 1500; ++i) {
    tasks::generate_clip(2, i + 1000, spec, clip);
    // A mask is nothing but near black and near white, some of each; a picture is something else for a good part.
    int masks = 0, pictures = 0;
    for (std::size_t f = 0; f < 5; ++f) {
      std::size_t dark = 0, light = 0;
      for (std::size_t p = 0; p < frame; p += 3) {
        const std::uint8_t* v = clip.data() + f * frame + p;
        dark += std::max({v[0], v[1], v[2]}) < 40 ? 1 : 0;
        light += std::min({v[0], v[1], v[2]}) > 215 ? 1 : 0;
      }
      const double extreme = static_cast<double>(dark + light) / static_cast<double>(frame / 3);
      masks += extreme > 0.95 && dark > 0 && light > 0 ? 1 : 0;
      pictures += extreme < 0.85 ? 1 : 0;
    }
    INFO("clip " << i);
    CHECK((masks == 0 || pictures == 0));
  }
}

TEST_CASE("clips of other extents are filled to the last byte", "[tasks]") {
  using Spec = tasks::ClipSpec;
  for (const Spec spec : {Spec{2, 32, 48}, Spec{9, 40, 24}, Spec{1, 8, 8}}) {
    std::vector<std::uint8_t> clip(spec.size() + 16, 0xA5), again(spec.size() + 16, 0x5A);
    for (std::uint64_t i = 0; i < 60; ++i) {
      tasks::generate_clip(6, i, spec, std::span(clip).first(spec.size()));
      tasks::generate_clip(6, i, spec, std::span(again).first(spec.size()));
      CHECK(std::equal(clip.begin(), clip.end() - 16, again.begin()));
      CHECK(std::all_of(clip.end() - 16, clip.end(), [](std::uint8_t v) { return v == 0xA5; }));
    }
  }
  std::vector<std::uint8_t> clip(10);
  CHECK_THROWS_AS(tasks::generate_clip(0, 0, {}, clip), InputError);
  CHECK_THROWS_AS(tasks::generate_clip(0, 0, {0, 64, 64}, clip), InputError);
}

TEST_CASE("the generated task is fixed by its seed", "[tasks]") {
  const tasks::PictureTask task = tasks::make_textured_object_task(0, 10, 50);
  REQUIRE(task.train.size() == 10);
  REQUIRE(task.test.size() == 50);
  const tasks::PictureTask larger = tasks::make_textured_object_task(0, 12, 3);
  std::set<std::uint64_t> inputs;
  std::uint64_t all = 0;
  for (const std::vector<tasks::Pair>* pairs : {&task.train, &task.test}) {
    for (const tasks::Pair& pair : *pairs) {
      inputs.insert(hash(pair.input.pixels));
      all = all * 31 + hash(pair.input.pixels) + 7 * hash(pair.target.pixels);
      std::size_t foreground = 0;
      for (const std::uint8_t v : pair.target.pixels) {
        CHECK((v == 0 || v == 255));
        foreground += v == 255 ? 1 : 0;
      }
      CHECK(foreground > pair.target.pixels.size() / 100);
      CHECK(foreground < pair.target.pixels.size() / 2);
    }
  }
  CHECK(inputs.size() == 60);  // no test picture is a training picture
  CHECK(all == 0x79a3c1889fc29898u);
  for (std::size_t i = 0; i < 10; ++i) CHECK(larger.train[i].input.pixels == task.train[i].input.pixels);
  CHECK(larger.test[2].input.pixels == task.test[2].input.pixels);
  CHECK(tasks::make_textured_object(1, 0).input.pixels != task.train[0].input.pixels);
}

TEST_CASE("no network-free baseline solves the generated task", "[tasks]") {
  for (std::uint64_t seed = 0; seed < 3; ++seed) {
    const tasks::PictureTask task = tasks::make_textured_object_task(seed, 10, 50);
    for (const auto& [name, value] : tasks::score_baselines(tasks::Score::Iou, true, task.train, task.test)) {
      INFO("seed " << seed << " " << name << " " << value);
      CHECK(value < 0.55);
    }
  }
}

TEST_CASE("the generated task scales with the picture", "[tasks]") {
  const tasks::Pair small = tasks::make_textured_object(0, 3), large = tasks::make_textured_object(0, 3, {128, 128});
  CHECK(large.input.width == 128);
  const auto share = [](const io::Image& mask) {
    return static_cast<double>(std::count(mask.pixels.begin(), mask.pixels.end(), 255)) /
           static_cast<double>(mask.pixels.size());
  };
  CHECK(std::abs(share(small.target) - share(large.target)) < 0.02);
  CHECK_THROWS_AS(tasks::make_textured_object(0, 0, {8, 64}), InputError);
}
