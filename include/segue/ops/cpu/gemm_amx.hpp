// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

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

SEGUE_NAMESPACE_BEGIN
namespace detail {
namespace amx {

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

/// sums (32 x 32, rows `sums_row` elements apart) = a · b over `steps` tiles of steps. Rows of a are `a_row` bytes
/// apart; b is packed by `pack_columns`.
inline void multiply_block(std::int64_t steps, const bfloat16* a, std::int64_t a_row, const bfloat16* b, float* sums,
                           std::int64_t sums_row) {
  const auto* upper = reinterpret_cast<const char*>(a);
  const char* lower = upper + tile_rows * a_row;
  clear<0>(), clear<1>(), clear<2>(), clear<3>();
  for (std::int64_t s = 0; s < steps; ++s, upper += 64, lower += 64, b += 2 * tile_elements) {
    load<4>(upper, a_row);
    load<6>(b, 64);
    multiply_add<0, 4, 6>();
    load<7>(b + tile_elements, 64);
    multiply_add<1, 4, 7>();
    load<5>(lower, a_row);
    multiply_add<2, 5, 6>();
    multiply_add<3, 5, 7>();
  }
  const std::int64_t row = sums_row * static_cast<std::int64_t>(sizeof(float));
  store<0>(sums, row), store<1>(sums + tile_columns, row);
  store<2>(sums + tile_rows * sums_row, row);
  store<3>(sums + tile_rows * sums_row + tile_columns, row);
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

/// Steps p and p + 1 of 16 elements side by side, where a step is a row at src + p·ld; `steps` of them are there.
SEGUE_FORCE_INLINE simd::Words pairs_of(const bfloat16* src, std::int64_t ld, std::int64_t steps, std::int64_t n) {
  return row_of(src, steps > 0 ? n : 0) | row_of(src + ld, steps > 1 ? n : 0) << 16;
}

using Square = simd::Vec<float>[tile_rows];  // of pairs: moved, never computed with
static_assert(simd::lanes<float> == tile_columns, "a register holds a row of a tile");

/// Packs a block of 32 columns of b over all k steps, missing ones zero: for each 32 steps two tiles. Element (step p,
/// column j) is b[j·ld + p] if `StepsContiguous`, else b[p·ld + j].
template <bool StepsContiguous>
void pack_columns(bfloat16* dst, const bfloat16* b, std::int64_t ld, std::int64_t columns, std::int64_t k) {
  for (std::int64_t step = 0; step < k; step += tile_steps)
    for (std::int64_t first = 0; first < block_columns; first += tile_columns, dst += tile_elements) {
      Square tile = {};
      if constexpr (StepsContiguous) {
        const std::size_t bytes = static_cast<std::size_t>(std::min(tile_steps, k - step)) * sizeof(bfloat16);
        for (std::int64_t j = 0; j < std::min(tile_columns, columns - first); ++j) {
          const bfloat16* from = b + (first + j) * ld + step;
          if (bytes == sizeof(tile[j]))
            std::memcpy(&tile[j], from, sizeof(tile[j]));
          else
            std::memcpy(&tile[j], from, bytes);
        }
        simd::transpose<float>(tile);
      } else {
        for (std::int64_t p = 0; p < tile_rows; ++p)
          tile[p] = std::bit_cast<simd::Vec<float>>(
              pairs_of(b + (step + 2 * p) * ld + first, ld, k - step - 2 * p, columns - first));
      }
      std::memcpy(static_cast<void*>(dst), tile, sizeof(tile));
    }
}

/// Copies 32 rows of a over all k steps, missing ones and steps up to a whole tile zero, into rows `dst_row` long.
/// Element (row i, step p) is a[i·ld + p], or a[p·ld + i] if `transposed`.
inline void copy_rows(bfloat16* dst, std::int64_t dst_row, const bfloat16* a, std::int64_t ld, bool transposed,
                      std::int64_t rows, std::int64_t k) {
  if (!transposed) {
    std::memset(static_cast<void*>(dst), 0, static_cast<std::size_t>(block_rows * dst_row) * sizeof(bfloat16));
    for (std::int64_t i = 0; i < rows && k > 0; ++i)
      std::memcpy(static_cast<void*>(dst + i * dst_row), a + i * ld, static_cast<std::size_t>(k) * sizeof(bfloat16));
    return;
  }
  for (std::int64_t step = 0; step < k; step += tile_steps)
    for (std::int64_t first = 0; first < block_rows; first += tile_rows) {
      Square tile;
      for (std::int64_t p = 0; p < tile_rows; ++p)
        tile[p] = std::bit_cast<simd::Vec<float>>(
            pairs_of(a + (step + 2 * p) * ld + first, ld, k - step - 2 * p, rows - first));
      simd::transpose<float>(tile);
      for (std::int64_t i = 0; i < tile_rows; ++i)
        std::memcpy(static_cast<void*>(dst + (first + i) * dst_row + step), &tile[i], sizeof(tile[i]));
    }
}

#else

inline bool available() { return false; }

#endif

}  // namespace amx
}  // namespace detail
SEGUE_NAMESPACE_END
