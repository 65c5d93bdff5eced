// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

// The program as people start it: on a model of a few weights, and once on the one that ships.
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "segue/core/posix.hpp"
#include "segue/io/image.hpp"
#include "segue/io/json.hpp"
#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/paths.hpp"
#include "support/pictures.hpp"
#include "support/pixel_model.hpp"
#include "support/program.hpp"

using namespace segue;
using support::contains;

namespace {

using support::Ran;

/// The path of the program, which the build system gives; null where it is not built.
const char* program() { return std::getenv("SEGUE_FEWSHOT_PROGRAM"); }

/// A folder, a model in it, and the program on them.
class Bench {
 public:
  Bench() { support::make_pixel_model(path("model")); }

  std::string path(const std::string& name) const { return (dir_ / name).string(); }
  /// The path of a file of the results in folder `out`.
  std::string in(const std::string& out, const std::string& file) const { return join_path(path(out), file); }
  std::string adapter(const std::string& out) const { return read_text_file(in(out, "adapter.safetensors")); }

  std::string arguments(const std::string& out, const std::string& more) const {
    return "--model '" + path("model") + "' --out '" + path(out) + "' " + more;
  }
  Ran run(const std::string& out, const std::string& more) const {
    return support::run_program(program(), dir_, arguments(out, more));
  }
  Ran run_bare(const std::string& words) const { return support::run_program(program(), dir_, words); }
  /// What it prints goes to `target`.
  Ran run_into(const std::string& target, const std::string& words) const {
    const std::string command = "\"$0\" " + words + " > " + target;
    return support::run_program("/bin/sh", dir_, "-c '" + command + "' '" + program() + "'");
  }
  support::Running start(const std::string& out, const std::string& more) const {
    return {program(), dir_, arguments(out, more)};
  }

 private:
  support::TempDir dir_;
};

/// A folder of `train` and `test` pairs; the answer to a picture is its negative.
void make_pairs(const std::string& folder, int train, int test) {
  for (const auto& [split, count] : {std::pair{"train", train}, std::pair{"test", test}}) {
    const std::string inputs = join_path(join_path(folder, split), "input");
    const std::string targets = join_path(join_path(folder, split), "target");
    make_directories(inputs);
    make_directories(targets);
    for (int i = 0; i < count; ++i) {
      const std::string name = "p" + std::to_string(i) + ".png";
      const int seed = i + (std::string_view(split) == "test" ? 100 : 0);
      io::Image picture = support::noise(40, 48, static_cast<std::uint64_t>(seed));
      io::save_png(join_path(inputs, name), picture);
      for (std::uint8_t& value : picture.pixels) value = static_cast<std::uint8_t>(255 - value);
      io::save_png(join_path(targets, name), picture);
    }
  }
}

/// Whether `picture`, each of its pixels a square of side `zoom`, stands anywhere in the last of the sheet's four rows.
bool last_row_shows(const io::Image& sheet, const io::Image& picture, int zoom) {
  const auto same = [&](int x0, int y0) {
    for (int y = 0; y < picture.height * zoom; ++y) {
      for (int x = 0; x < picture.width * zoom; ++x) {
        const auto* a = sheet.pixels.data() + 3 * ((y0 + y) * sheet.width + x0 + x);
        const auto* b = picture.pixels.data() + 3 * (y / zoom * picture.width + x / zoom);
        if (!std::equal(a, a + 3, b)) return false;
      }
    }
    return true;
  };
  for (int y = sheet.height * 3 / 4; y + picture.height * zoom <= sheet.height; ++y) {
    for (int x = 0; x + picture.width * zoom <= sheet.width; ++x) {
      if (same(x, y)) return true;
    }
  }
  return false;
}

/// The steps that the log tells of, in its order.
std::vector<int> logged_steps(const std::string& path) {
  std::vector<int> steps;
  const std::string text = read_text_file(path);
  for (std::size_t begin = 0, end; (end = text.find('\n', begin)) != std::string::npos; begin = end + 1) {
    const io::Json line = io::parse_json(std::string_view(text).substr(begin, end - begin), path);
    if (line.contains("loss")) steps.push_back(line.get<int>("step", path));
  }
  return steps;
}

void cut_in_half(const std::string& path) { std::filesystem::resize_file(path, std::filesystem::file_size(path) / 2); }

/// The batch makes a step long enough for a signal to come before the next ones.
const std::string six_steps = "--shots 3 --test 2 --sample-steps 1 --rank 2 --steps 6 --batch 512 ";

}  // namespace

