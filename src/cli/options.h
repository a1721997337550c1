// Options that several commands share, worded once.
#pragma once

#include <CLI/CLI.hpp>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "command.h"
#include "octavo/graph.h"

namespace octavo::cli {

inline void add_json(CLI::App& cmd, bool& json) { cmd.add_flag("--json", json, "Print one JSON object instead of text"); }

inline void add_model(CLI::App& cmd, std::string& model) {
  cmd.add_option("MODEL", model, "The ONNX model")->required()->option_text(" ");
}

inline void add_threads(CLI::App& cmd, int& threads) {
  cmd.add_option("--threads", threads, "Threads to run on (default 1); the results do not depend on it")
      ->check(CLI::Range(1, 1024))
      ->option_text("N");
}

inline void add_shapes(CLI::App& cmd, std::vector<std::string>& shapes) {
  cmd.add_option("--shape", shapes, "Shape of an input with dynamic dimensions; an open batch is 1 otherwise. May be repeated")
      ->option_text("NAME=1x3x224x224")
      ->allow_extra_args(false);
}

inline void add_compact(CLI::App& cmd, bool& compact) {
  cmd.add_flag("--compact", compact, "MODEL's convolutions keep their weights at one byte each, and may take longer");
}

// Declares a subcommand whose options live in an `Options` and whose work is `run(options)`. `summary` is its line in the
// list of commands; `details` end its help.
template <class Options, class Declare>
void add_command(CLI::App& app, Action& action, const char* name, const char* summary, const char* details, Declare declare,
                 int (*run)(const Options&)) {
  auto options = std::make_shared<Options>();
  CLI::App* cmd = app.add_subcommand(name, summary);
  cmd->footer(details);
  declare(*cmd, *options);
  cmd->callback([options, run, &action] { action = [options, run] { return run(*options); }; });
}

// The shape of each input of the graph: "NAME=1x3x224x224" where it is among `arguments`, else its own, an open batch as 1. Throws
// Failure for any other argument, for a name that is no input, and for an input that stays open.
std::map<std::string, Shape> shapes_of_inputs(const std::vector<std::string>& arguments, const Graph& graph);

// "NAME=1" for each of `arguments`, of bool and s64 inputs of one element. Throws Failure for anything else.
std::map<std::string, Tensor> parse_values(const std::vector<std::string>& arguments, const Graph& graph);

// Splits "NAME=VALUE". Names may hold '=' themselves, so that the longest input name that fits wins.
std::pair<std::string, std::string> split_assignment(const std::string& argument, const Graph& graph);

}  // namespace octavo::cli
