// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <string>
#include <utility>
#include <vector>

#include "segue/autograd/checkpoint.hpp"
#include "segue/functional/patchify.hpp"
#include "segue/models/wan_block.hpp"
#include "segue/models/wan_names.hpp"
#include "segue/nn/image_embedding.hpp"
#include "segue/nn/time_embedding.hpp"

SEGUE_NAMESPACE_BEGIN
namespace models {

/// The Wan video diffusion transformer, diffusers' WanTransformer3DModel: Wan2.1 T2V; I2V by channel concatenation,
/// with or without the branch for an encoded image; FLF2V; Wan2.2 with a timestep for every token. `Adapters` is the
/// adapter map: the same model is the frozen backbone, the LoRA run and the full training run. `Patches` is the closed
/// set of patch sizes that the program is compiled for.
template <PolicyLike P, class Adapters, class Patches = ops::DefaultPatches>
class Wan {
 public:
  using Policy = P;
  using AdapterMap = Adapters;
  using Device = typename P::Device;
  using Space = typename P::Space;
  using T = typename P::compute;
  using A = typename P::accum;
  /// The time path is kept in the accumulation type, as checkpoints keep it in fp32.
  using Island = segue::Policy<AccumIsland<typename P::Precision>, Device>;
  using Block = WanBlock<P, Adapters>;

  /// Timesteps of a forward: one a sample, or S rows of which `tokens.group` names one for each token.
  struct Time {
    Tensor<float, 1, Space> timesteps;  ///< (S), in 0…1000
    Tensor<std::int32_t, 1, Space> group{};
  };

  Wan(Exec<Device>& exec, const WanConfig& config)
      : config_(config),
        patch_embedding_(exec, config.in_channels * config.patch_volume(), config.dim()),
        time_embedder_(exec, config.freq_dim, config.dim()),
        time_proj_(exec, config.dim(), 6 * config.dim()),
        text_embedder_(exec, config.text_dim, config.dim()),
        proj_out_(exec, config.dim(), config.out_channels * config.patch_volume()),
        scale_shift_table_(nn::make_leaf<TableLeaf>(exec, {1, 2, config.dim()})) {
    ops::dispatch_patch("Wan", config.patch_size, Patches{}, [](auto) {});
    if (config.has_image_branch()) image_embedder_ = {exec, config.image_dim, config.dim(), config.pos_embed_seq_len};
    blocks_.reserve(static_cast<std::size_t>(config.num_layers));
    for (int i = 0; i < config.num_layers; ++i) blocks_.emplace_back(exec, config);
  }

