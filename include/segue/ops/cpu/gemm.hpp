// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>

#include "segue/ops/cpu/activation_math.hpp"
#include "segue/ops/cpu/parallel.hpp"
#include "segue/ops/cpu/simd.hpp"
#include "segue/ops/gemm.hpp"

SEGUE_NAMESPACE_BEGIN
namespace detail {

// Why not Eigen's product: its kernels sum the remainders of rows and columns in another order than the body, so the
// bits of a token would depend on the batch around it. Here every operand is packed into panels of one width whose
// tails are zero, so there is one code path, and an element is always the sum over fixed panels of K of fused
// multiply-adds in the order of k. Packing also absorbs transposes and the widening of 16-bit types.

/// Register block and cache blocks of the product for sums in A. `rows` is at most a register's lanes.
template <class A>
struct GemmBlocking {
  static constexpr int lanes = simd::lanes<A>;
  static constexpr int rows = simd::vector_bytes == 64 ? (lanes == 16 ? 13 : 8) : (lanes == 8 ? 6 : lanes);
  static constexpr int columns = 2 * lanes;
  /// K is cut into equal panels of at most this many steps: a panel of b fits the first-level cache.
  static constexpr std::int64_t panel = 384 * 4 / static_cast<std::int64_t>(sizeof(A));
  static constexpr std::int64_t row_block = 96 / rows * rows;
  static constexpr std::int64_t column_block = 512;
  /// Bound on the packed copy of b.
  static constexpr std::int64_t packed_elements = std::int64_t{4} << 20;
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
  std::int64_t packed_a() const { return rows * panel + Block::lanes; }
  std::int64_t tile() const { return panels > 1 ? rows * columns : 0; }
  static std::int64_t aligned(std::int64_t elements) { return ceil_div(elements, 64) * 64; }
  std::int64_t per_thread() const { return aligned(packed_a()) + aligned(tile()); }
};

/// Packs `steps` x `valid` elements so that step p's `Width` values lie at dst + p·Width, missing ones zero.
/// Element (index i, step p) is src[i·ld + p] if `StepsContiguous`, else src[p·ld + i], whose rows have at least
/// `readable` elements. May write up to a register beyond the last step.
template <int Width, bool StepsContiguous, class A, class T>
void pack_panel(A* dst, const T* src, std::int64_t ld, std::int64_t valid, std::int64_t readable, std::int64_t steps) {
  constexpr int lanes = simd::lanes<A>;
  static_assert(Width < lanes || Width % lanes == 0, "pieces that overlap the next step must be written in order");
  if constexpr (StepsContiguous) {
    for (std::int64_t p = 0; p < steps; p += lanes) {
      const std::int64_t count = std::min<std::int64_t>(lanes, steps - p);
      for (int piece = 0; piece < Width; piece += lanes) {
        simd::Vec<A> square[static_cast<std::size_t>(lanes)];
        for (int i = 0; i < lanes; ++i)
          square[i] =
              i < Width && piece + i < valid ? simd::load<A>(src + (piece + i) * ld + p, count) : simd::Vec<A>{};
        simd::transpose<A>(square);
        for (int i = 0; i < count; ++i) simd::store<A>(dst + (p + i) * Width + piece, square[i]);
      }
    }
  } else {
    if (valid >= Width && readable >= ceil_div(Width, lanes) * lanes) {
      for (std::int64_t p = 0; p < steps; ++p)
        for (int piece = 0; piece < Width; piece += lanes)
          simd::store<A>(dst + p * Width + piece, simd::load<A>(src + p * ld + piece));
    } else {
      for (std::int64_t p = 0; p < steps; ++p)
        for (int piece = 0; piece < Width; piece += lanes)
          simd::store<A>(dst + p * Width + piece, simd::load<A>(src + p * ld + piece, valid - piece));
    }
  }
}

/// block (rows x columns, contiguous) = or += packed a · packed b over `steps`. `Halves` is how many of the two
/// registers of a row hold columns that exist.
template <class A, int Halves>
inline void gemm_micro_kernel(std::int64_t steps, const A* a, const A* b, A* block, bool add) {
  using V = simd::Vec<A>;
  constexpr int rows = GemmBlocking<A>::rows, lanes = simd::lanes<A>, columns = GemmBlocking<A>::columns;
  V left[static_cast<std::size_t>(rows)] = {}, right[static_cast<std::size_t>(rows)] = {};
  // Lambdas over an index pack, since loops over registers are unrolled at high optimisation levels only.
  const auto each = [](auto&& f) __attribute__((always_inline)) {
    [&]<std::size_t... I>(std::index_sequence<I...>) __attribute__((always_inline)) { (f(I), ...); }
    (std::make_index_sequence<static_cast<std::size_t>(rows)>());
  };
  for (std::int64_t p = 0; p < steps; ++p) {
    const V b0 = simd::load<A>(b);
    if constexpr (Halves == 2) {
      const V b1 = simd::load<A>(b + lanes);
      each([&](std::size_t i) __attribute__((always_inline)) {
        left[i] += a[i] * b0;
        right[i] += a[i] * b1;
      });
    } else {
      each([&](std::size_t i) __attribute__((always_inline)) { left[i] += a[i] * b0; });
    }
    a += rows;
    b += columns;
  }
  each([&](std::size_t i) __attribute__((always_inline)) {
    A* row = block + static_cast<int>(i) * columns;
    simd::store<A>(row, add ? simd::load<A>(row) + left[i] : left[i]);
    if constexpr (Halves == 2) simd::store<A>(row + lanes, add ? simd::load<A>(row + lanes) + right[i] : right[i]);
  });
}

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

