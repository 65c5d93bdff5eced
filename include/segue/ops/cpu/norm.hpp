// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>

#include "segue/ops/cpu/column_sums.hpp"
#include "segue/ops/norm.hpp"

SEGUE_NAMESPACE_BEGIN
namespace detail {

/// LayerNorm (`Centred`) and RMSNorm differ in the mean alone.
template <bool Centred>
struct NormRows {
  template <class T, class TW, class TM>
  static void forward(Exec<Cpu>& exec, View<const T, 2, HostSpace> x, View<const TW, 1, HostSpace> weight,
                      View<const TW, 1, HostSpace> bias, const ops::Modulation<TM, HostSpace>& modulation, double eps,
                      View<T, 2, HostSpace> y, View<Accum<T>, 1, HostSpace> mean, View<Accum<T>, 1, HostSpace> rstd) {
    using A = Accum<T>;
    using V = simd::Vec<A>;
    const std::int64_t columns = x.extent(1);
    const RowGroups group_of{modulation.group.data_handle(), modulation.rows_per_group};
    const TW* const w = weight.data_handle();
    const TW* const b = bias.data_handle();
    const auto range = [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t r = begin; r < end; ++r) {
        const T* const in = x.data_handle() + r * x.stride(0);
        T* const out = y.data_handle() + r * y.stride(0);
        A centre = 0;
        if constexpr (Centred)
          centre = row_sums<1, A>(1, columns,
                                  [&](std::int64_t c, std::int64_t, auto n) {
                                    return std::array<V, 1>{simd::load<A>(in + c, n)};
                                  })[0] /
                   static_cast<A>(columns);
        const V m = simd::broadcast(centre);
        const A squares = row_sums<1, A>(1, columns, [&](std::int64_t c, std::int64_t, auto n) {
          const V d = simd::load<A>(in + c, n) - m;
          return std::array<V, 1>{d * d};
        })[0];
        const A inverse = A(1) / std::sqrt(squares / static_cast<A>(columns) + static_cast<A>(eps));
        if (Centred && mean.data_handle()) mean.data_handle()[r] = centre;
        if (rstd.data_handle()) rstd.data_handle()[r] = inverse;
        const V s = simd::broadcast(inverse);
        const std::int64_t g = modulation ? group_of(r) : 0;
        const TM* const scale = modulation.scale.data_handle() + g * modulation.scale.stride(0);
        const TM* const shift = modulation.shift.data_handle() + g * modulation.shift.stride(0);
        with_flags(
            [&](auto weighted, auto biased, auto modulated) {
              row_vectors<A>(1, columns, [&](std::int64_t c, std::int64_t, auto n) {
                V v = (simd::load<A>(in + c, n) - m) * s;
                if constexpr (weighted) v *= simd::load<A>(w + c, n);
                if constexpr (biased) v += simd::load<A>(b + c, n);
                if constexpr (modulated) v = v * (A(1) + simd::load<A>(scale + c, n)) + simd::load<A>(shift + c, n);
                simd::store<A>(out + c, v, n);
              });
            },
            w != nullptr, b != nullptr, static_cast<bool>(modulation));
      }
    };
    parallel_for(exec, x.extent(0), range, row_grain(columns));
  }

  template <class T>
  static std::int64_t workspace_bytes(std::int64_t columns, std::int64_t table_rows) {
    return column_sums_bytes<Accum<T>>(2, std::max<std::int64_t>(table_rows, 1), columns);
  }

