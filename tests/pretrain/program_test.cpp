// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

// The program as people start it, on a network of a few weights and clips that need no media.
#include <cmath>
#include <cstdlib>
#include <string>

#include "segue/core/posix.hpp"
#include "segue/models/wan_folder.hpp"
#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/program.hpp"

using namespace segue;
using support::contains;

TEST_CASE("pretraining goes on where it stopped, and its weights are a beginning") {
  const char* const program = std::getenv("SEGUE_PRETRAIN_PROGRAM");
  if (program == nullptr) {
    WARN("skipped: SEGUE_PRETRAIN_PROGRAM is not set: ctest sets it where the examples are built");
    return;
  }
  const support::TempDir dir;
  const auto folder = [&](const std::string& name) { return (dir / name).string(); };
  const auto run = [&](const std::string& to, const std::string& more) {
    return support::run_program(program, dir,
                                "--out '" + folder(to) +
                                    "' --heads 1 --layers 1 --ffn 16 --size 16 --frames 2 --steps 4 " +
                                    "--batch 3 --sheet-every 2 --threads 1 " + more);
  };
  const auto weights = [&](const std::string& of, const std::string& kind) {
    return read_text_file(join_path(join_path(folder(of), kind), "diffusion_pytorch_model.safetensors"));
  };

  const support::Ran whole = run("whole", "");
  INFO(whole.output);
  REQUIRE(whole.exit_code == 0);
  CHECK(contains(whole.output, "held-out loss after step 4"));
  CHECK(contains(whole.output, "clips/s"));
  CHECK(is_file(join_path(folder("whole"), "samples.png")));
  CHECK(is_file(join_path(folder("whole"), "weights/segue.json")));
  CHECK(models::open_wan_folder(join_path(folder("whole"), "master")).config.num_layers == 1);

  REQUIRE(run("parts", "--stop-at 2 --workers 1").exit_code == 0);
  const support::Ran rest = run("parts", "--resume --workers 3");
  CHECK(contains(rest.output, "resuming after step 2 of 4"));
  for (const char* kind : {"weights", "master"}) CHECK(weights("parts", kind) == weights("whole", kind));

  // A run that begins with what another ended with has its loss, but for the rounding of what was written.
  const support::Ran again = run("again", "--init '" + join_path(folder("whole"), "weights") + "'");
  REQUIRE(again.exit_code == 0);
  const auto number = [](const std::string& text, const std::string& after) {
    const std::size_t at = text.find(after);
    return at == std::string::npos ? -1.0 : std::stod(text.substr(at + after.size()));
  };
  const double began = number(again.output, "held-out loss after step 0: ");
  const double ended = number(whole.output, "after step 4: held-out loss ");
  CHECK(std::abs(began - ended) < 5e-4);
  CHECK(std::abs(number(whole.output, "held-out loss after step 0: ") - ended) > 2e-3);

  CHECK(run("bad", "--size 20").exit_code == 2);
  CHECK(contains(run("bad", "--media '" + folder("whole") + "'").output, "--media: needs --corpus FILE"));
  write_file_atomically((dir / "corpus.json").string(), R"({"shares": {"generated": 1}})");
  const support::Ran nowhere = run("bad", "--corpus '" + folder("corpus.json") + "' --media /nowhere");
  CHECK(nowhere.exit_code == 2);
  CHECK(contains(nowhere.output, "--media: '/nowhere' is no folder"));
  CHECK_FALSE(is_directory(folder("bad")));
  const support::Ran other = run("parts", "--resume --lr 1e-4");
  CHECK(other.exit_code == 2);
  CHECK(contains(other.output, "setting 'lr' of this run is"));
}