  template <ops::Activation Act>
  void rows(const A* block, std::int64_t row, std::int64_t column, std::int64_t row_count, std::int64_t count) const {
    constexpr int lanes = simd::lanes<A>, columns = GemmBlocking<A>::columns;
    for (std::int64_t j = 0; j < count; j += lanes) {
      const std::int64_t n = count - j;
      const simd::Vec<A> shift = bias ? simd::load<A>(bias + column + j, n) : simd::Vec<A>{};
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

  void operator()(const A* block, std::int64_t row, std::int64_t column, std::int64_t row_count,
                  std::int64_t count) const {
    with_activation(activation, [&]<ops::Activation Act>() { rows<Act>(block, row, column, row_count, count); });
  }
};

template <class A, class TA, class TB, class TC, class TBias>
struct GemmProblem {
  using Block = GemmBlocking<A>;
  GemmSizes<A> sizes;
  const TA* a;
  std::int64_t a_stride;
  bool a_transposed;
  const TB* b;
  std::int64_t b_stride;
  bool b_transposed;
  GemmFinish<A, TC, TBias> finish;

  void pack_a(A* dst, std::int64_t row, std::int64_t rows, std::int64_t step, std::int64_t steps) const {
    for (std::int64_t r = 0; r < rows; r += Block::rows, dst += Block::rows * steps) {
      const std::int64_t valid = std::min<std::int64_t>(Block::rows, rows - r);
      if (a_transposed)
        pack_panel<Block::rows, false>(dst, a + step * a_stride + row + r, a_stride, valid, sizes.m - row - r, steps);
      else
        pack_panel<Block::rows, true>(dst, a + (row + r) * a_stride + step, a_stride, valid, valid, steps);
    }
  }

  /// One register block's worth of columns over all of K.
  void pack_b(A* dst, std::int64_t column) const {
    const std::int64_t valid = std::min<std::int64_t>(Block::columns, sizes.n - column);
    if (b_transposed)
      pack_panel<Block::columns, true>(dst, b + column * b_stride, b_stride, valid, valid, sizes.k);
    else
      pack_panel<Block::columns, false>(dst, b + column, b_stride, valid, valid, sizes.k);
  }

  /// Rows [row_begin, row_end) by the columns [first, last) of which packed_b holds those from `packed_from` on.
  void multiply(const A* packed_b, std::int64_t packed_from, std::int64_t row_begin, std::int64_t row_end,
                std::int64_t first, std::int64_t last, A* scratch) const {
    A* packed_a = scratch;
    A* tile = scratch + GemmSizes<A>::aligned(sizes.packed_a());
    alignas(64) A local[static_cast<std::size_t>(Block::rows * Block::columns)];
    for (std::int64_t row = row_begin; row < row_end; row += sizes.rows) {
      const std::int64_t rows = std::min(sizes.rows, row_end - row);
      for (std::int64_t column = first; column < last; column += sizes.columns) {
        const std::int64_t columns = std::min(sizes.columns, last - column);
        for (std::int64_t panel = 0; panel < sizes.panels; ++panel) {
          const std::int64_t step = panel * sizes.panel, steps = std::min(sizes.panel, sizes.k - step);
          pack_a(packed_a, row, rows, step, steps);
          A* block = sizes.panels > 1 ? tile : local;
          for (std::int64_t j = 0; j < columns; j += Block::columns) {
            const std::int64_t valid = std::min<std::int64_t>(Block::columns, columns - j);
            const A* bp = packed_b + (column + j - packed_from) * sizes.k + step * Block::columns;
            for (std::int64_t i = 0; i < rows; i += Block::rows) {
              if (valid > Block::lanes)
                gemm_micro_kernel<A, 2>(steps, packed_a + i * steps, bp, block, panel > 0);
              else
                gemm_micro_kernel<A, 1>(steps, packed_a + i * steps, bp, block, panel > 0);
              if (panel + 1 == sizes.panels)
                finish(block, row + i, column + j, std::min<std::int64_t>(Block::rows, rows - i), valid);
              if (sizes.panels > 1) block += Block::rows * Block::columns;
            }
          }
        }
      }
    }
  }
};

}  // namespace detail

template <>
struct Kernel<op::Gemm, Cpu> {
  template <class TA, class TB, class TC>
  static std::size_t workspace_bytes(const Exec<Cpu>& exec, std::int64_t m, std::int64_t n, std::int64_t k,
                                     ops::Transpose, ops::Transpose) {
    using A = Accum<TC>;
    if (m == 0 || n == 0) return 0;
    const detail::GemmSizes<A> sizes(m, n, k);
    const std::int64_t elements =
        detail::GemmSizes<A>::aligned(sizes.packed_b() + detail::simd::lanes<A>) + exec.threads() * sizes.per_thread();
    return static_cast<std::size_t>(elements) * sizeof(A) + alignment;
  }

