// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstring>

#include "segue/ops/cpu/column_sums.hpp"
#include "segue/ops/rope.hpp"

SEGUE_NAMESPACE_BEGIN
namespace detail {

/// (a, b, c, d, …) -> (b, a, d, c, …)
template <class A, std::size_t... L>
SEGUE_FORCE_INLINE simd::Vec<A> swap_pairs(simd::Vec<A> x, std::index_sequence<L...>) {
  return simd::shuffle<(static_cast<int>(L) ^ 1)...>(x, x);
}
template <std::size_t... L>
SEGUE_FORCE_INLINE simd::Vec<float> double_lanes(simd::Vec<float> x, std::index_sequence<L...>) {
  return simd::shuffle<(static_cast<int>(L) / 2)...>(x, x);
}

/// lanes/2 table entries, each twice; n lanes count.
template <class A, class N>
SEGUE_FORCE_INLINE simd::Vec<A> load_pairs(const float* p, N n) {
  constexpr int lanes = simd::lanes<A>;
  if constexpr (std::is_same_v<A, float>) {
    simd::Vec<float> half{};
    if (n >= lanes)
      std::memcpy(&half, p, lanes / 2 * sizeof(float));
    else
      half = simd::load_tail<float>(p, n / 2);
    return double_lanes(half, std::make_index_sequence<lanes>{});
  } else {
    simd::Vec<A> out{};
    for (int i = 0; i < lanes && i < n; ++i) out[i] = cast<A>(p[i / 2]);
    return out;
  }
}

/// The rotation of one token; identity without a table.
template <class A>
struct Rotary {
  using V = simd::Vec<A>;
  const float* cos = nullptr;
  const float* sin = nullptr;
  A direction = 1;  ///< -1 rotates back

  /// `s` is the place of the vector in its head.
  template <class N>
  SEGUE_FORCE_INLINE V operator()(V v, std::int64_t s, N n) const {
    constexpr auto all = std::make_index_sequence<static_cast<std::size_t>(simd::lanes<A>)>{};
    const V flipped = swap_pairs<A>(v, all);
    return v * load_pairs<A>(cos + s / 2, n) + flipped * (signs(all) * load_pairs<A>(sin + s / 2, n));
  }

 private:
  template <std::size_t... L>
  SEGUE_FORCE_INLINE V signs(std::index_sequence<L...>) const {
    return V{(L % 2 == 0 ? -direction : direction)...};
  }
};

/// Tables of a whole tensor: which rotation a row uses, and how rows are cut into heads.
template <class A>
struct RotaryTable {
  View<const float, 2, HostSpace> cos, sin;
  std::int64_t heads = 1;
  A direction = 1;

  Rotary<A> operator()(std::int64_t r) const {
    if (!cos.data_handle()) return {};
    const std::int64_t t = r % cos.extent(0);
    return {cos.data_handle() + t * cos.stride(0), sin.data_handle() + t * sin.stride(0), direction};
  }
};

}  // namespace detail

template <>
struct Kernel<op::RopeTable, Cpu> {
  static void run(Exec<Cpu>& exec, const ops::RopeGrid& grid, const ops::RopeAxes& axes, double theta,
                  View<float, 2, HostSpace> cos, View<float, 2, HostSpace> sin) {
    detail::parallel_for(
        exec, grid.tokens(),
        [&](std::int64_t begin, std::int64_t end) {
          for (std::int64_t t = begin; t < end; ++t) {
            const std::int64_t positions[] = {t / (grid.height * grid.width), t / grid.width % grid.height,
                                              t % grid.width};
            const int shares[] = {axes.frame, axes.height, axes.width};
            std::int64_t column = 0;
            for (int axis = 0; axis < 3; ++axis)
              for (int i = 0; i < shares[axis] / 2; ++i, ++column) {
                const double frequency = 1.0 / std::pow(theta, 2.0 * i / shares[axis]);
                const double angle = static_cast<double>(positions[axis]) * frequency;
                cos(t, column) = static_cast<float>(std::cos(angle));
                sin(t, column) = static_cast<float>(std::sin(angle));
              }
          }
        },
        detail::row_grain(axes.head_dim() * 32));
  }
};

