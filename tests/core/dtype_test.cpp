// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include <cmath>
#include <limits>

#include "segue/core/dtype.hpp"
#include "support/catch.hpp"

using namespace segue;

namespace {

struct Bfloat16Format {
  using Type = bfloat16;
  static constexpr int fraction = 7, smallest = -126, largest = 127;
};
struct Float16Format {
  using Type = float16;
  static constexpr int fraction = 10, smallest = -14, largest = 15;
};

/// Nearest, ties to even, from the definition: scale so that an ulp is one, round, scale back.
template <class Format>
double reference(double x) {
  if (x == 0 || !std::isfinite(x)) return x;
  const int exponent = std::max(std::ilogb(x), Format::smallest);
  const double ulp = std::ldexp(1.0, exponent - Format::fraction);
  const double rounded = std::nearbyint(x / ulp) * ulp;
  return std::abs(rounded) >= std::ldexp(1.0, Format::largest + 1)
             ? std::copysign(std::numeric_limits<double>::infinity(), x)
             : rounded;
}

template <class Format>
bool rounds_right(float x) {
  const double got = static_cast<double>(static_cast<float>(typename Format::Type(x)));
  const double expected = reference<Format>(static_cast<double>(x));
  return got == expected && std::signbit(got) == std::signbit(expected);
}

}  // namespace

TEMPLATE_TEST_CASE("every 16-bit value survives the way to float and back", "", Bfloat16Format, Float16Format) {
  using T = typename TestType::Type;
  int wrong = 0, nans = 0;
  for (std::uint32_t bits = 0; bits < 0x10000u; ++bits) {
    T v{};
    v.bits = static_cast<std::uint16_t>(bits);
    const auto wide = static_cast<float>(v);
    const T back(wide);
    if (std::isnan(wide)) {
      ++nans;
      wrong += !std::isnan(static_cast<float>(back));
    } else {
      wrong += back.bits != v.bits;
    }
  }
  CHECK(wrong == 0);
  CHECK(nans == 2 * ((1 << TestType::fraction) - 1));
}

TEMPLATE_TEST_CASE("rounding is to nearest even around every 16-bit value", "", Bfloat16Format, Float16Format) {
  using T = typename TestType::Type;
  const float inf = std::numeric_limits<float>::infinity();
  int wrong = 0;
  for (std::uint32_t bits = 0; bits < 0x10000u; ++bits) {
    T low{};
    low.bits = static_cast<std::uint16_t>(bits);
    T high{};
    high.bits = static_cast<std::uint16_t>(bits + 1);
    const auto a = static_cast<float>(low);
    auto b = static_cast<float>(high);
    if (!std::isfinite(a)) continue;
    // Above the largest value the next one would be a power of two.
    if (!std::isfinite(b)) b = std::copysign(std::ldexp(1.0f, TestType::largest), a) * 2;
    const auto middle = static_cast<float>((static_cast<double>(a) + static_cast<double>(b)) / 2);
    for (const float x : {a, middle, std::nextafter(middle, inf), std::nextafter(middle, -inf)})
      wrong += !rounds_right<TestType>(x);
  }
  CHECK(wrong == 0);
}

TEMPLATE_TEST_CASE("rounding agrees with the definition all over the floats", "", Bfloat16Format, Float16Format) {
  int wrong = 0;
  for (std::uint64_t bits = 0; bits < (std::uint64_t{1} << 32); bits += 4099) {
    const auto x = std::bit_cast<float>(static_cast<std::uint32_t>(bits));
    if (std::isnan(x))
      wrong += !std::isnan(static_cast<float>(typename TestType::Type(x)));
    else
      wrong += !rounds_right<TestType>(x);
  }
  CHECK(wrong == 0);
}

TEST_CASE("known values of the 16-bit types") {
  CHECK(float16(1.0f).bits == 0x3C00);
  CHECK(float16(65504.0f).bits == 0x7BFF);
  CHECK(float16(65519.996f).bits == 0x7BFF);
  CHECK(float16(65520.0f).bits == 0x7C00);
  CHECK(float16(-0x1p-24f).bits == 0x8001);
  CHECK(float16(0x1p-25f).bits == 0);
  CHECK(float16(std::nextafter(0x1p-25f, 1.0f)).bits == 1);
  CHECK(bfloat16(1.0f).bits == 0x3F80);
  CHECK(bfloat16(std::numeric_limits<float>::max()).bits == 0x7F80);
  CHECK(bfloat16(1.00390625f).bits == 0x3F80);
  CHECK(bfloat16(1.01171875f).bits == 0x3F82);
}

TEST_CASE("casts go through float only where they must") {
  CHECK(cast<double>(0.1) == 0.1);
  CHECK(cast<float>(0.1) == 0.1f);
  CHECK(cast<bfloat16>(3).bits == bfloat16(3.0f).bits);
  CHECK(cast<float16>(bfloat16(1.5f)).bits == float16(1.5f).bits);
  CHECK(cast<double>(float16(0.5f)) == 0.5);
  CHECK(cast<std::int32_t>(bfloat16(7.0f)) == 7);
}

TEST_CASE("names and widths of element types") {
  CHECK(name(DType::BF16) == "BF16");
  CHECK(name(DType::Bool) == "BOOL");
  CHECK(bit_width(DType::F4) == 4);
  CHECK(bit_width(DType::F6_E2M3) == 6);
  CHECK(bit_width(DType::C64) == 64);
  CHECK(dtype_of<const float> == DType::F32);
  CHECK(dtype_of<float16> == DType::F16);
  CHECK(std::is_same_v<Accum<bfloat16>, float>);
  CHECK(std::is_same_v<Accum<const double>, double>);
}
