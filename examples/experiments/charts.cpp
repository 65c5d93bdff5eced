// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#include "charts.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "segue/core/error.hpp"
#include "segue/io/image.hpp"
#if SEGUE_HAS_CAIRO
#include <cairo.h>
#endif

namespace experiments {

bool has_charts() { return SEGUE_HAS_CAIRO != 0; }

#if SEGUE_HAS_CAIRO

namespace {

constexpr double kFont = 26, kTitle = 32, kSmall = 22;

struct Rgb {
  double r, g, b;
};

/// The colours of Okabe and Ito, which colour-blind readers tell apart.
Rgb colour_of(Look look) {
  switch (look) {
    case Look::pretrained: return {0.000, 0.447, 0.698};
    case Look::random: return {0.902, 0.624, 0.000};
    case Look::scratch: return {0.000, 0.620, 0.451};
    case Look::best_rule: return {0.25, 0.25, 0.25};
    case Look::copy_input: return {0.58, 0.58, 0.58};
    case Look::paper: return {0.800, 0.475, 0.655};
    case Look::yardstick: return {0.835, 0.369, 0.000};
  }
  return {0, 0, 0};
}

bool is_figure(Look look) { return look == Look::paper || look == Look::yardstick; }
bool is_rule(Look look) { return look == Look::best_rule || look == Look::copy_input; }

/// Corners of the mark; 0: a disc.
int corners_of(Look look) {
  switch (look) {
    case Look::random: return 4;
    case Look::scratch: return 3;
    case Look::paper: return 5;
    case Look::yardstick: return 6;
    default: return 0;
  }
}

double dash_of(Look look) { return look == Look::best_rule ? 14 : look == Look::copy_input ? 5 : 0; }

/// What is drawn at one number of pairs lies side by side, so that nothing hides another.
double nudge_of(Look look) {
  switch (look) {
    case Look::pretrained: return -16;
    case Look::random: return 16;
    case Look::yardstick: return -40;
    case Look::paper: return 40;
    default: return 0;
  }
}

enum class Align : std::uint8_t { left, centre, right };

class Canvas {
 public:
  Canvas(int width, int height)
      : width_(width),
        height_(height),
        surface_(cairo_image_surface_create(CAIRO_FORMAT_RGB24, width, height)),
        cairo_(cairo_create(surface_)) {
    if (cairo_status(cairo_) != CAIRO_STATUS_SUCCESS) throw segue::Error("cairo has no memory for a chart");
    colour({1, 1, 1});
    cairo_paint(cairo_);
    cairo_set_line_cap(cairo_, CAIRO_LINE_CAP_BUTT);
    cairo_set_line_join(cairo_, CAIRO_LINE_JOIN_ROUND);
  }
  Canvas(const Canvas&) = delete;
  Canvas& operator=(const Canvas&) = delete;
  ~Canvas() {
    cairo_destroy(cairo_);
    cairo_surface_destroy(surface_);
  }

  void colour(const Rgb& c) { cairo_set_source_rgb(cairo_, c.r, c.g, c.b); }

  void line(double x0, double y0, double x1, double y1, double width, double dash = 0) {
    cairo_set_line_width(cairo_, width);
    const std::array<double, 2> dashes = {dash, dash * 0.7};
    cairo_set_dash(cairo_, dashes.data(), dash > 0 ? 2 : 0, 0);
    cairo_move_to(cairo_, x0, y0);
    cairo_line_to(cairo_, x1, y1);
    cairo_stroke(cairo_);
    cairo_set_dash(cairo_, nullptr, 0, 0);
  }

  void box(double x, double y, double w, double h) {
    cairo_rectangle(cairo_, x, y, w, h);
    cairo_fill(cairo_);
  }

  /// A polygon of n corners around a point; 0: a disc.
  void mark(double x, double y, double radius, int corners) {
    cairo_new_path(cairo_);
    if (corners == 0) cairo_arc(cairo_, x, y, radius, 0, 2 * M_PI);
    for (int i = 0; i < corners; ++i) {
      const double angle = 2 * M_PI * i / corners - M_PI / 2;
      cairo_line_to(cairo_, x + radius * std::cos(angle), y + radius * std::sin(angle));
    }
    cairo_close_path(cairo_);
    cairo_fill(cairo_);
  }

  void text(double x, double y, const std::string& words, double size, Align align, bool bold = false) {
    font(size, bold);
    cairo_text_extents_t e;
    cairo_text_extents(cairo_, words.c_str(), &e);
    cairo_move_to(cairo_, align == Align::left ? x : align == Align::right ? x - e.x_advance : x - e.x_advance / 2, y);
    cairo_show_text(cairo_, words.c_str());
  }

