// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "segue/ops/cuda/pointwise.cuh"
#include "segue/ops/patchify.hpp"

SEGUE_KERNELS_BEGIN

inline constexpr int patch_threads = 256;

/// A strip of tokens is one row of a grid of patches: seen from the clip a matrix of lines (c, pt, ph) of neighbouring
/// elements along the width, seen from the tokens a matrix of tokens of neighbouring elements. A block turns a tile of
/// it through shared memory, so that both sides see neighbours.
template <class P, class T>
struct PatchTile {
  static constexpr int tokens = P::width >= 64 ? 1 : 64 / P::width;
  static constexpr int columns = tokens * P::width;
  /// Rows of shared memory are one patch longer: reads along the other direction then hit different banks.
  static constexpr int pitch = columns + P::width;
  static constexpr int most_lines = static_cast<int>(32768 / (sizeof(T) * static_cast<std::size_t>(pitch)));
  static constexpr int lines = most_lines > 32 ? 32 : most_lines;
  static_assert(lines > 0, "patchify: a patch is at most 2,048 elements wide on CUDA");
};

/// The strides of a clip and of its tokens, and how many patches there are. TX and TT: one of them is constant.
template <class TX, class TT>
struct PatchGrid {
  TX* x;
  std::int64_t x_sample, x_channel, x_frame, x_row;
  TT* tokens;
  std::int64_t t_sample, t_token;
  std::uint32_t channels, frames, height, width;  // in patches but for the channels
};

/// ToTokens: the clip is cut, else it is put together.
template <class P, ops::PatchOrder Order, bool ToTokens, bool Accumulate, class T, class TX, class TT>
__global__ void __launch_bounds__(patch_threads) move_patches(PatchGrid<TX, TT> g) {
  using Tile = PatchTile<P, T>;
  constexpr std::uint32_t area = P::frames * P::height, most = Tile::lines;
  constexpr bool channel_first = Order == ops::PatchOrder::channel_first;
  __shared__ T tile[Tile::lines * Tile::pitch];

  // Lines are numbered as their elements follow each other in a token.
  const std::uint32_t all_lines = g.channels * area;
  const std::uint32_t line_tiles = (all_lines + most - 1) / most;
  const std::uint32_t token_tiles = (g.width + Tile::tokens - 1) / Tile::tokens;
  std::uint32_t rest = blockIdx.x;
  const std::uint32_t l0 = rest % line_tiles * most;
  rest /= line_tiles;
  const std::uint32_t w0 = rest % token_tiles * Tile::tokens;
  rest /= token_tiles;
  const std::uint32_t h = rest % g.height;
  rest /= g.height;
  const std::uint32_t t = rest % g.frames, b = rest / g.frames;
  const std::uint32_t lines = min(most, all_lines - l0), tokens = min(std::uint32_t{Tile::tokens}, g.width - w0);

  TX* const corner = g.x + b * g.x_sample + std::int64_t{t} * P::frames * g.x_frame +
                     std::int64_t{h} * P::height * g.x_row + std::int64_t{w0} * P::width;
  TT* const first_token = g.tokens + b * g.t_sample + ((std::int64_t{t} * g.height + h) * g.width + w0) * g.t_token;
  const auto channel_of = [&](std::uint32_t l) { return channel_first ? l / area : l % g.channels; };
  const auto place_of = [&](std::uint32_t l) { return channel_first ? l % area : l / g.channels; };  // pt·height + ph
  const auto put = [](auto& to, T from) {
    if constexpr (Accumulate)
      to = cast<T>(cast<Accum<T>>(to) + cast<Accum<T>>(from));
    else
      to = from;
  };

  const auto clip_side = [&](auto&& move) {
    const std::uint32_t columns = tokens * P::width;
    for (std::uint32_t i = threadIdx.x; i < lines * Tile::columns; i += patch_threads) {
      const std::uint32_t line = i / Tile::columns, column = i % Tile::columns;
      if (column >= columns) continue;
      const std::uint32_t place = place_of(l0 + line);
      move(corner[channel_of(l0 + line) * g.x_channel + place / P::height * g.x_frame + place % P::height * g.x_row +
                  column],
           tile[line * Tile::pitch + column]);
    }
  };
  const auto token_side = [&](auto&& move) {
    // Elements of a token in their order: in channel_last, channels are the fastest and the patch's width comes next.
    const std::uint32_t each = lines * P::width;
    for (std::uint32_t i = threadIdx.x; i < tokens * each; i += patch_threads) {
      const std::uint32_t token = i / each, e = i - token * each;
      std::uint32_t line, pw, element;
      if constexpr (channel_first) {
        line = e / P::width;
        pw = e % P::width;
        element = l0 * P::width + e;
      } else {
        // A tile may begin and end within a run of channels.
        pw = e / lines;
        line = e - pw * lines;
        element = (place_of(l0 + line) * P::width + pw) * g.channels + channel_of(l0 + line);
      }
      move(first_token[token * g.t_token + element], tile[line * Tile::pitch + token * P::width + pw]);
    }
  };
  if constexpr (ToTokens) {
    clip_side([](const T& from, T& to) { to = from; });
    __syncthreads();
    token_side([&](T& to, const T& from) { put(to, from); });
  } else {
    token_side([](const T& from, T& to) { to = from; });
    __syncthreads();
    clip_side([&](T& to, const T& from) { put(to, from); });
  }
}