TEST_CASE("fewshot refuses what is wrong in one line, with 2, and leaves no folder") {
  if (program() == nullptr) {
    WARN("skipped: SEGUE_FEWSHOT_PROGRAM is not set: ctest sets it where the examples are built");
    return;
  }
  const Bench bench;
  const auto refused_at = [&](const std::string& out, const std::string& more,
                              std::initializer_list<std::string> words) {
    const Ran ran = bench.run(out, "--sample-steps 1 --threads 1 " + more);
    INFO(more << "\n" << ran.output);
    CHECK(ran.exit_code == 2);
    CHECK(ran.errors.starts_with("fewshot: "));
    CHECK(std::count(ran.errors.begin(), ran.errors.end(), '\n') == 1);
    CHECK(ran.errors.ends_with("\n"));
    CHECK(!contains(ran.output, "step 1/"));
    CHECK(!std::filesystem::exists(bench.path(out)));
    for (const std::string& word : words) {
      INFO(word);
      CHECK(contains(ran.errors, word));
    }
  };
  // Should a run be accepted after all, it ends soon. A later option wins.
  const std::string brief = "--shots 2 --test 1 --steps 1 --batch 1 ";
  const auto refused = [&](const std::string& more, std::initializer_list<std::string> words) {
    refused_at("out", brief + more, words);
  };
  const auto quoted = [&](const std::string& name) { return " '" + bench.path(name) + "' "; };
  const std::string first = "train/input/p0.png", first_target = "train/target/p0.png";

  const Ran help = bench.run_bare("--help");
  CHECK(help.exit_code == 0);
  CHECK(help.errors.empty());
  CHECK(contains(help.output, "--pairs DIR"));
  if (std::filesystem::exists("/dev/full")) {
    const Ran lost = bench.run_into("/dev/full", "--help");
    CHECK(lost.exit_code == 1);
    CHECK(lost.errors == "fewshot: what was to be printed could not be written to standard output\n");
  }

  refused("--stepz 3", {"'--stepz'", "'--steps'"});
  refused("--steps 0", {"--steps", "'0'"});
  refused("--steps", {"--steps", "needs a value"});
  refused("--score none", {"score", "none", "iou"});
  refused("--guidance 5", {"--guidance", "5", "expected 1"});
  refused("--resume", {"--resume", bench.path("out")});

  refused("--pairs" + quoted("no-pairs"), {bench.path("no-pairs"), "missing"});
  make_pairs(bench.path("lone"), 2, 1);
  std::filesystem::remove(bench.in("lone", first_target));
  refused("--pairs" + quoted("lone"), {"p0.png", "no target"});
  make_pairs(bench.path("unequal"), 2, 1);
  io::save_png(bench.in("unequal", first_target), support::noise(40, 47, 1));
  refused("--pairs" + quoted("unequal"), {bench.in("unequal", first_target), "40x47", "40x48"});
  make_pairs(bench.path("corrupt"), 2, 1);
  std::string bytes = read_text_file(bench.in("corrupt", first));
  bytes[bytes.size() / 2] ^= 1;
  write_file_atomically(bench.in("corrupt", first), bytes);
  refused("--pairs" + quoted("corrupt"), {bench.in("corrupt", first), "corrupt"});
  make_pairs(bench.path("cut"), 2, 1);
  cut_in_half(bench.in("cut", first));
  refused("--pairs" + quoted("cut"), {bench.in("cut", first), "truncated"});
  make_pairs(bench.path("good"), 2, 1);
  refused("--shots 3 --pairs" + quoted("good"), {bench.path("good"), "3"});

  const std::string weights = "diffusion_pytorch_model.safetensors";
  const auto copy_model = [&](const std::string& to) {
    std::filesystem::copy(bench.path("model"), bench.path(to), std::filesystem::copy_options::recursive);
  };
  refused("--model" + quoted("no-model"), {bench.path("no-model")});
  copy_model("weightless");
  std::filesystem::remove(bench.in("weightless", weights));
  refused("--model" + quoted("weightless"), {bench.path("weightless"), "safetensors"});
  copy_model("cut-model");
  cut_in_half(bench.in("cut-model", weights));
  refused("--model" + quoted("cut-model"), {bench.in("cut-model", weights)});
  // Cut inside its header too.
  std::filesystem::resize_file(bench.in("cut-model", weights), 100);
  refused("--model" + quoted("cut-model"), {bench.in("cut-model", weights)});

  copy_model("uneven");
  write_file_atomically(bench.in("uneven", "segue.json"), R"({"frames": 2, "height": 36, "width": 32,
    "channels": ["noisy", "mask", "first_frame"], "codec": "identity"})");
  refused("--model" + quoted("uneven"), {bench.in("uneven", "segue.json"), "height", "36", "8"});

  const std::string inputs = "--apply '" + bench.in("good", "test/input") + "' ";
  refused_at("out", inputs, {"--apply", "--adapter"});
  refused_at("out", inputs + "--adapter x --test 3", {"--test", "--apply"});
  refused_at("out", inputs + "--adapter" + quoted("no-adapter.safetensors"), {bench.path("no-adapter.safetensors")});
  refused_at("out", inputs + "--adapter '" + bench.in("model", weights) + "'", {bench.in("model", weights)});

  // A folder that nobody can make, and one that only the superuser can.
  write_file_atomically(bench.path("file"), "");
  refused_at("file/out", brief, {bench.path("file")});
  if (::geteuid() != 0) {
    make_directories(bench.path("locked"));
    std::filesystem::permissions(bench.path("locked"), std::filesystem::perms(0555));
    refused_at("locked/out", brief, {bench.path("locked")});
  }
}

