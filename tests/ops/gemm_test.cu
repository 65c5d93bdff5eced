// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include "segue/core/graph.cuh"
#include "segue/ops/cuda/gemm.cuh"

namespace {
using Device = segue::Cuda;
}

#include "ops/gemm_test.inl"

TEST_CASE("gemm agrees with a double reference in shapes that a library likes", "[gemm]") {
  Exec<Device> exec;
  for (const Activation activation : {Activation::none, Activation::gelu_tanh, Activation::silu})
    for (const bool pre : {false, true}) {
      Case<bfloat16, bfloat16, bfloat16>{.m = 264,
                                         .n = 192,
                                         .k = 320,
                                         .tb = Transpose::yes,
                                         .bias = true,
                                         .pre_activation = pre,
                                         .activation = activation,
                                         .padding = 64}
          .verify(exec);
      Case<float, float, float>{.m = 128,
                                .n = 264,
                                .k = 256,
                                .tb = Transpose::yes,
                                .scale = {.alpha = 0.5, .beta = 1},
                                .bias = true,
                                .pre_activation = pre,
                                .activation = activation}
          .verify(exec);
    }
  // A sum that is worth splitting.
  Case<bfloat16, bfloat16, float>{.m = 64, .n = 64, .k = 20000, .ta = Transpose::yes}.verify(exec);
  Case<bfloat16, bfloat16, bfloat16>{.m = 64, .n = 64, .k = 20000, .ta = Transpose::yes, .scale = {1, 1}}.verify(exec);
}

TEST_CASE("what the library refuses is multiplied all the same", "[gemm]") {
  Exec<Device> exec;
  const auto multiply = [&]<class T, class TC>(std::int64_t m, std::int64_t n, std::int64_t k, Transpose ta,
                                               Transpose tb, ops::GemmScale scale, bool bias, Activation activation) {
    const Case<T, T, TC> shape{.m = m,
                               .n = n,
                               .k = k,
                               .ta = ta,
                               .tb = tb,
                               .scale = scale,
                               .bias = bias,
                               .pre_activation = bias,
                               .activation = activation,
                               .padding = 1,
                               .shift = 1};
    const bool fa = ta == Transpose::yes, fb = tb == Transpose::yes;
    const auto a = shape.template matrix<T>(exec, fa ? k : m, fa ? m : k, shape.a());
    const auto b = shape.template matrix<T>(exec, fb ? n : k, fb ? k : n, shape.b());
    const auto c = shape.template matrix<TC>(exec, m, n, shape.c());
    const auto pre = shape.template matrix<TC>(exec, m, n, {});
    const auto shift = support::operand<TC>(exec, Shape<1>{n}, shape.bias_values());
    ops::Epilogue<TC, TC, CudaSpace> epilogue{.activation = activation};
    if (bias) {
      epilogue.bias = shift;
      epilogue.pre_activation = pre;
    }
    detail::tiled_gemm(exec, "gemm", a.cview(), ta, b.cview(), tb, c.view(), scale, epilogue);
    const auto want = shape.expected();
    CHECK(support::worst_difference(support::values_of(c), want[0]) <= shape.tolerance());
    if (bias) CHECK(support::worst_difference(support::values_of(pre), want[1]) <= shape.tolerance());
  };
  for (const Transpose ta : {Transpose::no, Transpose::yes})
    for (const Transpose tb : {Transpose::no, Transpose::yes}) {
      multiply.operator()<float, float>(1, 1, 1, ta, tb, {}, false, Activation::none);
      multiply.operator()<float, float>(70, 131, 33, ta, tb, {0.5, -2}, true, Activation::gelu);
      multiply.operator()<bfloat16, bfloat16>(65, 64, 100, ta, tb, {1, 1}, true, Activation::gelu_tanh);
      multiply.operator()<float16, float>(3, 200, 17, ta, tb, {}, true, Activation::silu);
      multiply.operator()<double, double>(66, 5, 40, ta, tb, {}, false, Activation::none);
    }
}

TEST_CASE("gemm reads one row again and again where the stride is zero", "[gemm]") {
  Exec<Device> exec;
  const Values row = support::random_values<float>(24, 1), bv = support::random_values<float>(24 * 40, 2);
  const auto a = support::operand<float>(exec, Shape<1>{24}, row);
  const auto b = support::operand<float>(exec, Shape<2>{24, 40}, bv);
  const auto c = support::poisoned<float>(exec, Shape<2>{9, 40});
  ops::gemm(exec, View<const float, 2, CudaSpace>(a.data_handle(), {9, 24}, {0, 1}), Transpose::no, b, Transpose::no, c,
            {}, ops::Epilogue<float, float, CudaSpace>{}, {});
  Values want;
  for (int i = 0; i < 9; ++i)
    for (std::size_t j = 0; j < 40; ++j) {
      double sum = 0;
      for (std::size_t p = 0; p < 24; ++p) sum += row[p] * bv[p * 40 + j];
      want.push_back(sum);
    }
  CHECK(support::worst_difference(support::values_of(c), want) <= 1e-5);
}

