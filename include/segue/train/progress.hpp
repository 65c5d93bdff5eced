// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>

#include "segue/core/config.hpp"

SEGUE_NAMESPACE_BEGIN
namespace train {

/// One step as a sink sees it.
struct StepInfo {
  std::int64_t step = 0;   ///< steps done, this one included
  std::int64_t steps = 0;  ///< steps of the whole run
  double loss = 0;
  double lr = 0;
  double grad_norm = 0;  ///< before clipping
  double seconds = 0;    ///< training time of the run so far, earlier parts of a resumed one included
  double steps_per_second = 0;
  double eta_seconds = 0;          ///< time left at that speed
  bool skipped = false;            ///< the loss or a gradient was not finite
  std::int64_t skipped_steps = 0;  ///< so far
};

/// Where a run reports to: the library itself prints nothing. Override what you want to know.
class ProgressSink {
 public:
  virtual ~ProgressSink() = default;
  virtual void on_start(std::int64_t /*first_step*/, std::int64_t /*steps*/) {}
  virtual void on_step(const StepInfo&) {}
  virtual void on_held_out(std::int64_t /*step*/, double /*loss*/) {}
  virtual void on_message(std::string_view) {}
  virtual void on_end() {}
};

/// "1:05", "2:03:09"; "-" for what is not known.
inline std::string duration_text(double seconds) {
  if (!(seconds >= 0 && seconds < 1e8)) return "-";
  const auto s = static_cast<long>(std::lround(seconds));
  char text[32];
  if (s >= 3600)
    std::snprintf(text, sizeof text, "%ld:%02ld:%02ld", s / 3600, s / 60 % 60, s % 60);
  else
    std::snprintf(text, sizeof text, "%ld:%02ld", s / 60, s % 60);
  return text;
}

/// Writes to a stream of the caller's: a bar that redraws itself on a terminal, else a plain line about every twentieth
/// of the run.
class TextProgress final : public ProgressSink {
 public:
  enum class Style : std::uint8_t { bar, lines };
  TextProgress(std::FILE* out, Style style) : out_(out), style_(style) {}
  TextProgress(const TextProgress&) = delete;
  TextProgress& operator=(const TextProgress&) = delete;
  ~TextProgress() override { end_bar(); }

  void on_start(std::int64_t first_step, std::int64_t steps) override {
    if (first_step > 0)
      on_message("resuming after step " + std::to_string(first_step) + " of " + std::to_string(steps));
  }
  void on_step(const StepInfo& info) override {
    if (info.skipped)
      on_message("step " + std::to_string(info.step) + " is skipped: its loss or gradient is not finite");
    // The mean over about ten steps: single losses jump with sigma.
    if (std::isfinite(info.loss)) mean_ = seen_++ == 0 ? info.loss : mean_ + 0.1 * (info.loss - mean_);
    char text[160];
    std::snprintf(text, sizeof text, "step %lld/%lld  loss %.4f  %.2f steps/s  %s left",
                  static_cast<long long>(info.step), static_cast<long long>(info.steps), mean_, info.steps_per_second,
                  duration_text(info.eta_seconds).c_str());
    if (style_ == Style::bar) {
      const std::int64_t width = 24;
      const std::int64_t full = info.steps > 0 ? info.step * width / info.steps : 0;
      std::string bar(static_cast<std::size_t>(full), '#');
      bar.resize(static_cast<std::size_t>(width), '.');
      std::fprintf(out_, "\r[%s] %s\x1b[K", bar.c_str(), text);
      std::fflush(out_);
      drawn_ = true;
    } else if (const std::int64_t part = info.steps > 0 ? info.step * 20 / info.steps : 0;
               part != part_ || info.step == 1 || info.step == info.steps) {
      part_ = part;
      std::fprintf(out_, "%s\n", text);
      std::fflush(out_);
    }
  }
  void on_held_out(std::int64_t step, double loss) override {
    char text[80];
    std::snprintf(text, sizeof text, "held-out loss after step %lld: %.5f", static_cast<long long>(step), loss);
    on_message(text);
  }
  void on_message(std::string_view message) override {
    end_bar();
    std::fprintf(out_, "%.*s\n", static_cast<int>(message.size()), message.data());
    std::fflush(out_);
  }
  void on_end() override { end_bar(); }

 private:
  void end_bar() {
    if (!drawn_) return;
    std::fputc('\n', out_);
    std::fflush(out_);
    drawn_ = false;
  }

  std::FILE* out_;
  Style style_;
  double mean_ = 0;
  std::int64_t seen_ = 0;
  std::int64_t part_ = -1;
  bool drawn_ = false;
};

}  // namespace train
SEGUE_NAMESPACE_END
