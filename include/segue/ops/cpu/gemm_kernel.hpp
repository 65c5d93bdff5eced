// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "segue/core/exec.hpp"
#include "segue/ops/cpu/activation_math.hpp"
#include "segue/ops/cpu/parallel.hpp"
#include "segue/ops/cpu/simd.hpp"
#include "segue/ops/types.hpp"

// What a product on the CPU is made of: block sizes, packing, the micro-kernel, what happens to finished sums, and how
// threads share it.

SEGUE_NAMESPACE_BEGIN
namespace detail {

// Why not Eigen's product: its kernels sum the remainders of rows and columns in another order than the body, so the
// bits of a token would depend on the batch around it. Here every operand is packed into panels of one width whose
// tails are zero, so there is one code path, and an element is always the sum over fixed panels of K of fused
// multiply-adds in the order of k. Packing also absorbs transposes and the widening of 16-bit types.

/// How a packed panel of rows lies: all rows of a step together, or `lanes` steps of a row together (a line), the lines
/// of all rows one after the other. Lines are copied from rows as they are; steps need a transpose.
enum class PackedRows { steps, lines };

inline constexpr std::int64_t cache_line = 64;

/// Register block and cache blocks of the product for sums in A. `rows` is at most a register's lanes, `pieces` are the
/// registers of a row. The squarer the block, the fewer instructions a multiply-add takes: 35 for 24 of them with 6 x 4
/// registers, 45 for 26 with 13 x 2, which lose twice as much where another program shares the core.
template <class A>
struct GemmBlocking {
  static constexpr int lanes = simd::lanes<A>;
  static constexpr int rows = simd::vector_bytes == 64 || lanes == 8 ? 6 : lanes;
  static constexpr int pieces = simd::vector_bytes == 64 ? 4 : 2;
  static constexpr int columns = pieces * lanes;
  /// How rows that lie step by step are packed. The loop over lines costs a kernel of few registers more than it saves.
  static constexpr PackedRows packing = simd::vector_bytes == 64 ? PackedRows::lines : PackedRows::steps;
  /// K is cut into equal panels of at most this many steps. A panel of b fits the first-level cache, or with AVX-512
  /// the second: then fewer sums are put aside and fetched again.
  static constexpr std::int64_t panel =
      (simd::vector_bytes == 64 ? 1024 : 384) * 4 / static_cast<std::int64_t>(sizeof(A));
  static constexpr std::int64_t row_block = 96 / rows * rows;
  static constexpr std::int64_t column_block = 2048;
  /// Bound on the packed copy of b, and up to which size each thread makes its own where it has `own_panels` of rows
  /// to use it on: then no thread waits for the others, nor fetches what they packed from their caches.
  static constexpr std::int64_t packed_elements = std::int64_t{4} << 20;
  static constexpr std::int64_t own_elements = std::int64_t{1} << 18, own_panels = simd::vector_bytes == 64 ? 34 : 16;
  /// Up to how many columns or rows the other operand is read where it lies, if it lies well.
  static constexpr std::int64_t few_columns = 8 * lanes, few_rows = simd::vector_bytes == 64 ? 48 : 4 * rows;
};

template <class A>
struct GemmSizes {
  using Block = GemmBlocking<A>;
  std::int64_t m, n, k;
  std::int64_t panels, panel;  // panels of K and steps in each: functions of K alone
  std::int64_t chunk;          // columns packed at a time
  std::int64_t rows, columns;  // extents of a thread's blocks

  GemmSizes(std::int64_t m_, std::int64_t n_, std::int64_t k_) : m(m_), n(n_), k(k_) {
    panels = std::max<std::int64_t>(1, ceil_div(k, Block::panel));
    panel = ceil_div(ceil_div(k, panels), 8) * 8;
    panels = std::max<std::int64_t>(1, panel > 0 ? ceil_div(k, panel) : 1);
    const std::int64_t fits = Block::packed_elements / std::max<std::int64_t>(k, 1) / Block::columns * Block::columns;
    const std::int64_t padded = ceil_div(n, Block::columns) * Block::columns;
    chunk = std::min(padded, std::max<std::int64_t>(fits, Block::columns));
    rows = std::min(Block::row_block, ceil_div(m, Block::rows) * Block::rows);
    columns = std::min(Block::column_block / Block::columns * Block::columns, chunk);
  }

