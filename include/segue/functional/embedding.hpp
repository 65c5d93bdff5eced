// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "segue/functional/detail.hpp"
#include "segue/ops/embedding.hpp"

SEGUE_NAMESPACE_BEGIN
namespace functional {

/// Sinusoids of timesteps: t (S) -> (S, dim) in `T`. A constant: timesteps carry no gradient.
template <class T, class C>
Tensor<T, 2, typename C::Space> sinusoidal_embedding(C& ctx, const Tensor<float, 1, typename C::Space>& t,
                                                     std::int64_t dim, const ops::SinusoidOptions& options = {}) {
  auto out = ctx.template empty<T, 2>({t.extent(0), dim});
  ops::sinusoidal_embedding(ctx.exec(), t.cview(), out.view(), options);
  return out;
}

}  // namespace functional
SEGUE_NAMESPACE_END