SEGUE_KERNELS_END

SEGUE_NAMESPACE_BEGIN
namespace detail {

template <class P, ops::PatchOrder Order, bool ToTokens, class T, class TX, class TT>
void move_patches(Exec<Cuda>& exec, const char* name, const View<TX, 5, CudaSpace>& x,
                  const View<TT, 3, CudaSpace>& tokens, ops::GradMode mode) {
  using Tile = kernels::PatchTile<P, T>;
  const kernels::PatchGrid<TX, TT> grid{x.data_handle(),
                                        x.stride(0),
                                        x.stride(1),
                                        x.stride(2),
                                        x.stride(3),
                                        tokens.data_handle(),
                                        tokens.stride(0),
                                        tokens.stride(1),
                                        static_cast<std::uint32_t>(x.extent(1)),
                                        static_cast<std::uint32_t>(x.extent(2) / P::frames),
                                        static_cast<std::uint32_t>(x.extent(3) / P::height),
                                        static_cast<std::uint32_t>(x.extent(4) / P::width)};
  const std::int64_t blocks = ceil_div(x.extent(1) * P::frames * P::height, Tile::lines) *
                              ceil_div(x.extent(4) / P::width, Tile::tokens) * (x.extent(3) / P::height) *
                              (x.extent(2) / P::frames) * x.extent(0);
  const auto run = [&]<bool Accumulate>() {
    launch(exec, name, kernels::move_patches<P, Order, ToTokens, Accumulate, T, TX, TT>,
           dim3(static_cast<unsigned>(blocks)), dim3(kernels::patch_threads), 0, grid);
  };
  mode == ops::GradMode::accumulate ? run.template operator()<true>() : run.template operator()<false>();
}

}  // namespace detail

template <>
struct Kernel<op::Patchify, Cuda> {
  template <class P, ops::PatchOrder Order, class T>
  static void run(Exec<Cuda>& exec, View<const T, 5, CudaSpace> x, View<T, 3, CudaSpace> tokens, ops::GradMode mode) {
    detail::move_patches<P, Order, true, T>(exec, "patchify", x, tokens, mode);
  }
};

template <>
struct Kernel<op::Unpatchify, Cuda> {
  template <class P, ops::PatchOrder Order, class T>
  static void run(Exec<Cuda>& exec, View<const T, 3, CudaSpace> tokens, View<T, 5, CudaSpace> x, ops::GradMode mode) {
    detail::move_patches<P, Order, false, T>(exec, "unpatchify", x, tokens, mode);
  }
};

SEGUE_NAMESPACE_END
