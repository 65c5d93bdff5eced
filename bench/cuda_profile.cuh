// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// What a GPU does while a callable's work runs: how many kernels, copies and fills, how long none of them ran, and
// which kernels took the time. Through CUPTI, which slows launches down but not kernels; without it nothing is told.
#include <cupti.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "segue/core/exec.cuh"

namespace bench {

using namespace segue;

struct Profile {
  struct Kernel {
    std::int64_t calls = 0;
    double ms = 0;
  };
  std::map<std::string, Kernel> kernels;
  std::int64_t launches = 0;
  double span_ms = 0;  ///< from the first begin to the last end
  double idle_ms = 0;  ///< of it, nothing ran

  void print() const {
    std::vector<std::pair<std::string, Kernel>> sorted(kernels.begin(), kernels.end());
    std::sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) { return a.second.ms > b.second.ms; });
    std::printf("%lld launches in %.3f ms, of which idle %.3f ms\n", static_cast<long long>(launches), span_ms,
                idle_ms);
    for (const auto& [name, k] : sorted)
      std::printf("%9.3f ms %5.1f %% %6lld x %9.1f us  %.150s\n", k.ms, 100 * k.ms / span_ms,
                  static_cast<long long>(k.calls), 1e3 * k.ms / static_cast<double>(k.calls), name.c_str());
  }
};

namespace detail_profile {

using Kernel = CUpti_ActivityKernel10;

inline void check(CUptiResult status, const char* where) {
  if (status == CUPTI_SUCCESS) return;
  const char* text = nullptr;
  (void)cuptiGetResultString(status, &text);
  throw Error(std::string(where) + ": " + (text ? text : "CUPTI failed"));
}

struct Interval {
  std::uint64_t begin, end;
};

/// CUPTI hands records to functions that know no object of ours.
inline std::vector<Interval> intervals;
inline std::map<std::string, Profile::Kernel> kernels;

inline void CUPTIAPI give_buffer(std::uint8_t** buffer, std::size_t* size, std::size_t* records) {
  *size = std::size_t{4} << 20;
  *buffer = static_cast<std::uint8_t*>(std::aligned_alloc(8, *size));
  *records = 0;
}

inline void CUPTIAPI take_buffer(CUcontext, std::uint32_t, std::uint8_t* buffer, std::size_t, std::size_t filled) {
  CUpti_Activity* record = nullptr;
  while (filled > 0 && cuptiActivityGetNextRecord(buffer, filled, &record) == CUPTI_SUCCESS) {
    const auto note = [](const std::string& name, std::uint64_t begin, std::uint64_t end) {
      intervals.push_back({begin, end});
      auto& k = kernels[name];
      ++k.calls;
      k.ms += static_cast<double>(end - begin) * 1e-6;
    };
    if (record->kind == CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL) {
      const auto* k = reinterpret_cast<const Kernel*>(record);
      note(k->name, k->start, k->end);
    } else if (record->kind == CUPTI_ACTIVITY_KIND_MEMCPY) {
      const auto* m = reinterpret_cast<const CUpti_ActivityMemcpy6*>(record);
      note("copy", m->start, m->end);
    } else if (record->kind == CUPTI_ACTIVITY_KIND_MEMSET) {
      const auto* m = reinterpret_cast<const CUpti_ActivityMemset4*>(record);
      note("fill", m->start, m->end);
    }
  }
  std::free(buffer);
}

}  // namespace detail_profile

/// Profiles what `work()` issues.
/// @throws Error if CUPTI cannot be used on this machine.
template <class F>
Profile profile(Exec<Cuda>& exec, F&& work) {
  namespace d = detail_profile;
  const CUpti_ActivityKind kinds[] = {CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL, CUPTI_ACTIVITY_KIND_MEMCPY,
                                      CUPTI_ACTIVITY_KIND_MEMSET};
  exec.synchronize();
  d::check(cuptiActivityRegisterCallbacks(d::give_buffer, d::take_buffer), "profile");
  for (const CUpti_ActivityKind kind : kinds) d::check(cuptiActivityEnable(kind), "profile");
  d::intervals.clear();
  d::kernels.clear();
  std::forward<F>(work)();
  exec.synchronize();
  d::check(cuptiActivityFlushAll(1), "profile");
  for (const CUpti_ActivityKind kind : kinds) d::check(cuptiActivityDisable(kind), "profile");

  Profile out;
  out.kernels = d::kernels;
  out.launches = static_cast<std::int64_t>(d::intervals.size());
  if (d::intervals.empty()) return out;
  std::sort(d::intervals.begin(), d::intervals.end(), [](const auto& a, const auto& b) { return a.begin < b.begin; });
  std::uint64_t reached = d::intervals.front().begin;
  for (const auto& i : d::intervals) {
    if (i.begin > reached) out.idle_ms += static_cast<double>(i.begin - reached) * 1e-6;
    reached = std::max(reached, i.end);
  }
  out.span_ms = static_cast<double>(reached - d::intervals.front().begin) * 1e-6;
  return out;
}

}  // namespace bench