template <>
struct Kernel<op::RopeForward, Cpu> {
  template <class T>
  static void run(Exec<Cpu>& exec, View<const T, 2, HostSpace> x, View<const float, 2, HostSpace> cos,
                  View<const float, 2, HostSpace> sin, int heads, View<T, 2, HostSpace> y, ops::Rotation rotation,
                  ops::GradMode mode) {
    using A = Accum<T>;
    const std::int64_t columns = x.extent(1);
    const detail::RotaryTable<A> table{cos, sin, heads, A(rotation == ops::Rotation::forward ? 1 : -1)};
    detail::parallel_for(
        exec, x.extent(0),
        [&](std::int64_t begin, std::int64_t end) {
          for (std::int64_t r = begin; r < end; ++r) {
            const T* const in = x.data_handle() + r * x.stride(0);
            T* const out = y.data_handle() + r * y.stride(0);
            const detail::Rotary<A> rotate = table(r);
            detail::row_vectors<A>(heads, columns / heads, [&](std::int64_t c, std::int64_t s, auto n) {
              detail::store_gradient<A>(out + c, rotate(detail::simd::load<A>(in + c, n), s, n), n, mode);
            });
          }
        },
        detail::row_grain(columns));
  }
};

template <>
struct Kernel<op::RmsNormRopeForward, Cpu> {
  template <class T, class TW>
  static void run(Exec<Cpu>& exec, View<const T, 2, HostSpace> x, View<const TW, 1, HostSpace> weight, double eps,
                  View<const float, 2, HostSpace> cos, View<const float, 2, HostSpace> sin, int heads,
                  View<T, 2, HostSpace> y, View<Accum<T>, 1, HostSpace> rstd) {
    using A = Accum<T>;
    using V = detail::simd::Vec<A>;
    const std::int64_t columns = x.extent(1);
    const TW* const w = weight.data_handle();
    const bool rotated = cos.data_handle() != nullptr;
    const detail::RotaryTable<A> table{cos, sin, rotated ? heads : 1, A(1)};
    detail::parallel_for(
        exec, x.extent(0),
        [&](std::int64_t begin, std::int64_t end) {
          for (std::int64_t r = begin; r < end; ++r) {
            const T* const in = x.data_handle() + r * x.stride(0);
            T* const out = y.data_handle() + r * y.stride(0);
            const A squares = detail::row_sums<1, A>(1, columns, [&](std::int64_t c, std::int64_t, auto n) {
              const V v = detail::simd::load<A>(in + c, n);
              return std::array<V, 1>{v * v};
            })[0];
            const A inverse = A(1) / std::sqrt(squares / static_cast<A>(columns) + static_cast<A>(eps));
            if (rstd.data_handle()) rstd.data_handle()[r] = inverse;
            const V scale = detail::simd::broadcast(inverse);
            const detail::Rotary<A> rotate = table(r);
            detail::with_flags(
                [&](auto weighted, auto has_table) {
                  detail::row_vectors<A>(table.heads, columns / table.heads,
                                         [&](std::int64_t c, std::int64_t s, auto n) {
                                           V v = detail::simd::load<A>(in + c, n) * scale;
                                           if constexpr (weighted) v *= detail::simd::load<A>(w + c, n);
                                           if constexpr (has_table) v = rotate(v, s, n);
                                           detail::simd::store<A>(out + c, v, n);
                                         });
                },
                w != nullptr, rotated);
          }
        },
        detail::row_grain(columns));
  }
};

template <>
struct Kernel<op::RmsNormRopeBackward, Cpu> {
  template <class T>
  static std::int64_t workspace_bytes(const Exec<Cpu>&, std::int64_t, std::int64_t columns) {
    return detail::column_sums_bytes<Accum<T>>(1, 1, columns);
  }

