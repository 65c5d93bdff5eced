// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "segue/ops/cuda/column_sums.cuh"
#include "segue/ops/cuda/norm_rows.cuh"
#include "segue/ops/norm.hpp"

SEGUE_KERNELS_BEGIN

/// (v·weight + bias)·(1 + scale) + shift, as far as they are there: see `norm_rows.cuh`.
template <class TW, class TM>
struct AffineTail {
  const TW* weight = nullptr;
  const TW* bias = nullptr;
  Rows<const TM> scale{}, shift{};
  RowGroups group{};

  struct Tables {
    const TM* scale;
    const TM* shift;
  };
  template <bool Aligned>
  __device__ __forceinline__ Tables row(int r, int, int) const {
    if (!scale.data) return {nullptr, nullptr};
    const int g = group(r);
    return {scale(g), shift(g)};
  }

  template <bool Aligned, int N, class A>
  __device__ __forceinline__ void affine(int c, int n, Pack<A, N>& v) const {
    multiply_by<Aligned>(v, weight, c, n);
    add_to<Aligned>(v, bias, c, n);
  }
  template <bool Aligned, int N, class A>
  __device__ __forceinline__ void scaled(const Tables& tables, int c, int n, Pack<A, N>& v) const {
    if (!tables.scale) return;
    const Pack<A, N> s = load_pack<Aligned, N, A>(tables.scale + c, n);
#pragma unroll
    for (int i = 0; i < N; ++i) v.v[i] *= A(1) + s.v[i];
  }

  template <bool Aligned, int N, class A>
  __device__ __forceinline__ void forward(const Tables& tables, int c, int n, Pack<A, N>& v) const {
    affine<Aligned>(c, n, v);
    scaled<Aligned>(tables, c, n, v);
    add_to<Aligned>(v, tables.shift, c, n);
  }
  template <bool Aligned, int N, class A>
  __device__ __forceinline__ void backward(const Tables& tables, int c, int n, Pack<A, N>& g) const {
    multiply_by<Aligned>(g, weight, c, n);
    scaled<Aligned>(tables, c, n, g);
  }
};

/// What row r adds to the gradients of a norm's tables at columns c…: dy·(x̂·weight + bias) and dy for a modulation,
/// dy·(1 + scale)·x̂ and dy·(1 + scale) for weight and bias.
template <bool OfModulation, class T, class TW, class TM>
struct NormTableTerms {
  Rows<const T> dy, x;
  const Accum<T>* mean;
  const Accum<T>* rstd;
  AffineTail<TW, TM> tail;

  template <int N>
  struct Loaded {
    Pack<T, N> dy, x;
    Accum<T> mean, rstd;
  };
  template <bool Aligned, int N>
  __device__ __forceinline__ Loaded<N> load(int r, int c, int n) const {
    return {load_pack<Aligned, N, T>(dy(r) + c, n), load_pack<Aligned, N, T>(x(r) + c, n), mean ? mean[r] : Accum<T>(0),
            rstd[r]};
  }

  template <bool Aligned, int N, class A>
  __device__ __forceinline__ void of(const Loaded<N>& loaded, int r, int c, int n, Pack<A, N> (&out)[2]) const {
    Pack<A, N> g = widen<A>(loaded.dy), v = widen<A>(loaded.x);
#pragma unroll
    for (int i = 0; i < N; ++i) v.v[i] = (v.v[i] - loaded.mean) * loaded.rstd;
    if constexpr (OfModulation)
      tail.template affine<Aligned>(c, n, v);
    else
      tail.template scaled<Aligned>(tail.template row<Aligned>(r, c, 0), c, n, g);
#pragma unroll
    for (int i = 0; i < N; ++i) {
      out[0].v[i] = g.v[i] * v.v[i];
      out[1].v[i] = g.v[i];
    }
  }
};

SEGUE_KERNELS_END

SEGUE_NAMESPACE_BEGIN
namespace detail {

template <class TW, class TM>
kernels::AffineTail<TW, TM> affine_tail(View<const TW, 1, CudaSpace> weight, View<const TW, 1, CudaSpace> bias,
                                        const ops::Modulation<TM, CudaSpace>& modulation) {
  return {weight.data_handle(), bias.data_handle(), rows_at(modulation.scale), rows_at(modulation.shift),
          row_groups(modulation.group, modulation.rows_per_group)};
}

/// Whether the tables can be read as packs of a row of T.
template <class T, class TW, class TM>
bool tables_pack(View<const TW, 1, CudaSpace> weight, View<const TW, 1, CudaSpace> bias,
                 const ops::Modulation<TM, CudaSpace>& modulation) {
  constexpr int n = kernels::pack_of<T>;
  return packs(weight, n) && packs(bias, n) && packs(modulation.scale, n) && packs(modulation.shift, n);
}

template <bool Centred>
struct NormOnCuda {
  template <class T, class TW, class TM>
  static void forward(Exec<Cuda>& exec, const char* op, View<const T, 2, CudaSpace> x,
                      View<const TW, 1, CudaSpace> weight, View<const TW, 1, CudaSpace> bias,
                      const ops::Modulation<TM, CudaSpace>& modulation, double eps, View<T, 2, CudaSpace> y,
                      View<Accum<T>, 1, CudaSpace> mean, View<Accum<T>, 1, CudaSpace> rstd) {
    norm_rows_forward<Centred>(exec, op, x, affine_tail(weight, bias, modulation),
                               tables_pack<T>(weight, bias, modulation), eps, y, mean.data_handle(),
                               rstd.data_handle());
  }

