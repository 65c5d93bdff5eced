// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "segue/ops/activation.hpp"
#include "segue/ops/cpu/activation_math.hpp"
#include "segue/ops/cpu/rows.hpp"

SEGUE_NAMESPACE_BEGIN

template <>
struct Kernel<op::ActivationForward, Cpu> {
  template <class T>
  static void run(Exec<Cpu>& exec, ops::Activation activation, View<const T, 2, HostSpace> x, View<T, 2, HostSpace> y) {
    detail::for_each_piece(
        exec, [&](std::int64_t n, const T* in, T* out) { detail::activation_span(activation, in, out, n); }, x, y);
  }
};

template <>
struct Kernel<op::ActivationBackward, Cpu> {
  template <class T>
  static void run(Exec<Cpu>& exec, ops::Activation activation, View<const T, 2, HostSpace> x,
                  View<const T, 2, HostSpace> dy, View<T, 2, HostSpace> dx, ops::GradMode mode) {
    detail::for_each_piece(
        exec,
        [&](std::int64_t n, const T* in, const T* grad, T* out) {
          detail::activation_gradient_span(activation, in, grad, out, n, mode);
        },
        x, dy, dx);
  }
};

SEGUE_NAMESPACE_END
