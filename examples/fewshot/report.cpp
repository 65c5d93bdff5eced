// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#include "report.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <iterator>
#include <string_view>

#include "segue/io/base64.hpp"

namespace fewshot {

using segue::io::Image;
using segue::io::Json;

namespace {

constexpr std::uint8_t kPaper = 250, kInk = 40;
constexpr int kGap = 6, kCaption = 52;

/// Five rows of three bits a letter, for the captions of the sheet.
struct Glyph {
  char letter;
  std::array<std::uint8_t, 5> rows;
};
constexpr std::array<Glyph, 12> kFont = {{{'a', {2, 5, 7, 5, 5}},
                                          {'b', {6, 5, 6, 5, 6}},
                                          {'e', {7, 4, 6, 4, 7}},
                                          {'f', {7, 4, 6, 4, 4}},
                                          {'g', {3, 4, 5, 5, 3}},
                                          {'i', {7, 2, 2, 2, 7}},
                                          {'n', {6, 5, 5, 5, 5}},
                                          {'o', {2, 5, 5, 5, 2}},
                                          {'p', {6, 5, 6, 4, 4}},
                                          {'r', {6, 5, 6, 5, 5}},
                                          {'t', {7, 2, 2, 2, 2}},
                                          {'u', {5, 5, 5, 5, 7}}}};

void put_pixel(Image& sheet, int x, int y, std::uint8_t r, std::uint8_t g, std::uint8_t b) {
  std::uint8_t* p = sheet.pixels.data() + 3 * (static_cast<std::size_t>(y) * static_cast<std::size_t>(sheet.width) +
                                               static_cast<std::size_t>(x));
  p[0] = r;
  p[1] = g;
  p[2] = b;
}

void draw_caption(Image& sheet, int x, int y, std::string_view text) {
  for (const char letter : text) {
    const auto glyph = std::find_if(kFont.begin(), kFont.end(), [&](const Glyph& g) { return g.letter == letter; });
    if (glyph == kFont.end()) continue;
    for (int row = 0; row < 10; ++row) {
      for (int column = 0; column < 6; ++column) {
        if (glyph->rows[static_cast<std::size_t>(row / 2)] >> (2 - column / 2) & 1) {
          put_pixel(sheet, x + column, y + row, kInk, kInk, kInk);
        }
      }
    }
    x += 8;
  }
}

void draw_picture(Image& sheet, int x0, int y0, int zoom, const Image& picture) {
  for (int y = 0; y < picture.height * zoom; ++y) {
    for (int x = 0; x < picture.width * zoom; ++x) {
      const std::uint8_t* p =
          picture.pixels.data() + 3 * (static_cast<std::size_t>(y / zoom) * static_cast<std::size_t>(picture.width) +
                                       static_cast<std::size_t>(x / zoom));
      put_pixel(sheet, x0 + x, y0 + y, p[0], p[1], p[2]);
    }
  }
}

std::string escape(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '&': out += "&amp;"; break;
      case '"': out += "&quot;"; break;
      default: out += c;
    }
  }
  return out;
}

std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4g", value);
  return text;
}

std::string plain(const Json& value) {
  if (value.is_string()) return escape(value.as<std::string>("report"));
  if (value.kind() == Json::Kind::real) return number(value.as<double>("report"));
  return escape(segue::io::dump_json(value, 0));
}

void table_rows(std::string& html, const Json& object) {
  for (std::size_t i = 0; i < object.size(); ++i) {
    if (object.items()[i].is_object()) continue;
    html += "<tr><th>" + escape(object.keys()[i]) + "</th><td>" + plain(object.items()[i]) + "</td></tr>\n";
  }
}

/// Bars for before, after and the baselines on one scale.
std::string score_bars(const Json& metrics) {
  std::vector<std::pair<std::string, double>> rows = {{"before", metrics.get<double>("before", "report")},
                                                      {"after", metrics.get<double>("after", "report")}};
  if (const Json* baselines = metrics.find("baselines")) {
    for (std::size_t i = 0; i < baselines->size(); ++i) {
      rows.emplace_back(baselines->keys()[i], baselines->items()[i].as<double>("report"));
    }
  }
  double top = 1e-12;
  for (const auto& row : rows) top = std::max(top, row.second);
  std::string html = "<table class=bars>\n";
  for (const auto& [label, value] : rows) {
    html += "<tr><th>" + escape(label) + "</th><td><div class=\"bar" + (label == "after" ? " after" : "") +
            "\" style=\"width:" + number(std::max(0.0, 320.0 * value / top)) + "px\"></div> " + number(value) +
            "</td></tr>\n";
  }
  return html + "</table>\n";
}

