// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

// How far bf16 is from fp32 on a GPU: the Wan-1.3B shape with LoRA-64 on every linear of its blocks (B not zero), the
// same weights in both precisions; relative distances (in norm) of the loss's output, of all adapters' gradients
// together, and of the worst single gradient. Prints one JSON object.
//   bench_cuda_parity [LAYERS [CLIP_SIDE]]      30 and 50: 1,875 tokens
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "cuda_wan.cuh"
#include "segue/io/impl.hpp"
#include "segue/train/objective.hpp"
#include "segue/train/optimizer.hpp"

namespace {

using namespace segue;

template <class Precision>
struct Run {
  using P = Policy<Precision, Cuda>;
  using T = typename P::compute;
  Exec<Cuda> exec;
  Context<P> ctx{exec};
  models::Wan<P, adapters::LoraOnBlocks> model;

  explicit Run(int layers) : model(exec, bench::wan_1_3b(layers)) { bench::randomize_with_lora64(model, exec); }

  /// Every weight as it lies in the other model, so that only the arithmetic differs.
  template <class Other>
  void take_weights_of(Other& other) {
    std::vector<std::vector<float>> values;
    nn::for_each_leaf(other.model, [&](const auto& leaf) {
      const auto x = nn::tensor_of(leaf.tensor);
      const auto wide = other.exec.template empty<float, std::remove_cvref_t<decltype(x)>::rank()>(x.shape());
      ops::copy(other.exec, x.cview(), wide.view());
      values.push_back(to_host(other.exec, wide.view()));
    });
    std::size_t i = 0;
    nn::for_each_leaf(model, [&](const auto& leaf) {
      const auto x = nn::tensor_of(leaf.tensor);
      const auto wide = exec.template empty<float, std::remove_cvref_t<decltype(x)>::rank()>(x.shape());
      exec.upload(values[i++].data(), wide.view());
      ops::copy(exec, wide.cview(), x.view());
    });
  }

  /// Normals that bf16 holds, so that both precisions see the same.
  template <int Rank>
  Tensor<T, Rank, CudaSpace> random(const Shape<Rank>& shape, std::uint32_t site) {
    const auto narrow = exec.template empty<bfloat16, Rank>(shape);
    ops::fill_normal(exec, narrow.view(), {5, site, 0});
    auto out = exec.template empty<T, Rank>(shape);
    ops::copy(exec, narrow.cview(), out.view());
    return out;
  }

  /// The network's answer, then the gradient of every adapter.
  std::vector<std::vector<float>> step(std::int64_t side) {
    const auto clip = random<5>({1, 16, 3, side, side}, 1), target = random<5>({1, 16, 3, side, side}, 2);
    const auto text = random<3>({1, 512, 4096}, 3);
    auto timesteps = exec.template empty<float, 1>({1});
    ops::fill(exec, 500.0, timesteps.view());
    train::AdamW<P> optimizer(exec, model);  // it knows the parameters
    const auto said = model(ctx, clip, {timesteps}, text);
    std::vector<std::vector<float>> out;
    const auto wide = exec.template empty<float, 5>(clip.shape());
    ops::copy(exec, value_of(said).cview(), wide.view());
    out.push_back(to_host(exec, wide.view()));
    ctx.backward(functional::mse(ctx, said, target));
    for (const auto& p : optimizer.parameters()) out.push_back(to_host(exec, p->grad()));
    return out;
  }
};

struct Distance {
  double difference = 0, norm = 0;
  void add(const std::vector<float>& a, const std::vector<float>& b) {
    for (std::size_t i = 0; i < a.size(); ++i) {
      const double d = static_cast<double>(a[i]) - static_cast<double>(b[i]);
      difference += d * d;
      norm += static_cast<double>(b[i]) * static_cast<double>(b[i]);
    }
  }
  double relative() const { return std::sqrt(difference / norm); }
};

}  // namespace

int main(int argc, char** argv) {
  const int layers = argc > 1 ? std::atoi(argv[1]) : 30;
  const std::int64_t side = argc > 2 ? std::atoi(argv[2]) : 50;
  std::vector<std::vector<float>> narrow, wide;
  {
    Run<Bf16> low(layers);
    narrow = low.step(side);
    Run<Fp32> high(layers);
    high.take_weights_of(low);
    wide = high.step(side);
  }
  Distance output, all;
  output.add(narrow[0], wide[0]);
  double worst = 0;
  for (std::size_t i = 1; i < wide.size(); ++i) {
    all.add(narrow[i], wide[i]);
    Distance one;
    one.add(narrow[i], wide[i]);
    worst = std::max(worst, one.relative());
  }
  std::printf("{\"layers\": %d, \"output\": %.3e, \"gradients\": %.3e, \"worst\": %.3e}\n", layers, output.relative(),
              all.relative(), worst);
  return 0;
}
