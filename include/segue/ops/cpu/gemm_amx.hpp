// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "segue/core/dtype.hpp"
#include "segue/core/posix.hpp"
#include "segue/ops/cpu/simd.hpp"

// clang up to 14 spells them without the second underscore.
#if defined(__x86_64__) && defined(__linux__) && defined(__AVX512F__) && \
    (defined(__AMX_TILE__) || defined(__AMXTILE__)) && (defined(__AMX_BF16__) || defined(__AMXBF16__))
#define SEGUE_COMPILED_FOR_AMX 1
#else
#define SEGUE_COMPILED_FOR_AMX 0
#endif

// Products of bfloat16 with sums in float on the tile registers of AMX, which multiply some sixteen times as fast as a
// processor's vectors. A tile of a is 16 rows of 32 steps, as they lie in memory; one of b is 16 pairs of steps of 16
// columns. An element is the sum over tiles of 32 steps, wherever it lies. Subnormal operands and sums count as zero.
//
// A float of a is the sum of three bfloat16s (24 bits are three times eight) and a float16 of two: its product with a
// bfloat16 of b is that of its pieces, exactly. The small ones are summed before the large one, and the
// steps of a tile in pairs, so that an element is rounded at its full size less often than by fused multiply-adds. Two
// floats would take six products, which is little faster than vectors on one processor and slower on another.

SEGUE_NAMESPACE_BEGIN
namespace detail {
namespace amx {

/// bfloat16s whose sum is an element of type T; 0: of a type that is none.
template <class T>
inline constexpr int pieces = std::is_same_v<T, bfloat16>  ? 1
                              : std::is_same_v<T, float16> ? 2
                              : std::is_same_v<T, float>   ? 3
                                                           : 0;

inline constexpr bool compiled = SEGUE_COMPILED_FOR_AMX != 0;

/// Of a register: rows of 64 bytes.
inline constexpr std::int64_t tile_rows = 16, tile_steps = 32, tile_columns = 16,
                              tile_elements = tile_rows * tile_steps;
/// Of a block of sums: two by two registers.
inline constexpr std::int64_t block_rows = 2 * tile_rows, block_columns = 2 * tile_columns;

#if SEGUE_COMPILED_FOR_AMX

/// Whether the system lets this process use tiles. Asked once: the answer holds for every thread.
inline bool available() {
  static const bool granted = request_processor_state(18);  // XFEATURE_XTILEDATA
  return granted;
}

/// All eight tiles of a thread, whole, for as long as this lives.
class Tiles {
 public:
  Tiles() {
    struct alignas(64) {
      std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
      std::uint16_t row_bytes[16] = {};
      std::uint8_t rows[16] = {};
    } config;
    for (int i = 0; i < 8; ++i) config.row_bytes[i] = 64, config.rows[i] = tile_rows;
    asm volatile("ldtilecfg %0" ::"m"(config));
  }
  ~Tiles() { asm volatile("tilerelease"); }
  Tiles(const Tiles&) = delete;
  Tiles& operator=(const Tiles&) = delete;
};

// Tiles go by number, which the assembler needs to know: the compilers' intrinsics are macros for the same reason, and
// their header takes longer to compile than the operators. Each instruction stands in both syntaxes, AT&T's and
// Intel's.
template <int Tile>
SEGUE_FORCE_INLINE void clear() {
  asm volatile("tilezero {%%tmm%c0|tmm%c0}" ::"i"(Tile));
}
template <int Tile>
SEGUE_FORCE_INLINE void load(const void* p, std::int64_t row_bytes) {
  asm volatile("tileloadd {(%0,%1,1), %%tmm%c2|tmm%c2, [%0+%1]}" ::"r"(p), "r"(row_bytes), "i"(Tile) : "memory");
}
template <int Tile>
SEGUE_FORCE_INLINE void store(void* p, std::int64_t row_bytes) {
  asm volatile("tilestored {%%tmm%c2, (%0,%1,1)|[%0+%1], tmm%c2}" ::"r"(p), "r"(row_bytes), "i"(Tile) : "memory");
}
template <int Sum, int Left, int Right>
SEGUE_FORCE_INLINE void multiply_add() {
  asm volatile("tdpbf16ps {%%tmm%c2, %%tmm%c1, %%tmm%c0|tmm%c0, tmm%c1, tmm%c2}" ::"i"(Sum), "i"(Left), "i"(Right));
}

/// Where a block of rows of a lies: the first piece of its first 16 rows over 32 steps, and how many bytes it is to the
/// next row, to the other 16 rows, to the next piece and to the next 32 steps.
struct LeftTiles {
  const char* at;
  std::int64_t row, lower, piece, steps;