/// The loss on a logarithmic axis: every step as a dot, a running mean as a line.
std::string loss_curve(const std::vector<std::pair<int, double>>& losses) {
  std::vector<std::pair<int, double>> points;
  for (const auto& point : losses) {
    if (std::isfinite(point.second) && point.second > 0) points.push_back(point);
  }
  if (points.size() < 2) return "<p>Too few steps for a curve.</p>\n";
  constexpr double width = 640, height = 260, left = 60, bottom = 30, top = 10;
  double low = points[0].second, high = low;
  for (const auto& p : points) {
    low = std::min(low, p.second);
    high = std::max(high, p.second);
  }
  low = std::log10(low) - 0.05;
  high = std::log10(high) + 0.05;
  const double first = points.front().first, last = points.back().first;
  const auto x = [&](double step) { return left + (width - left - 10) * (step - first) / std::max(1.0, last - first); };
  const auto y = [&](double loss) {
    return top + (height - top - bottom) * (1 - (std::log10(loss) - low) / (high - low));
  };
  std::string svg = "<svg viewBox=\"0 0 640 260\" width=640 height=260 role=img aria-label=\"loss curve\">\n";
  for (int i = 0; i <= 4; ++i) {
    const double loss = std::pow(10.0, low + (high - low) * i / 4);
    svg += "<line x1=60 x2=630 y1=" + number(y(loss)) + " y2=" + number(y(loss)) +
           " stroke=\"#ddd\"/><text x=54 y=" + number(y(loss) + 4) + " text-anchor=end>" + number(loss) + "</text>\n";
  }
  svg += "<text x=60 y=252>step " + number(first) + "</text><text x=630 y=252 text-anchor=end>step " + number(last) +
         "</text>\n";
  for (const auto& p : points) {
    svg += "<circle cx=" + number(x(p.first)) + " cy=" + number(y(p.second)) + " r=1.2 fill=\"#9bb7d4\"/>";
  }
  svg += "\n<polyline fill=none stroke=\"#1f5fa8\" stroke-width=2 points=\"";
  double mean = points[0].second;
  for (const auto& p : points) {
    mean += (p.second - mean) * 0.1;
    svg += number(x(p.first)) + "," + number(y(mean)) + " ";
  }
  return svg + "\"/>\n</svg>\n";
}

}  // namespace

Image contact_sheet(std::span<const SheetItem> items) {
  if (items.empty()) return {1, 1, 3, {kPaper, kPaper, kPaper}};
  const int side = std::max(items[0].input->width, items[0].input->height);
  const int zoom = std::max(1, 96 / side);
  const int cell_w = items[0].input->width * zoom, cell_h = items[0].input->height * zoom;
  const int columns = static_cast<int>(items.size());
  constexpr std::array<std::pair<std::string_view, const Image * SheetItem::*>, 4> kRows = {
      {{"input", &SheetItem::input},
       {"target", &SheetItem::target},
       {"before", &SheetItem::before},
       {"after", &SheetItem::after}}};
  std::vector<std::pair<std::string_view, const Image * SheetItem::*>> rows;
  std::copy_if(kRows.begin(), kRows.end(), std::back_inserter(rows), [&](const auto& row) {
    return std::any_of(items.begin(), items.end(), [&](const SheetItem& item) { return item.*row.second != nullptr; });
  });
  Image sheet{
      kCaption + columns * (cell_w + kGap) + kGap, static_cast<int>(rows.size()) * (cell_h + kGap) + kGap, 3, {}};
  sheet.pixels.assign(static_cast<std::size_t>(sheet.width) * static_cast<std::size_t>(sheet.height) * 3, kPaper);
  int y = kGap;
  for (const auto& [caption, member] : rows) {
    draw_caption(sheet, 2, y + cell_h / 2 - 5, caption);
    for (int column = 0; column < columns; ++column) {
      const Image* picture = items[static_cast<std::size_t>(column)].*member;
      if (picture) draw_picture(sheet, kCaption + kGap + column * (cell_w + kGap), y, zoom, *picture);
    }
    y += cell_h + kGap;
  }
  return sheet;
}

std::string html_report(const Report& report) {
  const Json& m = report.metrics;
  std::string html =
      "<!doctype html>\n<html lang=en><head><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\n"
      "<title>segue: " +
      escape(report.task) +
      "</title>\n<style>\n"
      "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}\n"
      "h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem}table{border-collapse:collapse}\n"
      "th{text-align:left;font-weight:500;padding:.15rem 1.2rem .15rem 0;white-space:nowrap;vertical-align:top}\n"
      "td{padding:.15rem "
      "0;word-break:break-word}.bar{display:inline-block;height:.8rem;background:#b8c4d0;vertical-align:middle}\n"
      ".after{background:#1f5fa8}img{max-width:100%;image-rendering:pixelated}svg text{font:11px "
      "system-ui,sans-serif;fill:#555}\n"
      "</style></head><body>\n<h1>" +
      escape(report.task) + ": " + escape(m.get<std::string>("score", "report")) + " " +
      number(m.get<double>("before", "report")) + " &rarr; " + number(m.get<double>("after", "report")) + "</h1>\n<p>" +
      plain(m.at("shots", "report")) + " training pairs, " + plain(m.at("steps", "report")) +
      " steps. <i>before</i> is the frozen model with the same "
      "noise, <i>after</i> the model with the adapter; the rest are rules without a network.</p>\n";
  html += score_bars(m);
  html += "<h2>Test items</h2>\n<img alt=\"rows: input, target, before, after\" src=\"data:image/png;base64," +
          segue::io::base64_encode(segue::io::encode_png(report.sheet)) + "\">\n";
  html += "<h2>Loss</h2>\n" + loss_curve(report.losses);
  html += "<h2>Figures</h2>\n<table>\n";
  table_rows(html, m);
  html += "</table>\n";
  for (std::size_t i = 0; i < m.size(); ++i) {
    if (!m.items()[i].is_object() || m.keys()[i] == "baselines") continue;
    html += "<h2>" + escape(m.keys()[i]) + "</h2>\n<table>\n";
    table_rows(html, m.items()[i]);
    html += "</table>\n";
  }
  return html + "</body></html>\n";
}

}  // namespace fewshot
