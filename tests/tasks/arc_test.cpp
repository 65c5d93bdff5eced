// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#include "segue/tasks/arc.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "segue/tasks/arc_decode.hpp"
#include "segue/tasks/draws.hpp"
#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/paths.hpp"

using namespace segue;
using tasks::ArcGeometry;
using tasks::ColourShift;
using tasks::Grid;
using tasks::Layout;

namespace {

std::array<int, 3> pixel(const io::Image& image, int x, int y) {
  const auto at = static_cast<std::size_t>((y * image.width + x) * 3);
  return {image.pixels[at], image.pixels[at + 1], image.pixels[at + 2]};
}

constexpr std::array<int, 3> black = {0, 0, 0}, grey = {85, 85, 85}, blue = {0, 116, 217}, red = {255, 65, 54};

Grid random_grid(tasks::Draws& draws, int height, int width) {
  Grid grid{height, width, {}};
  for (int i = 0; i < height * width; ++i) grid.cells.push_back(static_cast<std::uint8_t>(draws.below(10)));
  return grid;
}

/// What a model does to a picture: a tint over all of it and noise on every value.
io::Image worn(io::Image image, const std::array<int, 3>& tint, int noise, std::uint64_t seed) {
  tasks::Draws draws(seed);
  for (std::size_t i = 0; i < image.pixels.size(); ++i) {
    const int v = image.pixels[i] + tint[i % 3] + draws.between(-noise, noise);
    image.pixels[i] = static_cast<std::uint8_t>(std::clamp(v, 0, 255));
  }
  return image;
}

std::string one_pair(const std::string& input, const std::string& output) {
  return "{\"input\": " + input + ", \"output\": " + output + "}";
}

}  // namespace

TEST_CASE("the cell size is the paper's at 400 pixels", "[tasks]") {
  CHECK(tasks::fit_arc_geometry(30, 400) == ArcGeometry{400, 11, 2});  // (400 - 62) / 30
  CHECK(tasks::fit_arc_geometry(3, 400) == ArcGeometry{400, 130, 2});  // (400 - 8) / 3
  CHECK(tasks::fit_arc_geometry(133, 400) == std::nullopt);
}

TEST_CASE("smaller canvases have thinner lines, then none", "[tasks]") {
  CHECK(tasks::fit_arc_geometry(8, 64) == ArcGeometry{64, 6, 1});   // (64 - 9) / 8
  CHECK(tasks::fit_arc_geometry(21, 64) == ArcGeometry{64, 2, 1});  // (64 - 22) / 21 = 2
  CHECK(tasks::fit_arc_geometry(22, 64) == ArcGeometry{64, 2, 0});  // (64 - 23) / 22 = 1, 64 / 22
  CHECK(tasks::fit_arc_geometry(33, 64) == ArcGeometry{64, 1, 0});
  CHECK(tasks::fit_arc_geometry(64, 64) == ArcGeometry{64, 1, 0});
  CHECK(tasks::fit_arc_geometry(65, 64) == std::nullopt);
  CHECK(tasks::fit_arc_geometry(0, 64) == std::nullopt);
}

TEST_CASE("a grid is drawn where the paper draws it", "[tasks]") {
  // 2x3 cells of 11 pixels: the block is 28 high and 41 wide and begins at (186, 179).
  const Grid grid{2, 3, {0, 1, 2, 2, 1, 0}};
  const io::Image image = tasks::render_grid(grid, {400, 11, 2});
  CHECK(pixel(image, 178, 200) == black);
  CHECK(pixel(image, 179, 186) == grey);
  CHECK(pixel(image, 179, 185) == black);
  CHECK(pixel(image, 180, 187) == grey);
  CHECK(pixel(image, 181, 188) == black);  // cell 0
  CHECK(pixel(image, 191, 198) == black);
  CHECK(pixel(image, 192, 188) == grey);
  CHECK(pixel(image, 193, 188) == grey);
  CHECK(pixel(image, 194, 188) == blue);
  CHECK(pixel(image, 207, 188) == red);
  CHECK(pixel(image, 217, 198) == red);
  CHECK(pixel(image, 218, 198) == grey);
  CHECK(pixel(image, 219, 213) == grey);
  CHECK(pixel(image, 220, 213) == black);
  CHECK(pixel(image, 181, 201) == red);  // second row
  CHECK(pixel(image, 219, 214) == black);
  CHECK_THROWS_AS(tasks::render_grid({1, 1, {10}}, {400, 11, 2}), InputError);
  CHECK_THROWS_AS(tasks::render_grid({1, 40, std::vector<std::uint8_t>(40)}, {400, 11, 2}), InputError);
}