  /// Rows of bfloat16 as they lie, `stride` elements apart.
  static LeftTiles rows(const bfloat16* a, std::int64_t stride) {
    const std::int64_t row = stride * static_cast<std::int64_t>(sizeof(bfloat16));
    return {reinterpret_cast<const char*>(a), row, tile_rows * row, 0, 64};
  }
  /// What `pack_block` made.
  static LeftTiles packed(const bfloat16* a, int pieces) {
    constexpr std::int64_t tile = tile_elements * static_cast<std::int64_t>(sizeof(bfloat16));
    return {reinterpret_cast<const char*>(a), 64, tile, 2 * tile, 2 * tile * pieces};
  }
};

/// sums += piece I of a · b over 32 steps. Registers 4 and 5 hold a, 6 and 7 b, from before if it is not loaded.
template <int I, bool LoadRight = true>
SEGUE_FORCE_INLINE void multiply_piece(const LeftTiles& a, const bfloat16* b) {
  load<4>(a.at + I * a.piece, a.row);
  if constexpr (LoadRight) load<6>(b, 64);
  multiply_add<0, 4, 6>();
  if constexpr (LoadRight) load<7>(b + tile_elements, 64);
  multiply_add<1, 4, 7>();
  load<5>(a.at + a.lower + I * a.piece, a.row);
  multiply_add<2, 5, 6>();
  multiply_add<3, 5, 7>();
}

/// sums (32 x 32, rows `sums_row` elements apart) = a · b over `steps` tiles of steps. Elements of a have `Pieces`
/// pieces; b is packed by `pack_block`.
template <int Pieces>
void multiply_steps(std::int64_t steps, const LeftTiles& a, const bfloat16* b, float* sums, std::int64_t sums_row) {
  static_assert(Pieces >= 1 && Pieces <= 3);
  clear<0>(), clear<1>(), clear<2>(), clear<3>();
  if constexpr (Pieces > 1) {
    LeftTiles left = a;
    const bfloat16* right = b;
    for (std::int64_t s = 0; s < steps; ++s, left.at += a.steps, right += 2 * tile_elements) {
      if constexpr (Pieces > 2) multiply_piece<2>(left, right);
      multiply_piece<1, Pieces == 2>(left, right);
    }
  }
  LeftTiles left = a;
  for (std::int64_t s = 0; s < steps; ++s, left.at += a.steps, b += 2 * tile_elements) multiply_piece<0>(left, b);
  const std::int64_t row = sums_row * static_cast<std::int64_t>(sizeof(float));
  store<0>(sums, row), store<1>(sums + tile_columns, row);
  store<2>(sums + tile_rows * sums_row, row);
  store<3>(sums + tile_rows * sums_row + tile_columns, row);
}

using Floats = simd::Vec<float>;

/// A lane of ones for each element that is infinite or no number.
SEGUE_FORCE_INLINE simd::Words not_finite(Floats x) {
  return std::bit_cast<simd::Words>((std::bit_cast<simd::Words>(x) & 0x7F800000u) == 0x7F800000u);
}

/// Whether a bit is set.
inline bool any(simd::Words x) {
  std::uint32_t all = 0;
  for (int i = 0; i < simd::lanes<float>; ++i) all |= x[i];
  return all != 0;
}

/// 16 numbers as pieces, in the upper halves of words whose lower halves are zero: each takes the first eight bits of
/// what those before it left. One that is not finite is its own first piece.
template <int Pieces>
SEGUE_FORCE_INLINE void split(Floats x, simd::Words (&piece)[Pieces]) {
  const simd::Words bits = std::bit_cast<simd::Words>(x), odd = not_finite(x);
  // What is left of a NaN must not be the bits of an infinity.
  piece[0] = (bits & 0xFFFF0000u) | (odd & ((bits & 0xFFFFu) != 0u ? simd::Words{} + 0x400000u : simd::Words{}));
  if constexpr (Pieces > 1)
    x = std::bit_cast<Floats>(~odd & std::bit_cast<simd::Words>(x - std::bit_cast<Floats>(bits & 0xFFFF0000u)));
  for (int i = 1; i < Pieces; ++i) {
    piece[i] = std::bit_cast<simd::Words>(x) & 0xFFFF0000u;
    if (i + 1 < Pieces) x -= std::bit_cast<Floats>(piece[i]);
  }
}

/// The first n of 16 elements, then zeros, each with room for a partner.
SEGUE_FORCE_INLINE simd::Words row_of(const bfloat16* p, std::int64_t n) {
  simd::Halves out{};
  if (n >= tile_columns)
    std::memcpy(&out, p, sizeof(out));
  else if (n > 0)
    std::memcpy(&out, p, static_cast<std::size_t>(n) * sizeof(bfloat16));
  return __builtin_convertvector(out, simd::Words);
}

/// Pieces of steps p and p + 1 of 16 elements side by side, where a step is a row at src + p·ld; `steps` of them are
/// there.
template <class T>
SEGUE_FORCE_INLINE void load_pairs(const T* src, std::int64_t ld, std::int64_t steps, std::int64_t n,
                                   simd::Words (&pair)[pieces<T>]) {
  if constexpr (std::is_same_v<T, bfloat16>) {
    pair[0] = row_of(src, steps > 0 ? n : 0) | row_of(src + ld, steps > 1 ? n : 0) << 16;
  } else {
    simd::Words first[pieces<T>], second[pieces<T>];
    split(steps > 0 ? simd::load<float>(src, n) : Floats{}, first);
    split(steps > 1 ? simd::load<float>(src + ld, n) : Floats{}, second);
    for (int i = 0; i < pieces<T>; ++i) pair[i] = first[i] >> 16 | second[i];
  }
}

/// Pieces of the first n of 32 steps of a row, then zeros.
template <class T>
SEGUE_FORCE_INLINE void load_steps(const T* src, std::int64_t n, simd::Words (&row)[pieces<T>]) {
  if constexpr (std::is_same_v<T, bfloat16>) {
    row[0] = simd::Words{};
    if (n >= tile_steps)
      std::memcpy(&row[0], src, sizeof(row[0]));
    else
      std::memcpy(&row[0], src, static_cast<std::size_t>(n) * sizeof(bfloat16));
  } else {
    constexpr std::int64_t half = tile_steps / 2;
    simd::Words first[pieces<T>], second[pieces<T>];
    split(simd::load<float>(src, n), first);
    split(n > half ? simd::load<float>(src + half, n - half) : Floats{}, second);
    using AllHalves = typename simd::Of<std::uint16_t, simd::vector_bytes>::type;
    for (int i = 0; i < pieces<T>; ++i)
      row[i] = std::bit_cast<simd::Words>(__builtin_shufflevector(
          std::bit_cast<AllHalves>(first[i]), std::bit_cast<AllHalves>(second[i]), 1, 3, 5, 7, 9, 11, 13, 15, 17, 19,
          21, 23, 25, 27, 29, 31, 33, 35, 37, 39, 41, 43, 45, 47, 49, 51, 53, 55, 57, 59, 61, 63));
  }
}

using Square = Floats[tile_rows];  // of pairs: moved, never computed with
static_assert(simd::lanes<float> == tile_columns, "a register holds a row of a tile");

/// A tile of each piece: 16 pairs of steps, which are rows at src + p·ld, of 16 elements. `steps` and `n` are there.
template <class T>
SEGUE_FORCE_INLINE void load_tiles(const T* src, std::int64_t ld, std::int64_t steps, std::int64_t n,
                                   Square (&tile)[pieces<T>]) {
  for (std::int64_t p = 0; p < tile_rows; ++p) {
    simd::Words pair[pieces<T>];
    load_pairs(src + 2 * p * ld, ld, steps - 2 * p, n, pair);
    for (int i = 0; i < pieces<T>; ++i) tile[i][p] = std::bit_cast<Floats>(pair[i]);
  }
}

enum class Side { rows_of_a, columns_of_b };

/// Packs a block of 32 rows of a or columns of b over all k steps, missing ones zero: for each 32 steps two tiles of
/// each piece. Element (row or column i, step p) is src[i·ld + p] if `StepsContiguous`, else src[p·ld + i]; `count`
/// rows or columns are there.
template <Side Which, bool StepsContiguous, class T>
void pack_block(bfloat16* dst, const T* src, std::int64_t ld, std::int64_t count, std::int64_t k) {
  constexpr int P = pieces<T>;
  static_assert(tile_rows == tile_columns);
  for (std::int64_t step = 0; step < k; step += tile_steps, dst += 2 * P * tile_elements)
    for (std::int64_t half = 0; half < 2; ++half) {
      const std::int64_t first = half * tile_rows, there = std::min(tile_rows, count - first);
      Square tile[P] = {};
      if constexpr (StepsContiguous) {
        for (std::int64_t i = 0; i < there; ++i) {
          simd::Words row[P];
          load_steps(src + (first + i) * ld + step, k - step, row);
          for (int piece = 0; piece < P; ++piece) tile[piece][i] = std::bit_cast<Floats>(row[piece]);
        }
      } else {
        load_tiles(src + step * ld + first, ld, k - step, there, tile);
      }
      for (int piece = 0; piece < P; ++piece) {
        if constexpr (StepsContiguous == (Which == Side::columns_of_b)) simd::transpose<float>(tile[piece]);
        std::memcpy(static_cast<void*>(dst + (2 * piece + half) * tile_elements), tile[piece], sizeof(tile[piece]));
      }
    }
}

/// The sums of the pieces in a row of a tile, at the first step of each pair or at the second.
template <int Pieces>
SEGUE_FORCE_INLINE Floats joined(const bfloat16* piece, bool second) {
  Floats sum{};
  for (int i = Pieces - 1; i >= 0; --i) {
    simd::Words pair;
    std::memcpy(&pair, piece + i * 2 * tile_elements, sizeof(pair));
    sum += std::bit_cast<Floats>(second ? pair & 0xFFFF0000u : pair << 16);
  }
  return sum;
}

/// `multiply_steps` of packed operands, without tiles.
template <int Pieces>
[[gnu::noinline]] void multiply_steps_plainly(std::int64_t steps, const bfloat16* a, const bfloat16* b, float* sums,
                                              std::int64_t sums_row) {
  for (std::int64_t i = 0; i < block_rows; ++i) {
    Floats left{}, right{};
    const bfloat16 *row = a + i * tile_steps, *pair = b;
    for (std::int64_t s = 0; s < steps; ++s, row += 2 * Pieces * tile_elements, pair += tile_elements) {
      const Floats first = joined<Pieces>(row, false), second = joined<Pieces>(row, true);
      for (std::int64_t p = 0; p < tile_rows; ++p, pair += tile_steps) {
        left += first[p] * joined<1>(pair, false) + second[p] * joined<1>(pair, true);
        right += first[p] * joined<1>(pair + tile_elements, false) + second[p] * joined<1>(pair + tile_elements, true);
      }
    }
    simd::store<float>(sums + i * sums_row, left);
    simd::store<float>(sums + i * sums_row + tile_columns, right);
  }
}

#else

inline bool available() { return false; }

#endif

}  // namespace amx
}  // namespace detail
SEGUE_NAMESPACE_END