  void upright_text(double x, double y, const std::string& words, double size) {
    font(size, false);
    cairo_text_extents_t e;
    cairo_text_extents(cairo_, words.c_str(), &e);
    cairo_save(cairo_);
    cairo_translate(cairo_, x, y + e.x_advance / 2);
    cairo_rotate(cairo_, -M_PI / 2);
    cairo_move_to(cairo_, 0, 0);
    cairo_show_text(cairo_, words.c_str());
    cairo_restore(cairo_);
  }

  double width_of(const std::string& words, double size) {
    font(size, false);
    cairo_text_extents_t e;
    cairo_text_extents(cairo_, words.c_str(), &e);
    return e.x_advance;
  }

  void save(const std::string& path) {
    cairo_surface_flush(surface_);
    const unsigned char* data = cairo_image_surface_get_data(surface_);
    const int stride = cairo_image_surface_get_stride(surface_);
    segue::io::Image image{width_, height_, 3, {}};
    image.pixels.reserve(static_cast<std::size_t>(width_) * static_cast<std::size_t>(height_) * 3);
    for (int y = 0; y < height_; ++y) {
      for (int x = 0; x < width_; ++x) {
        // A pixel is one word of the machine, 0xXXRRGGBB.
        std::uint32_t word = 0;
        std::copy_n(data + static_cast<std::ptrdiff_t>(y) * stride + 4 * x, sizeof word,
                    reinterpret_cast<unsigned char*>(&word));
        for (const int shift : {16, 8, 0}) image.pixels.push_back(static_cast<std::uint8_t>(word >> shift & 255));
      }
    }
    segue::io::save_png(path, image);
  }

 private:
  void font(double size, bool bold) {
    cairo_select_font_face(cairo_, "sans-serif", CAIRO_FONT_SLANT_NORMAL,
                           bold ? CAIRO_FONT_WEIGHT_BOLD : CAIRO_FONT_WEIGHT_NORMAL);
    cairo_set_font_size(cairo_, size);
  }