  template <class T>
  static std::int64_t workspace_bytes(std::int64_t rows, std::int64_t columns, std::int64_t table_rows) {
    return std::max(column_sums_bytes<Accum<T>>(2, rows, columns, 1),
                    column_sums_bytes<Accum<T>>(2, rows, columns, table_rows));
  }

  template <class T, class TW, class TM, class TG>
  static void backward(Exec<Cuda>& exec, const char* op, View<const T, 2, CudaSpace> dy, View<const T, 2, CudaSpace> x,
                       View<const Accum<T>, 1, CudaSpace> mean, View<const Accum<T>, 1, CudaSpace> rstd,
                       View<const TW, 1, CudaSpace> weight, View<const TW, 1, CudaSpace> bias,
                       const ops::Modulation<TM, CudaSpace>& modulation, View<T, 2, CudaSpace> dx,
                       ops::GradMode dx_mode, View<TG, 1, CudaSpace> dweight, View<TG, 1, CudaSpace> dbias,
                       ops::GradMode weight_mode, View<TM, 2, CudaSpace> dscale, View<TM, 2, CudaSpace> dshift,
                       ops::GradMode modulation_mode, View<std::byte, 1, CudaSpace> scratch) {
    constexpr int pack = kernels::pack_of<T>;
    const auto tail = affine_tail(weight, bias, modulation);
    const bool aligned = tables_pack<T>(weight, bias, modulation);
    // Column sums first: dx may overwrite dy.
    const auto sums = [&](auto of_modulation, std::int64_t groups, const auto& out) {
      column_sums<2, Accum<T>, pack>(exec, op, x.extent(0), x.extent(1), groups, tail.group,
                                     kernels::NormTableTerms<of_modulation(), T, TW, TM>{
                                         rows_at(dy), rows_at(x), mean.data_handle(), rstd.data_handle(), tail},
                                     aligned && packs(dy, pack) && packs(x, pack), scratch.data_handle(), out);
    };
    if (dscale.data_handle() || dshift.data_handle())
      sums(std::true_type{}, modulation.scale.extent(0), column_results(modulation_mode, dscale, dshift));
    if (dweight.data_handle() || dbias.data_handle())
      sums(std::false_type{}, 1, column_results(weight_mode, one_row(dweight), one_row(dbias)));
    if (dx.data_handle())
      norm_rows_backward<Centred>(exec, op, dy, x, mean.data_handle(), rstd.data_handle(), tail, aligned, dx, dx_mode);
  }
};

}  // namespace detail

template <>
struct Kernel<op::LayerNormForward, Cuda> {
  template <class... Arguments>
  static void run(Exec<Cuda>& exec, const Arguments&... arguments) {
    detail::NormOnCuda<true>::forward(exec, "layer_norm_forward", arguments...);
  }
};

template <>
struct Kernel<op::LayerNormBackward, Cuda> {
  template <class T>
  static std::int64_t workspace_bytes(const Exec<Cuda>&, std::int64_t rows, std::int64_t columns,
                                      std::int64_t table_rows) {
    return detail::NormOnCuda<true>::workspace_bytes<T>(rows, columns, table_rows);
  }
  template <class... Arguments>
  static void run(Exec<Cuda>& exec, const Arguments&... arguments) {
    detail::NormOnCuda<true>::backward(exec, "layer_norm_backward", arguments...);
  }
};

template <>
struct Kernel<op::RmsNormForward, Cuda> {
  template <class T, class TW, class TM>
  static void run(Exec<Cuda>& exec, View<const T, 2, CudaSpace> x, View<const TW, 1, CudaSpace> weight,
                  const ops::Modulation<TM, CudaSpace>& modulation, double eps, View<T, 2, CudaSpace> y,
                  View<Accum<T>, 1, CudaSpace> rstd) {
    detail::NormOnCuda<false>::forward(exec, "rms_norm_forward", x, weight, View<const TW, 1, CudaSpace>{}, modulation,
                                       eps, y, View<Accum<T>, 1, CudaSpace>{}, rstd);
  }
};

template <>
struct Kernel<op::RmsNormBackward, Cuda> {
  template <class T>
  static std::int64_t workspace_bytes(const Exec<Cuda>&, std::int64_t rows, std::int64_t columns,
                                      std::int64_t table_rows) {
    return detail::NormOnCuda<false>::workspace_bytes<T>(rows, columns, table_rows);
  }
  template <class T, class TW, class TM, class TG>
  static void run(Exec<Cuda>& exec, View<const T, 2, CudaSpace> dy, View<const T, 2, CudaSpace> x,
                  View<const Accum<T>, 1, CudaSpace> rstd, View<const TW, 1, CudaSpace> weight,
                  const ops::Modulation<TM, CudaSpace>& modulation, View<T, 2, CudaSpace> dx, ops::GradMode dx_mode,
                  View<TG, 1, CudaSpace> dweight, ops::GradMode weight_mode, View<TM, 2, CudaSpace> dscale,
                  View<TM, 2, CudaSpace> dshift, ops::GradMode modulation_mode, View<std::byte, 1, CudaSpace> scratch) {
    detail::NormOnCuda<false>::backward(exec, "rms_norm_backward", dy, x, View<const Accum<T>, 1, CudaSpace>{}, rstd,
                                        weight, View<const TW, 1, CudaSpace>{}, modulation, dx, dx_mode, dweight,
                                        View<TG, 1, CudaSpace>{}, weight_mode, dscale, dshift, modulation_mode,
                                        scratch);
  }
};

SEGUE_NAMESPACE_END