TEST_CASE("fewshot ends with the same bytes on any way to the last step") {
  if (program() == nullptr) return;
  const Bench bench;
  const Ran whole = bench.run("whole", six_steps + "--threads 1");
  INFO(whole.output);
  REQUIRE(whole.exit_code == 0);
  CHECK(whole.errors.empty());
  CHECK(contains(whole.output, "weights are rounded to bf16"));
  const std::string expected = bench.adapter("whole");
  CHECK(logged_steps(bench.in("whole", "log.jsonl")) == std::vector{1, 2, 3, 4, 5, 6});

  const auto goes_on = [&](const std::string& out, const std::string& more) {
    const Ran rest = bench.run(out, six_steps + "--resume " + more);
    INFO(rest.output);
    REQUIRE(rest.exit_code == 0);
    CHECK(contains(rest.output, "resuming after step"));
    CHECK((bench.adapter(out) == expected));  // more brackets: bytes are not for the terminal
    CHECK(logged_steps(bench.in(out, "log.jsonl")) == std::vector{1, 2, 3, 4, 5, 6});
  };

  // A signal may come when the run is through already; then it is tried again.
  const auto cut_short = [&](const std::string& name, const std::string& more, int number, const auto& prepare,
                             const auto& now) {
    for (int attempt = 0; attempt < 20; ++attempt) {
      const std::string out = name + std::to_string(attempt);
      prepare(out);
      support::Running running = bench.start(out, six_steps + "--threads 1 " + more);
      const bool alive = running.wait_for([&] { return now(out); });
      running.signal(number);
      Ran ran = running.wait();
      if (alive && !is_file(bench.in(out, "adapter.safetensors"))) return std::pair(out, std::move(ran));
    }
    FAIL("every run was through before its signal");
    return std::pair<std::string, Ran>();
  };
  const auto nothing = [](const std::string&) {};

  SECTION("another number of threads") {
    REQUIRE(bench.run("two", six_steps + "--threads 2").exit_code == 0);
    CHECK((bench.adapter("two") == expected));
    // Other bytes do come of another run.
    REQUIRE(bench.run("other", six_steps + "--threads 2 --seed 1").exit_code == 0);
    CHECK((bench.adapter("other") != expected));
  }
  SECTION("a stop, and other threads after it") {
    // The model as part of a pipeline; a later option wins.
    make_directories(bench.path("pipeline"));
    std::filesystem::copy(bench.path("model"), bench.in("pipeline", "transformer"));
    const std::string pipeline = "--model '" + bench.path("pipeline") + "' ";
    const Ran stopped = bench.run("parts", six_steps + pipeline + "--threads 1 --stop-at 3");
    CHECK(stopped.exit_code == 0);
    CHECK(contains(stopped.output, "after step 3 of 6"));
    CHECK(!is_file(bench.in("parts", "adapter.safetensors")));
    // What does not fit is refused, and the run stays as it was.
    const std::string settings = read_text_file(bench.in("parts", "settings.json"));
    const Ran other_rate = bench.run("parts", six_steps + pipeline + "--resume --lr 1e-3");
    CHECK(other_rate.exit_code == 2);
    CHECK(read_text_file(bench.in("parts", "settings.json")) == settings);
    const std::string weights = bench.in("pipeline", "transformer/diffusion_pytorch_model.safetensors"),
                      kept = read_text_file(weights);
    std::string others = kept;
    others.back() = static_cast<char>(others.back() ^ 1);
    write_file_atomically(weights, others);
    const Ran other_model = bench.run("parts", six_steps + pipeline + "--resume");
    CHECK(other_model.exit_code == 2);
    CHECK(contains(other_model.errors, "'weights'"));
    write_file_atomically(weights, kept);
    goes_on("parts", pipeline + "--threads 2");
  }
  SECTION("kill -9") {
    const auto [out, killed] =
        cut_short("killed", "--checkpoint-every 1", SIGKILL, nothing,
                  [&](const std::string& folder) { return is_file(bench.in(folder, "checkpoint.safetensors")); });
    CHECK(killed.exit_code == -1);
    goes_on(out, "--threads 1");
  }
  SECTION("kill -9 after a stop") {
    // No checkpoint follows the one of step 3: the steps of the killed run are made, and told of, again.
    const auto [out, killed] = cut_short(
        "both", "--resume", SIGKILL,
        [&](const std::string& folder) {
          REQUIRE(bench.run(folder, six_steps + "--threads 1 --stop-at 3").exit_code == 0);
        },
        [&](const std::string& folder) { return logged_steps(bench.in(folder, "log.jsonl")).size() > 3; });
    CHECK(killed.exit_code == -1);
    goes_on(out, "--threads 1");
  }
  SECTION("Ctrl-C") {
    // Without --checkpoint-every there is no checkpoint before the last step but the one of the interruption.
    const auto [out, stopped] = cut_short("interrupted", "", SIGINT, nothing, [&](const std::string& folder) {
      const std::string log = bench.in(folder, "log.jsonl");
      return is_file(log) && !read_text_file(log).empty();
    });
    INFO(stopped.output);
    CHECK(stopped.exit_code == 130);
    CHECK(stopped.errors.starts_with("fewshot: "));
    CHECK(contains(stopped.errors, "interrupted"));
    CHECK(std::count(stopped.errors.begin(), stopped.errors.end(), '\n') == 1);
    REQUIRE(is_file(bench.in(out, "checkpoint.safetensors")));
    goes_on(out, "--threads 1");
  }
}

