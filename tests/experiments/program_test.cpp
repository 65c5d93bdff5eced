// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

// The program as people start it, on a model of a few weights.
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <string>

#include "experiments/results.hpp"
#include "segue/core/posix.hpp"
#include "segue/io/image.hpp"
#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/paths.hpp"
#include "support/pixel_model.hpp"
#include "support/program.hpp"

using namespace segue;
using support::contains;
using support::make_pixel_model;

namespace {

using support::Ran;

/// The path of the program, which the build system gives; null where it is not built.
const char* program() { return std::getenv("SEGUE_EXPERIMENTS_PROGRAM"); }

Ran run(const support::TempDir& dir, const std::string& arguments) {
  return support::run_program(program(), dir, arguments);
}

/// Name -> what the file says, but for times and dates.
std::map<std::string, std::string> results_in(const std::string& out) {
  std::map<std::string, std::string> results;
  for (const auto& [key, path] : experiments::cell_files(out)) {
    const io::Json json = experiments::read_cell(path);
    io::Json kept = io::Json::object();
    for (std::size_t i = 0; i < json.size(); ++i) {
      const std::string& name = json.keys()[i];
      if (name != "date" && !contains(name, "seconds")) kept[name] = json.items()[i];
    }
    results[key] = io::dump_json(kept);
  }
  return results;
}

}  // namespace

TEST_CASE("the program goes on where it stopped, shards agree with one run, and the report follows") {
  if (program() == nullptr) {
    WARN("skipped: SEGUE_EXPERIMENTS_PROGRAM is not set: ctest sets it where the examples are built");
    return;
  }
  const support::TempDir dir;
  const std::string model = (dir / "model").string(), table = (dir / "table.json").string();
  make_pixel_model(model);
  write_file_atomically(table, R"({"defaults": {"seeds": [0, 1], "steps": 2, "batch": 2, "sample_steps": 1, "test": 3,
    "augments": ["turns"], "average": 2,
    "lrs": {"pretrained": [0.001, 0.01], "random": [0.01], "scratch": [0.001]}, "task": []},
    "rows": [{"name": "g", "shots": [2], "modes": ["pretrained", "random", "scratch"]},
             {"name": "large", "shots": [2], "modes": ["scratch", "pretrained"], "canvas": 48, "seeds": [0],
              "lrs": {"pretrained": [0.001], "scratch": [0.001]}}]})");
  const std::string common = "--table '" + table + "' --model '" + model + "' --threads 1";
  const auto out = [&](const char* name) { return (dir / name).string(); };
  const auto to = [&](const char* name) { return common + " --out '" + out(name) + "' "; };

  const Ran whole = run(dir, to("whole") + "--sheets");
  INFO(whole.output);
  REQUIRE(whole.exit_code == 0);
  const auto results = results_in(out("whole"));
  REQUIRE(results.size() == 12);  // rules, two searches, two seeds a mode; rules and two fits of another size
  CHECK(contains(whole.output, "12 cells were made, none is left"));
  CHECK(std::distance(std::filesystem::directory_iterator(out("whole") + "/sheets"), {}) == 8);

  // Nothing is made twice.
  CHECK(contains(run(dir, to("whole")).output, "0 cells were made, none is left"));
  CHECK(contains(run(dir, to("whole") + "--list").output, "0 of 12 cells are left"));

  // Two machines, one of which is stopped at once and goes on; other orders and batches of answers.
  const Ran stopped = run(dir, to("parts") + "--shard 1/2 --seconds 1e-9");
  CHECK(contains(stopped.output, "0 cells were made, the same command goes on"));
  REQUIRE(run(dir, to("parts") + "--shard 2/2 --sample-batch 1").exit_code == 0);
  CHECK(results_in(out("parts")).size() < 12);
  REQUIRE(run(dir, to("parts") + "--shard 1/2 --only '*-s1' --sample-batch 2").exit_code == 0);
  REQUIRE(run(dir, to("parts") + "--shard 1/2").exit_code == 0);
  CHECK(results_in(out("parts")) == results);

  // Cells of another folder need not be made again.
  CHECK(contains(run(dir, to("more") + "--with '" + out("parts") + "'").output, "0 cells were made, none is left"));

  // Other weights leave what does not depend on them.
  Ran changed = run(dir, "--table '" + table + "' --out '" + out("whole") + "' --list --model '" + model + "'");
  CHECK(contains(changed.output, "0 of 12"));
  write_file_atomically(join_path(model, "note.safetensors"), "x");
  changed = run(dir, to("whole") + "--list");
  CHECK(contains(changed.output, "5 of 12"));

  const Ran report =
      run(dir, "report --table '" + table + "' --out '" + out("whole") + "' --with '" + out("parts") + "'");
  INFO(report.output);
  CHECK(report.exit_code == 0);
  CHECK(contains(report.output, "10 of 10 cells"));
  CHECK(contains(read_text_file(out("whole") + "/report.md"), "| g (iou) | 2 | "));
  CHECK(is_file(out("whole") + "/results.json"));
}