TEST_CASE("grids are read back, with and without the shift", "[tasks]") {
  tasks::Draws draws(11);
  for (const int canvas : {400, 128, 64}) {
    for (int side = 1; side <= 30; ++side) {
      const Grid grid = random_grid(draws, std::max(1, side / 2), side);
      const ArcGeometry geometry = *tasks::fit_arc_geometry(side, canvas);
      const io::Image image = tasks::render_grid(grid, geometry);
      CHECK(tasks::decode_grid(image, grid.height, grid.width, geometry, ColourShift::Off) == grid);
      CHECK(tasks::decode_grid(image, grid.height, grid.width, geometry, ColourShift::On) == grid);
    }
  }
}

TEST_CASE("a folded row runs on in the next line of the board", "[tasks]") {
  // The board is the smallest power of two that holds the row; its cells share the canvas.
  CHECK(tasks::fit_folded_geometry(16, 64) == ArcGeometry{64, 16, 0, tasks::GridPalette::Arc, 4, 0});
  CHECK(tasks::fit_folded_geometry(17, 64) == ArcGeometry{64, 8, 0, tasks::GridPalette::Arc, 8, 2});
  CHECK(tasks::fit_folded_geometry(32, 64) == ArcGeometry{64, 8, 0, tasks::GridPalette::Arc, 8, 2});
  CHECK(tasks::fit_folded_geometry(64, 64) == ArcGeometry{64, 8, 0, tasks::GridPalette::Arc, 8, 0});
  CHECK(tasks::fit_folded_geometry(65, 64)->cell == 4);
  CHECK(tasks::fit_folded_geometry(64, 128)->cell == 16);
  CHECK(tasks::fit_folded_geometry(4097, 64) == std::nullopt);
  CHECK(tasks::fit_folded_geometry(4096, 64)->cell == 1);
  CHECK(tasks::fit_folded_geometry(0, 64) == std::nullopt);

  // 20 cells on a board for 32: lines 2 to 5 of 8 are in use, cell i begins at (8 (i mod 8), 16 + 8 (i div 8)).
  Grid row{1, 20, std::vector<std::uint8_t>(20)};
  row.cells[0] = row.cells[8] = 1;
  row.cells[7] = row.cells[19] = 2;
  const ArcGeometry geometry = *tasks::fit_folded_geometry(32, 64);
  const io::Image image = tasks::render_grid(row, geometry);
  int blues = 0, reds = 0;
  for (int i = 0; i < 64 * 64; ++i) {
    blues += pixel(image, i % 64, i / 64) == blue ? 1 : 0;
    reds += pixel(image, i % 64, i / 64) == red ? 1 : 0;
  }
  CHECK(blues == 128);
  CHECK(reds == 128);
  for (const auto& [x, y] : {std::pair(0, 16), std::pair(7, 23), std::pair(0, 24), std::pair(7, 31)}) {
    CHECK(pixel(image, x, y) == blue);
  }
  for (const auto& [x, y] : {std::pair(56, 16), std::pair(63, 23), std::pair(24, 32), std::pair(31, 39)}) {
    CHECK(pixel(image, x, y) == red);
  }
  CHECK_THROWS_AS(tasks::render_grid({2, 2, {0, 0, 0, 0}}, geometry), InputError);
  CHECK_THROWS_AS(tasks::render_grid({1, 49, std::vector<std::uint8_t>(49)}, geometry), InputError);

  tasks::Draws draws(5);
  for (const int canvas : {64, 128, 400}) {
    for (int n = 1; n <= 100; ++n) {
      const Grid grid = random_grid(draws, 1, n);
      const ArcGeometry fitted = *tasks::fit_folded_geometry(n + n % 7, canvas);
      CHECK(tasks::decode_grid(tasks::render_grid(grid, fitted), 1, n, fitted) == grid);
    }
  }
}

