// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

#include "segue/autograd/context.hpp"
#include "segue/core/exec.hpp"

SEGUE_NAMESPACE_BEGIN
namespace train {

/// What a computation will need, in bytes of the pool. What libraries hold for themselves is not in it: on a GPU the
/// CUDA context, and 32 MiB of workspace for products, twice where a backward issues them on two streams.
struct Plan {
  std::size_t peak_bytes = 0;      ///< held by live tensors at most, what was held before included
  std::size_t reserved_bytes = 0;  ///< taken from the allocator: freed blocks serve requests of their own size only
  std::size_t held_before = 0;     ///< by tensors that are there already
  std::size_t held_after = 0;      ///< by what the computation leaves behind
};

/// Runs `f()` without memory and without arithmetic: the pool counts what f would take, front doors only check. Tensors
/// that f makes must not outlive it, and f must not look at elements. Build the trainer inside f and call its `step()`
/// (twice, if something is allocated on first use).
/// Random state and pool statistics of the caller are as before.
template <class Device, class F>
Plan plan(Exec<Device>& exec, F&& f) {
  struct Planning {
    Exec<Device>& exec;
    RandomState random;
    bool before;
    ~Planning() {
      exec.set_planning(before);
      exec.random() = random;
      exec.pool().reset_peak();
    }
  } scope{exec, exec.random(), exec.planning()};
  Plan result;
  exec.pool().reset_peak();
  const PoolStatistics before = exec.pool().statistics();
  result.held_before = before.current_bytes;
  exec.set_planning(true);
  std::forward<F>(f)();
  const PoolStatistics after = exec.pool().statistics();
  result.peak_bytes = after.peak_bytes;
  result.reserved_bytes = result.held_before + after.reserved_bytes - before.reserved_bytes;
  result.held_after = after.current_bytes;
  return result;
}

/// What a step keeps for its backward, and what it then needs.
struct RecomputeChoice {
  Recompute level = Recompute::cheap;
  int every = 1;  ///< one of so many blocks recomputes what the level says, as `Context::set_recompute` takes it
  Plan plan{};
};

/// "1.25 GiB", for a sentence.
inline std::string bytes_text(std::size_t bytes) {
  static constexpr const char* units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= 1024 && unit + 1 < std::size(units)) {
    value /= 1024;
    ++unit;
  }
  const auto hundredths = static_cast<std::size_t>(value * 100 + 0.5);
  std::string text = std::to_string(hundredths / 100);
  if (unit > 0) {
    const std::size_t rest = hundredths % 100;
    text.append(rest < 10 ? ".0" : ".").append(std::to_string(rest));
  }
  return text.append(" ").append(units[unit]);
}

/// @throws InputError with both numbers if a plan does not fit into `budget` bytes.
inline void require_fits(const Plan& plan, std::size_t budget, std::string_view where) {
  if (plan.reserved_bytes > budget)
    throw_input(where, "the memory that a step needs", bytes_text(plan.reserved_bytes),
                "at most " + bytes_text(budget) + ": a smaller batch, or recomputing whole blocks, needs less");
}

/// Sets the context to the fastest way of keeping activations whose plan of `f()` fits into `budget` bytes: everything
/// first, then ever more blocks that keep recipes, then ever more that are run again. A CPU, whose caches hold little
/// of a step, begins with recipes in every block. `f` is what `plan` takes.
/// @throws InputError with the numbers if not even running all blocks again fits.
template <PolicyLike P, class F>
RecomputeChoice choose_recompute(Context<P>& ctx, std::size_t budget, F&& f) {
  RecomputeChoice choice;
  const auto fits = [&](Recompute level, int every) {
    choice.level = level;
    choice.every = every;
    ctx.set_recompute(level, every);
    choice.plan = plan(ctx.exec(), f);
    return choice.plan.reserved_bytes <= budget;
  };
  if constexpr (!P::Space::host_accessible) {
    if (fits(Recompute::none, 1)) return choice;
    for (const int every : {8, 4, 3, 2})
      if (fits(Recompute::cheap, every)) return choice;
  }
  if (fits(Recompute::cheap, 1)) return choice;
  for (const int every : {8, 4, 3, 2, 1})
    if (fits(Recompute::block, every)) return choice;
  throw_input("choose_recompute", "the memory that a step needs", bytes_text(choice.plan.reserved_bytes),
              "at most " + bytes_text(budget) + ": even with every block run again; a smaller batch needs less");
}

}  // namespace train
SEGUE_NAMESPACE_END