  template <class TA, class TB, class TC, class TBias>
  static void run(Exec<Cpu>& exec, View<const TA, 2, HostSpace> a, ops::Transpose ta, View<const TB, 2, HostSpace> b,
                  ops::Transpose tb, View<TC, 2, HostSpace> c, ops::GemmScale scale,
                  const ops::Epilogue<TC, TBias, HostSpace>& epilogue, View<std::byte, 1, HostSpace> scratch) {
    using A = Accum<TC>;
    using Block = detail::GemmBlocking<A>;
    const std::int64_t m = c.extent(0), n = c.extent(1), k = a.extent(ta == ops::Transpose::no ? 1 : 0);
    const detail::GemmProblem<A, TA, TB, TC, TBias> problem{
        detail::GemmSizes<A>(m, n, k),
        a.data_handle(),
        a.stride(0),
        ta == ops::Transpose::yes,
        b.data_handle(),
        b.stride(0),
        tb == ops::Transpose::yes,
        {static_cast<A>(scale.alpha), static_cast<A>(scale.beta), epilogue.bias.data_handle(), epilogue.activation,
         c.data_handle(), c.stride(0), epilogue.pre_activation.data_handle(), epilogue.pre_activation.stride(0)}};
    const detail::GemmSizes<A>& sizes = problem.sizes;
    const auto address = reinterpret_cast<std::uintptr_t>(scratch.data_handle());
    A* packed_b = reinterpret_cast<A*>((address + alignment - 1) / alignment * alignment);
    A* thread_scratch = packed_b + detail::GemmSizes<A>::aligned(sizes.packed_b() + Block::lanes);

    // Waking threads costs some microseconds.
    const double work = (2.0 * static_cast<double>(m) + 32) * static_cast<double>(n) * static_cast<double>(k);
    const std::int64_t threads = work < 1e6 ? 1 : exec.threads();
    const std::int64_t row_panels = ceil_div(m, Block::rows);
    for (std::int64_t from = 0; from < n; from += sizes.chunk) {
      const std::int64_t to = std::min(n, from + sizes.chunk), panels = ceil_div(to - from, Block::columns);
      const auto pack = [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t j = begin; j < end; ++j)
          problem.pack_b(packed_b + j * Block::columns * k, from + j * Block::columns);
      };
      if (row_panels >= 4 * threads || row_panels >= panels) {
        detail::parallel_for(exec, panels, pack, ceil_div(panels, threads));
        detail::parallel_ranges_for(
            exec, row_panels,
            [&](std::int64_t begin, std::int64_t end, std::int64_t range) {
              problem.multiply(packed_b, from, begin * Block::rows, std::min(m, end * Block::rows), from, to,
                               thread_scratch + range * sizes.per_thread());
            },
            ceil_div(row_panels, threads));
      } else {
        detail::parallel_ranges_for(
            exec, panels,
            [&](std::int64_t begin, std::int64_t end, std::int64_t range) {
              pack(begin, end);
              problem.multiply(packed_b, from, 0, m, from + begin * Block::columns,
                               std::min(to, from + end * Block::columns), thread_scratch + range * sizes.per_thread());
            },
            ceil_div(panels, threads));
      }
    }
  }

 private:
  static constexpr std::size_t alignment = 64;
};

SEGUE_NAMESPACE_END