TEST_CASE("two runs of gemm give the same bits", "[gemm]") {
  const auto same = [](const auto& shape) {
    Exec<Device> first, second;
    const auto expected = shape.run(first);
    CHECK(shape.run(second) == expected);
    CHECK(shape.run(first) == expected);
  };
  same(Case<bfloat16, bfloat16, float>{.m = 64, .n = 64, .k = 30000, .ta = Transpose::yes});
  same(Case<bfloat16, bfloat16, bfloat16>{.m = 512, .n = 384, .k = 512, .tb = Transpose::yes, .bias = true});
  same(Case<float, float, float>{.m = 40, .n = 72, .k = 9000});
}

TEST_CASE("a captured gemm gives the bits of an eager one", "[gemm]") {
  Exec<Device> exec;
  const auto a = support::operand<bfloat16>(exec, Shape<2>{96, 64}, support::random_values<bfloat16>(96 * 64, 1));
  const auto b = support::operand<bfloat16>(exec, Shape<2>{80, 64}, support::random_values<bfloat16>(80 * 64, 2));
  const auto bias = support::operand<bfloat16>(exec, Shape<1>{80}, support::random_values<bfloat16>(80, 3));
  const auto c = support::poisoned<bfloat16>(exec, Shape<2>{96, 80});
  for (const Activation activation : {Activation::none, Activation::gelu_tanh, Activation::silu}) {
    const auto work = [&] {
      ops::gemm(exec, a, Transpose::no, b, Transpose::yes, c, {},
                ops::Epilogue<bfloat16, bfloat16, CudaSpace>{.bias = bias.cview(), .activation = activation}, {});
    };
    work();
    const Values eager = support::values_of(c);
    const Graph graph = Graph::capture(exec, work);
    const std::vector<bfloat16> nothing(static_cast<std::size_t>(c.size()));
    exec.upload(nothing.data(), c.view());
    graph.replay(exec);
    CHECK(support::values_of(c) == eager);
  }
}

TEST_CASE("products of floats go through tf32 only where the Exec says so", "[gemm]") {
  const Case<float, float, float> shape{.m = 128, .n = 128, .k = 512};
  const auto want = shape.expected();
  Exec<Device> exec;
  CHECK(exec.gemm_math() == GemmMath::native);
  CHECK(support::worst_difference(shape.run(exec)[0], want[0]) <= shape.tolerance());
  exec.set_gemm_math(GemmMath::tf32);
  const double coarse = support::worst_difference(shape.run(exec)[0], want[0]);
  CHECK(coarse > shape.tolerance());
  CHECK(coarse < 1e-2);
}

TEST_CASE("measured choices travel as text and bring their bits along", "[gemm]") {
  const Case<bfloat16, bfloat16, bfloat16> shape{.m = 320,
                                                 .n = 256,
                                                 .k = 4096,
                                                 .tb = Transpose::yes,
                                                 .bias = true,
                                                 .pre_activation = true,
                                                 .activation = Activation::gelu_tanh};
  Exec<Device> quick(Exec<Device>::Options{.deterministic = false});
  CHECK(ops::gemm_choices(quick).empty());
  ops::tune_gemms(quick, true);
  const auto measured = shape.run(quick), want = shape.expected();
  CHECK(support::worst_difference(measured[0], want[0]) <= shape.tolerance());
  CHECK(support::worst_difference(measured[1], want[1]) <= shape.tolerance());
  const std::string text = ops::gemm_choices(quick);
  CHECK(text.find("segue-gemm-choices 1 cublaslt ") == 0);
  CHECK(std::count(text.begin(), text.end(), '\n') > 1);

  Exec<Device> exact;
  CHECK(ops::restore_gemm_choices(exact, text));
  CHECK(ops::gemm_choices(exact) == text);
  CHECK(shape.run(exact) == measured);

  CHECK_FALSE(ops::restore_gemm_choices(exact, "segue-gemm-choices 1 cublaslt 1 sm_10 x1\n"));
  CHECK(support::message_of<InputError>([&] { ops::restore_gemm_choices(exact, "{}"); }) ==
        "restore_gemm_choices: the text is not one of gemm choices");
  CHECK(support::message_of<InputError>([&] { ops::restore_gemm_choices(exact, text.substr(0, text.size() - 20)); }) ==
        "restore_gemm_choices: a line of the text is damaged");
  CHECK(ops::gemm_choices(exact) == text);
  CHECK(support::contains(support::message_of<Error>([&] { ops::tune_gemms(exact, true); }),
                          "tune_gemms: this Exec is deterministic"));
}
