// octavo tune: leaves out the int8 steps of a quantized model that are slower here than their float forms.
#include "octavo/tune.h"

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
  std::string output;
  std::vector<std::string> shapes;
  bool json = false;
};

int run(const Options& options) {
  check_output(options.output, options.inputs);
  const Graph model = load_model(options.inputs.model);
  const Graph plain = value(dequantized(model), options.inputs.model);
  const Inputs sample = zeros_for(model, options.shapes);
  const Tuned tuned = value(keep_faster(plain, model, sample, {options.inputs.threads, 20}), options.inputs.model);
  check(save_onnx(tuned.graph, options.output), options.output);
  if (options.json) {
    print_json(Json{{"output", options.output}, {"timings", to_json(tuned.timings)}});
    return kDone;
  }
  print(timing_table(tuned.timings));
  return kDone;
}

}  // namespace

void add_tune(CLI::App& app, Action& action) {
  add_command<Options>(
      app, action, "tune", "Leave out the int8 steps that are slower than float on this machine",
      "MODEL is a quantized model. Each int8 step is timed, with the QuantizeLinear and DequantizeLinear that it causes, against\n"
      "its float form, and the faster one is written. Weights that become float keep their rounded values, and what was float\n"
      "before stays so: quantize on the machine that will run the model, where that is possible.",
      [](CLI::App& cmd, Options& o) {
        add_model(cmd, o.inputs.model);
        cmd.add_option("-o,--output", o.output, "The tuned model; never the input")->required()->option_text("OUT.onnx");
        add_shapes(cmd, o.shapes);
        add_threads(cmd, o.inputs.threads);
        add_json(cmd, o.json);
      },
      run);
}

}  // namespace octavo::cli