  template <class T, class TW, class TM, class TG>
  static void backward(Exec<Cpu>& exec, View<const T, 2, HostSpace> dy, View<const T, 2, HostSpace> x,
                       View<const Accum<T>, 1, HostSpace> mean, View<const Accum<T>, 1, HostSpace> rstd,
                       View<const TW, 1, HostSpace> weight, View<const TW, 1, HostSpace> bias,
                       const ops::Modulation<TM, HostSpace>& modulation, View<T, 2, HostSpace> dx,
                       ops::GradMode dx_mode, View<TG, 1, HostSpace> dweight, View<TG, 1, HostSpace> dbias,
                       ops::GradMode weight_mode, View<TM, 2, HostSpace> dscale, View<TM, 2, HostSpace> dshift,
                       ops::GradMode modulation_mode, View<std::byte, 1, HostSpace> scratch) {
    using A = Accum<T>;
    using V = simd::Vec<A>;
    const std::int64_t rows = x.extent(0), columns = x.extent(1);
    const RowGroups group_of{modulation.group.data_handle(), modulation.rows_per_group};
    const TW* const w = weight.data_handle();
    const TW* const b = bias.data_handle();
    const auto centre_of = [&](std::int64_t r) { return simd::broadcast(Centred ? mean.data_handle()[r] : A(0)); };

    // Column sums first: dx may overwrite dy.
    if (dscale.data_handle() || dshift.data_handle()) {
      const auto terms = [&](std::int64_t r) {
        return [=, in = x.data_handle() + r * x.stride(0), grad = dy.data_handle() + r * dy.stride(0), m = centre_of(r),
                s = simd::broadcast(rstd.data_handle()[r])](std::int64_t c, auto n) {
          V v = (simd::load<A>(in + c, n) - m) * s;
          if (w) v *= simd::load<A>(w + c, n);
          if (b) v += simd::load<A>(b + c, n);
          const V g = simd::load<A>(grad + c, n);
          return std::array<V, 2>{g * v, g};
        };
      };
      column_sums<2, A>(exec, rows, columns, modulation.scale.extent(0), scratch.data_handle(), group_of, terms,
                        [&](std::size_t k, std::int64_t g, std::int64_t c, V v, auto n) {
                          const View<TM, 2, HostSpace>& out = k == 0 ? dscale : dshift;
                          if (out.data_handle())
                            store_gradient<A>(out.data_handle() + g * out.stride(0) + c, v, n, modulation_mode);
                        });
    }
    if (dweight.data_handle() || dbias.data_handle()) {
      const auto terms = [&](std::int64_t r) {
        const TM* const scale =
            modulation ? modulation.scale.data_handle() + group_of(r) * modulation.scale.stride(0) : nullptr;
        return [=, in = x.data_handle() + r * x.stride(0), grad = dy.data_handle() + r * dy.stride(0), m = centre_of(r),
                s = simd::broadcast(rstd.data_handle()[r])](std::int64_t c, auto n) {
          V g = simd::load<A>(grad + c, n);
          if (scale) g *= A(1) + simd::load<A>(scale + c, n);
          return std::array<V, 2>{g * ((simd::load<A>(in + c, n) - m) * s), g};
        };
      };
      column_sums<2, A>(
          exec, rows, columns, 1, scratch.data_handle(), [](std::int64_t) { return std::int64_t{0}; }, terms,
          [&](std::size_t k, std::int64_t, std::int64_t c, V v, auto n) {
            TG* const out = k == 0 ? dweight.data_handle() : dbias.data_handle();
            if (out) store_gradient<A>(out + c, v, n, weight_mode);
          });
    }
    if (!dx.data_handle()) return;

    const auto range = [&](std::int64_t begin, std::int64_t end) {
      with_flags(
          [&](auto weighted, auto modulated) {
            for (std::int64_t r = begin; r < end; ++r) {
              const T* const in = x.data_handle() + r * x.stride(0);
              const T* const grad = dy.data_handle() + r * dy.stride(0);
              T* const out = dx.data_handle() + r * dx.stride(0);
              const V m = centre_of(r);
              const V s = simd::broadcast(rstd.data_handle()[r]);
              const TM* scale = nullptr;
              if constexpr (modulated)
                scale = modulation.scale.data_handle() + group_of(r) * modulation.scale.stride(0);
              const auto inner = [&](std::int64_t c, auto n) {
                V g = simd::load<A>(grad + c, n);
                if constexpr (weighted) g *= simd::load<A>(w + c, n);
                if constexpr (modulated) g *= A(1) + simd::load<A>(scale + c, n);
                return g;
              };
              const std::array<A, 2> sums = row_sums<2, A>(1, columns, [&](std::int64_t c, std::int64_t, auto n) {
                const V g = inner(c, n);
                return std::array<V, 2>{g, g * ((simd::load<A>(in + c, n) - m) * s)};
              });
              const V mean_g = simd::broadcast(Centred ? sums[0] / static_cast<A>(columns) : A(0));
              const V mean_gx = simd::broadcast(sums[1] / static_cast<A>(columns));
              row_vectors<A>(1, columns, [&](std::int64_t c, std::int64_t, auto n) {
                const V normalised = (simd::load<A>(in + c, n) - m) * s;
                const V v = s * (inner(c, n) - mean_g - normalised * mean_gx);
                store_gradient<A>(out + c, v, n, dx_mode);
              });
            }
          },
          w != nullptr, static_cast<bool>(modulation));
    };
    parallel_for(exec, rows, range, row_grain(columns));
  }
};

}  // namespace detail