  /// hidden: (B, in_channels, F, H, W), text: (B, L, text_dim), image: (B, Li, image_dim) where the configuration has
  /// an image branch, else empty; of FLF2V's two images the tokens of one follow those of the other. Returns
  /// (B, out_channels, F, H, W): a `Var` if the map can train anything and else a `Tensor`. `on_block(i, x)` sees the
  /// activation after every block.
  /// @throws InputError if a shape does not fit the configuration, or an image is given or absent against it.
  template <class C, Value X, class OnBlock>
  auto forward(C& ctx, const X& hidden, const Time& time, const Tensor<T, 3, Space>& text,
               const Tensor<T, 3, Space>& image, OnBlock&& on_block) const {
    const auto& ht = value_of(hidden);
    const auto& patch = config_.patch_size;
    segue::detail::check_shape("Wan", "hidden_states", ht.view(), {-1, config_.in_channels, -1, -1, -1});
    segue::detail::check_shape("Wan", "encoder_hidden_states", text.view(), {ht.extent(0), -1, config_.text_dim});
    if (static_cast<bool>(image) != config_.has_image_branch())
      throw_input("Wan", "encoder_hidden_states_image", image ? "a tensor" : "none",
                  image ? "none: the configuration has no image_dim" : "(B, L, image_dim) as the configuration says");
    if (image)
      segue::detail::check_shape(
          "Wan", "encoder_hidden_states_image", image.view(),
          {ht.extent(0), config_.pos_embed_seq_len > 0 ? config_.pos_embed_seq_len : -1, config_.image_dim});
    const ops::RopeGrid grid{ht.extent(2) / patch.frames, ht.extent(3) / patch.height, ht.extent(4) / patch.width};
    if (!time.group) segue::detail::check_shape("Wan", "timesteps", time.timesteps.view(), {ht.extent(0)});
    const TokenGroups<Space> tokens{time.group, grid.tokens()};
    const RotaryTable<Space> rope = rotary_table(ctx.exec(), grid);
    const std::int64_t d = config_.dim(), s = time.timesteps.extent(0);

    const auto temb =
        time_embedder_(ctx, lift<Adapters>(functional::sinusoidal_embedding<A>(ctx, time.timesteps, config_.freq_dim)));
    const auto time_rows = functional::reshape<3>(ctx, time_proj_(ctx, functional::silu(ctx, temb)), {s, 6, d});
    const auto context = text_embedder_(ctx, lift<Adapters>(text));

    using Context = std::remove_const_t<decltype(context)>;
    const Context image_context = image ? Context(image_embedder_(ctx, lift<Adapters>(image))) : Context();

    auto x = patch_embedding_(ctx, lift_value(functional::patchify<Patches>(ctx, hidden, patch)));
    for (std::size_t i = 0; i < blocks_.size(); ++i) {
      const Block& block = blocks_[i];
      const InBlock<P> scope(ctx, i);
      const auto run = [&block, tokens, rope](C& c, const auto& bx, const auto& btext, const auto& btime,
                                              const auto&... bimage) {
        return block(c, bx, btext, btime, tokens, rope, bimage...);
      };
      if (!ctx.reruns_block(i))
        x = run(ctx, x, context, time_rows, image_context);
      else if (image)
        x = checkpoint(ctx, run, x, context, time_rows, image_context);
      else
        x = checkpoint(ctx, run, x, context, time_rows);
      on_block(i, x);
    }

    const auto table =
        functional::add_table(ctx, nn::use(scale_shift_table_), functional::reshape<3>(ctx, temb, {s, 1, d}));
    const auto modulation = functional::unbind<2>(ctx, table);
    using V = std::remove_cvref_t<decltype(modulation[0])>;
    const Tensor<A, 1, Space> none;
    const auto y = proj_out_(ctx, functional::layer_norm(ctx, x, none, none,
                                                         functional::Modulation<V>{modulation[1], modulation[0],
                                                                                   tokens.group, tokens.rows_per_group},
                                                         config_.eps));
    return functional::unpatchify<Patches>(
        ctx, y, patch, {ht.extent(0), config_.out_channels, ht.extent(2), ht.extent(3), ht.extent(4)});
  }

  template <class C, Value X>
  auto operator()(C& ctx, const X& hidden, const Time& time, const Tensor<T, 3, Space>& text,
                  const Tensor<T, 3, Space>& image = {}) const {
    return forward(ctx, hidden, time, text, image, [](std::size_t, const auto&) {});
  }

  /// The times of clips of this shape (B, C, F, H, W) whose first `frames` frames are given, as Wan2.2 wants them:
  /// tokens of those frames stand at timestep 0, the others at their sample's. timesteps: (B). Writes 8·B bytes, and
  /// 4 for every token when the shape is new.
  /// @throws InputError if the frames are not whole patches or leave none.
  template <class C>
  Time given_frames(C& ctx, const Tensor<float, 1, Space>& timesteps, const Shape<5>& clips,
                    std::int64_t frames) const {
    auto& exec = ctx.exec();
    const auto& patch = config_.patch_size;
    if (frames < 1 || frames % patch.frames != 0 || frames >= clips[2])
      throw_input("Wan", "given frames", std::to_string(frames),
                  "a multiple of " + std::to_string(patch.frames) + " below the clip's " + std::to_string(clips[2]));
    const std::int64_t batch = clips[0], of_frame = clips[3] / patch.height * (clips[4] / patch.width),
                       given = frames / patch.frames * of_frame, tokens = clips[2] / patch.frames * of_frame;
    auto rows = ctx.template empty<float, 1>({2 * batch});
    const View<float, 2, Space> pairs(rows.data_handle(), {batch, 2});
    ops::fill(exec, 0.0, pairs.slice(1, 0, 1));
    ops::copy(exec, View<const float, 2, Space>(timesteps.data_handle(), {batch, 1}), pairs.slice(1, 1, 2));
    if (exec.planning()) return {rows, exec.template empty<std::int32_t, 1>({batch * tokens})};
    if (!given_group_ || given_group_.extent(0) != batch * tokens || given_of_ != std::array{tokens, given}) {
      given_group_ = exec.template empty<std::int32_t, 1>({batch * tokens});
      for (std::int64_t b = 0; b < batch; ++b) {
        const auto of_sample = given_group_.view().slice(0, b * tokens, (b + 1) * tokens);
        ops::fill(exec, static_cast<double>(2 * b), of_sample.slice(0, 0, given));
        ops::fill(exec, static_cast<double>(2 * b + 1), of_sample.slice(0, given, tokens));
      }
      given_of_ = {tokens, given};
    }
    return {rows, given_group_};
  }

