// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "segue/ops/cuda/column_sums.cuh"
#include "segue/ops/cuda/norm_rows.cuh"
#include "segue/ops/rope.hpp"

SEGUE_KERNELS_BEGIN

/// Rotations of pairs, the same for every head of a row; none without tables.
struct Rotary {
  Rows<const float> cos{}, sin{};
  Divider period{};
  Divider head_dim{};

  static __device__ __forceinline__ int rest(int i, const Divider& d) {
    const auto n = static_cast<unsigned>(i);
    return static_cast<int>(n - n / d * d.divisor());
  }

  /// The tables of one row. Where all packs of a thread lie at one place of their heads, that place is read once.
  template <class A, int N>
  struct Row {
    const float* cos;
    const float* sin;
    bool one_place;
    Pack<A, N / 2> held_cos, held_sin;
  };

  template <bool Aligned, int N, class A>
  __device__ __forceinline__ Row<A, N> row(int r, int c, int step) const {
    Row<A, N> out;
    out.cos = nullptr;
    if (!cos.data) return out;
    const int t = rest(r, period);
    out.cos = cos(t);
    out.sin = sin(t);
    out.one_place = Aligned && rest(step, head_dim) == 0;
    if (out.one_place) {
      const int place = rest(c, head_dim) / 2;
      out.held_cos = load_pack<Aligned, N / 2, A>(out.cos + place, N / 2);
      out.held_sin = load_pack<Aligned, N / 2, A>(out.sin + place, N / 2);
    }
    return out;
  }

  /// Turns the pairs of the pack at column c; `direction` is 1 or, to turn back, -1.
  template <bool Aligned, int N, class A>
  __device__ __forceinline__ void turn(const Row<A, N>& row, int c, int n, A direction, Pack<A, N>& v) const {
    if (!row.cos) return;
    Pack<A, N / 2> co = row.held_cos, si = row.held_sin;
    if constexpr (Aligned) {
      if (!row.one_place) {
        const int place = rest(c, head_dim) / 2;
        co = load_pack<Aligned, N / 2, A>(row.cos + place, N / 2);
        si = load_pack<Aligned, N / 2, A>(row.sin + place, N / 2);
      }
    } else {
#pragma unroll
      for (int i = 0; i < N / 2; ++i) {
        const int place = 2 * i < n ? rest(c + 2 * i, head_dim) / 2 : 0;
        co.v[i] = cast<A>(row.cos[place]);
        si.v[i] = cast<A>(row.sin[place]);
      }
    }
#pragma unroll
    for (int i = 0; i < N / 2; ++i) {
      const A a = v.v[2 * i], b = v.v[2 * i + 1], s = direction * si.v[i];
      v.v[2 * i] = a * co.v[i] - b * s;
      v.v[2 * i + 1] = a * s + b * co.v[i];
    }
  }
};

/// A weight, then a rotation: see `norm_rows.cuh`.
template <class T, class TW>
struct RotaryTail {
  static constexpr int N = pack_of<T>;
  using A = Accum<T>;
  const TW* weight = nullptr;
  Rotary rotary{};

  template <bool Aligned>
  __device__ __forceinline__ Rotary::Row<A, N> row(int r, int c, int step) const {
    return rotary.row<Aligned, N, A>(r, c, step);
  }
  template <bool Aligned>
  __device__ __forceinline__ void forward(const Rotary::Row<A, N>& row, int c, int n, Pack<A, N>& v) const {
    multiply_by<Aligned>(v, weight, c, n);
    rotary.turn<Aligned>(row, c, n, A(1), v);
  }
  template <bool Aligned>
  __device__ __forceinline__ void backward(const Rotary::Row<A, N>& row, int c, int n, Pack<A, N>& g) const {
    rotary.turn<Aligned>(row, c, n, A(-1), g);
    multiply_by<Aligned>(g, weight, c, n);
  }
};

/// What a row adds to the gradient of the weight.
template <class T>
struct RotaryWeightTerms {
  Rows<const T> dy, x;
  const Accum<T>* rstd;
  Rotary rotary;

  template <int N>
  struct Loaded {
    Pack<T, N> dy, x;
    Rotary::Row<Accum<T>, N> tables;
    Accum<T> rstd;
  };
  template <bool Aligned, int N>
  __device__ __forceinline__ Loaded<N> load(int r, int c, int n) const {
    return {load_pack<Aligned, N, T>(dy(r) + c, n), load_pack<Aligned, N, T>(x(r) + c, n),
            rotary.row<Aligned, N, Accum<T>>(r, c, 0), rstd[r]};
  }

