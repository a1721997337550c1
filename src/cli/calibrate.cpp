// octavo calibrate: observes a share of the calibration data; `quantize --states` puts the shares together.
#include <fmt/format.h>

#include "error.h"
#include "files.h"
#include "model.h"
#include "options.h"
#include "quantizing.h"
#include "text.h"

namespace octavo::cli {
namespace {

struct Options {
  QuantizeInputs inputs;
  std::string output, shard = "0/1";
  int64_t first = 0;
  bool json = false;
};

int run(const Options& options) {
  check_output(options.output, options.inputs);
  const Shard shard = parse_shard(options.shard);
  const Recipe recipe = load_recipe(options.inputs.recipe);
  const Graph graph = load_model(options.inputs.model);
  Prepared prepared = value(prepare(graph, recipe), options.inputs.model);
  const int64_t samples = calibrate_on(prepared, graph, options.inputs, shard, options.first);
  const std::string state = value(save_calibration(prepared), options.output);
  write_file(options.output, state);
  if (options.json)
    print_json(Json{{"output", options.output}, {"samples", samples}, {"values", prepared.observed_values().size()}});
  else
    print(fmt::format("{}: {} values observed on {} samples, {}\n", options.output, prepared.observed_values().size(), samples,
                      human_bytes(state.size())));
  return kDone;
}

}  // namespace

void add_calibrate(CLI::App& app, Action& action) {
  add_command<Options>(
      app, action, "calibrate", "Observe a share of the calibration data",
      "Runs the I-th of N equal shares of DATA through the model (I from 0) and writes what was seen. `octavo quantize --states`\n"
      "with the states of all shares, in any order, writes the same model as one run over all of DATA.",
      [](CLI::App& cmd, Options& o) {
        add_quantize_inputs(cmd, o.inputs)->required();
        cmd.add_option("-o,--output", o.output, "The state; never one of the inputs")->required()->option_text("STATE");
        cmd.add_option("--shard", o.shard, "Which share of DATA (default 0/1: all of it)")->option_text("I/N");
        cmd.add_option("--first", o.first, "The number of DATA's first sample, where other files hold further ones (default 0)")
            ->option_text("N")
            ->check(CLI::Range(int64_t(0), int64_t(1) << 40));
        add_json(cmd, o.json);
      },
      run);
}

}  // namespace octavo::cli
