// octavo quantize: float ONNX model -> standard ONNX QDQ model.
#include <fmt/format.h>

#include <algorithm>

#include "error.h"
#include "files.h"
#include "model.h"
#include "octavo/equalize.h"
#include "options.h"
#include "quantizing.h"
#include "text.h"

namespace octavo::cli {
namespace {

struct Options {
  QuantizeInputs inputs;
  std::string output;
  std::vector<std::string> states, shapes;
  bool json = false, force_int8 = false, equalize = false, correct_bias = false;
  float smooth = -1;  // alpha; negative: not asked for
};

// The samples that --smooth and --correct-bias look at.
std::vector<Inputs> load_samples(const Graph& graph, const Options& options, const char* option) {
  if (options.inputs.calib.empty()) throw Failure(fmt::format("{}: needs --calib", option));
  const Dataset data(options.inputs.calib, graph, Dataset::load(options.inputs.calib, {&graph}), options.inputs.samples);
  std::vector<Inputs> groups;
  for (int64_t i = 0; i < data.groups(); ++i) groups.push_back(data.group(i));
  return groups;
}

// How many places --equalize, --smooth and --correct-bias changed, each where it was asked for.
using Changes = std::vector<std::pair<const char*, int>>;

// The graph that is quantized: folded, and equalized as asked.
Graph equalized(const Graph& graph, const Recipe& recipe, const Options& options, Changes& changes) {
  if (!options.equalize && options.smooth < 0) return graph;
  Graph folded = value(prepare(graph, recipe), options.inputs.model).graph();
  if (options.equalize) changes.emplace_back("equalized_pairs", value(equalize_layers(folded), options.inputs.model));
  if (options.smooth >= 0) {
    const std::vector<Inputs> samples = load_samples(graph, options, "--smooth");
    changes.emplace_back("smoothed_normalizations",
                         value(smooth_activations(folded, samples, options.smooth), options.inputs.model));
  }
  return folded;
}

// What is timed and reported on: the first sample, or zeros where there is none.
Inputs first_sample(const Graph& graph, const Options& options) {
  if (options.inputs.calib.empty()) return zeros_for(graph, options.shapes);
  return Dataset(options.inputs.calib, graph, Dataset::load(options.inputs.calib, {&graph}), options.inputs.samples).group(0);
}

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
  Changes changes;
  const Graph graph = equalized(load_model(options.inputs.model), recipe, options, changes);
  const Inputs sample = first_sample(graph, options);
  Prepared prepared = value(prepare(graph, recipe), options.inputs.model);
  const int64_t samples = calibrate_prepared(prepared, graph, options);
  Tuned tuned{value(convert(prepared), options.inputs.model), {}};
  if (options.correct_bias) {
    const std::vector<Inputs> groups = load_samples(graph, options, "--correct-bias");
    changes.emplace_back("corrected_biases", value(correct_biases(prepared.graph(), tuned.graph, groups), options.inputs.model));
  }
  if (!options.force_int8)
    tuned = value(keep_faster(prepared.graph(), tuned.graph, sample, {options.inputs.threads, 20}), options.inputs.model);
  check(save_onnx(tuned.graph, options.output), options.output);

  // The written file, not the graph in memory: what is reported is what the user has.
  const Graph written = load_model(options.output);
  const Program program = value(Program::compile(written, options_for(written, sample)), options.output);
  Json kept = Json::array();
  int64_t quantized = 0;
  std::map<std::string, std::string> slower;
  for (const NodeTiming& t : tuned.timings)
    if (!t.int8) slower[t.node] = fmt::format("int8 is no faster: {:.1f} us, float {:.1f} us", 1000 * t.int8_ms, 1000 * t.float_ms);
  for (const Annotation& a : prepared.annotations()) {
    if (const auto it = slower.find(a.node); it != slower.end())
      kept.push_back({{"name", a.node}, {"op_type", a.op_type}, {"reason", it->second}});
    else if (a.quantized)
      ++quantized;
    else
      kept.push_back({{"name", a.node}, {"op_type", a.op_type}, {"reason", a.reason}});
  }
  const uint64_t before = file_size(options.inputs.model), after = file_size(options.output);
  const double ratio = double(before) / double(after);
  if (options.json) {
    Json json{{"output", options.output},
              {"recipe", options.inputs.recipe},
              {"samples", samples},
              {"quantized", quantized},
              {"kept", kept},
              {"bytes_before", before},
              {"bytes_after", after},
              {"ratio", ratio},
              {"int8_mac_share", program.int8_mac_share()},
              {"timings", to_json(tuned.timings)}};
    for (const auto& [what, count] : changes) json[what] = count;
    print_json(json);
    return kDone;
  }
  std::string text = fmt::format(
      "{}: {} nodes quantized, {} kept in float; {} -> {} ({:.2f} to 1); {:.2f} % of the MACs in int8\n", options.output,
      quantized, kept.size(), human_bytes(before), human_bytes(after), ratio, 100 * program.int8_mac_share());
  for (std::pair<std::string, int> c : changes) {
    std::replace(c.first.begin(), c.first.end(), '_', ' ');
    text += fmt::format("{}: {}\n", c.first, c.second);
  }
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
      "model with QuantizeLinear-DequantizeLinear pairs. Each int8 step is timed against its float form, and the faster is kept.\n"
      "Prints what was quantized, and what was kept in float and why.\n"
      "DATA is an .npz file whose arrays are named after the model's inputs (first axis = samples; where an array has one axis\n"
      "more than its input, each sample is a whole input). Recipes with dynamic ranges or quantized weights alone need none.",
      [](CLI::App& cmd, Options& o) {
        CLI::Option* calib = add_quantize_inputs(cmd, o.inputs);
        cmd.add_option("-o,--output", o.output, "The quantized model; never one of the inputs")
            ->required()
            ->option_text("OUT.onnx");
        cmd.add_option("--states", o.states, "Instead of --calib: the states of all shares, from `octavo calibrate`")
            ->excludes(calib)
            ->option_text("STATE...");
        cmd.add_flag("--force-int8", o.force_int8, "Do not time: quantize also what is slower so on this machine");
        cmd.add_flag("--equalize", o.equalize, "Cross-layer equalization: spread the weights of Conv-Conv pairs evenly first");
        cmd.add_option("--smooth", o.smooth, "SmoothQuant: move ranges from activations to weights first, by ALPHA (0.5)")
            ->check(CLI::Range(0.0, 1.0))
            ->option_text("ALPHA");
        cmd.add_flag("--correct-bias", o.correct_bias, "Take the mean error of rounded weights off the biases");
        add_shapes(cmd, o.shapes);
        add_json(cmd, o.json);
      },
      run);
}

}  // namespace octavo::cli
