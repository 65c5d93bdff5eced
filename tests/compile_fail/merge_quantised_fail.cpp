// expect: LoraLinear::merge: only a weight that is a dense tensor can take the update
// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include "segue/adapters/lora.hpp"
#include "segue/cpu.hpp"

struct Packed {};

template <>
struct segue::FrozenOps<Packed> {
  static std::int64_t out_features(const Packed&) { return 0; }
  static std::int64_t in_features(const Packed&) { return 0; }
};

using P = segue::Policy<segue::Fp32, segue::Cpu>;

#ifdef SEGUE_OK
using Layer = segue::adapters::LoraLinear<P>;
#else
using Layer = segue::adapters::LoraLinear<P, segue::nn::Linear<P, Packed>>;
#endif

void run(segue::Exec<segue::Cpu>& exec, Layer& layer) { layer.merge(exec); }