  int width_, height_;
  cairo_surface_t* surface_;
  cairo_t* cairo_;
};

/// Where values are drawn, and round numbers between.
struct Axis {
  double top = 1, step = 0.2;
};

/// Scores from 0 to 1 have the whole axis; errors as much as they need.
Axis axis_of(const std::vector<Series>& series) {
  double high = 0;
  for (const Series& s : series) {
    for (const auto& v : s.values) high = std::max(high, v ? v->high : 0.0);
  }
  if (high <= 1.0) return {};
  const double magnitude = std::pow(10.0, std::floor(std::log10(high / 4)));
  double step = magnitude;
  for (const double factor : {2.0, 5.0, 10.0}) {
    if (high / step > 6) step = factor * magnitude;
  }
  return {std::ceil(high / step) * step, step};
}

std::string tick_text(double value, double step) {
  char text[32];
  std::snprintf(text, sizeof text, step < 1 ? "%.1f" : "%.0f", value);
  return text;
}

void draw_mark(Canvas& canvas, Look look, double x, double y) {
  canvas.mark(x, y, 11, corners_of(look));
  if (!is_figure(look)) return;
  // Figures of others are hollow.
  canvas.colour({1, 1, 1});
  canvas.mark(x, y, 6, corners_of(look));
  canvas.colour(colour_of(look));
}

void draw_sample(Canvas& canvas, Look look, double x, double y) {
  canvas.colour(colour_of(look));
  if (!is_figure(look)) canvas.line(x, y, x + 56, y, is_rule(look) ? 4 : 5, dash_of(look));
  if (!is_rule(look)) draw_mark(canvas, look, x + 28, y);
}

void draw_series(Canvas& canvas, const Series& s, const std::vector<double>& xs, const auto& y_of) {
  const bool rule = is_rule(s.look);
  const double nudge = nudge_of(s.look);
  canvas.colour(colour_of(s.look));
  std::size_t last = s.values.size();
  for (std::size_t i = 0; i < s.values.size(); ++i) {
    if (!s.values[i]) continue;
    const double x = xs[i] + nudge, y = y_of(s.values[i]->mean);
    if (last < i && !is_figure(s.look)) {
      canvas.line(xs[last] + nudge, y_of(s.values[last]->mean), x, y, rule ? 4 : 5, dash_of(s.look));
    }
    // A rule that is known at one place only still needs to be seen.
    if (rule && s.values.size() == 1) canvas.line(x - 60, y, x + 60, y, 4, dash_of(s.look));
    if (s.values[i]->count > 1) {
      const double low = y_of(s.values[i]->low), high = y_of(s.values[i]->high);
      canvas.line(x, low, x, high, 3);
      canvas.line(x - 9, low, x + 9, low, 3);
      canvas.line(x - 9, high, x + 9, high, 3);
    }
    last = i;
  }
  for (std::size_t i = 0; i < s.values.size(); ++i) {
    if (s.values[i] && !rule) draw_mark(canvas, s.look, xs[i] + nudge, y_of(s.values[i]->mean));
  }
}

}  // namespace

void draw(const LineChart& chart, const std::string& path) {
  constexpr int width = 1500, height = 900;
  constexpr double left = 130, top = 90, bottom = 790, right = 1010;
  Canvas canvas(width, height);
  const Axis axis = axis_of(chart.series);
  const auto y_of = [&](double value) { return bottom - (bottom - top) * value / axis.top; };
  canvas.colour({0.1, 0.1, 0.1});
  canvas.text(left, 52, chart.title, kTitle, Align::left, true);
  for (double v = 0; v <= axis.top * 1.0001; v += axis.step) {
    canvas.colour({0.88, 0.88, 0.88});
    canvas.line(left, y_of(v), right, y_of(v), v == 0 ? 3 : 2);
    canvas.colour({0.25, 0.25, 0.25});
    canvas.text(left - 14, y_of(v) + 9, tick_text(v, axis.step), kFont, Align::right);
  }
  std::vector<double> xs;
  const double gap = (right - left) / static_cast<double>(chart.ticks.size());
  for (std::size_t i = 0; i < chart.ticks.size(); ++i) {
    xs.push_back(left + gap * (0.5 + static_cast<double>(i)));
    canvas.text(xs.back(), bottom + 38, chart.ticks[i], kFont, Align::centre);
  }
  canvas.text((left + right) / 2, bottom + 84, chart.x_label, kFont, Align::centre);
  canvas.upright_text(44, (top + bottom) / 2, chart.y_label, kFont);

  double key = top + 24;
  for (const Series& s : chart.series) {
    draw_series(canvas, s, xs, y_of);
    draw_sample(canvas, s.look, right + 36, key - 8);
    canvas.colour({0.15, 0.15, 0.15});
    canvas.text(right + 108, key, s.label, kFont, Align::left);
    key += 48;
  }
  canvas.save(path);
}

void draw(const BarChart& chart, const std::string& path) {
  const double bar = 17;
  const double group = bar * static_cast<double>(chart.series.size()) + 16;
  constexpr double top = 140, width = 1500, right = 1420;
  const double bottom = top + group * static_cast<double>(chart.names.size());
  Canvas canvas(static_cast<int>(width), static_cast<int>(bottom + 110));
  double left = 0;
  for (const std::string& name : chart.names) left = std::max(left, canvas.width_of(name, kSmall) + 50);
  const Axis axis = axis_of(chart.series);
  const auto x_of = [&](double value) { return left + (right - left) * value / axis.top; };
  canvas.colour({0.1, 0.1, 0.1});
  canvas.text(30, 52, chart.title, kTitle, Align::left, true);
  double key = 30;
  for (const Series& s : chart.series) {
    canvas.colour(colour_of(s.look));
    canvas.box(key, 84, 34, 22);
    canvas.colour({0.15, 0.15, 0.15});
    canvas.text(key + 46, 104, s.label, kFont, Align::left);
    key += 46 + canvas.width_of(s.label, kFont) + 44;
  }
  for (double v = 0; v <= axis.top * 1.0001; v += axis.step) {
    canvas.colour({0.88, 0.88, 0.88});
    canvas.line(x_of(v), top - 6, x_of(v), bottom, 2);
    canvas.colour({0.25, 0.25, 0.25});
    canvas.text(x_of(v), bottom + 36, tick_text(v, axis.step), kFont, Align::centre);
  }
  canvas.text((left + right) / 2, bottom + 84, chart.x_label, kFont, Align::centre);
  for (std::size_t n = 0; n < chart.names.size(); ++n) {
    const double y0 = top + group * static_cast<double>(n) + 8;
    canvas.colour({0.15, 0.15, 0.15});
    canvas.text(left - 16, y0 + (group - 16) / 2 + 8, chart.names[n], kSmall, Align::right);
    for (std::size_t s = 0; s < chart.series.size(); ++s) {
      const auto& value = chart.series[s].values[n];
      const double y = y0 + bar * static_cast<double>(s);
      if (!value) {
        canvas.colour({0.45, 0.45, 0.45});
        canvas.text(left + 8, y + bar - 3, "missing", 16, Align::left);
        continue;
      }
      canvas.colour(colour_of(chart.series[s].look));
      // A score of zero is a bar too: a thin one.
      canvas.box(left, y + 1, std::max(3.0, x_of(value->mean) - left), bar - 2);
      if (value->count > 1 && value->high > value->low) {
        canvas.colour({0.1, 0.1, 0.1});
        canvas.line(x_of(value->low), y + bar / 2, x_of(value->high), y + bar / 2, 2);
        for (const double end : {value->low, value->high}) canvas.line(x_of(end), y + 4, x_of(end), y + bar - 4, 2);
      }
    }
  }
  canvas.save(path);
}

#else

namespace {

[[noreturn]] void refuse() { throw segue::Error("charts: this program was built without cairo"); }

}  // namespace

void draw(const LineChart&, const std::string&) { refuse(); }
void draw(const BarChart&, const std::string&) { refuse(); }

#endif

}  // namespace experiments
