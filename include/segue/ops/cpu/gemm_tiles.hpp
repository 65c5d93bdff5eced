// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "segue/core/exec.hpp"
#include "segue/ops/cpu/gemm_amx.hpp"
#include "segue/ops/cpu/gemm_kernel.hpp"
#include "segue/ops/types.hpp"

// Products of which b is bfloat16 on the tile registers of AMX, elements of a by their pieces.

SEGUE_NAMESPACE_BEGIN
namespace detail {

template <class TA, class TB, class TC>
inline constexpr bool gemm_has_tiles =
    amx::compiled&& amx::pieces<TA> > 0 && std::is_same_v<TB, bfloat16>&& std::is_same_v<Accum<TC>, float>;

/// Which products go by tiles. Neither sizes nor values play a part, so a row's bits do not depend on the batch.
template <class TA, class TB, class TC>
bool gemm_by_tiles() {
  if constexpr (gemm_has_tiles<TA, TB, TC>)
    return amx::available();
  else
    return false;
}

/// How a product by tiles is cut, and where in scratch its parts lie: columns of b packed at a time, then each thread's
/// rows of a.
template <class TA>
struct TileGemmSizes {
  static constexpr int pieces = amx::pieces<TA>;
  static constexpr bool apart = pieces > 1;  ///< whether elements of a are taken apart
  /// Where they are, tiles of steps that are summed before they are added to others: longer sums would round more than
  /// they need to.
  static constexpr std::int64_t sum_steps = 16;

  std::int64_t m, n, k, steps;  // steps: tiles of K
  std::int64_t row_blocks, column_blocks;
  std::int64_t chunk;  // blocks of columns packed at a time
  std::int64_t group;  // blocks of rows that use a panel of b one after the other
  std::int64_t threads;

  TileGemmSizes(std::int64_t m_, std::int64_t n_, std::int64_t k_, std::int64_t threads_)
      : m(m_), n(n_), k(k_), threads(threads_) {
    steps = ceil_div(k, amx::tile_steps);
    row_blocks = ceil_div(m, amx::block_rows), column_blocks = ceil_div(n, amx::block_columns);
    const std::int64_t fits = GemmBlocking<float>::packed_elements / std::max<std::int64_t>(1, packed_columns());
    chunk = std::clamp<std::int64_t>(fits, 1, std::max<std::int64_t>(1, column_blocks));
    // As many as the second-level cache has room for, beside a panel.
    constexpr std::int64_t elements = std::int64_t{1} << (apart ? 19 : 18);
    group = std::clamp<std::int64_t>(elements / std::max<std::int64_t>(1, packed_rows()), 1, 8);
  }

  /// Elements of a block of columns or rows.
  std::int64_t packed_columns() const { return steps * amx::block_columns * amx::tile_steps; }
  std::int64_t packed_rows() const { return pieces * steps * amx::block_rows * amx::tile_steps; }
  std::size_t bytes() const {
    return static_cast<std::size_t>(chunk * packed_columns() + threads * group * packed_rows()) * sizeof(bfloat16);
  }
};

#if SEGUE_COMPILED_FOR_AMX

template <class TA, class TC, class TBias>
struct TileGemmProblem {
  using Sizes = TileGemmSizes<TA>;
  Sizes sizes;
  GemmOperands<TA, bfloat16> in;
  GemmFinish<float, TC, TBias> finish;

  void pack_columns(bfloat16* dst, std::int64_t block) const {
    constexpr amx::Side side = amx::Side::columns_of_b;
    if (sizes.k == 0) return;
    const std::int64_t column = block * amx::block_columns, columns = std::min(amx::block_columns, sizes.n - column);
    if (in.b_transposed)
      amx::pack_block<side, true>(dst, in.b + column * in.b_stride, in.b_stride, columns, sizes.k);
    else
      amx::pack_block<side, false>(dst, in.b + column, in.b_stride, columns, sizes.k);
  }
  void pack_rows(bfloat16* dst, std::int64_t block) const {
    constexpr amx::Side side = amx::Side::rows_of_a;
    if (sizes.k == 0) return;
    const std::int64_t row = block * amx::block_rows, rows = std::min(amx::block_rows, sizes.m - row);
    if (in.a_transposed)
      amx::pack_block<side, false>(dst, in.a + row, in.a_stride, rows, sizes.k);
    else
      amx::pack_block<side, true>(dst, in.a + row * in.a_stride, in.a_stride, rows, sizes.k);
  }

  static constexpr std::int64_t block_elements = amx::block_rows * amx::block_columns;
  using Sums = float[static_cast<std::size_t>(block_elements)];