TEST_CASE("on small canvases grids have no lines, and one row is folded, unless the caller says otherwise", "[tasks]") {
  tasks::GridTask rows;
  rows.name = "rows";
  rows.train.push_back({"train/0", Grid{1, 9, std::vector<std::uint8_t>(9)}, Grid{1, 9, std::vector<std::uint8_t>(9)}});
  CHECK(tasks::Arc(rows, 64).geometry() == *tasks::fit_folded_geometry(9, 64));
  CHECK(tasks::Arc(rows, 64, Layout::Plain).geometry() == *tasks::fit_arc_geometry(9, 64));
  CHECK(tasks::Arc(rows, 64, Layout::Solid).geometry() == ArcGeometry{64, 7, 0});
  CHECK(tasks::Arc(rows, 64, Layout::Solid).geometry().layout() == Layout::Solid);
  CHECK(tasks::Arc(rows, 400).geometry() == *tasks::fit_arc_geometry(9, 400));
  CHECK(tasks::Arc(rows, 400, Layout::Folded).geometry() == *tasks::fit_folded_geometry(9, 400));
  // Five cells have 11 pixels in a plain row and 16 folded, which is not worth it; eight have 6.
  tasks::GridTask five, eight;
  five.train.push_back({"a", Grid{1, 5, std::vector<std::uint8_t>(5)}, Grid{1, 1, {1}}});
  CHECK(tasks::Arc(five, 64).geometry() == *tasks::fit_solid_geometry(5, 64));
  eight.train.push_back({"a", Grid{1, 1, {1}}, Grid{1, 8, std::vector<std::uint8_t>(8)}});
  CHECK(tasks::Arc(eight, 64).geometry() == *tasks::fit_folded_geometry(8, 64));
  tasks::GridTask mixed = rows;
  mixed.test.push_back({"test/0", Grid{1, 2, {1, 2}}, Grid{2, 1, {1, 2}}});
  CHECK(tasks::Arc(mixed, 64).geometry() == *tasks::fit_solid_geometry(9, 64));
  CHECK(support::message_of<InputError>([&] { tasks::Arc(mixed, 64, Layout::Folded); }) ==
        "rows: the folded layout is for grids of one row, and those of test/0 have more");
  CHECK(tasks::layout_from_name("folded") == Layout::Folded);
  CHECK(tasks::layout_from_name("plain") == Layout::Plain);
  CHECK(tasks::layout_from_name("solid") == Layout::Solid);
  CHECK(support::message_of<InputError>([] { tasks::layout_from_name("round"); }) ==
        "layout: name is 'round', expected plain, solid or folded");
}

TEST_CASE("the shift passes take a tint out", "[tasks]") {
  // Black under a red tint of 75 is nearer to maroon than to black; blue and green are still themselves and say what
  // the tint is.
  const std::array<std::uint8_t, 6> colours = {1, 1, 3, 3, 1, 0};
  Grid grid{6, 6, std::vector<std::uint8_t>(36)};
  for (std::size_t i = 0; i < 36; ++i) grid.cells[i] = colours[i % 6];
  for (const int canvas : {64, 400}) {
    const ArcGeometry geometry = *tasks::fit_arc_geometry(6, canvas);
    const io::Image image = worn(tasks::render_grid(grid, geometry), {75, 0, 0}, 12, 1);
    Grid wrong = grid;
    std::replace(wrong.cells.begin(), wrong.cells.end(), std::uint8_t{0}, std::uint8_t{9});
    CHECK(tasks::decode_grid(image, 6, 6, geometry, ColourShift::Off) == wrong);
    CHECK(tasks::decode_grid(image, 6, 6, geometry, ColourShift::On) == grid);
  }
}

TEST_CASE("cell means are truncated and ties go to the first colour", "[tasks]") {
  const ArcGeometry geometry{64, 64, 0};
  io::Image image{64, 64, 3, std::vector<std::uint8_t>(64 * 64 * 3, 0)};
  // Between black (0, 0, 0) and maroon (135, 12, 37) the border runs at 73.1 of red alone; a mean of 73.5 counts as 73.
  for (std::size_t i = 0; i < image.pixels.size(); i += 3) image.pixels[i] = i / 3 % 2 ? 74 : 73;
  CHECK(tasks::decode_grid(image, 1, 1, geometry, ColourShift::Off).cells[0] == 0);
  for (std::size_t i = 0; i < image.pixels.size(); i += 3) image.pixels[i] = 74;
  CHECK(tasks::decode_grid(image, 1, 1, geometry, ColourShift::Off).cells[0] == 9);
  CHECK_THROWS_AS(tasks::decode_grid(image, 2, 2, geometry), InputError);
  CHECK_THROWS_AS(tasks::decode_grid(image, 1, 1, {32, 32, 0}), InputError);
}

