// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

// Recorded motions, and where their joints are.
#include "pretrain/bvh.hpp"

#include "fuzz.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::read("fuzz", [&] {
    const pretrain::BvhMotion motion = pretrain::parse_bvh(fuzz::text(data, size), "fuzz");
    fuzz::require(motion.frames > 0 && !motion.joints.empty(), "a motion of nothing");
    fuzz::require(motion.values.size() == static_cast<std::size_t>(motion.frames) * motion.channels,
                  "a table of another size");
    for (int f = 0; f < std::min(motion.frames, 4); ++f) {
      fuzz::require(motion.places(f).size() == motion.joints.size(), "joints without a place");
    }
  });
  return 0;
}
