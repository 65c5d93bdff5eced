// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#include "segue/core/nearest_name.hpp"

#include <string>
#include <vector>

#include "support/catch.hpp"

using namespace segue;

TEST_CASE("The edit distance counts single letters", "[core]") {
  CHECK(edit_distance("", "") == 0);
  CHECK(edit_distance("abc", "") == 3);
  CHECK(edit_distance("", "abc") == 3);
  CHECK(edit_distance("kitten", "sitting") == 3);
  CHECK(edit_distance("flaw", "lawn") == 2);
  CHECK(edit_distance("rank", "rnak") == 2);
}

TEST_CASE("The nearest name is proposed only when it is near", "[core]") {
  const std::vector<std::string> names = {"shots", "steps", "rank", "resume"};
  CHECK(nearest_name("step", names) == "steps");
  CHECK(nearest_name("steps", names) == "steps");
  CHECK(nearest_name("resmue", names) == "resume");
  CHECK(nearest_name("learning_rate", names).empty());
  CHECK(nearest_name("x", names).empty());
  CHECK(nearest_name("", names).empty());
  CHECK(nearest_name("a", std::vector<std::string>{}).empty());
  CHECK(did_you_mean("shot", names) == ", did you mean 'shots'?");
  CHECK(did_you_mean("learning_rate", names).empty());
}