  template <bool Aligned, int N, class A>
  __device__ __forceinline__ void of(const Loaded<N>& loaded, int, int c, int n, Pack<A, N> (&out)[1]) const {
    out[0] = widen<A>(loaded.dy);
    rotary.turn<Aligned>(loaded.tables, c, n, A(-1), out[0]);
    const Pack<A, N> v = widen<A>(loaded.x);
#pragma unroll
    for (int i = 0; i < N; ++i) out[0].v[i] *= v.v[i] * loaded.rstd;
  }
};

template <bool Aligned, class T>
__global__ void rotate_rows(int rows, int columns, Rows<const T> x, Rotary rotary, Accum<T> direction, Rows<T> y,
                            bool accumulate) {
  using A = Accum<T>;
  constexpr int N = pack_of<T>;
  const int r = static_cast<int>(blockIdx.x * blockDim.y + threadIdx.y);
  if (r >= rows) return;
  const auto tables = rotary.row<Aligned, N, A>(r, static_cast<int>(threadIdx.x) * N, static_cast<int>(blockDim.x) * N);
  T* const out = y(r);
  RowPart<0, Aligned, N, A, T> part(x(r), columns);
  for_packs(
      columns,
      [&](Pack<A, N> v, int c, int n) {
        rotary.turn<Aligned>(tables, c, n, direction, v);
        store_gradient<Aligned>(out + c, v, n, accumulate);
      },
      part);
}

/// Extents and shares in the order frame, height, width.
struct RopeAngles {
  int extent[3];
  int share[3];
  double theta;
};

template <class T>
__global__ void rope_angles(RopeAngles angles, std::int64_t entries, int half, Rows<T> cos_of, Rows<T> sin_of) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= entries) return;
  const auto t = static_cast<int>(i / half);
  const int column = static_cast<int>(i - static_cast<std::int64_t>(t) * half);
  const int position[] = {t / angles.extent[2] / angles.extent[1], t / angles.extent[2] % angles.extent[1],
                          t % angles.extent[2]};
  int k = column, axis = 0;
  double at = position[0];
#pragma unroll
  for (int a = 0; a < 2; ++a)
    if (axis == a && k >= angles.share[a] / 2) {
      k -= angles.share[a] / 2;
      axis = a + 1;
      at = position[a + 1];
    }
  const int share = axis == 0 ? angles.share[0] : axis == 1 ? angles.share[1] : angles.share[2];
  const double angle = at * (1.0 / pow(angles.theta, 2.0 * k / share));
  double sine, cosine;
  sincos(angle, &sine, &cosine);
  cos_of(t)[column] = cast<T>(cosine);
  sin_of(t)[column] = cast<T>(sine);
}

SEGUE_KERNELS_END

SEGUE_NAMESPACE_BEGIN
namespace detail {

inline kernels::Rotary rotary_of(const View<const float, 2, CudaSpace>& cos, const View<const float, 2, CudaSpace>& sin,
                                 int heads, std::int64_t columns) {
  if (!cos.data_handle() || cos.extent(0) == 0) return {};
  constexpr std::int64_t most = std::numeric_limits<std::int32_t>::max();
  return {rows_at(cos), rows_at(sin), kernels::Divider(std::min(cos.extent(0), most)),
          kernels::Divider(columns / heads)};
}

/// Whether the tables can be read along with packs of a row of T: no pack reaches from one head into the next.
template <class T>
bool rotary_packs(const View<const float, 2, CudaSpace>& cos, const View<const float, 2, CudaSpace>& sin) {
  constexpr int half = kernels::pack_of<T> / 2;
  return packs(cos, half) && packs(sin, half);
}

}  // namespace detail

template <>
struct Kernel<op::RopeTable, Cuda> {
  static void run(Exec<Cuda>& exec, const ops::RopeGrid& grid, const ops::RopeAxes& axes, double theta,
                  View<float, 2, CudaSpace> cos, View<float, 2, CudaSpace> sin) {
    constexpr const char* op = "rope_table";
    const kernels::RopeAngles angles{
        {static_cast<int>(grid.frames), static_cast<int>(grid.height), static_cast<int>(grid.width)},
        {axes.frame, axes.height, axes.width},
        theta};
    (void)detail::int_extent(op, "tokens of the grid", grid.tokens());
    launch(exec, op, kernels::rope_angles<float>, dim3(static_cast<unsigned>(ceil_div(cos.size(), 128))), dim3(128), 0,
           angles, cos.size(), static_cast<int>(cos.extent(1)), detail::rows_at(cos), detail::rows_at(sin));
  }
};

