// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The model that benchmarks on a GPU share: the Wan-1.3B shape, with LoRA-64 on every linear of its blocks, B not zero.
#include <cstdint>
#include <string_view>

#include "segue/adapters/inject.hpp"
#include "segue/adapters/maps.hpp"
#include "segue/cuda.cuh"
#include "segue/models/wan.hpp"
#include "segue/models/wan_init.hpp"

namespace bench {

using namespace segue;

inline models::WanConfig wan_1_3b(int layers) {
  models::WanConfig c;
  c.num_attention_heads = 12;
  c.ffn_dim = 8960;
  c.num_layers = layers;
  return c;
}

/// Random weights and adapters.
template <class Model>
void randomize_with_lora64(Model& model, Exec<Cuda>& exec) {
  models::randomize_wan(model, exec, 1);
  adapters::LoraConfig lora;
  lora.spec.rank = 64;
  lora.spec.alpha = 64;
  adapters::add_lora(model, exec, lora);
  adapters::for_each_lora(model, [&, site = 0u](std::string_view, auto& linear) mutable {
    linear.find("default")->b.set(exec, [&](const auto& b) { ops::fill_normal(exec, b, {2, site++, 0}, 0.0, 0.02); });
  });
}

}  // namespace bench