  std::int64_t packed_b() const { return chunk * k; }
  /// Copies of the packed b that `threads` make.
  std::int64_t copies(std::int64_t threads) const {
    return packed_b() <= Block::own_elements && ceil_div(m, Block::rows) >= Block::own_panels * threads ? threads : 1;
  }
  static std::int64_t whole_lines(std::int64_t steps) { return ceil_div(steps, Block::lanes) * Block::lanes; }
  std::int64_t packed_a() const { return rows * whole_lines(panel) + Block::lanes; }
  std::int64_t tile() const { return panels > 1 ? rows * columns : 0; }
  static std::int64_t aligned(std::int64_t elements) { return ceil_div(elements, 64) * 64; }
  std::int64_t per_thread() const { return aligned(packed_a()) + aligned(tile()); }
  std::int64_t per_copy() const { return aligned(packed_b() + Block::lanes); }
};

/// Packs `steps` x `count` elements into panels of `Width`: step p of panel j lies at dst + (j·steps + p)·Width,
/// missing elements are zero. Element (index i, step p) is src[i·ld + p] if `StepsContiguous`, else src[p·ld + i],
/// whose rows have at least `readable` elements. May write up to a register beyond the last panel.
template <int Width, bool StepsContiguous, class A, class T>
void pack_panels(A* dst, const T* src, std::int64_t ld, std::int64_t count, std::int64_t readable, std::int64_t steps) {
  constexpr int lanes = simd::lanes<A>;
  static_assert(Width < lanes || Width % lanes == 0, "pieces that overlap the next step must be written in order");
  if constexpr (StepsContiguous) {
    for (std::int64_t first = 0; first < count; first += Width, dst += Width * steps)
      for (std::int64_t p = 0; p < steps; p += lanes) {
        const std::int64_t width = std::min<std::int64_t>(lanes, steps - p);
        for (int piece = 0; piece < Width; piece += lanes) {
          simd::Vec<A> square[static_cast<std::size_t>(lanes)];
          for (int i = 0; i < lanes; ++i)
            square[i] = i < Width && first + piece + i < count
                            ? simd::load<A>(src + (first + piece + i) * ld + p, width)
                            : simd::Vec<A>{};
          simd::transpose<A>(square);
          for (int i = 0; i < width; ++i) simd::store<A>(dst + (p + i) * Width + piece, square[i]);
        }
      }
  } else {
    for (std::int64_t first = 0; first < count; first += Width, dst += Width * steps) {
      // A narrow panel's stores run over into its next step, and at last into the next panel: both are written later.
      if (count - first >= Width && readable - first >= ceil_div(Width, lanes) * lanes) {
        for (std::int64_t p = 0; p < steps; ++p)
          for (int piece = 0; piece < Width; piece += lanes)
            simd::store<A>(dst + p * Width + piece, simd::load<A>(src + p * ld + first + piece));
      } else {
        for (std::int64_t p = 0; p < steps; ++p)
          for (int piece = 0; piece < Width; piece += lanes)
            simd::store<A>(dst + p * Width + piece, simd::load<A>(src + p * ld + first + piece, count - first - piece));
      }
    }
  }
}

/// Packs element (row i, step p) of src, at src[i·ld + p], into panels of `Width` rows made of lines: those of steps
/// [q·lanes, (q + 1)·lanes) begin at q·lanes·Width of a panel. Missing elements are zero.
template <int Width, class A, class T>
void pack_lines(A* dst, const T* src, std::int64_t ld, std::int64_t count, std::int64_t steps) {
  constexpr std::int64_t lanes = simd::lanes<A>;
  for (std::int64_t first = 0; first < count; first += Width, dst += ceil_div(steps, lanes) * lanes * Width)
    for (std::int64_t i = 0; i < Width; ++i)
      for (std::int64_t p = 0; p < steps; p += lanes)
        simd::store<A>(dst + p * Width + i * lanes,
                       first + i < count ? simd::load<A>(src + (first + i) * ld + p, steps - p) : simd::Vec<A>{});
}

/// What a kernel brings to the second-level cache for later ones, `lines` cache lines for each line of steps.
struct GemmAhead {
  const char* at = nullptr;
  int lines = 0;
};

/// f(0), ..., f(N - 1): a loop over registers is unrolled at high optimisation levels only.
template <int N, class F>
SEGUE_FORCE_INLINE void unrolled(F&& f) {
  [&]<std::size_t... I>(std::index_sequence<I...>) __attribute__((always_inline)) { (f(I), ...); }
  (std::make_index_sequence<static_cast<std::size_t>(N)>());
}

/// block (rows x columns, rows `block_step` apart) = or += a · b over `steps`. Step p of a, packed in steps or as it
/// lies in a transposed operand, is at a + p·a_step; lines have no a_step. Step p of b is at b + p·b_step. `Rows` is
/// how many rows are computed and `Pieces` how many registers of a row: fewer where fewer exist, with the same bits.
/// Over lines it fetches what it writes at the end, and what comes after it.
template <class A, PackedRows Packing, int Rows, int Pieces>
inline void gemm_micro_kernel(std::int64_t steps, const A* a, std::int64_t a_step, const A* b, std::int64_t b_step,
                              A* block, std::int64_t block_step, bool add, GemmAhead ahead) {
  using V = simd::Vec<A>;
  constexpr int lanes = simd::lanes<A>;
  V sums[static_cast<std::size_t>(Rows)][static_cast<std::size_t>(Pieces)] = {};
  constexpr std::size_t apart = Packing == PackedRows::lines ? lanes : 1;
  const std::int64_t next = Packing == PackedRows::lines ? 1 : a_step;
  const auto step = [&]() __attribute__((always_inline)) {
    V right[static_cast<std::size_t>(Pieces)];
    unrolled<Pieces>([&](std::size_t j) __attribute__((always_inline)) { right[j] = simd::load<A>(b + j * lanes); });
    unrolled<Rows>([&](std::size_t i) __attribute__((always_inline)) {
      unrolled<Pieces>([&](std::size_t j) __attribute__((always_inline)) { sums[i][j] += a[i * apart] * right[j]; });
    });
    a += next;
    b += b_step;
  };
  if constexpr (Packing == PackedRows::lines) {
    for (std::int64_t p = 0; p < steps; p += lanes, a += (GemmBlocking<A>::rows - 1) * lanes) {
      if (p < Rows * lanes) {
        const A* row = block + p / lanes * block_step;
        for (int j = 0; j < Pieces; ++j) __builtin_prefetch(row + j * lanes, 1);
      }
      for (int i = 0; i < ahead.lines; ++i, ahead.at += cache_line) __builtin_prefetch(ahead.at, 0, 2);
      std::int64_t line = std::min<std::int64_t>(lanes, steps - p);
      // One step a turn would lose at the ends of lines what they save.
      for (; line >= 4; line -= 4) step(), step(), step(), step();
      for (; line > 0; --line) step();
    }
  } else {
    for (std::int64_t p = 0; p < steps; ++p) step();
  }
  unrolled<Rows>([&](std::size_t i) __attribute__((always_inline)) {
    A* row = block + static_cast<std::int64_t>(i) * block_step;
    unrolled<Pieces>([&](std::size_t j) __attribute__((always_inline)) {
      A* at = row + j * lanes;
      simd::store<A>(at, add ? simd::load<A>(at) + sums[i][j] : sums[i][j]);
    });
  });
}

/// How many registers of a row are computed where `columns` exist.
template <class A>
std::int64_t gemm_pieces(std::int64_t columns) {
  const std::int64_t need = ceil_div(columns, GemmBlocking<A>::lanes);
  return need <= 2 ? need : GemmBlocking<A>::pieces;
}

/// The micro-kernel for `rows` by `columns` that exist; it writes whole registers, as many as gemm_pieces says.
template <class A, PackedRows Packing = PackedRows::steps>
inline void gemm_block(std::int64_t rows, std::int64_t columns, std::int64_t steps, const A* a, std::int64_t a_step,
                       const A* b, std::int64_t b_step, A* block, std::int64_t block_step, bool add,
                       GemmAhead ahead = {}) {
  constexpr int all = GemmBlocking<A>::rows, few = all > 4 ? 4 : 2;
  const auto multiply = [&]<int Rows>(std::integral_constant<int, Rows>) {
    const std::int64_t pieces = gemm_pieces<A>(columns);
    if (pieces == GemmBlocking<A>::pieces)
      gemm_micro_kernel<A, Packing, Rows, GemmBlocking<A>::pieces>(steps, a, a_step, b, b_step, block, block_step, add,
                                                                   ahead);
    else if (pieces == 2)
      gemm_micro_kernel<A, Packing, Rows, 2>(steps, a, a_step, b, b_step, block, block_step, add, ahead);
    else
      gemm_micro_kernel<A, Packing, Rows, 1>(steps, a, a_step, b, b_step, block, block_step, add, ahead);
  };
  if (rows > few)
    multiply(std::integral_constant<int, all>{});
  else if (rows > 1)
    multiply(std::integral_constant<int, few>{});
  else
    multiply(std::integral_constant<int, 1>{});
}

/// What is multiplied: element (i, p) of a is at a + i·a_stride + p, or at a + p·a_stride + i if it is transposed;
/// element (p, j) of b likewise.
template <class TA, class TB>
struct GemmOperands {
  const TA* a;
  std::int64_t a_stride;
  bool a_transposed;
  const TB* b;
  std::int64_t b_stride;
  bool b_transposed;
};

/// Turns finished sums into elements of c.
template <class A, class TC, class TBias>
struct GemmFinish {
  A alpha, beta;
  const TBias* bias;
  ops::Activation activation;
  TC* c;
  std::int64_t c_stride;
  TC* pre;
  std::int64_t pre_stride;

