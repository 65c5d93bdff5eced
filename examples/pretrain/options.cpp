// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#include "options.hpp"

#include "common/command_line.hpp"

namespace pretrain {
namespace {

example::CommandLine<Options> command_line() {
  example::CommandLine<Options> c;
  c.text("--out", "DIR", "where checkpoint, log, samples and weights go (default out/pretrain)", &Options::out);
  c.text("--corpus", "FILE", "what clips are made of, e.g. examples/pretrain/corpus.json (default: no media needed)",
         &Options::corpus);
  c.text("--media", "DIR", "the folder of the corpus' sprites, cut-outs, motions and films (default: what it says)",
         &Options::media);
  c.text("--init", "DIR", "start from the weights of this Wan folder instead of random ones", &Options::init);
  c.number("--heads", "N", "attention heads of 64 (default 5)", &Options::heads, 1, 64);
  c.number("--layers", "N", "blocks (default 6)", &Options::layers, 1, 100);
  c.number("--ffn", "N", "width of the feed-forward layers (default 960)", &Options::ffn, 1, 100000);
  c.number("--frames", "N", "frames of a clip (default 5)", &Options::frames, 2, 1000);
  c.number("--size", "N", "height and width in pixels, a multiple of 8 (default 64)", &Options::size, 8, 4096);
  c.number("--steps", "N", "training steps (default 2000)", &Options::steps, 1, 100000000);
  c.number("--stop-at", "N", "stop after step N of --steps, ready to --resume", &Options::stop_at, 1, 100000000);
  c.number("--batch", "N", "clips a step (default 32)", &Options::batch, 1, 65536);
  c.number("--lr", "X", "peak learning rate (default 1e-3)", &Options::lr, 1e-9, 1.0);
  c.number("--weight-decay", "X", "of matrices (default 0.01)", &Options::weight_decay, 0.0, 1.0);
  c.number("--warmup", "N", "steps until the peak (default: a twentieth of --steps, at most 200)", &Options::warmup, 0,
           100000000);
  c.number("--decay-share", "X", "share of the steps in which the rate falls, by a cosine, at the end (default 1)",
           &Options::decay_share, 0.0, 1.0);
  c.number("--ema", "X", "decay of the averaged weights (default 0.999)", &Options::ema, 0.0, 0.999999);
  c.number("--shift", "X", "timestep shift (default 3)", &Options::shift, 0.01, 100.0);
  c.number("--seed", "N", "initialisation, clips and noise (default 0)", &Options::seed, 0, ~std::uint64_t{0} >> 1);
  c.text("--device", "NAME", "cpu or cuda: the one that the program was built for", &Options::device);
  c.number("--threads", "N", "threads of the CPU's operators (default: all); results do not depend on it",
           &Options::threads, 1, 4096);
  c.number("--workers", "N", "threads that draw clips (default: all); results do not depend on it", &Options::workers,
           1, 4096);
  c.number("--reuse", "N", "how often a clip is shown on average (default 1)", &Options::reuse, 1.0, 1000.0);
  c.number("--sheet-every", "N", "steps between held-out losses and sample sheets (default 500)", &Options::sheet_every,
           1, 100000000);
  c.number("--checkpoint-seconds", "X", "seconds between checkpoints (default 60)", &Options::checkpoint_seconds, 1.0,
           1e9);
  c.flag("--resume", "go on from the checkpoint in --out", &Options::resume);
  c.flag("--help", "this text", &Options::help);
  return c;
}

}  // namespace

Options parse_options(int argc, char** argv) { return command_line().parse(argc, argv); }

std::string help_text() {
  return "pretrain: train a small Wan on generated clips\n\n" + command_line().help() +
         "\nWrites checkpoint.safetensors, log.jsonl, samples.png, weights/ (averaged, bf16) and master/ (as trained, "
         "fp32).\nCtrl-C finishes the step, saves and exits with 130; --resume goes on. Bad input exits with 2.\n";
}

}  // namespace pretrain