template <>
struct Kernel<op::RopeForward, Cuda> {
  template <class T>
  static void run(Exec<Cuda>& exec, View<const T, 2, CudaSpace> x, View<const float, 2, CudaSpace> cos,
                  View<const float, 2, CudaSpace> sin, int heads, View<T, 2, CudaSpace> y, ops::Rotation rotation,
                  ops::GradMode mode) {
    constexpr const char* op = "rope_forward";
    constexpr int pack = kernels::pack_of<T>;
    const int rows = detail::int_extent(op, "rows of x", x.extent(0));
    const int columns = detail::int_extent(op, "columns of x", x.extent(1));
    const detail::RowPlan plan = detail::row_plan(ceil_div(columns, pack));
    const bool all_packs = detail::packs(x, pack) && detail::packs(y, pack) && detail::rotary_packs<T>(cos, sin);
    detail::with_flag(all_packs, [&](auto aligned) {
      launch(exec, op, kernels::rotate_rows<aligned(), T>, plan.grid(rows), plan.block(), 0, rows, columns,
             detail::rows_at(x), detail::rotary_of(cos, sin, heads, columns),
             Accum<T>(rotation == ops::Rotation::forward ? 1 : -1), detail::rows_at(y),
             mode == ops::GradMode::accumulate);
    });
  }
};

template <>
struct Kernel<op::RmsNormRopeForward, Cuda> {
  template <class T, class TW>
  static void run(Exec<Cuda>& exec, View<const T, 2, CudaSpace> x, View<const TW, 1, CudaSpace> weight, double eps,
                  View<const float, 2, CudaSpace> cos, View<const float, 2, CudaSpace> sin, int heads,
                  View<T, 2, CudaSpace> y, View<Accum<T>, 1, CudaSpace> rstd) {
    const kernels::RotaryTail<T, TW> tail{weight.data_handle(), detail::rotary_of(cos, sin, heads, x.extent(1))};
    detail::norm_rows_forward<false>(exec, "rms_norm_rope_forward", x, tail,
                                     detail::packs(weight, kernels::pack_of<T>) && detail::rotary_packs<T>(cos, sin),
                                     eps, y, static_cast<Accum<T>*>(nullptr), rstd.data_handle());
  }
};

template <>
struct Kernel<op::RmsNormRopeBackward, Cuda> {
  template <class T>
  static std::int64_t workspace_bytes(const Exec<Cuda>&, std::int64_t rows, std::int64_t columns) {
    return detail::column_sums_bytes<Accum<T>>(1, rows, columns, 1);
  }

  template <class T, class TW, class TG>
  static void run(Exec<Cuda>& exec, View<const T, 2, CudaSpace> dy, View<const T, 2, CudaSpace> x,
                  View<const Accum<T>, 1, CudaSpace> rstd, View<const TW, 1, CudaSpace> weight,
                  View<const float, 2, CudaSpace> cos, View<const float, 2, CudaSpace> sin, int heads,
                  View<T, 2, CudaSpace> dx, ops::GradMode dx_mode, View<TG, 1, CudaSpace> dweight,
                  ops::GradMode weight_mode, View<std::byte, 1, CudaSpace> scratch) {
    constexpr const char* op = "rms_norm_rope_backward";
    constexpr int pack = kernels::pack_of<T>;
    const kernels::RotaryTail<T, TW> tail{weight.data_handle(), detail::rotary_of(cos, sin, heads, x.extent(1))};
    const bool aligned = detail::packs(weight, pack) && detail::rotary_packs<T>(cos, sin);
    // First, because dx may overwrite dy.
    if (dweight.data_handle())
      detail::column_sums<1, Accum<T>, pack>(
          exec, op, x.extent(0), x.extent(1), 1, kernels::RowGroups{},
          kernels::RotaryWeightTerms<T>{detail::rows_at(dy), detail::rows_at(x), rstd.data_handle(), tail.rotary},
          aligned && detail::packs(dy, pack) && detail::packs(x, pack), scratch.data_handle(),
          detail::column_results(weight_mode, detail::one_row(dweight)));
    if (dx.data_handle())
      detail::norm_rows_backward<false>(exec, op, dy, x, static_cast<const Accum<T>*>(nullptr), rstd.data_handle(),
                                        tail, aligned, dx, dx_mode);
  }
};

SEGUE_NAMESPACE_END