TEST_CASE("fewshot answers pictures with an adapter as the run that made it did") {
  if (program() == nullptr) return;
  const Bench bench;
  make_pairs(bench.path("pairs"), 3, 3);
  const Ran learned = bench.run("run", "--pairs '" + bench.path("pairs") +
                                           "' --shots 3 --steps 8 --lr 0.05 --rank 2 --sample-steps 2 --threads 1");
  INFO(learned.output);
  REQUIRE(learned.exit_code == 0);
  const io::Image sheet = io::load_image(bench.in("run", "contact_sheet.png"));

  const std::vector<std::string> pictures = {"p0.png", "p1.png", "p2.png"};
  const auto answers = [&](const std::string& out, const std::string& adapter, const std::string& more) {
    const Ran ran = bench.run(out, "--apply '" + bench.in("pairs", "test/input") + "' --adapter '" +
                                       bench.in("run", adapter) + "' --sample-steps 2 --threads 1 " + more);
    INFO(ran.output);
    REQUIRE(ran.exit_code == 0);
    std::vector<std::string> names = list_directory(bench.path(out));
    std::erase_if(names, [](const std::string& name) { return !name.ends_with(".png"); });
    CHECK(names == pictures);
    std::vector<io::Image> images;
    for (const std::string& name : names) images.push_back(io::load_image(bench.in(out, name)));
    return images;
  };
  const std::vector<io::Image> drawn = answers("answers", "adapter.safetensors", "");
  for (const io::Image& answer : drawn) {
    CHECK(answer.width == 32);
    CHECK(answer.height == 32);
    // The row above has what the frozen model drew: an adapter that is not applied would be seen.
    CHECK(last_row_shows(sheet, answer, 3));
  }
  CHECK((answers("again", "peft", "--sample-batch 2") == drawn));
  CHECK((answers("other-noise", "adapter.safetensors", "--seed 1") != drawn));

  // Of two pictures that differ in the end of their name only one answer would take the place of the other.
  make_directories(bench.path("twins"));
  for (const char* name : {"a.png", "a.jpg"}) {
    std::filesystem::copy_file(bench.in("pairs", "test/input/p0.png"), bench.in("twins", name));
  }
  const Ran twins = bench.run("both", "--apply '" + bench.path("twins") + "' --adapter '" +
                                          bench.in("run", "adapter.safetensors") + "' --sample-steps 2 --threads 1");
  INFO(twins.output);
  CHECK(twins.exit_code == 2);
  CHECK(contains(twins.errors, "two pictures are named 'a'"));
  CHECK(!std::filesystem::exists(bench.path("both")));
}

