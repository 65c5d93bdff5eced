// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

#include "segue/train/trainer.hpp"

#include <csignal>

#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/paths.hpp"
#include "train/toy.hpp"

namespace {

using namespace toy;
using Objective = train::FlowMatchingObjective<>;
using support::contains;
using support::message_of;

train::TrainerOptions options(std::int64_t steps) {
  train::TrainerOptions o;
  o.steps = steps;
  o.lr = 1e-2;
  o.seed = 11;
  return o;
}

struct Outcome {
  std::vector<float> weights;
  std::vector<train::StepInfo> steps;
  train::TrainReport report;
};

/// One run from fresh objects, as another process would start it.
Outcome run(const train::TrainerOptions& o, bool resume = false, std::int64_t batch = 2, Objective objective = {}) {
  Exec<Cpu> exec({.threads = 1});
  Context<P> ctx(exec);
  Model model(exec);
  auto source = data(exec, batch);
  train::Trainer trainer(ctx, model, source, objective, o);
  if (resume) REQUIRE(trainer.resume());
  Sink sink;
  auto report = trainer.run(sink);
  return {model.weights(), sink.steps, report};
}

}  // namespace

TEST_CASE("training lowers the loss, and the same seed gives the same bits") {
  auto o = options(300);
  o.held_out_every = 100;
  Exec<Cpu> exec;
  Context<P> ctx(exec);
  Model model(exec);
  auto source = data(exec);
  train::Trainer trainer(ctx, model, source, Objective{}, o);
  trainer.set_held_out(source.all(exec));
  Sink sink;
  const auto report = trainer.run(sink);
  CHECK(report.finished());
  CHECK(report.step == 300);
  CHECK(report.skipped == 0);
  REQUIRE(sink.held_out.size() == 4);
  CHECK(sink.held_out[0].first == 0);
  CHECK(sink.held_out[3].second < 0.9 * sink.held_out[0].second);
  CHECK(report.held_out_loss == sink.held_out[3].second);

  // Looking at held-out clips changes nothing.
  CHECK(run(options(300)).weights == model.weights());
  auto other = options(300);
  other.seed = 12;
  CHECK(run(other).weights != model.weights());
}

TEST_CASE("a step that is not finite changes nothing, is counted and reported") {
  Exec<Cpu> exec;
  Context<P> ctx(exec);
  Model model(exec);
  Poisoned source{data(exec), {1, 3}};
  train::Trainer trainer(ctx, model, source, Objective{}, options(5));
  const auto good = trainer.step();
  CHECK(!good.skipped);
  const auto before = model.weights();
  const auto bad = trainer.step();
  CHECK(bad.skipped);
  CHECK(std::isnan(bad.loss));
  CHECK(model.weights() == before);
  CHECK(trainer.optimizer().steps() == 1);
  Sink sink;
  const auto report = trainer.run(sink);
  CHECK(report.step == 5);
  CHECK(report.skipped == 2);
  CHECK(trainer.optimizer().steps() == 3);
  CHECK(std::isfinite(report.final_loss));
  REQUIRE(sink.steps.size() == 3);
  CHECK(sink.steps[1].skipped);
  CHECK(sink.steps[1].skipped_steps == 2);
  for (const float w : model.weights()) CHECK(std::isfinite(w));
}

TEST_CASE("ten such steps in a row end the run with the reason") {
  Exec<Cpu> exec;
  Context<P> ctx(exec);
  Model model(exec);
  std::vector<std::uint64_t> bad;
  for (std::uint64_t i = 4; i < 100; ++i)
    if (i != 9) bad.push_back(i);
  Poisoned source{data(exec), bad};
  train::Trainer trainer(ctx, model, source, Objective{}, options(100));
  Sink sink;
  const std::string message = message_of<Error>([&] { trainer.run(sink); });
  CHECK(contains(message, "training stopped after step 20: the loss was not finite in 10 steps in a row"));
  CHECK(sink.steps.size() == 20);
}

