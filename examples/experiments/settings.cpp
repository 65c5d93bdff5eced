// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#include <string_view>

#include "common/command_line.hpp"
#include "run.hpp"
#include "segue/core/posix.hpp"

namespace experiments {
namespace {

/// "2/4" -> (2, 4).
void set_shard(Settings& s, const std::string& name, const std::string& value) {
  const std::size_t slash = value.find('/');
  if (slash == std::string::npos) {
    segue::throw_input(name, "its value", segue::in_quotes(value), "I/K, as in 1/4");
  }
  s.shards = example::parse_number<int>(name, value.substr(slash + 1), 1, 100000);
  s.shard = example::parse_number<int>(name, value.substr(0, slash), 1, s.shards);
}

example::CommandLine<Settings> command_line() {
  example::CommandLine<Settings> c;
  c.text("--table", "FILE", "the rows (default: table.json beside this program's source)", &Settings::table);
  c.text("--data", "DIR", "what ${data} stands for in the rows", &Settings::data);
  c.text("--out", "DIR", "where results go and are found again (default out/experiments)", &Settings::out);
  c.custom("--with", "DIR", "cells of this folder count as made, and a report takes them; may be given more than once",
           [](Settings& s, const std::string& name, const std::string& value) {
             if (!segue::is_directory(segue::join_path(value, "cells"))) {
               segue::throw_input(name, value + " has no folder 'cells'");
             }
             s.with.push_back(value);
           });
  c.text("--model", "DIR", "the backbone: a Wan folder (default: the one that ships)", &Settings::model);
  c.text("--only", "GLOB", "cells whose name, as --list shows it, fits; * and ? are known", &Settings::only);
  c.custom("--shard", "I/K", "the I-th of K parts of the work, for several processes or machines", set_shard);
  c.number("--seconds", "N", "take no new cell after N seconds (default: no end)", &Settings::seconds, 0.0, 1e9);
  c.number("--sample-batch", "N", "items that are answered together (default 64)", &Settings::sample_batch, 1, 4096);
  c.number("--threads", "N", "threads (default: all); results do not depend on it", &Settings::threads, 1, 4096);
  c.flag("--sheets", "write a contact sheet beside each fit", &Settings::sheets);
  c.flag("--list", "list the cells and what is left, and end", &Settings::list);
  c.flag("--help", "this text", &Settings::help);
  return c;
}

}  // namespace

Settings parse_settings(int argc, char** argv) {
  const bool report = argc > 1 && std::string_view(argv[1]) == "report";
  Settings settings = report ? command_line().parse(argc - 1, argv + 1) : command_line().parse(argc, argv);
  settings.report = report;
  if (settings.table.empty()) settings.table = SEGUE_TABLE_FILE;
  return settings;
}

std::string help_text() {
  return "experiments [report]: few-shot learning over a table of tasks, shots, modes and seeds\n\n"
         "Each cell of the table is fitted once and leaves one file in OUT/cells; a later run goes on with what is\n"
         "left. `experiments report` needs no model: it makes results.json, report.md and plots/*.png in OUT.\n\n" +
         command_line().help() +
         "\nThe learning rate of a (row, shots, mode) is the best on held-out training pairs, seed 0; the test items\n"
         "take no part in the choice. Ctrl-C drops the cell at hand and exits with 130. Bad input exits with 2.\n";
}

}  // namespace experiments
