// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>

#include "segue/ops/cpu/gemm_kernel.hpp"
#include "segue/ops/cpu/gemm_tiles.hpp"
#include "segue/ops/gemm.hpp"

SEGUE_NAMESPACE_BEGIN
namespace detail {

template <class A, class TA, class TB, class TC, class TBias>
struct GemmProblem {
  using Block = GemmBlocking<A>;
  GemmSizes<A> sizes;
  GemmOperands<TA, TB> in;
  GemmFinish<A, TC, TBias> finish;

  /// A transposed a may be read where it lies: worth it when few columns share the packed copy.
  bool direct_a() const { return std::is_same_v<TA, A> && in.a_transposed && sizes.n <= Block::few_columns; }
  /// Likewise a b that is not transposed, when few rows share it.
  bool direct_b() const { return std::is_same_v<TB, A> && !in.b_transposed && sizes.m <= Block::few_rows; }

  void pack_a(A* dst, std::int64_t row, std::int64_t rows, std::int64_t step, std::int64_t steps) const {
    const std::int64_t whole = direct_a() ? rows / Block::rows * Block::rows : 0;
    dst += whole * steps;
    if (in.a_transposed)
      pack_panels<Block::rows, false>(dst, in.a + step * in.a_stride + row + whole, in.a_stride, rows - whole,
                                      sizes.m - row - whole, steps);
    else if constexpr (Block::packing == PackedRows::lines)
      pack_lines<Block::rows>(dst, in.a + row * in.a_stride + step, in.a_stride, rows, steps);
    else
      pack_panels<Block::rows, true>(dst, in.a + row * in.a_stride + step, in.a_stride, rows, rows, steps);
  }

  void pack_b(A* dst, std::int64_t column, std::int64_t columns) const {
    const std::int64_t whole = direct_b() ? columns / Block::columns * Block::columns : 0;
    dst += whole * sizes.k;
    if (in.b_transposed)
      pack_panels<Block::columns, true>(dst, in.b + column * in.b_stride, in.b_stride, columns, columns, sizes.k);
    else
      pack_panels<Block::columns, false>(dst, in.b + column + whole, in.b_stride, columns - whole,
                                         sizes.n - column - whole, sizes.k);
  }

  /// Whether pack_a makes lines.
  bool lines() const { return Block::packing == PackedRows::lines && !in.a_transposed; }

  template <class... Arguments>
  void block_product(Arguments... arguments) const {
    if (lines())
      gemm_block<A, Block::packing>(arguments...);
    else
      gemm_block<A, PackedRows::steps>(arguments...);
  }

  /// What each of `kernels` in turn fetches of the panel of b at `next`, while the one before it is multiplied.
  GemmAhead ahead(const A* next, std::int64_t kernel, std::int64_t kernels, std::int64_t steps) const {
    if (!lines() || direct_b() || sizes.packed_b() <= Block::own_elements) return {};
    const std::int64_t bytes = steps * Block::columns * static_cast<std::int64_t>(sizeof(A));
    const std::int64_t turns = ceil_div(steps, Block::lanes), fetched = ceil_div(bytes, cache_line * kernels * turns);
    return {reinterpret_cast<const char*>(next) + kernel * turns * fetched * cache_line, static_cast<int>(fetched)};
  }