  template <class T, class TW, class TG>
  static void run(Exec<Cpu>& exec, View<const T, 2, HostSpace> dy, View<const T, 2, HostSpace> x,
                  View<const Accum<T>, 1, HostSpace> rstd, View<const TW, 1, HostSpace> weight,
                  View<const float, 2, HostSpace> cos, View<const float, 2, HostSpace> sin, int heads,
                  View<T, 2, HostSpace> dx, ops::GradMode dx_mode, View<TG, 1, HostSpace> dweight,
                  ops::GradMode weight_mode, View<std::byte, 1, HostSpace> scratch) {
    using A = Accum<T>;
    using V = detail::simd::Vec<A>;
    const std::int64_t rows = x.extent(0), columns = x.extent(1);
    const TW* const w = weight.data_handle();
    const bool rotated = cos.data_handle() != nullptr;
    const detail::RotaryTable<A> table{cos, sin, rotated ? heads : 1, A(-1)};
    const std::int64_t head = columns / table.heads;

    // First, because dx may overwrite dy.
    if (dweight.data_handle()) {
      const auto terms = [&](std::int64_t r) {
        return [=, in = x.data_handle() + r * x.stride(0), grad = dy.data_handle() + r * dy.stride(0),
                scale = detail::simd::broadcast(rstd.data_handle()[r]), rotate = table(r)](std::int64_t c, auto n) {
          V u = detail::simd::load<A>(grad + c, n);
          if (rotated) u = rotate_across_heads(rotate, u, c, n, head);
          return std::array<V, 1>{u * (detail::simd::load<A>(in + c, n) * scale)};
        };
      };
      detail::column_sums<1, A>(
          exec, rows, columns, 1, scratch.data_handle(), [](std::int64_t) { return std::int64_t{0}; }, terms,
          [&](std::size_t, std::int64_t, std::int64_t c, V v, auto n) {
            detail::store_gradient<A>(dweight.data_handle() + c, v, n, weight_mode);
          });
    }
    if (!dx.data_handle()) return;

    detail::parallel_for(
        exec, rows,
        [&](std::int64_t begin, std::int64_t end) {
          detail::with_flags(
              [&](auto weighted, auto has_table) {
                for (std::int64_t r = begin; r < end; ++r) {
                  const T* const in = x.data_handle() + r * x.stride(0);
                  const T* const grad = dy.data_handle() + r * dy.stride(0);
                  T* const out = dx.data_handle() + r * dx.stride(0);
                  const V scale = detail::simd::broadcast(rstd.data_handle()[r]);
                  const detail::Rotary<A> rotate = table(r);
                  const auto inner = [&](std::int64_t c, std::int64_t s, auto n) {
                    V g = detail::simd::load<A>(grad + c, n);
                    if constexpr (has_table) g = rotate(g, s, n);
                    if constexpr (weighted) g *= detail::simd::load<A>(w + c, n);
                    return g;
                  };
                  const A gx = detail::row_sums<1, A>(table.heads, head, [&](std::int64_t c, std::int64_t s, auto n) {
                    return std::array<V, 1>{inner(c, s, n) * (detail::simd::load<A>(in + c, n) * scale)};
                  })[0];
                  const V mean_gx = detail::simd::broadcast(gx / static_cast<A>(columns));
                  detail::row_vectors<A>(table.heads, head, [&](std::int64_t c, std::int64_t s, auto n) {
                    const V normalised = detail::simd::load<A>(in + c, n) * scale;
                    detail::store_gradient<A>(out + c, scale * (inner(c, s, n) - normalised * mean_gx), n, dx_mode);
                  });
                }
              },
              w != nullptr, rotated);
        },
        detail::row_grain(columns));
  }

 private:
  /// Column sums walk rows without regard to heads: a vector may reach from one head into the next.
  template <class A, class N>
  static detail::simd::Vec<A> rotate_across_heads(const detail::Rotary<A>& rotate, detail::simd::Vec<A> v,
                                                  std::int64_t c, N n, std::int64_t head) {
    const std::int64_t s = c % head;
    if (s + n <= head) return rotate(v, s, n);
    for (int i = 0; i < n; i += 2) {
      const std::int64_t pair = (c + i) % head / 2;
      const A cos = rotate.cos[pair], sin = rotate.direction * rotate.sin[pair];
      const A a = v[i], b = v[i + 1];
      v[i] = a * cos - b * sin;
      v[i + 1] = a * sin + b * cos;
    }
    return v;
  }
};

SEGUE_NAMESPACE_END
