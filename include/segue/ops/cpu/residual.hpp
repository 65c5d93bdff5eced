// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "segue/ops/cpu/column_sums.hpp"
#include "segue/ops/residual.hpp"

SEGUE_NAMESPACE_BEGIN

template <>
struct Kernel<op::GatedResidualForward, Cpu> {
  template <class T, class TM>
  static void run(Exec<Cpu>& exec, View<const T, 2, HostSpace> x, View<const T, 2, HostSpace> h,
                  const ops::Gate<TM, HostSpace>& gate, View<T, 2, HostSpace> y) {
    using A = Accum<T>;
    const std::int64_t columns = x.extent(1);
    if (!gate) {
      detail::for_each_vector<A>(
          exec,
          [](auto n, const T* a, const T* b, T* out) {
            detail::simd::store<A>(out, detail::simd::load<A>(a, n) + detail::simd::load<A>(b, n), n);
          },
          x, h, y);
      return;
    }
    const detail::RowGroups group_of{gate.group.data_handle(), gate.rows_per_group};
    detail::parallel_for(
        exec, x.extent(0),
        [&](std::int64_t begin, std::int64_t end) {
          for (std::int64_t r = begin; r < end; ++r) {
            const T* const a = x.data_handle() + r * x.stride(0);
            const T* const b = h.data_handle() ? h.data_handle() + r * h.stride(0) : nullptr;
            T* const out = y.data_handle() + r * y.stride(0);
            const TM* const factor = gate.gate.data_handle() + group_of(r) * gate.gate.stride(0);
            detail::row_vectors<A>(1, columns, [&](std::int64_t c, std::int64_t, auto n) {
              auto added = detail::simd::load<A>(factor + c, n);
              if (b != nullptr) added *= detail::simd::load<A>(b + c, n);
              detail::simd::store<A>(out + c, detail::simd::load<A>(a + c, n) + added, n);
            });
          }
        },
        detail::row_grain(columns));
  }
};

template <>
struct Kernel<op::GatedResidualBackward, Cpu> {
  template <class T>
  static std::int64_t workspace_bytes(const Exec<Cpu>&, std::int64_t, std::int64_t columns, std::int64_t table_rows) {
    return detail::column_sums_bytes<Accum<T>>(1, table_rows, columns);
  }

  template <class T, class TM>
  static void run(Exec<Cpu>& exec, View<const T, 2, HostSpace> dy, View<const T, 2, HostSpace> h,
                  const ops::Gate<TM, HostSpace>& gate, View<T, 2, HostSpace> dh, ops::GradMode dh_mode,
                  View<TM, 2, HostSpace> dgate, ops::GradMode dgate_mode, View<std::byte, 1, HostSpace> scratch) {
    using A = Accum<T>;
    using V = detail::simd::Vec<A>;
    const std::int64_t rows = dy.extent(0), columns = dy.extent(1);
    const detail::RowGroups group_of{gate.group.data_handle(), gate.rows_per_group};

    // First, because dh may overwrite dy.
    if (dgate.data_handle()) {
      const auto terms = [&](std::int64_t r) {
        return [a = dy.data_handle() + r * dy.stride(0),
                b = h.data_handle() ? h.data_handle() + r * h.stride(0) : nullptr](std::int64_t c, auto n) {
          V term = detail::simd::load<A>(a + c, n);
          if (b != nullptr) term *= detail::simd::load<A>(b + c, n);
          return std::array<V, 1>{term};
        };
      };
      detail::column_sums<1, A>(exec, rows, columns, gate.gate.extent(0), scratch.data_handle(), group_of, terms,
                                [&](std::size_t, std::int64_t g, std::int64_t c, V v, auto n) {
                                  detail::store_gradient<A>(dgate.data_handle() + g * dgate.stride(0) + c, v, n,
                                                            dgate_mode);
                                });
    }
    if (!dh.data_handle()) return;
    if (!gate) {
      detail::for_each_vector<A>(
          exec,
          [dh_mode](auto n, const T* a, T* out) {
            detail::store_gradient<A>(out, detail::simd::load<A>(a, n), n, dh_mode);
          },
          dy, dh);
      return;
    }
    detail::parallel_for(
        exec, rows,
        [&](std::int64_t begin, std::int64_t end) {
          for (std::int64_t r = begin; r < end; ++r) {
            const T* const a = dy.data_handle() + r * dy.stride(0);
            T* const out = dh.data_handle() + r * dh.stride(0);
            const TM* const factor = gate.gate.data_handle() + group_of(r) * gate.gate.stride(0);
            detail::row_vectors<A>(1, columns, [&](std::int64_t c, std::int64_t, auto n) {
              detail::store_gradient<A>(out + c, detail::simd::load<A>(a + c, n) * detail::simd::load<A>(factor + c, n),
                                        n, dh_mode);
            });
          }
        },
        detail::row_grain(columns));
  }
};

SEGUE_NAMESPACE_END