  /// Whether the sums are stored or added as they are.
  bool plain() const {
    return alpha == A{1} && (beta == A{0} || beta == A{1}) && !bias && activation == ops::Activation::none && !pre;
  }

  template <ops::Activation Act>
  void rows(const A* block, std::int64_t columns, std::int64_t row, std::int64_t column, std::int64_t row_count,
            std::int64_t count) const {
    constexpr int lanes = simd::lanes<A>;
    for (std::int64_t j = 0; j < count; j += lanes) {
      const std::int64_t n = count - j;
      const simd::Vec<A> shift = bias ? simd::load<A>(bias + column + j, n) : simd::Vec<A>{};
      // What most products end with, without a question for each register.
      if (alpha == A{1} && beta == A{0} && !pre && n >= lanes) {
        TC* out = c + row * c_stride + column + j;
        if (bias)
          for (std::int64_t i = 0; i < row_count; ++i)
            simd::store<A>(out + i * c_stride, activate<Act, A>(simd::load<A>(block + i * columns + j) + shift));
        else
          for (std::int64_t i = 0; i < row_count; ++i)
            simd::store<A>(out + i * c_stride, activate<Act, A>(simd::load<A>(block + i * columns + j)));
        continue;
      }
      for (std::int64_t i = 0; i < row_count; ++i) {
        simd::Vec<A> x = simd::load<A>(block + i * columns + j) * alpha;
        TC* out = c + (row + i) * c_stride + column + j;
        if (beta != A{0}) x += simd::load<A>(static_cast<const TC*>(out), n) * beta;
        if (bias) x += shift;
        if (pre) simd::store<A>(pre + (row + i) * pre_stride + column + j, x, n);
        simd::store<A>(out, activate<Act, A>(x), n);
      }
    }
  }

