// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#include "segue/tasks/generate/flows.hpp"

#include <cstdint>
#include <cstdlib>
#include <vector>

#include "support/catch.hpp"

using namespace segue;

TEST_CASE("flows carry places where their parts say", "[tasks]") {
  std::vector<std::int32_t> u = {1000, -2000}, v = {500, 4096};
  tasks::Flow{}.carry(3, 2, u.data(), v.data());
  CHECK(u == std::vector<std::int32_t>{1000, -2000});
  CHECK(v == std::vector<std::int32_t>{500, 4096});

  tasks::Flow drift;
  drift.drift_x = 100;
  drift.drift_y = -7;
  drift.carry(3, 2, u.data(), v.data());
  CHECK(u == std::vector<std::int32_t>{700, -2300});
  CHECK(v == std::vector<std::int32_t>{521, 4117});

  // At its centre a swirl turns by `swirl` a frame; a place nearby by nearly as much.
  tasks::Flow swirl;
  swirl.swirl = 8192;
  u = {100, 0};
  v = {0, 0};
  swirl.carry(2, 2, u.data(), v.data());
  CHECK(std::abs(u[0]) <= 3);
  CHECK(std::abs(v[0] - 100) <= 3);
  CHECK(u[1] == 0);

  tasks::Flow wave;  // at phase 1/4 the wave pushes by its amplitude along its heading
  wave.wave = 300;
  wave.wave_length = 0;
  wave.wave_phase = 16384;
  u = {50, 60};
  v = {70, 80};
  wave.carry(0, 2, u.data(), v.data());
  CHECK(u == std::vector<std::int32_t>{350, 360});
  CHECK(v == std::vector<std::int32_t>{70, 80});
}

TEST_CASE("clips of flows move and are functions of their draws", "[tasks]") {
  const tasks::ClipSpec spec{5, 40, 56};
  std::vector<std::uint8_t> clip(spec.size()), again(spec.size());
  const std::size_t frame = spec.size() / 5;
  int moving = 0;
  for (std::uint64_t i = 0; i < 100; ++i) {
    tasks::Draws draws(1, i), same(1, i);
    tasks::draw_flow(draws, spec, clip);
    tasks::draw_flow(same, spec, again);
    REQUIRE(clip == again);
    std::size_t changed = 0;
    for (std::size_t k = 0; k < frame; ++k) changed += std::abs(clip[k] - clip[4 * frame + k]) > 8 ? 1 : 0;
    moving += changed * 50 > frame ? 1 : 0;
  }
  CHECK(moving > 80);
}
