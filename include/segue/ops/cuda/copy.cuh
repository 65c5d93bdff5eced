// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <utility>

#include "segue/ops/cuda/pointwise.cuh"
#include "segue/ops/elementwise.hpp"

SEGUE_KERNELS_BEGIN

template <class TD>
struct ConvertElement {
  template <class TS>
  __device__ TD operator()(TS x) const {
    return cast<TD>(x);
  }
};

/// Up to six axes of two views that are walked together, the last one fastest.
struct CopyAxes {
  int count;
  Divider extent[6];
  std::int64_t from[6], to[6];

  /// The offsets of item n.
  __device__ __forceinline__ void find(std::uint32_t n, std::int64_t& source, std::int64_t& target) const {
#pragma unroll
    for (int i = 5; i >= 0; --i) {
      if (i >= count) continue;
      const std::uint32_t rest = n / extent[i];
      const std::int64_t at = n - rest * extent[i].divisor();
      source += at * from[i];
      target += at * to[i];
      n = rest;
    }
  }
};

/// N neighbours an item.
template <int N, class TS, class TD>
__global__ void __launch_bounds__(pointwise_threads)
    copy_items(CopyAxes axes, std::uint32_t items, const TS* source, TD* target) {
  const std::uint32_t n = blockIdx.x * pointwise_threads + threadIdx.x;
  if (n >= items) return;
  std::int64_t from = 0, to = 0;
  axes.find(n, from, to);
  store_as<N>(target + to, map_packs<N, TD>(ConvertElement<TD>{}, load_as<N, TS>(source + from)));
}

/// Elements of a side of a square that is turned through shared memory: 128 bytes a line, 32 to 64 of them.
template <class TS>
inline constexpr int turned_side = sizeof(TS) <= 2 ? 64 : 32;
inline constexpr int turned_rows = 8;

/// Source and target are contiguous along different axes: `source_extent` elements lie side by side in the source,
/// `to_step` apart in the target; `target_extent` side by side in the target, `from_step` apart in the source. One
/// square a block, for every item of the other axes.
template <class TS, class TD>
__global__ void __launch_bounds__(32 * turned_rows)
    copy_turned(CopyAxes axes, std::uint32_t source_extent, std::int64_t to_step, std::uint32_t target_extent,
                std::int64_t from_step, const TS* source, TD* target) {
  constexpr int side = turned_side<TS>;
  __shared__ TS square[side][side + 1];
  const std::uint32_t across = (source_extent + side - 1) / side, down = (target_extent + side - 1) / side;
  const std::uint32_t square_of_item = blockIdx.x % (across * down);
  const std::uint32_t s0 = square_of_item % across * side, t0 = square_of_item / across * side;
  std::int64_t from = 0, to = 0;
  axes.find(blockIdx.x / (across * down), from, to);
  source += from;
  target += to;
#pragma unroll
  for (int t = static_cast<int>(threadIdx.y); t < side; t += turned_rows)
#pragma unroll
    for (int s = static_cast<int>(threadIdx.x); s < side; s += 32)
      if (s0 + static_cast<std::uint32_t>(s) < source_extent && t0 + static_cast<std::uint32_t>(t) < target_extent)
        square[t][s] = source[(t0 + static_cast<std::uint32_t>(t)) * from_step + s0 + static_cast<std::uint32_t>(s)];
  __syncthreads();
#pragma unroll
  for (int s = static_cast<int>(threadIdx.y); s < side; s += turned_rows)
#pragma unroll
    for (int t = static_cast<int>(threadIdx.x); t < side; t += 32)
      if (s0 + static_cast<std::uint32_t>(s) < source_extent && t0 + static_cast<std::uint32_t>(t) < target_extent)
        target[(s0 + static_cast<std::uint32_t>(s)) * to_step + t0 + static_cast<std::uint32_t>(t)] =
            cast<TD>(square[t][s]);
}

SEGUE_KERNELS_END

SEGUE_NAMESPACE_BEGIN
namespace detail {

/// The axes of a copy, reduced to what must be told apart: extents above 1, in the order of the target's memory, joined
/// where both sides allow.
struct CopyPlan {
  struct Axis {
    std::int64_t extent, from, to;
  };
  int count = 0;
  Axis axis[6]{};

  template <class TS, class TD, int Rank>
  CopyPlan(const View<TS, Rank, CudaSpace>& source, const View<TD, Rank, CudaSpace>& target) {
    for (int i = 0; i < Rank; ++i)
      if (target.extent(i) > 1) axis[count++] = {target.extent(i), source.stride(i), target.stride(i)};
    const auto before = [](const Axis& a, const Axis& b) { return a.to > b.to || (a.to == b.to && a.from > b.from); };
    for (int i = 1; i < count; ++i)
      for (int k = i; k > 0 && before(axis[k], axis[k - 1]); --k) std::swap(axis[k], axis[k - 1]);
    int joined = 0;
    for (int i = 1; i < count; ++i) {
      Axis& outer = axis[joined];
      if (outer.from == axis[i].from * axis[i].extent && outer.to == axis[i].to * axis[i].extent)
        outer = {outer.extent * axis[i].extent, axis[i].from, axis[i].to};
      else
        axis[++joined] = axis[i];
    }
    if (count > 0) count = joined + 1;
  }