  const WanConfig& config() const { return config_; }
  std::vector<Block>& blocks() { return blocks_; }

  /// The shape of a leaf in checkpoints, where it differs: the patch embedding is a Conv3d there.
  std::vector<std::int64_t> checkpoint_shape(std::string_view name, std::vector<std::int64_t> shape) const {
    if (name == "patch_embedding.weight")
      return {config_.dim(), config_.in_channels, config_.patch_size.frames, config_.patch_size.height,
              config_.patch_size.width};
    return shape;
  }

  /// The name of a module or a leaf in checkpoints of Wan's own repository.
  static std::optional<std::string> original_name(std::string_view name) { return wan_original_name(name); }
  static bool unused_in_files(std::string_view name) { return Block::unused_in_files(name); }

  void visit(auto&& v) {
    v("patch_embedding", patch_embedding_);
    v("condition_embedder.time_embedder", time_embedder_);
    v("condition_embedder.time_proj", time_proj_);
    v("condition_embedder.text_embedder", text_embedder_);
    if (config_.has_image_branch()) v("condition_embedder.image_embedder", image_embedder_);
    v("blocks", blocks_);
    v("scale_shift_table", scale_shift_table_);
    v("proj_out", proj_out_);
  }

 private:
  using TableLeaf = typename Adapters::template leaf<role::ModulationTable, P, 3>;

  template <class X>
  static auto lift_value(const X& x) {
    if constexpr (is_var<X>)
      return x;
    else
      return lift<Adapters>(x);
  }

  /// Tables depend on the grid alone; the last one is kept.
  RotaryTable<Space> rotary_table(Exec<Device>& exec, const ops::RopeGrid& grid) const {
    const auto most = static_cast<std::int64_t>(config_.rope_max_seq_len);
    if (grid.frames > most || grid.height > most || grid.width > most)
      throw_input("Wan", "token grid", shape_string(Shape<3>{grid.frames, grid.height, grid.width}),
                  "at most rope_max_seq_len = " + std::to_string(most) + " along each axis");
    if (exec.planning()) return make_rotary_table(exec, grid, config_.attention_head_dim);
    if (!rope_.cos || grid.frames != rope_grid_.frames || grid.height != rope_grid_.height ||
        grid.width != rope_grid_.width) {
      rope_ = make_rotary_table(exec, grid, config_.attention_head_dim);
      rope_grid_ = grid;
    }
    return rope_;
  }

  WanConfig config_;
  typename Adapters::template projection<role::PatchEmbedding, P> patch_embedding_;
  nn::TimestepEmbedding<Island, Adapters> time_embedder_;
  typename Adapters::template projection<role::TimeProjection, Island> time_proj_;
  nn::TextProjection<P, Adapters> text_embedder_;
  nn::ImageEmbedding<P, Adapters> image_embedder_;
  std::vector<Block> blocks_;
  typename Adapters::template projection<role::OutputProjection, P> proj_out_;
  TableLeaf scale_shift_table_;
  mutable RotaryTable<Space> rope_;
  mutable ops::RopeGrid rope_grid_{0, 0, 0};
  mutable Tensor<std::int32_t, 1, Space> given_group_;
  mutable std::array<std::int64_t, 2> given_of_{};  ///< tokens of a sample, and how many of them are given
};

}  // namespace models
SEGUE_NAMESPACE_END