TEST_CASE("an answer is the mean of draws under different noise") {
  if (program() == nullptr) return;
  const support::TempDir dir;
  const std::string model = (dir / "model").string(), table = (dir / "table.json").string();
  make_pixel_model(model);
  write_file_atomically(table,
                        R"({"defaults": {"modes": ["scratch"], "lrs": {"scratch": [1e-9]}, "steps": 1, "batch": 1,
    "sample_steps": 1, "test": 1, "shots": [2], "task": []},
    "rows": [{"name": "one"}, {"name": "many", "average": 64}]})");
  const Ran ran =
      run(dir, "--sheets --table '" + table + "' --model '" + model + "' --out '" + (dir / "out").string() + "'");
  INFO(ran.output);
  REQUIRE(ran.exit_code == 0);
  // Fresh weights answer with noise: of the mean of 64 draws an eighth is left of its spread, if no two are the same.
  const auto spread = [&](const char* row) {
    for (const auto& entry : std::filesystem::directory_iterator(dir / "out" / "sheets")) {
      if (!entry.path().filename().string().starts_with(row)) continue;
      const io::Image sheet = io::load_image(entry.path().string());
      // The answer is the last row of pictures.
      double sum = 0, squares = 0, count = 0;
      for (int y = sheet.height - 34; y < sheet.height - 10; ++y) {
        for (int x = sheet.width - 34; x < sheet.width - 10; ++x) {
          const double value = sheet.pixels[static_cast<std::size_t>((y * sheet.width + x) * sheet.channels)];
          sum += value;
          squares += value * value;
          count += 1;
        }
      }
      return std::sqrt(squares / count - sum / count * (sum / count));
    }
    return -1.0;
  };
  const double one = spread("one"), many = spread("many");
  CHECK(one > 10);
  CHECK(many > 0);
  CHECK(many < one / 4);
}

TEST_CASE("the program refuses what is wrong in one line and with 2") {
  if (program() == nullptr) return;
  const support::TempDir dir;
  const auto refused = [&](const std::string& arguments, const std::string& says) {
    const Ran ran = run(dir, arguments);
    INFO(ran.output);
    CHECK(ran.exit_code == 2);
    CHECK(contains(ran.output, says));
    CHECK(std::count(ran.output.begin(), ran.output.end(), '\n') == 1);
  };
  const std::string none = (dir / "none").string();
  refused("--tabel x", "did you mean '--table'?");
  refused("--shard 3/2", "--shard: its value is '3'");
  refused("--shard 3", "expected I/K");
  refused("--with '" + none + "'", "has no folder 'cells'");
  refused("--table '" + none + "'", none);
  refused("report --out '" + none + "'", "has no folder 'cells'");
  refused("--list --model '" + none + "'", none);
  const std::string model = (dir / "model").string(), table = (dir / "table.json").string();
  make_pixel_model(model);
  write_file_atomically(table, R"({"rows": [{"name": "g", "task": [], "shots": [2], "modes": ["scratch"],
    "lrs": {"scratch": [0.01]}, "canvas": 20}]})");
  refused("--only '*-s0' --table '" + table + "' --model '" + model + "' --out '" + (dir / "out").string() + "'",
          "--canvas: its value is 20, expected a multiple of the model's patch, 8");
}

TEST_CASE("a signal ends the program with 130, and what was finished stays") {
  if (program() == nullptr) return;
  const support::TempDir dir;
  const std::string model = (dir / "model").string(), table = (dir / "table.json").string(),
                    out = (dir / "out").string();
  make_pixel_model(model);
  // Far more steps than a test waits for.
  write_file_atomically(table,
                        R"({"rows": [{"name": "g", "task": [], "shots": [2], "modes": ["random"], "steps": 1000000,
    "lrs": {"random": [0.01]}, "batch": 1, "test": 1}]})");
  const std::string arguments = "--table '" + table + "' --model '" + model + "' --out '" + out + "'";
  support::Running running(program(), dir, arguments);
  // The rules come first, and the fit that follows has no end.
  REQUIRE(running.wait_for([&] { return !experiments::cell_files(out).empty(); }));
  running.signal(SIGTERM);
  const Ran stopped = running.wait();
  INFO(stopped.output);
  CHECK(stopped.exit_code == 130);
  CHECK(contains(stopped.errors, "interrupted; the same command goes on"));
  CHECK(experiments::cell_files(out).size() == 1);  // the rules
}