  std::int64_t size() const {
    std::int64_t n = 1;
    for (int i = 0; i < count; ++i) n *= axis[i].extent;
    return n;
  }
  int longest() const {
    int at = 0;
    for (int i = 1; i < count; ++i)
      if (axis[i].extent > axis[at].extent) at = i;
    return at;
  }
  void remove(int i) {
    for (--count; i < count; ++i) axis[i] = axis[i + 1];
  }
  /// For kernels; the last axis in steps of `pack`.
  kernels::CopyAxes axes(std::int64_t pack = 1) const {
    kernels::CopyAxes out{};
    out.count = count;
    for (int i = 0; i < count; ++i) {
      const std::int64_t step = i == count - 1 ? pack : 1;
      out.extent[i] = kernels::Divider(axis[i].extent / step);
      out.from[i] = axis[i].from * step;
      out.to[i] = axis[i].to * step;
    }
    return out;
  }
};

template <int N, class TS, class TD>
void copy_items(Exec<Cuda>& exec, const CopyPlan& plan, const TS* source, TD* target) {
  constexpr int threads = kernels::pointwise_threads;
  const std::int64_t items = plan.size() / N;
  launch(exec, "copy", kernels::copy_items<N, TS, TD>, dim3(static_cast<unsigned>(ceil_div(items, threads))),
         dim3(threads), 0, plan.axes(N), static_cast<std::uint32_t>(items), source, target);
}

/// @param along the axis that is contiguous in the source; the last one is in the target.
template <class TS, class TD>
void copy_turned(Exec<Cuda>& exec, CopyPlan plan, int along, const TS* source, TD* target) {
  constexpr int side = kernels::turned_side<TS>;
  const CopyPlan::Axis s = plan.axis[along], t = plan.axis[plan.count - 1];
  plan.remove(plan.count - 1);
  plan.remove(along);
  const std::int64_t blocks = ceil_div(s.extent, side) * ceil_div(t.extent, side) * plan.size();
  launch(exec, "copy", kernels::copy_turned<TS, TD>, dim3(static_cast<unsigned>(blocks)),
         dim3(32, kernels::turned_rows), 0, plan.axes(), static_cast<std::uint32_t>(s.extent), s.to,
         static_cast<std::uint32_t>(t.extent), t.from, source, target);
}

template <class TS, class TD>
void copy_plan(Exec<Cuda>& exec, const CopyPlan& plan, const TS* source, TD* target) {
  const int last = plan.count - 1;
  const bool rows = plan.count == 0 || (plan.axis[last].from == 1 && plan.axis[last].to == 1);
  if (rows && plan.count <= 2) {
    const std::int64_t columns = plan.count > 0 ? plan.axis[last].extent : 1;
    const CopyPlan::Axis r = plan.count > 1 ? plan.axis[0] : CopyPlan::Axis{1, columns, columns};
    return for_each_element(exec, "copy", kernels::ConvertElement<TD>{},
                            View<TD, 2, CudaSpace>(target, {r.extent, columns}, {r.to, 1}),
                            View<const TS, 2, CudaSpace>(source, {r.extent, columns}, {r.from, 1}));
  }
  if (plan.size() > most_items) {
    // Halves, until 32-bit index arithmetic reaches.
    const int at = plan.longest();
    CopyPlan half = plan;
    const std::int64_t cut = plan.axis[at].extent / 2;
    half.axis[at].extent = cut;
    copy_plan(exec, half, source, target);
    half.axis[at].extent = plan.axis[at].extent - cut;
    return copy_plan(exec, half, source + cut * plan.axis[at].from, target + cut * plan.axis[at].to);
  }
  if (rows) {
    constexpr int pack = static_cast<int>(16 / std::min<std::size_t>({sizeof(TS), sizeof(TD), 16}));
    bool fits = is_aligned(source, pack) && is_aligned(target, pack) && plan.axis[last].extent % pack == 0;
    for (int i = 0; i < last; ++i) fits = fits && plan.axis[i].from % pack == 0 && plan.axis[i].to % pack == 0;
    return fits ? copy_items<pack>(exec, plan, source, target) : copy_items<1>(exec, plan, source, target);
  }
  // Squares are worth it where both sides have lines to fill.
  constexpr std::int64_t least = 8;
  if (plan.axis[last].to == 1 && plan.axis[last].extent >= least)
    for (int i = 0; i < last; ++i)
      if (plan.axis[i].from == 1 && plan.axis[i].extent >= least) return copy_turned(exec, plan, i, source, target);
  copy_items<1>(exec, plan, source, target);
}

}  // namespace detail

template <>
struct Kernel<op::Copy, Cuda> {
  template <class TS, class TD, int Rank>
  static void run(Exec<Cuda>& exec, View<const TS, Rank, CudaSpace> source, View<TD, Rank, CudaSpace> target) {
    detail::copy_plan(exec, detail::CopyPlan(source, target), source.data_handle(), target.data_handle());
  }
};

SEGUE_NAMESPACE_END