TEST_CASE("n steps are k steps, a stop and n - k steps, bit for bit") {
  support::TempDir dir;
  auto whole = options(6);
  whole.schedule = {train::LrDecay::cosine, 2};
  whole.ema_decay = 0.9;
  whole.accumulation = 2;
  whole.checkpoint_path = (dir / "whole.safetensors").string();
  whole.log_path = (dir / "whole.jsonl").string();
  const auto expected = run(whole);

  auto part = whole;
  part.checkpoint_path = (dir / "part.safetensors").string();
  part.log_path = (dir / "part.jsonl").string();
  part.stop_at = 3;
  const auto first = run(part);
  CHECK(first.report.step == 3);
  CHECK(!first.report.finished());
  CHECK(first.weights != expected.weights);
  part.stop_at = 0;
  const auto rest = run(part, true);
  CHECK(rest.steps.size() == 3);
  CHECK(rest.weights == expected.weights);
  CHECK(rest.report.final_loss == expected.report.final_loss);
  CHECK(rest.steps[0].loss == expected.steps[3].loss);
  CHECK(rest.steps[2].grad_norm == expected.steps[5].grad_norm);
  CHECK(rest.steps[1].lr == expected.steps[4].lr);

  // The whole state: moments, averages, counters.
  const io::SafetensorsFile a(whole.checkpoint_path), b(part.checkpoint_path);
  REQUIRE(a.tensors().size() == 8);
  for (const auto& info : a.tensors()) {
    INFO(info.name);
    const auto* other = b.find(info.name);
    REQUIRE(other != nullptr);
    CHECK(std::equal(info.data.begin(), info.data.end(), other->data.begin(), other->data.end()));
  }
  const auto lines = [](const std::string& path) {
    const std::string text = read_text_file(path);
    return std::count(text.begin(), text.end(), '\n');
  };
  CHECK(lines(whole.log_path) == 6);
  CHECK(lines(part.log_path) == 6);

  // A finished run has nothing left to do.
  CHECK(run(part, true).steps.empty());
}

TEST_CASE("a run that died goes on from its last checkpoint") {
  support::TempDir dir;
  auto o = options(7);
  const auto expected = run(o);
  o.checkpoint_path = (dir / "c.safetensors").string();
  o.log_path = (dir / "log.jsonl").string();
  o.checkpoint_every = 2;
  struct Died {};
  {
    Exec<Cpu> exec;
    Context<P> ctx(exec);
    Model model(exec);
    auto source = data(exec);
    train::Trainer trainer(ctx, model, source, Objective{}, o);
    Sink sink;
    // Leaves the loop as a crash does: after step 5, without a save.
    sink.on_each = [](std::int64_t step) {
      if (step == 5) throw Died{};
    };
    CHECK_THROWS_AS(trainer.run(sink), Died);
  }
  const auto rest = run(o, true);
  CHECK(rest.steps.front().step == 5);
  CHECK(rest.weights == expected.weights);
  const std::string log = read_text_file(o.log_path);
  CHECK(std::count(log.begin(), log.end(), '\n') == 7);
}

TEST_CASE("skipped steps survive a resume") {
  support::TempDir dir;
  auto o = options(6);
  o.checkpoint_path = (dir / "c.safetensors").string();
  o.stop_at = 3;
  for (int part = 0; part < 2; ++part) {
    Exec<Cpu> exec;
    Context<P> ctx(exec);
    Model model(exec);
    Poisoned source{data(exec), {1, 2}};
    train::Trainer trainer(ctx, model, source, Objective{}, o);
    CHECK(trainer.resume() == (part == 1));
    if (part == 1) CHECK(trainer.state().consecutive_skipped == 2);
    Sink sink;
    CHECK(trainer.run(sink).skipped == 2);
    o.stop_at = 0;
  }
}