  /// Rows [row_begin, row_end) by the columns [first, last) of which packed_b holds those from `packed_from` on.
  void multiply(const A* packed_b, std::int64_t packed_from, std::int64_t row_begin, std::int64_t row_end,
                std::int64_t first, std::int64_t last, A* scratch) const {
    A* packed_a = scratch;
    A* tile = scratch + GemmSizes<A>::aligned(sizes.packed_a());
    // With nothing to do at the end sums go straight to c; what is there comes last, so it is added to those of one
    // panel.
    const bool straight = finish.plain() && (sizes.panels == 1 || finish.beta == A{0});
    alignas(64) A local[static_cast<std::size_t>(Block::rows * Block::columns)];
    for (std::int64_t row = row_begin; row < row_end; row += sizes.rows) {
      const std::int64_t rows = std::min(sizes.rows, row_end - row);
      for (std::int64_t column = first; column < last; column += sizes.columns) {
        const std::int64_t columns = std::min(sizes.columns, last - column);
        for (std::int64_t panel = 0; panel < sizes.panels; ++panel) {
          const std::int64_t step = panel * sizes.panel, steps = std::min(sizes.panel, sizes.k - step);
          const std::int64_t packed_steps = lines() ? GemmSizes<A>::whole_lines(steps) : steps;
          pack_a(packed_a, row, rows, step, steps);
          A* block = sizes.panels > 1 ? tile : local;
          for (std::int64_t j = 0; j < columns; j += Block::columns) {
            const std::int64_t valid = std::min<std::int64_t>(Block::columns, columns - j);
            const A* bp = packed_b + (column + j - packed_from) * sizes.k + step * Block::columns;
            std::int64_t b_step = Block::columns;
            if constexpr (std::is_same_v<TB, A>) {
              if (direct_b() && valid == Block::columns) {
                bp = in.b + step * in.b_stride + column + j;
                b_step = in.b_stride;
              }
            }
            const A* next = packed_b + (column - packed_from) * sizes.k;
            if (j + Block::columns < columns)
              next += (j + Block::columns) * sizes.k + step * Block::columns;
            else if (panel + 1 < sizes.panels)
              next += (step + steps) * Block::columns;
            for (std::int64_t i = 0; i < rows; i += Block::rows) {
              const GemmAhead fetch = ahead(next, i / Block::rows, ceil_div(rows, Block::rows), steps);
              const std::int64_t valid_rows = std::min<std::int64_t>(Block::rows, rows - i);
              const A* ap = packed_a + i * packed_steps;
              std::int64_t a_step = Block::rows;
              if constexpr (std::is_same_v<TA, A>) {
                if (direct_a() && valid_rows == Block::rows) {
                  ap = in.a + step * in.a_stride + row + i;
                  a_step = in.a_stride;
                }
              }
              if constexpr (std::is_same_v<TC, A>) {
                if (straight && valid_rows == Block::rows && valid == gemm_pieces<A>(valid) * Block::lanes) {
                  block_product(valid_rows, valid, steps, ap, a_step, bp, b_step,
                                finish.c + (row + i) * finish.c_stride + column + j, finish.c_stride,
                                finish.beta != A{0} || panel > 0, fetch);
                  continue;
                }
              }
              block_product(valid_rows, valid, steps, ap, a_step, bp, b_step, block, std::int64_t{Block::columns},
                            panel > 0, fetch);
              if (panel + 1 == sizes.panels) finish(block, Block::columns, row + i, column + j, valid_rows, valid);
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
    if (detail::gemm_by_tiles<TA, TB, TC>())
      return detail::TileGemmSizes<TA>(m, n, k, exec.threads()).bytes() + alignment;
    const detail::GemmSizes<A> sizes(m, n, k);
    const std::int64_t elements = sizes.copies(exec.threads()) * sizes.per_copy() + exec.threads() * sizes.per_thread();
    return static_cast<std::size_t>(elements) * sizeof(A) + alignment;
  }

  template <class TA, class TB, class TC, class TBias>
  static void run(Exec<Cpu>& exec, View<const TA, 2, HostSpace> a, ops::Transpose ta, View<const TB, 2, HostSpace> b,
                  ops::Transpose tb, View<TC, 2, HostSpace> c, ops::GemmScale scale,
                  const ops::Epilogue<TC, TBias, HostSpace>& epilogue, View<std::byte, 1, HostSpace> scratch) {
    using A = Accum<TC>;
    using Block = detail::GemmBlocking<A>;
    const std::int64_t m = c.extent(0), n = c.extent(1), k = a.extent(ta == ops::Transpose::no ? 1 : 0);
    const detail::GemmFinish<A, TC, TBias> finish{static_cast<A>(scale.alpha),
                                                  static_cast<A>(scale.beta),
                                                  epilogue.bias.data_handle(),
                                                  epilogue.activation,
                                                  c.data_handle(),
                                                  c.stride(0),
                                                  epilogue.pre_activation.data_handle(),
                                                  epilogue.pre_activation.stride(0)};
    // Without steps an operand may have no address to add to.
    const std::int64_t a_stride = k > 0 ? a.stride(0) : 0, b_stride = k > 0 ? b.stride(0) : 0;
    const auto address = reinterpret_cast<std::uintptr_t>(scratch.data_handle());
    const std::uintptr_t aligned = (address + alignment - 1) / alignment * alignment;
    const detail::GemmOperands<TA, TB> operands{a.data_handle(), a_stride, ta == ops::Transpose::yes,
                                                b.data_handle(), b_stride, tb == ops::Transpose::yes};
#if SEGUE_COMPILED_FOR_AMX
    if constexpr (detail::gemm_has_tiles<TA, TB, TC>) {
      if (detail::gemm_by_tiles<TA, TB, TC>()) {
        const detail::TileGemmProblem<TA, TC, TBias> problem{{m, n, k, exec.threads()}, operands, finish};
        problem.run(exec, reinterpret_cast<bfloat16*>(aligned));
        return;
      }
    }
#endif
    const detail::GemmProblem<A, TA, TB, TC, TBias> problem{detail::GemmSizes<A>(m, n, k), operands, finish};
    const detail::GemmSizes<A>& sizes = problem.sizes;
    A* packed_b = reinterpret_cast<A*>(aligned);
    const std::int64_t copies = sizes.copies(exec.threads());
    A* thread_scratch = packed_b + copies * sizes.per_copy();

    // Waking threads costs some microseconds.
    const double work = (2.0 * static_cast<double>(m) + 32) * static_cast<double>(n) * static_cast<double>(k);
    const std::int64_t threads = work < 1e6 ? 1 : exec.threads();
    for (std::int64_t from = 0; from < n; from += sizes.chunk) {
      const std::int64_t to = std::min(n, from + sizes.chunk);
      detail::gemm_in_parallel(
          exec, threads, ceil_div(m, Block::rows), Block::row_block / Block::rows, ceil_div(to - from, Block::columns),
          copies > 1,
          [&](std::int64_t begin, std::int64_t end, std::int64_t copy) {
            problem.pack_b(packed_b + copy * sizes.per_copy() + begin * Block::columns * k,
                           from + begin * Block::columns,
                           std::min(to - from, end * Block::columns) - begin * Block::columns);
          },
          [&](std::int64_t row_begin, std::int64_t row_end, std::int64_t begin, std::int64_t end, std::int64_t copy,
              std::int64_t range) {
            problem.multiply(packed_b + copy * sizes.per_copy(), from, row_begin * Block::rows,
                             std::min(m, row_end * Block::rows), from + begin * Block::columns,
                             std::min(to, from + end * Block::columns), thread_scratch + range * sizes.per_thread());
          });
    }
  }

 private:
  static constexpr std::size_t alignment = 64;
};

template <>
struct Kernel<op::GemmChoices, Cpu> {
  static std::string text(Exec<Cpu>&) { return {}; }
  static bool restore(Exec<Cpu>&, std::string_view) { return false; }
};

SEGUE_NAMESPACE_END