TEST_CASE("fewshot's results on the model that ships") {
  if (program() == nullptr) return;
  const Bench bench;
  const Ran ran = bench.run_bare("--out '" + bench.path("results") +
                                 "' --shots 3 --test 2 --steps 2 --batch 1 --sample-steps 1 --seed 7 --threads 2");
  INFO(ran.output);
  REQUIRE(ran.exit_code == 0);
  CHECK(ran.errors.empty());
  CHECK(!contains(ran.output, "rounded"));

  const std::string path = bench.in("results", "metrics.json");
  const io::Json metrics = io::parse_json(read_text_file(path), path);
  CHECK(metrics.get<std::string>("task", path) == "generated");
  CHECK(metrics.get<std::string>("score", path) == "iou");
  for (const char* key : {"before", "after"}) {
    const double value = metrics.get<double>(key, path);
    CHECK(value >= 0);
    CHECK(value <= 1);
  }
  REQUIRE(metrics.at("baselines", path).is_object());
  CHECK(metrics.at("baselines", path).size() > 0);
  CHECK(metrics.at("baselines", path).contains("copy_input"));
  CHECK(metrics.get<int>("shots", path) == 3);
  CHECK(metrics.get<int>("seed", path) == 7);
  CHECK(metrics.get<int>("steps", path) == 2);
  const double train_seconds = metrics.get<double>("train_seconds", path);
  CHECK(train_seconds > 0);
  CHECK(metrics.get<double>("total_seconds", path) > train_seconds);
  // The weights alone have 19 MB.
  CHECK(metrics.get<double>("peak_bytes", path) > 19e6);

  // Two pictures of 64 a row and more.
  const io::Image sheet = io::load_image(bench.in("results", "contact_sheet.png"));
  CHECK(sheet.width > 2 * 64);
  CHECK(sheet.height > 4 * 64);
  const std::string report = read_text_file(bench.in("results", "report.html"));
  CHECK(contains(report, "data:image/png;base64,"));
  CHECK(report.ends_with("</html>\n"));

  std::array<char, 256> host{};
  REQUIRE(::gethostname(host.data(), host.size() - 1) == 0);
  for (const char* file : {"adapter.safetensors", "peft/adapter_model.safetensors", "peft/adapter_config.json"}) {
    INFO(file);
    const std::string bytes = read_text_file(bench.in("results", file));
    CHECK(bytes.size() > 100);
    CHECK(!contains(bytes, bench.path("results")));
    // Names of a few letters stand in any file.
    if (std::string(host.data()).size() >= 5) CHECK(!contains(bytes, host.data()));
  }
}