TEST_CASE("attempts: any may be right, a task wants all inputs", "[tasks]") {
  const Grid a{1, 2, {1, 2}}, b{1, 2, {1, 3}}, wide{1, 3, {1, 2, 3}};
  const std::vector<Grid> truths = {a, b};
  const std::vector<std::vector<Grid>> answers = {{b, a}, {a, a}};
  tasks::GridScore score = tasks::score_grids(answers, truths);
  CHECK(score.inputs == 2);
  CHECK(score.solved == 1);
  CHECK(score.exact() == 0.5);
  CHECK(!score.all_solved());
  CHECK(score.cell_accuracy == 0.5);
  const std::vector<std::vector<Grid>> better = {{b, a}, {b, a}};
  CHECK(tasks::score_grids(better, truths).all_solved());
  CHECK(tasks::cell_accuracy(wide, a) == 0.0);
  const std::vector<std::vector<Grid>> empty = {{}, {a}};
  CHECK_THROWS_AS(tasks::score_grids(empty, truths), InputError);
}

TEST_CASE("a file is a task, a folder is one rule", "[tasks]") {
  const support::TempDir dir;
  const std::string small = one_pair("[[1, 2]]", "[[2], [1]]"), other = one_pair("[[3]]", "[[4]]");
  std::string long_row = "[[0";
  for (int i = 1; i < 70; ++i) long_row += ", 0";
  long_row += "]]";
  const auto task = [](const std::string& train, const std::string& test) {
    return "{\"train\": [" + train + "], \"test\": [" + test + "]}";
  };
  write_file_atomically((dir / "b.json").string(), task(small + ", " + other, other));
  write_file_atomically((dir / "a.json").string(), task(one_pair("[[5]]", "[[6]]"), one_pair(long_row, "[[1]]")));
  write_file_atomically((dir / "notes.txt").string(), "not a task");

  const tasks::Arc file((dir / "b.json").string(), 64);
  CHECK(file.name() == "b");
  CHECK(file.available() == 2);
  CHECK(file.train(1).size() == 1);
  CHECK(file.test(1).size() == 1);
  CHECK(file.test(1)[0].output.cells == std::vector<std::uint8_t>{4});
  CHECK(file.geometry() == *tasks::fit_solid_geometry(2, 64));
  CHECK(file.skipped() == 0);
  CHECK(file.train(1)[0].output.height == 2);

  const tasks::Arc folder(dir.path().string() + "/", 64);
  CHECK(folder.name() == dir.path().filename().string());
  CHECK(folder.available() == 4);  // a: train (its test does not fit); b: two of train, one of test
  CHECK(folder.skipped() == 1);
  CHECK(folder.train(2)[0].name == "a/train/0");
  CHECK(folder.train(2)[1].name == "b/train/0");
  REQUIRE(folder.test(2).size() == 2);
  CHECK(folder.test(2)[0].name == "b/train/1");
  CHECK(folder.test(2)[1].name == "b/test/0");
  CHECK(folder.geometry().cell == tasks::fit_solid_geometry(2, 64)->cell);
  CHECK(support::contains(support::message_of<InputError>([&] { folder.train(5); }), "is 5, expected 1 to 4"));
  const tasks::Pair rendered = folder.render(folder.train(1)[0]);
  CHECK(tasks::decode_grid(rendered.target, 1, 1, folder.geometry()).cells[0] == 6);
}