template <>
struct Kernel<op::LayerNormForward, Cpu> {
  template <class... Arguments>
  static void run(Arguments&&... arguments) {
    detail::NormRows<true>::forward(std::forward<Arguments>(arguments)...);
  }
};

template <>
struct Kernel<op::LayerNormBackward, Cpu> {
  template <class T>
  static std::int64_t workspace_bytes(const Exec<Cpu>&, std::int64_t, std::int64_t columns, std::int64_t table_rows) {
    return detail::NormRows<true>::workspace_bytes<T>(columns, table_rows);
  }
  template <class... Arguments>
  static void run(Arguments&&... arguments) {
    detail::NormRows<true>::backward(std::forward<Arguments>(arguments)...);
  }
};

template <>
struct Kernel<op::RmsNormForward, Cpu> {
  template <class T, class TW, class TM>
  static void run(Exec<Cpu>& exec, View<const T, 2, HostSpace> x, View<const TW, 1, HostSpace> weight,
                  const ops::Modulation<TM, HostSpace>& modulation, double eps, View<T, 2, HostSpace> y,
                  View<Accum<T>, 1, HostSpace> rstd) {
    detail::NormRows<false>::forward(exec, x, weight, View<const TW, 1, HostSpace>{}, modulation, eps, y,
                                     View<Accum<T>, 1, HostSpace>{}, rstd);
  }
};

template <>
struct Kernel<op::RmsNormBackward, Cpu> {
  template <class T>
  static std::int64_t workspace_bytes(const Exec<Cpu>&, std::int64_t, std::int64_t columns, std::int64_t table_rows) {
    return detail::NormRows<false>::workspace_bytes<T>(columns, table_rows);
  }
  template <class T, class TW, class TM, class TG>
  static void run(Exec<Cpu>& exec, View<const T, 2, HostSpace> dy, View<const T, 2, HostSpace> x,
                  View<const Accum<T>, 1, HostSpace> rstd, View<const TW, 1, HostSpace> weight,
                  const ops::Modulation<TM, HostSpace>& modulation, View<T, 2, HostSpace> dx, ops::GradMode dx_mode,
                  View<TG, 1, HostSpace> dweight, ops::GradMode weight_mode, View<TM, 2, HostSpace> dscale,
                  View<TM, 2, HostSpace> dshift, ops::GradMode modulation_mode, View<std::byte, 1, HostSpace> scratch) {
    detail::NormRows<false>::backward(exec, dy, x, View<const Accum<T>, 1, HostSpace>{}, rstd, weight,
                                      View<const TW, 1, HostSpace>{}, modulation, dx, dx_mode, dweight,
                                      View<TG, 1, HostSpace>{}, weight_mode, dscale, dshift, modulation_mode, scratch);
  }
};

SEGUE_NAMESPACE_END
