// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

// Shows what `pretrain` learns from: a PNG of clips, one a row, and how fast each kind is drawn.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "common/command_line.hpp"
#include "common/program.hpp"
#include "pretrain/corpus.hpp"
#include "segue/core/posix.hpp"
#include "segue/io/image.hpp"

namespace {

using pretrain::ClipKind;

struct Options {
  std::string out = "corpus.png";
  std::string corpus;
  std::string media;
  std::string kinds;
  int rows = 8;
  int columns = 2;
  int frames = 5;
  int size = 64;
  std::uint64_t seed = 0;
  std::uint64_t first = 0;
  int time = 0;
  bool help = false;
};

example::CommandLine<Options> command_line() {
  example::CommandLine<Options> c;
  c.text("--out", "FILE", "the picture (default corpus.png)", &Options::out);
  c.text("--corpus", "FILE", "the configuration (default: what needs no media)", &Options::corpus);
  c.text("--media", "DIR", "where its folders are (default: what it says)", &Options::media);
  c.text("--kinds", "LIST", "only these, e.g. blocks,flows (default: all)", &Options::kinds);
  c.number("--rows", "N", "rows a kind (default 8)", &Options::rows, 1, 1000);
  c.number("--columns", "N", "clips beside each other (default 2)", &Options::columns, 1, 100);
  c.number("--frames", "N", "frames of a clip (default 5)", &Options::frames, 1, 1000);
  c.number("--size", "N", "height and width (default 64)", &Options::size, 8, 512);
  c.number("--seed", "N", "of the corpus (default 0)", &Options::seed, 0, ~std::uint64_t{0} >> 1);
  c.number("--first", "N", "index of the first clip (default 0)", &Options::first, 0, ~std::uint64_t{0} >> 1);
  c.number("--time", "N", "also time N clips of each kind on one thread", &Options::time, 1, 1000000);
  c.flag("--help", "this text", &Options::help);
  return c;
}

void make_sheet(const Options& options) {
  const double began = segue::monotonic_seconds();
  const pretrain::Corpus corpus(options.corpus, options.media, {options.frames, options.size, options.size});
  std::printf("%s (loaded in %.1f s)\n", corpus.describe().c_str(), segue::monotonic_seconds() - began);
  std::vector<ClipKind> kinds;
  const std::vector<std::string> wanted = example::split_list(options.kinds);
  for (const std::string& name : wanted) {
    const auto found = std::find(pretrain::clip_kinds.begin(), pretrain::clip_kinds.end(), name);
    if (found == pretrain::clip_kinds.end()) {
      segue::throw_input("--kinds",
                         segue::in_quotes(name) + " is no kind" + segue::did_you_mean(name, pretrain::clip_kinds));
    }
    kinds.push_back(static_cast<ClipKind>(found - pretrain::clip_kinds.begin()));
  }
  for (std::size_t k = 0; wanted.empty() && k < pretrain::clip_kinds.size(); ++k) {
    if (corpus.has(static_cast<ClipKind>(k))) kinds.push_back(static_cast<ClipKind>(k));
  }
  const int size = options.size, gap = 4, block = options.frames * size + gap;
  segue::io::Image sheet{options.columns * block, static_cast<int>(kinds.size()) * (options.rows * size + gap), 3, {}};
  if (sheet.width > segue::io::max_image_side || sheet.height > segue::io::max_image_side) {
    segue::throw_input("--rows", "the picture's size", std::to_string(sheet.width) + "x" + std::to_string(sheet.height),
                       "at most " + std::to_string(segue::io::max_image_side) + " a side");
  }
  sheet.pixels.resize(static_cast<std::size_t>(sheet.width) * static_cast<std::size_t>(sheet.height) * 3, 255);
  std::vector<std::uint8_t> clip(corpus.spec().size());
  for (std::size_t k = 0; k < kinds.size(); ++k) {
    for (int i = 0; i < options.rows * options.columns; ++i) {
      corpus.clip(kinds[k], options.seed, options.first + static_cast<std::uint64_t>(i), clip);
      const int top = static_cast<int>(k) * (options.rows * size + gap) + i / options.columns * size;
      for (int f = 0; f < options.frames; ++f) {
        for (int y = 0; y < size; ++y) {
          const auto line = clip.begin() + static_cast<std::ptrdiff_t>((f * size + y) * size * 3);
          const std::ptrdiff_t left = i % options.columns * block + f * size;
          std::copy_n(line, size * 3, sheet.pixels.begin() + ((top + y) * std::ptrdiff_t{sheet.width} + left) * 3);
        }
      }
    }
    if (options.time == 0) continue;
    const double start = segue::monotonic_seconds();
    for (int i = 0; i < options.time; ++i) {
      corpus.clip(kinds[k], options.seed, static_cast<std::uint64_t>(i), clip);
    }
    std::printf("%-10s %8.0f clips/s\n", std::string(pretrain::clip_kinds[static_cast<std::size_t>(kinds[k])]).c_str(),
                options.time / (segue::monotonic_seconds() - start));
  }
  if (options.time > 0) {
    const double start = segue::monotonic_seconds();
    for (int i = 0; i < options.time; ++i) corpus.clip(options.seed, static_cast<std::uint64_t>(i), clip);
    std::printf("%-10s %8.0f clips/s\n", "the mix", options.time / (segue::monotonic_seconds() - start));
  }
  segue::io::save_png(options.out, sheet);
}

}  // namespace

int main(int argc, char** argv) {
  return example::run_program("pretrain_sheet", [&] {
    const auto line = command_line();
    const Options options = line.parse(argc, argv);
    if (!options.help) return make_sheet(options);
    std::printf("pretrain_sheet: shows the clips that pretrain learns from\n\n%s", line.help().c_str());
  });
}