  /// Of a block with rows of `columns` sums, `row_count` rows by `count`, which belong at (row, column).
  void operator()(const A* block, std::int64_t columns, std::int64_t row, std::int64_t column, std::int64_t row_count,
                  std::int64_t count) const {
    with_activation(activation,
                    [&]<ops::Activation Act>() { rows<Act>(block, columns, row, column, row_count, count); });
  }
};

/// Cuts a product among threads, by blocks of rows, at most `piece` at a time, or, where those are few, by panels of b.
/// `pack(begin, end, copy)` packs panels of b; `multiply(row_begin, row_end, begin, end, copy, range)` multiplies
/// blocks of rows by panels on the thread of that range. With `copies` each thread packs all panels for itself.
template <class Pack, class Multiply>
void gemm_in_parallel(Exec<Cpu>& exec, std::int64_t threads, std::int64_t row_blocks, std::int64_t piece,
                      std::int64_t panels, bool copies, const Pack& pack, const Multiply& multiply) {
  if (copies || row_blocks >= 4 * threads || row_blocks >= panels) {
    if (!copies)
      parallel_for(
          exec, panels, [&](std::int64_t begin, std::int64_t end) { pack(begin, end, std::int64_t{0}); },
          ceil_div(panels, threads));
    parallel_shared_for(
        exec, row_blocks, piece, threads,
        [&](std::int64_t range) {
          if (copies) pack(std::int64_t{0}, panels, range);
        },
        [&](std::int64_t begin, std::int64_t end, std::int64_t range) {
          multiply(begin, end, std::int64_t{0}, panels, copies ? range : 0, range);
        });
  } else {
    parallel_ranges_for(
        exec, panels,
        [&](std::int64_t begin, std::int64_t end, std::int64_t range) {
          pack(begin, end, std::int64_t{0});
          multiply(std::int64_t{0}, row_blocks, begin, end, std::int64_t{0}, range);
        },
        ceil_div(panels, threads));
  }
}

}  // namespace detail
SEGUE_NAMESPACE_END