TEST_CASE("a checkpoint of another run is refused with the setting's name") {
  support::TempDir dir;
  auto o = options(4);
  o.checkpoint_path = (dir / "c.safetensors").string();
  o.stop_at = 2;
  o.settings["rank"] = 16;
  run(o);
  const auto refusal = [&](const train::TrainerOptions& changed, std::int64_t batch = 2, Objective objective = {}) {
    return message_of<InputError>([&] {
      Exec<Cpu> exec;
      Context<P> ctx(exec);
      Model model(exec);
      auto source = data(exec, batch);
      train::Trainer trainer(ctx, model, source, objective, changed);
      trainer.resume();
    });
  };
  CHECK(refusal(o) == "(nothing was thrown)");
  auto lr = o;
  lr.lr = 2e-2;
  CHECK(contains(refusal(lr), "setting 'lr' of this run is 0.02, expected 0.01 as in the run that it would resume"));
  auto rank = o;
  rank.settings["rank"] = 8;
  CHECK(contains(refusal(rank), "setting 'rank' of this run is 8, expected 16"));
  auto extra = o;
  extra.settings["transition"] = "tiles";
  CHECK(contains(refusal(extra), "setting 'transition' of this run is \"tiles\", expected \"absent\""));
  auto seed = o;
  seed.seed = 12;
  CHECK(contains(refusal(seed), "setting 'seed'"));
  CHECK(contains(refusal(o, 1), "setting 'batch_size'"));
  CHECK(contains(refusal(o, 2, Objective{.noise_draw = train::NoiseDraw::antithetic}), "setting 'objective'"));
  auto averaged = o;
  averaged.ema_decay = 0.5;
  CHECK(contains(refusal(averaged), "setting 'ema_decay'"));

  write_file_atomically(o.checkpoint_path, "no checkpoint");
  CHECK(contains(refusal(o), o.checkpoint_path + ": the header length is"));
}

TEST_CASE("an interruption finishes the step, saves and says so") {
  support::TempDir dir;
  auto o = options(8);
  const auto expected = run(o);
  o.checkpoint_path = (dir / "c.safetensors").string();
  {
    Exec<Cpu> exec;
    Context<P> ctx(exec);
    Model model(exec);
    auto source = data(exec);
    train::Trainer trainer(ctx, model, source, Objective{}, o);
    Sink sink;
    sink.on_each = [](std::int64_t step) {
      if (step == 3) std::raise(SIGINT);
    };
    const InterruptGuard guard;
    const std::string message = message_of<Interrupted>([&] { trainer.run(sink); });
    CHECK(contains(message, "training was interrupted after step 3; its state is in " + o.checkpoint_path));
    CHECK(sink.steps.size() == 3);
  }
  // The next guard clears the flag.
  const InterruptGuard guard;
  const auto rest = run(o, true);
  CHECK(rest.steps.size() == 5);
  CHECK(rest.weights == expected.weights);
}

TEST_CASE("a step is the same however it is cut into batches") {
  auto one = options(4), two = options(4);
  two.accumulation = 2;
  const auto a = run(one, false, 2), b = run(two, false, 1);
  for (std::size_t i = 0; i < 4; ++i) {
    CHECK(std::abs(a.steps[i].loss - b.steps[i].loss) < 1e-6 * a.steps[i].loss);
    CHECK(std::abs(a.steps[i].grad_norm - b.steps[i].grad_norm) < 1e-5 * a.steps[i].grad_norm);
  }
}

TEST_CASE("options that make no sense are refused") {
  const auto refusal = [](auto change) {
    auto o = options(3);
    change(o);
    return message_of<InputError>([&] { run(o); });
  };
  CHECK(contains(refusal([](auto& o) { o.steps = 0; }), "Trainer: steps is"));
  CHECK(contains(refusal([](auto& o) { o.accumulation = 0; }), "Trainer: accumulation is"));
  CHECK(contains(refusal([](auto& o) { o.clip = -1; }), "Trainer: clip is"));
  CHECK(contains(refusal([](auto& o) { o.lr = NAN; }), "Trainer: lr is"));
}
