// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <vector>

#include "segue/testing/golden.hpp"
#include "support/catch.hpp"

namespace support {

/// |got − wanted| / |wanted| in norm. Fails where nothing but zeros is wanted: two results that were never written, or
/// a gradient that no longer flows on either device, would agree.
template <class T>
double distance(const std::vector<T>& got, const std::vector<T>& wanted) {
  REQUIRE(std::any_of(wanted.begin(), wanted.end(), [](T x) { return x != T(0); }));
  return segue::testing::relative_error(got, wanted);
}

}  // namespace support