TEST_CASE("a rule in two halves learns from one and is asked the other", "[tasks]") {
  const auto task = [](const char* colour) {
    const std::string cell = std::string("[[") + colour + "]]";
    return "{\"train\": [" + one_pair(cell, cell) + "], \"test\": [" + one_pair(cell, cell) + "]}";
  };
  const support::TempDir dir;
  for (const std::string half : {"train", "test"})
    for (const std::string& folder : {"rule/" + half, half + "/other"}) {
      make_directories((dir / folder).string());
      for (const char* colour : {"1", "2"})
        write_file_atomically((dir / folder / (half + colour + ".json")).string(), task(colour));
    }
  for (const std::string name : {"rule", "rule/", "other", "other/"}) {
    const tasks::Arc arc((dir / name).string(), 64);
    CHECK(arc.name() == name.substr(0, name.find('/')));
    CHECK(arc.available() == 4);
    REQUIRE(arc.train(3).size() == 3);
    CHECK(arc.train(3)[2].name == "train2/train/0");
    REQUIRE(arc.test(3).size() == 4);
    CHECK(arc.test(3)[0].name == "test1/train/0");
  }
  CHECK(tasks::Arc((dir / "train/other").string(), 64).test(1).size() == 3);
}

TEST_CASE("faults of a task file are one sentence", "[tasks]") {
  const support::TempDir dir;
  const std::string path = (dir / "t.json").string();
  const auto fault = [&](const std::string& text) {
    write_file_atomically(path, text);
    return support::message_of<InputError>([&] { tasks::Arc(path, 64); });
  };
  const std::string good = one_pair("[[1]]", "[[2]]");
  CHECK(support::contains(fault("{\"train\": [" + good + "]}"), "key 'test' is missing"));
  CHECK(support::contains(fault("{\"train\": [" + one_pair("[[1, 2], [1]]", "[[2]]") + "], \"test\": []}"),
                          "a row of the input of train pair 0 is 1 cells, expected 2"));
  CHECK(support::contains(fault("{\"train\": [" + one_pair("[[1]]", "[[12]]") + "], \"test\": []}"),
                          "a cell of the output of train pair 0 is 12, expected 0 to 9"));
  CHECK(support::contains(fault("{\"train\": [" + one_pair("[]", "[[1]]") + "], \"test\": []}"), "rows of cells"));
  CHECK(support::contains(fault("[1, 2"), path));
  const support::TempDir empty;
  CHECK_THROWS_AS(tasks::Arc(empty.path().string(), 64), InputError);
}

TEST_CASE("every published grid survives drawing and reading", "[tasks][data]") {
  const auto dir = support::data_dir("arc");
  if (!dir) return;
  std::vector<std::string> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(*dir)) {
    if (entry.path().extension() == ".json") files.push_back(entry.path().string());
  }
  std::sort(files.begin(), files.end());
  CHECK(files.size() == 1431);
  std::array<int, 2> folded{};
  int grids = 0, tinted = 0, tinted_exact = 0, small = 0, straight = 0, skipped = 0, smallest_cell = 400;
  for (std::size_t i = 0; i < files.size(); ++i) {
    const tasks::GridTask task = tasks::read_grid_task(files[i]);
    const tasks::Arc large(task, 400);
    CHECK(large.skipped() == 0);
    if (support::contains(files[i], "arc-agi-1")) smallest_cell = std::min(smallest_cell, large.geometry().cell);
    for (const std::vector<tasks::GridPair>* pairs : {&task.train, &task.test}) {
      for (const tasks::GridPair& pair : *pairs) {
        for (const Grid* grid : {&pair.input, &pair.output}) {
          ++grids;
          const io::Image image = tasks::render_grid(*grid, large.geometry());
          INFO(pair.name);
          CHECK(tasks::decode_grid(image, grid->height, grid->width, large.geometry()) == *grid);
        }
      }
    }
    if (i % 8 == 0) {  // noise on 400x400 pixels takes its time
      const Grid& answer = task.test.front().output;
      const io::Image image = worn(tasks::render_grid(answer, large.geometry()), {10, -8, 12}, 20, i);
      tinted_exact += tasks::decode_grid(image, answer.height, answer.width, large.geometry()) == answer ? 1 : 0;
      ++tinted;
    }
    // On 64 pixels, once as it suits the task and once with every row drawn straight.
    for (const std::optional<Layout>& layout : {std::optional<Layout>(), std::optional(Layout::Plain)}) {
      std::size_t drawn = 0;
      try {
        const tasks::Arc tiny(task, 64, layout);
        if (!layout && tiny.geometry().layout() == Layout::Folded) ++folded[support::contains(files[i], "arc-1d")];
        for (const auto& pairs : {tiny.train(tiny.available()), tiny.test(tiny.available())}) {
          for (const tasks::GridPair& pair : pairs) {
            const tasks::Pair pictures = tiny.render(pair);
            const bool exact =
                tasks::decode_grid(pictures.target, pair.output.height, pair.output.width, tiny.geometry()) ==
                    pair.output &&
                tasks::decode_grid(pictures.input, pair.input.height, pair.input.width, tiny.geometry()) == pair.input;
            (layout ? straight : small) += exact ? 1 : 0;
            ++drawn;
          }
        }
        CHECK(drawn + static_cast<std::size_t>(tiny.skipped()) == task.train.size() + task.test.size());
      } catch (const InputError&) {
        CHECK(layout.has_value());
        CHECK(support::contains(files[i], "1d_padded_fill"));  // the only rule whose every grid may be too long
      }
      if (layout) skipped += static_cast<int>(task.train.size() + task.test.size() - drawn);
    }
  }
  std::printf(
      "arc: %d grids, %d of %d tinted answers exact, %d pairs exact at 64 pixels; without folding %d, and %d skipped\n",
      grids, tinted_exact, tinted, small, straight, skipped);
  CHECK(grids == 12308);
  CHECK(smallest_cell == 11);
  CHECK(tinted_exact == tinted);
  CHECK(skipped == 56);
  CHECK(small == grids / 2);
  CHECK(straight + skipped == grids / 2);
  CHECK(folded[1] == 630);  // all of 1D-ARC
  CHECK(folded[0] == 1);    // Center2 of ConceptARC
}

