// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "segue/ops/cpu/rows.hpp"
#include "segue/ops/guidance.hpp"

SEGUE_NAMESPACE_BEGIN

template <>
struct Kernel<op::GuidedEulerStep, Cpu> {
  template <class T, class TV>
  static void run(Exec<Cpu>& exec, View<T, 2, HostSpace> x, View<const TV, 2, HostSpace> v_cond,
                  View<const TV, 2, HostSpace> v_uncond, double guidance, double delta_sigma) {
    using A = Accum<T>;
    const auto g = detail::simd::broadcast(static_cast<A>(guidance));
    const auto step = detail::simd::broadcast(static_cast<A>(delta_sigma));
    if (!v_uncond.data_handle()) {
      detail::for_each_vector<A>(
          exec,
          [=](auto n, T* px, const TV* pc) {
            const auto old = detail::simd::load<A>(static_cast<const T*>(px), n);
            detail::simd::store<A>(px, old + step * detail::simd::load<A>(pc, n), n);
          },
          x, v_cond);
      return;
    }
    detail::for_each_vector<A>(
        exec,
        [=](auto n, T* px, const TV* pc, const TV* pu) {
          const auto old = detail::simd::load<A>(static_cast<const T*>(px), n);
          const auto u = detail::simd::load<A>(pu, n);
          detail::simd::store<A>(px, old + step * (u + g * (detail::simd::load<A>(pc, n) - u)), n);
        },
        x, v_cond, v_uncond);
  }
};

SEGUE_NAMESPACE_END
