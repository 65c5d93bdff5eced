// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#include "segue/tasks/transition.hpp"

#include <cstddef>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/errors.hpp"

using namespace segue;
using tasks::Transition;

namespace {

io::Image plain(int width, int height, std::uint8_t value) {
  return {width, height, 3, std::vector<std::uint8_t>(static_cast<std::size_t>(width * height) * 3, value)};
}

/// The first byte of each frame: enough where frames are plain.
std::vector<int> levels(Transition kind, int frames, std::uint8_t from, std::uint8_t to) {
  const tasks::Clip clip = tasks::make_transition(kind, plain(4, 4, from), plain(4, 4, to), frames);
  std::vector<int> out;
  for (int f = 0; f < frames; ++f) out.push_back(clip.frame(f)[0]);
  return out;
}

}  // namespace

TEST_CASE("discrete shows the input for the first half, rounded down", "[tasks]") {
  CHECK(levels(Transition::Discrete, 9, 10, 200) == std::vector<int>{10, 10, 10, 10, 200, 200, 200, 200, 200});
  CHECK(levels(Transition::Discrete, 5, 10, 200) == std::vector<int>{10, 10, 200, 200, 200});
  CHECK(levels(Transition::Discrete, 2, 10, 200) == std::vector<int>{10, 200});
  CHECK(levels(Transition::Discrete, 3, 10, 200) == std::vector<int>{10, 200, 200});
}

TEST_CASE("blends follow their formula and round to nearest", "[tasks]") {
  CHECK(levels(Transition::Convex, 5, 0, 200) == std::vector<int>{0, 50, 100, 150, 200});
  CHECK(levels(Transition::Convex, 3, 0, 255) == std::vector<int>{0, 128, 255});
  CHECK(levels(Transition::Convex, 3, 255, 0) == std::vector<int>{255, 128, 0});
  CHECK(levels(Transition::Quadratic, 5, 0, 160) == std::vector<int>{0, 10, 40, 90, 160});
  CHECK(levels(Transition::SquareRoot, 5, 0, 200) == std::vector<int>{0, 100, 141, 173, 200});
}

TEST_CASE("floats blend without rounding", "[tasks]") {
  const std::vector<float> x = {-1.0f, 0.5f, 0.25f}, y = {1.0f, 0.5f, 0.75f};
  std::vector<float> out(9);
  tasks::build_transition<float>(Transition::Convex, x, y, {3, 1, 1, 3}, out);
  CHECK(out == std::vector<float>{-1.0f, 0.5f, 0.25f, 0.0f, 0.5f, 0.5f, 1.0f, 0.5f, 0.75f});
}

TEST_CASE("tiles turn over one by one", "[tasks]") {
  const int frames = 9;
  const io::Image x = plain(9, 8, 0), y = plain(9, 8, 255);  // a column is left over
  const tasks::Clip clip = tasks::make_transition(Transition::Tiles, x, y, frames, 7);
  std::vector<std::uint8_t> before(clip.frame(0).begin(), clip.frame(0).end());
  for (int f = 0; f < frames; ++f) {
    std::size_t turned = 0;
    for (std::size_t i = 0; i < clip.frame(f).size(); ++i) {
      turned += clip.frame(f)[i] == 255 ? 1 : 0;
      CHECK(clip.frame(f)[i] >= before[i]);  // none turns back
    }
    // A rectangle is 2x2 pixels of 3 bytes; the last frame is the target whole.
    CHECK(turned == (f == frames - 1 ? y.pixels.size() : static_cast<std::size_t>(16 * f / 8 * 12)));
    before.assign(clip.frame(f).begin(), clip.frame(f).end());
  }
  const tasks::Clip again = tasks::make_transition(Transition::Tiles, x, y, frames, 7);
  const tasks::Clip other = tasks::make_transition(Transition::Tiles, x, y, frames, 8);
  CHECK(again.pixels == clip.pixels);
  CHECK(other.pixels != clip.pixels);
}

TEST_CASE("every kind begins with the input and ends with the target", "[tasks]") {
  const io::Image x = plain(10, 6, 30), y = plain(10, 6, 220);
  for (const Transition kind : tasks::all_transitions) {
    for (int frames = 2; frames < 12; ++frames) {
      const tasks::Clip clip = tasks::make_transition(kind, x, y, frames, 3);
      const auto first = clip.frame(0), last = clip.frame(frames - 1);
      CHECK(std::vector<std::uint8_t>(first.begin(), first.end()) == x.pixels);
      CHECK(std::vector<std::uint8_t>(last.begin(), last.end()) == y.pixels);
    }
    CHECK(tasks::transition_from_name(tasks::name(kind)) == kind);
  }
}

TEST_CASE("bad transitions are refused in one sentence", "[tasks]") {
  CHECK(support::message_of<InputError>([] { tasks::transition_from_name("linear"); }) ==
        "transition: kind is 'linear', expected discrete, convex, quadratic, square_root or tiles");
  CHECK(support::contains(support::message_of<InputError>(
                              [] { tasks::make_transition(Transition::Convex, plain(4, 4, 0), plain(4, 4, 0), 1); }),
                          "frames is 1"));
  CHECK(support::contains(support::message_of<InputError>(
                              [] { tasks::make_transition(Transition::Convex, plain(4, 4, 0), plain(4, 5, 0), 5); }),
                          "4x5x3"));
}