TEST_CASE("the families of ARC are read as they lie on disk", "[tasks][data]") {
  const auto dir = support::data_dir("arc");
  if (!dir) return;
  const auto files_in = [](const std::filesystem::path& folder) {
    std::vector<std::string> files;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
      if (entry.path().extension() == ".json") files.push_back(entry.path().string());
    }
    return files;
  };
  // A file is a task of its own: its demonstrations are what is trained on, and all of its test inputs are asked.
  for (const std::string family : {"arc-agi-1", "conceptarc", "mini-arc", "arc-1d"}) {
    for (const std::string& file : files_in(*dir / family)) {
      INFO(file);
      const tasks::Arc arc(file, 128);
      CHECK(arc.skipped() == 0);
      CHECK(arc.available() >= 1);
      CHECK(arc.test(arc.available()).size() == tasks::read_grid_task(file).test.size());
      CHECK(arc.geometry().cell >= 3);
      if (family == "conceptarc") {
        CHECK(arc.test(1).size() == 3);
      } else if (family == "mini-arc") {
        for (const tasks::GridPair& pair : arc.train(1)) CHECK(pair.input.longest_side() <= 5);
      }
    }
  }
  // The concepts have a folder each, and five of their ten tasks are there.
  int concepts = 0;
  for (const auto& entry : std::filesystem::directory_iterator(*dir / "conceptarc" / "test" / "corpus")) {
    ++concepts;
    CHECK(files_in(entry.path()).size() == 5);
    const tasks::Arc pooled(entry.path().string(), 128);
    CHECK(pooled.skipped() == 0);
    CHECK(pooled.available() >= 5 * 4);
  }
  CHECK(concepts == 16);
  // A rule of 1D-ARC in two halves: 25 tasks to learn from, 10 to answer, of four pairs each.
  int rules = 0;
  for (const auto& entry : std::filesystem::directory_iterator(*dir / "arc-1d" / "train")) {
    const std::string rule = entry.path().filename().string();
    const tasks::Arc folded((*dir / "arc-1d" / rule).string(), 64);
    const tasks::Arc straight((*dir / "arc-1d" / rule).string(), 64, Layout::Plain);
    const auto pairs = [](const tasks::Arc& arc) { return arc.available() + static_cast<int>(arc.test(1).size()); };
    std::printf("arc-1d: %-16s %3d pairs, folded all at %2d pixels a cell, straight %3d at %d\n", rule.c_str(),
                pairs(folded), folded.geometry().cell, pairs(straight), straight.geometry().cell);
    CHECK(folded.skipped() == 0);
    CHECK(pairs(folded) == 140);
    CHECK(folded.geometry().cell >= 4);
    CHECK(pairs(straight) + straight.skipped() == 140);
    ++rules;
  }
  CHECK(rules == 18);
}
