// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#include "pretrain/bvh.hpp"

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "segue/core/posix.hpp"
#include "segue/tasks/draws.hpp"
#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/paths.hpp"

namespace {

/// An arm of two bones along X.
const std::string arm = R"(HIERARCHY
ROOT Shoulder
{
  OFFSET 0 0 0
  CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
  JOINT Elbow
  {
    OFFSET 2 0 0
    CHANNELS 3 Zrotation Xrotation Yrotation
    End Site
    {
      OFFSET 1 0 0
    }
  }
  JOINT Neck
  {
    OFFSET 0 0.5 0
    CHANNELS 0
  }
}
MOTION
Frames: 3
Frame Time: 0.04
0 0 0  0 0 0  0 0 0
10 20 30  90 0 0  90 0 0
0 0 0  90 90 0  0 0 -90
)";

bool near(const pretrain::Point3& a, const pretrain::Point3& b) {
  return std::hypot(a[0] - b[0], a[1] - b[1], a[2] - b[2]) < 1e-4f;
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const std::size_t at = text.find(from);
  REQUIRE(at != std::string::npos);
  return text.replace(at, from.size(), to);
}

}  // namespace

TEST_CASE("a motion file is read, and its joints are where the angles say", "[pretrain]") {
  const pretrain::BvhMotion motion = pretrain::parse_bvh(arm, "arm.bvh");
  REQUIRE(motion.joints.size() == 4);
  CHECK(motion.joints[0].name == "Shoulder");
  CHECK(motion.joints[2].name == "Elbow end");
  CHECK(motion.joints[1].parent == 0);
  CHECK(motion.joints[2].parent == 1);
  CHECK(motion.joints[3].parent == 0);
  CHECK(motion.frames == 3);
  CHECK(std::abs(motion.frame_seconds - 0.04) < 1e-6);

  const auto rest = motion.places(0);
  CHECK(near(rest[0], {0, 0, 0}));
  CHECK(near(rest[1], {2, 0, 0}));
  CHECK(near(rest[2], {3, 0, 0}));
  CHECK(near(rest[3], {0, 0.5f, 0}));
  // A quarter turn about Z at the shoulder points the arm up, another at the elbow points the forearm back.
  const auto bent = motion.places(1);
  CHECK(near(bent[0], {10, 20, 30}));
  CHECK(near(bent[1], {10, 22, 30}));
  CHECK(near(bent[2], {9, 22, 30}));
  CHECK(near(bent[3], {9.5f, 20, 30}));
  // Z, then X: X goes to Y. At the elbow a turn of -90 about Y sends X to Z, which Z-then-X shows as X.
  const auto turned = motion.places(2);
  CHECK(near(turned[1], {0, 2, 0}));
  CHECK(near(turned[2], {1, 2, 0}));
}

TEST_CASE("motion files that are none get one sentence", "[pretrain]") {
  const auto message = [](const std::string& text) {
    return support::message_of<segue::InputError>([&] { pretrain::parse_bvh(text, "a.bvh"); });
  };
  CHECK(message("") == "a.bvh: line 1 is the end of the file, expected HIERARCHY");
  CHECK(message(replaced(arm, "JOINT Elbow", "LIMB Elbow")) ==
        "a.bvh: line 6 is 'LIMB', expected JOINT, End Site or }");
  CHECK(message(replaced(arm, "Yposition", "Wposition")) ==
        "a.bvh: line 5 is 'Wposition', expected a channel such as Xrotation");
  CHECK(message(replaced(arm, "CHANNELS 6", "CHANNELS 7")) == "a.bvh: line 5 is '7', expected a number from 0 to 6");
  CHECK(message(replaced(arm, "OFFSET 2", "OFFSET nan")) ==
        "a.bvh: line 8 is 'nan', expected a number below a million");
  CHECK(message(replaced(arm, "0 0 -90", "0 0")) ==
        "a.bvh: line 27 is the end of the file, expected a number below a million");
  CHECK(message(arm + " 1") == "a.bvh: line 27 is '1', expected the end of the file");
  CHECK(support::contains(message(replaced(arm, "Frames: 3", "Frames: 99999")), "no more than the text has"));
  CHECK(support::contains(message(replaced(arm, "Frames: 3", "Frames: 0")), "1 frame or more"));
  CHECK(support::contains(message(replaced(arm, "0.04", "0")), "the seconds of a frame"));
  std::string deep = "HIERARCHY ROOT a ";
  for (int i = 0; i < 3000; ++i) deep += "{ OFFSET 0 0 0 CHANNELS 0 JOINT b ";
  CHECK(support::contains(message(deep), "at most 512 joints"));

  // Cut and damaged files: an error or a motion, nothing else.
  for (std::size_t length = 0; length < arm.size() - 1; ++length) {
    CHECK(message(arm.substr(0, length)) != "");
  }
  segue::tasks::Draws draws(1);
  for (int trial = 0; trial < 2000; ++trial) {
    std::string text = arm;
    for (int k = draws.between(1, 4); k > 0; --k) {
      text[static_cast<std::size_t>(draws.below(static_cast<int>(text.size())))] = static_cast<char>(draws.below(256));
    }
    try {
      const auto motion = pretrain::parse_bvh(text, "a.bvh");
      for (int f = 0; f < motion.frames; ++f) CHECK(motion.places(f).size() == motion.joints.size());
    } catch (const segue::InputError&) {
    }
  }
}

TEST_CASE("recorded motions keep the lengths of bones", "[pretrain]") {
  const auto folder = support::data_dir("drawn-humans-mocap/bvh/fair1");
  if (!folder) return;
  const std::string path = (*folder / "jumping.bvh").string();
  const auto motion = pretrain::parse_bvh(segue::read_text_file(path), path);
  CHECK(motion.joints.size() == 34);  // 27 with channels, 7 ends
  CHECK(motion.frames == 654);
  const auto first = motion.places(0), later = motion.places(400);
  for (std::size_t j = 1; j < motion.joints.size(); ++j) {
    const auto p = static_cast<std::size_t>(motion.joints[j].parent);
    const auto length = [&](const std::vector<pretrain::Point3>& at) {
      return std::hypot(at[j][0] - at[p][0], at[j][1] - at[p][1], at[j][2] - at[p][2]);
    };
    CHECK(std::abs(length(later) - length(first)) < 1e-3);
  }
}
