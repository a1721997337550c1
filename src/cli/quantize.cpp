// octavo quantize: float ONNX model -> standard ONNX QDQ model.
#include "octavo/quantize.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "dataset.h"
#include "error.h"
#include "files.h"
#include "model.h"
#include "octavo/recipe.h"
#include "options.h"
#include "progress.h"
#include "text.h"

namespace octavo::cli {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::string model, output, recipe = "x86_static", calib;
  int64_t samples = std::numeric_limits<int64_t>::max();
  int threads = 1;
  bool json = false;
};

Recipe load_recipe(const std::string& name) {
  constexpr uint64_t kMaxBytes = 16 << 20;
  const std::vector<std::string> presets = Recipe::preset_names();
  if (std::find(presets.begin(), presets.end(), name) != presets.end()) return value(Recipe::preset(name), name);
  if (!fs::exists(name))
    throw Failure(fmt::format("--recipe {}: neither a preset ({}) nor a file", name, fmt::join(presets, ", ")));
  return value(Recipe::from_json(read_text(name, kMaxBytes)), name);
}

// Before minutes of calibration, not after them.
void check_output(const Options& options) {
  const fs::path output = options.output;
  const fs::path parent = output.has_parent_path() ? output.parent_path() : ".";
  if (!fs::is_directory(parent)) throw Failure(fmt::format("{}: no such directory to write to", parent.string()));
  if (fs::is_directory(output)) throw Failure(fmt::format("{}: is a directory", options.output));
  std::error_code not_there;
  for (const std::string& input : {options.model, options.calib, options.recipe})
    if (fs::equivalent(output, input, not_there))
      throw Failure(fmt::format("{}: is an input; it will not be overwritten", options.output));
}

void calibrate_on(Prepared& prepared, const Graph& graph, const Options& options, int64_t& samples) {
  std::vector<Inputs> groups;
  {
    const Dataset data(options.calib, graph, Dataset::load(options.calib, {&graph}), options.samples);
    samples = data.samples();
    for (int64_t i = 0; i < data.groups(); ++i) groups.push_back(data.group(i));
  }
  Progress progress("calibrating");
  check(calibrate(prepared, groups, options.threads, [&](size_t done, size_t total) { progress.update(done, total); }),
        options.calib);
}

int run(const Options& options) {
  check_output(options);
  const Recipe recipe = load_recipe(options.recipe);
  const Graph graph = load_model(options.model);
  Prepared prepared = value(prepare(graph, recipe), options.model);
  int64_t samples = 0;
  calibrate_on(prepared, graph, options, samples);
  const Graph converted = value(convert(prepared), options.model);
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
  const uint64_t before = file_size(options.model), after = file_size(options.output);
  const double ratio = double(before) / double(after);
  if (options.json) {
    print_json(Json{{"output", options.output},
                    {"recipe", options.recipe},
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
      "DATA is an .npz file whose arrays are named after the model's inputs (first axis = samples).",
      [](CLI::App& cmd, Options& o) {
        add_model(cmd, o.model);
        cmd.add_option("-o,--output", o.output, "The quantized model; never one of the inputs")
            ->required()
            ->option_text("OUT.onnx");
        cmd.add_option("--recipe", o.recipe, "What to quantize and how: a preset or a JSON file (default x86_static)")
            ->option_text("NAME|FILE.json");
        cmd.add_option("--calib", o.calib, "Calibration data (.npz); a few hundred typical samples")
            ->required()
            ->option_text("DATA");
        cmd.add_option("--samples", o.samples, "Use the first N samples only")->check(CLI::PositiveNumber)->option_text("N");
        add_threads(cmd, o.threads);
        add_json(cmd, o.json);
      },
      run);
}

}  // namespace octavo::cli