  /// A block of sums of packed operands, elements of a taken apart.
  void multiply_apart(const bfloat16* rows, const bfloat16* columns, Sums& sums) const {
    alignas(64) Sums part;
    amx::LeftTiles from = amx::LeftTiles::packed(rows, Sizes::pieces);
    for (std::int64_t step = 0; step < sizes.steps;
         step += Sizes::sum_steps, from.at += Sizes::sum_steps * from.steps) {
      const std::int64_t count = std::min(Sizes::sum_steps, sizes.steps - step);
      amx::multiply_steps<Sizes::pieces>(count, from, columns + 2 * step * amx::tile_elements, step > 0 ? part : sums,
                                         amx::block_columns);
      if (step > 0)
        for (std::int64_t i = 0; i < block_elements; ++i) sums[i] += part[i];
    }
    // An infinity times a piece that is zero would be no number.
    simd::Words odd{};
    for (std::int64_t i = 0; i < block_elements; i += simd::lanes<float>)
      odd |= amx::not_finite(simd::load<float>(sums + i));
    if (!amx::any(odd)) return;
    amx::multiply_steps_plainly<Sizes::pieces>(sizes.steps, rows, columns, part, amx::block_columns);
    for (std::int64_t i = 0; i < block_elements; ++i)
      if (!std::isfinite(sums[i])) sums[i] = part[i];
  }

  /// Blocks of rows by blocks of columns, of which packed_b holds those from first_column on.
  void multiply(const bfloat16* packed_b, std::int64_t first_row, std::int64_t last_row, std::int64_t first_column,
                std::int64_t last_column, bfloat16* packed_a) const {
    const amx::Tiles tiles;
    alignas(64) Sums sums = {};  // as they stay if there are no steps
    // Whole tiles, which need not be taken apart, are read where they are.
    const auto lies = [&](std::int64_t block) {
      return !Sizes::apart && !in.a_transposed && sizes.k % amx::tile_steps == 0 &&
             (block + 1) * amx::block_rows <= sizes.m;
    };
    for (std::int64_t block = first_row; block < last_row; block += sizes.group) {
      const std::int64_t last = std::min(block + sizes.group, last_row);
      for (std::int64_t i = block; i < last; ++i)
        if (!lies(i)) pack_rows(packed_a + (i - block) * sizes.packed_rows(), i);
      for (std::int64_t j = first_column; j < last_column; ++j) {
        const bfloat16* columns = packed_b + (j - first_column) * sizes.packed_columns();
        const std::int64_t column = j * amx::block_columns;
        for (std::int64_t i = block; i < last; ++i) {
          const std::int64_t row = i * amx::block_rows;
          const bfloat16* packed = packed_a + (i - block) * sizes.packed_rows();
          if constexpr (Sizes::apart)
            multiply_apart(packed, columns, sums);
          else
            amx::multiply_steps<1>(sizes.steps,
                                   lies(i) ? amx::LeftTiles::rows(in.a + row * in.a_stride, in.a_stride)
                                           : amx::LeftTiles::packed(packed, 1),
                                   columns, sums, amx::block_columns);
          finish(sums, amx::block_columns, row, column, std::min(amx::block_rows, sizes.m - row),
                 std::min(amx::block_columns, sizes.n - column));
        }
      }
    }
  }

  void run(Exec<Cpu>& exec, bfloat16* packed_b) const {
    bfloat16* packed_a = packed_b + sizes.chunk * sizes.packed_columns();
    const double work = (2.0 * static_cast<double>(sizes.m) + 32) * static_cast<double>(sizes.n * sizes.k);
    const std::int64_t threads = work < (Sizes::apart ? 2e6 : 4e6) ? 1 : sizes.threads;
    for (std::int64_t from = 0; from < sizes.column_blocks; from += sizes.chunk)
      gemm_in_parallel(
          exec, threads, sizes.row_blocks, sizes.group, std::min(sizes.chunk, sizes.column_blocks - from), false,
          [&](std::int64_t begin, std::int64_t end, std::int64_t) {
            for (std::int64_t block = begin; block < end; ++block)
              pack_columns(packed_b + block * sizes.packed_columns(), from + block);
          },
          [&](std::int64_t row_begin, std::int64_t row_end, std::int64_t begin, std::int64_t end, std::int64_t,
              std::int64_t range) {
            multiply(packed_b + begin * sizes.packed_columns(), row_begin, row_end, from + begin, from + end,
                     packed_a + range * sizes.group * sizes.packed_rows());
          });
  }
};

#endif

}  // namespace detail
SEGUE_NAMESPACE_END
