// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <type_traits>

#include "segue/core/config.hpp"

SEGUE_NAMESPACE_BEGIN

/// What a leaf does in a model. Adapter maps choose by role; users add tags of their own.
namespace role {
// A table.
// clang-format off
struct ToQ { static constexpr const char* name = "to_q"; };
struct ToK { static constexpr const char* name = "to_k"; };
struct ToV { static constexpr const char* name = "to_v"; };
struct ToOut { static constexpr const char* name = "to_out"; };
struct AddKProj { static constexpr const char* name = "add_k_proj"; };
struct AddVProj { static constexpr const char* name = "add_v_proj"; };
struct FfnUp { static constexpr const char* name = "ffn_up"; };
struct FfnDown { static constexpr const char* name = "ffn_down"; };
struct PatchEmbedding { static constexpr const char* name = "patch_embedding"; };
struct TimeEmbedding { static constexpr const char* name = "time_embedding"; };
struct TimeProjection { static constexpr const char* name = "time_projection"; };
struct TextEmbedding { static constexpr const char* name = "text_embedding"; };
struct ImageEmbedding { static constexpr const char* name = "image_embedding"; };
struct OutputProjection { static constexpr const char* name = "output_projection"; };
struct NormQ { static constexpr const char* name = "norm_q"; };
struct NormK { static constexpr const char* name = "norm_k"; };
struct NormAddedK { static constexpr const char* name = "norm_added_k"; };
struct Norm { static constexpr const char* name = "norm"; };
struct PositionEmbedding { static constexpr const char* name = "position_embedding"; };
struct ModulationTable { static constexpr const char* name = "modulation_table"; };
// clang-format on
}  // namespace role

template <class R, class... Roles>
inline constexpr bool is_one_of = (std::is_same_v<R, Roles> || ...);

SEGUE_NAMESPACE_END
