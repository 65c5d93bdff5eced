// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "segue/core/dtype.hpp"

SEGUE_NAMESPACE_BEGIN

/// How a GEMM multiplies: in the operands' type, or through the tensor cores' tf32 mode.
enum class GemmMath { native, tf32 };

/// A precision names the element type of every role. Users may write their own struct with these members:
///   storage  frozen weights
///   compute  activations and their gradients
///   accum    sums inside operators
///   grad     gradients of parameters
///   master   the copy of a parameter that the optimizer updates
struct Fp32 {
  using storage = float;
  using compute = float;
  using accum = float;
  using grad = float;
  using master = float;
  static constexpr GemmMath gemm_math = GemmMath::native;
  static constexpr const char* name = "fp32";
};

/// Fp32 with tf32 tensor-core products; on the CPU the same as Fp32.
struct Tf32 : Fp32 {
  static constexpr GemmMath gemm_math = GemmMath::tf32;
  static constexpr const char* name = "tf32";
};

struct Bf16 {
  using storage = bfloat16;
  using compute = bfloat16;
  using accum = float;
  using grad = float;
  using master = float;
  static constexpr GemmMath gemm_math = GemmMath::native;
  static constexpr const char* name = "bf16";
};

struct Fp16 {
  using storage = float16;
  using compute = float16;
  using accum = float;
  using grad = float;
  using master = float;
  static constexpr GemmMath gemm_math = GemmMath::native;
  static constexpr const char* name = "fp16";
};

/// Frozen weights stay in bf16 (half the memory traffic); activations and adapters are fp32.
struct Bf16Weights : Fp32 {
  using storage = bfloat16;
  static constexpr const char* name = "bf16-weights";
};

/// A precision whose weights and activations are in the accumulation type of another: for the parts of a model that
/// checkpoints keep in fp32 (time embeddings, modulation).
template <class Precision>
struct AccumIsland {
  using storage = typename Precision::accum;
  using compute = typename Precision::accum;
  using accum = typename Precision::accum;
  using grad = typename Precision::grad;
  using master = typename Precision::master;
  static constexpr GemmMath gemm_math = GemmMath::native;
  static constexpr const char* name = "island";
};

/// For gradient checks.
struct Fp64 {
  using storage = double;
  using compute = double;
  using accum = double;
  using grad = double;
  using master = double;
  static constexpr GemmMath gemm_math = GemmMath::native;
  static constexpr const char* name = "fp64";
};

template <class P>
concept PrecisionLike = requires {
  typename P::storage;
  typename P::compute;
  typename P::accum;
  typename P::grad;
  typename P::master;
  P::gemm_math;
}
&&is_floating<typename P::storage>&& is_floating<typename P::compute>&& is_floating<typename P::accum>&&
    is_floating<typename P::grad>&& is_floating<typename P::master>;

SEGUE_NAMESPACE_END
