// octavo quantize: float ONNX model -> standard ONNX QDQ model.
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
  std::vector<std::string> states;
  bool json = false;
};

// Samples, or what `octavo calibrate` saw of them. A recipe without static ranges needs neither.
int64_t calibrate_prepared(Prepared& prepared, const Graph& graph, const Options& options) {
  constexpr uint64_t kMaxBytes = uint64_t(1) << 30;
  for (const std::string& state : options.states) check(add_calibration(prepared, read_text(state, kMaxBytes)), state);
  if (!options.inputs.calib.empty()) return calibrate_on(prepared, graph, options.inputs);
  if (options.states.empty() && !prepared.observed_values().empty())
    throw Failure(fmt::format("--recipe {}: {} values need calibration; give --calib or --states", options.inputs.recipe,
                              prepared.observed_values().size()));
  return 0;
}

int run(const Options& options) {
  check_output(options.output, options.inputs);
  const Recipe recipe = load_recipe(options.inputs.recipe);
  const Graph graph = load_model(options.inputs.model);
  Prepared prepared = value(prepare(graph, recipe), options.inputs.model);
  const int64_t samples = calibrate_prepared(prepared, graph, options);
  const Graph converted = value(convert(prepared), options.inputs.model);
  check(save_onnx(converted, options.output), options.output);

  // The written file, not the graph in memory: what is reported is what the user has.
  const Program program = value(Program::compile(load_model(options.output)), options.output);
  Json kept = Json::array();
  int64_t quantized = 0;
  for (const Annotation& a : prepared.annotations()) {
    if (a.quantized)
      ++quantized;
    else
      kept.push_back({{"name", a.node}, {"op_type", a.op_type}, {"reason", a.reason}});
  }
  const uint64_t before = file_size(options.inputs.model), after = file_size(options.output);
  const double ratio = double(before) / double(after);
  if (options.json) {
    print_json(Json{{"output", options.output},
                    {"recipe", options.inputs.recipe},
                    {"samples", samples},
                    {"quantized", quantized},
                    {"kept", kept},
                    {"bytes_before", before},
                    {"bytes_after", after},
                    {"ratio", ratio},
                    {"int8_mac_share", program.int8_mac_share()}});
    return kDone;
  }
  std::string text = fmt::format(
      "{}: {} nodes quantized, {} kept in float; {} -> {} ({:.2f} to 1); {:.2f} % of the MACs in int8\n", options.output,
      quantized, kept.size(), human_bytes(before), human_bytes(after), ratio, 100 * program.int8_mac_share());
  if (!kept.empty()) {
    Table table({"kept in float", "operator", "why"});
    for (const Json& k : kept)
      table.add({k["name"].get<std::string>(), k["op_type"].get<std::string>(), k["reason"].get<std::string>()});
    text += "\n" + table.text();
  }
  print(text);
  return kDone;
}

}  // namespace

void add_quantize(CLI::App& app, Action& action) {
  add_command<Options>(
      app, action, "quantize", "Turn a float ONNX model into an INT8 one",
      "Folds the model, runs the calibration data through it, chooses scales and zero points, and writes a standard ONNX\n"
      "model with QuantizeLinear-DequantizeLinear pairs. Prints what was quantized, and what was kept in float and why.\n"
      "DATA is an .npz file whose arrays are named after the model's inputs (first axis = samples). Recipes with dynamic ranges\n"
      "or quantized weights alone need none.",
      [](CLI::App& cmd, Options& o) {
        CLI::Option* calib = add_quantize_inputs(cmd, o.inputs);
        cmd.add_option("-o,--output", o.output, "The quantized model; never one of the inputs")
            ->required()
            ->option_text("OUT.onnx");
        cmd.add_option("--states", o.states, "Instead of --calib: the states of all shares, from `octavo calibrate`")
            ->excludes(calib)
            ->option_text("STATE...");
        add_json(cmd, o.json);
      },
      run);
}

}  // namespace octavo::cli
