// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#include "options.hpp"

#include "common/command_line.hpp"
#include "segue/core/posix.hpp"
#include "segue/tasks/named_task.hpp"

namespace fewshot {
namespace {

using example::parse_number;

example::CommandLine<Options> command_line() {
  example::CommandLine<Options> c;
  c.text("--pairs", "DIR", "image pairs: DIR/{train,test}/{input,target}/NAME.png, optionally DIR/keypoints.json",
         &Options::pairs);
  c.text("--arc", "PATH",
         "an ARC task (a .json file), or one rule: a folder of them, or DIR/RULE of DIR/{train,test}/RULE",
         &Options::arc);
  c.custom("--layout", "KIND",
           "how grids are drawn: plain (with lines), solid, or folded for grids of one row (default below 400 pixels: "
           "folded "
           "if all have one, else solid)",
           [](Options& o, const std::string&, const std::string& value) {
             o.layout = segue::tasks::layout_from_name(value);
           });
  c.text("--task", "NAME", "a generated task on grids: " + segue::tasks::detail::list_named_tasks(), &Options::task);
  c.text("--life", "RULE", "a Life-like automaton, e.g. B3/S23, on 8x8 wrapping grids", &Options::life);
  c.custom("--transform", "NAME",
           "learn flip, flip-vertical, zoom, edges, colourise or inpaint from the pictures of --pictures or --pairs",
           [](Options& o, const std::string&, const std::string& value) {
             o.transform = segue::tasks::picture_transform_from_name(value);
           });
  c.text("--pictures", "DIR", "pictures for --transform: DIR/NAME.png (or .jpg, .bmp), or DIR/{train,test}/NAME.png",
         &Options::pictures);
  c.flag("--muted", "the generated task, with clutter in duller colours than the object: colours alone tell it",
         &Options::muted);
  c.text("--latents", "DIR", "clips and text embeddings that are encoded already, one .safetensors an item",
         &Options::latents);
  c.text("--apply", "DIR", "answer the pictures of DIR with --adapter; no training", &Options::apply);
  c.text("--model", "DIR", "the frozen backbone: a Wan folder as diffusers writes it (default: the one that ships)",
         &Options::model);
  c.number("--canvas", "N",
           "side of the pictures in pixels, where it is not the one that the model says; again with --apply",
           &Options::canvas, 8, 4096);
  c.text("--adapter", "FILE", "the adapter for --apply: a .safetensors file or a PEFT folder", &Options::adapter);
  c.text("--out", "DIR", "where results go (default: out/<task>)", &Options::out);
  c.text("--score", "NAME", "pck, iou, exact, cell_accuracy, path or mae (default: what fits the task)",
         &Options::score);
  c.number("--score-size", "N",
           "judge answers to --pairs by iou or mae at this size: they and the targets are resized (default: as drawn)",
           &Options::score_size, 8, 4096);
  c.custom("--shots", "N", "training pairs (default 10; for a single ARC task all of them)",
           [](Options& o, const std::string& name, const std::string& value) {
             o.shots = parse_number<int>(name, value, 1, 1000000);
             o.shots_given = true;
           });
  c.number("--test", "N", "use only the first N test items; of a generated task N are made (default 50)",
           &Options::test_items, 1, 1000000);
  c.custom(
      "--augment", "KINDS",
      "learn from variants of the training pairs too, up to 64 of each and 1024 in all, as far as the task does not "
      "mind: mirror (left and right), turns (the square's symmetries), roll (cyclic moves), colours (of a picture "
      "the input's light and balance, of grids the values but 0), warp (pictures only), joined by '+' (default "
      "none)",
      [](Options& o, const std::string&, const std::string& value) {
        o.augmentation = segue::tasks::augmentation_from_name(value);
      });
  c.number("--attempts", "N",
           "answers a test grid, with different noise; one must be right (default 1; ARC-AGI has 2, ConceptARC 3)",
           &Options::attempts, 1, 100);
  c.number("--steps", "N", "training steps (default 300)", &Options::steps, 1, 10000000);
  c.number("--stop-at", "N", "stop after step N of --steps, ready to --resume", &Options::stop_at, 1, 10000000);
  c.number("--batch", "N", "clips a step (default 4)", &Options::batch, 1, 4096);
  c.number("--rank", "N", "rank of the LoRA updates (default 16)", &Options::rank, 1, 4096);
  c.number("--alpha", "X", "LoRA alpha (default: the rank, which is scale 1)", &Options::alpha, 1e-6, 1e6);
  c.number("--lr", "X", "peak learning rate (default 6e-3)", &Options::lr, 1e-9, 1e3);
  c.number("--dropout", "X", "dropout before A (default 0)", &Options::dropout, 0.0, 0.99);
  c.custom("--targets", "A,B", "modules to adapt, by the end of their name (default: every linear of the blocks)",
           [](Options& o, const std::string&, const std::string& value) { o.targets = example::split_list(value); });
  c.custom("--transition", "KIND", "discrete, convex, quadratic, square_root or tiles (default discrete)",
           [](Options& o, const std::string&, const std::string& value) {
             o.transition = segue::tasks::transition_from_name(value);
           });
  c.number("--seed", "N", "initialisation, order, noise and variants (default 0)", &Options::seed, 0,
           ~std::uint64_t{0} >> 1);
  c.number("--sample-steps", "N", "Euler steps an answer (default 6)", &Options::sample_steps, 1, 10000);
  c.number("--average", "N", "draws, with different noise, that an answer is the mean of (default 1)",
           &Options::average, 1, 100);
  c.number("--sample-batch", "N", "items that are answered together (default 10)", &Options::sample_batch, 1, 4096);
  c.number("--shift", "X", "timestep shift of training and sampling: large is noisy (default 25)", &Options::shift,
           0.01, 100.0);
  c.number("--guidance", "X", "classifier-free guidance: 1, none, is all there is without prompts", &Options::guidance,
           0.0, 100.0);
  c.text("--device", "NAME", "cpu or cuda: examples/run.sh builds the program for it, for the CPU by default",
         &Options::device);
  c.text(
      "--precision", "NAME",
      "on a CPU bf16-weights (the default: the frozen model as bf16, all else fp32), fp32, or bf16 (with AMX half the "
      "time); on a GPU bf16",
      &Options::precision);
  c.number("--threads", "N", "threads (default: all); results do not depend on it", &Options::threads, 1, 4096);
  c.number("--checkpoint-every", "N", "steps between checkpoints (default 50)", &Options::checkpoint_every, 1,
           10000000);
  c.flag("--resume", "go on from the checkpoint in --out", &Options::resume);
  c.flag("--help", "this text", &Options::help);
  return c;
}

void check_combination(const Options& o) {
  std::vector<std::string> sources;
  for (const auto& [name, value] :
       {std::pair{"--pairs", &o.pairs}, std::pair{"--pictures", &o.pictures}, std::pair{"--arc", &o.arc},
        std::pair{"--task", &o.task}, std::pair{"--life", &o.life}, std::pair{"--latents", &o.latents},
        std::pair{"--apply", &o.apply}}) {
    if (!value->empty()) sources.emplace_back(name);
  }
  if (sources.size() > 1) segue::throw_input(sources[0], "cannot be used together with " + sources[1]);
  if (o.transform && o.pictures.empty() && o.pairs.empty()) {
    segue::throw_input("--transform", "needs --pictures DIR or --pairs DIR");
  }
  if (!o.pictures.empty() && !o.transform) segue::throw_input("--pictures", "needs --transform NAME");
  if (o.layout && o.arc.empty() && o.task.empty() && o.life.empty()) {
    segue::throw_input("--layout", "needs --arc PATH, --task NAME or --life RULE");
  }
  if (o.score_size > 0 && o.pairs.empty()) segue::throw_input("--score-size", "needs --pairs DIR");
  if (o.score_size > 0 && o.transform) {
    segue::throw_input("--score-size", "cannot be used together with --transform");
  }
  for (const auto& [source, given] : {std::pair{"--latents", &o.latents}, std::pair{"--apply", &o.apply}}) {
    if (!given->empty() && o.augmentation.any()) {
      segue::throw_input("--augment", "cannot be used together with " + std::string(source));
    }
  }
  if (o.test_items > 0 && !o.apply.empty()) segue::throw_input("--test", "cannot be used together with --apply");
  if (!o.latents.empty() && o.average > 1) segue::throw_input("--average", "cannot be used together with --latents");
  if (!o.latents.empty() && o.canvas > 0) segue::throw_input("--canvas", "cannot be used together with --latents");
  if (!o.apply.empty() && o.adapter.empty()) segue::throw_input("--apply", "needs --adapter FILE");
  if (o.apply.empty() && !o.adapter.empty()) segue::throw_input("--adapter", "is read by --apply DIR only");
  if (o.stop_at > o.steps) {
    segue::throw_input("--stop-at", "its value", std::to_string(o.stop_at),
                       "at most --steps, " + std::to_string(o.steps));
  }
}

}  // namespace

Options parse_options(int argc, char** argv) {
  Options options = command_line().parse(argc, argv);
  if (!options.help) check_combination(options);
  return options;
}

std::string help_text() {
  return "fewshot: teach a frozen video diffusion model a visual task from a few image pairs\n\n"
         "Each pair becomes a short clip that begins with the input and ends with the answer; LoRA weights learn it.\n"
         "Without a source a generated task is used: a patterned object among clutter of its colours, to its "
         "mask.\n\n" +
         command_line().help() +
         "\nWrites adapter.safetensors, peft/, metrics.json, contact_sheet.png and report.html.\n"
         "Ctrl-C finishes the step, saves and exits with 130; --resume goes on. Bad input exits with 2.\n";
}

std::string default_model() { return segue::join_path(SEGUE_WEIGHTS_DIR, "wan-small"); }

}  // namespace fewshot
