#include "quantizing.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <filesystem>

#include "error.h"
#include "files.h"
#include "options.h"
#include "progress.h"

namespace octavo::cli {
namespace fs = std::filesystem;

CLI::Option* add_quantize_inputs(CLI::App& cmd, QuantizeInputs& inputs) {
  add_model(cmd, inputs.model);
  cmd.add_option("--recipe", inputs.recipe, "What to quantize and how: a preset or a JSON file (default x86_static)")
      ->option_text("NAME|FILE.json");
  CLI::Option* calib = cmd.add_option("--calib", inputs.calib, "Calibration data (.npz); a few hundred typical samples");
  calib->option_text("DATA");
  cmd.add_option("--samples", inputs.samples, "Use the first N samples only")->check(CLI::PositiveNumber)->option_text("N");
  add_threads(cmd, inputs.threads);
  return calib;
}

Recipe load_recipe(const std::string& name) {
  constexpr uint64_t kMaxBytes = 16 << 20;
  const std::vector<std::string> presets = Recipe::preset_names();
  if (std::find(presets.begin(), presets.end(), name) != presets.end()) return value(Recipe::preset(name), name);
  if (!fs::exists(name))
    throw Failure(fmt::format("--recipe {}: neither a preset ({}) nor a file", name, fmt::join(presets, ", ")));
  return value(Recipe::from_json(read_text(name, kMaxBytes)), name);
}

void check_output(const std::string& output, const QuantizeInputs& inputs) {
  const fs::path path = output;
  const fs::path parent = path.has_parent_path() ? path.parent_path() : ".";
  if (!fs::is_directory(parent)) throw Failure(fmt::format("{}: no such directory to write to", parent.string()));
  if (fs::is_directory(path)) throw Failure(fmt::format("{}: is a directory", output));
  std::error_code not_there;
  for (const std::string& input : {inputs.model, inputs.calib, inputs.recipe})
    if (fs::equivalent(path, input, not_there)) throw Failure(fmt::format("{}: is an input; it will not be overwritten", output));
}

Shard parse_shard(const std::string& text) {
  Shard shard;
  const char *end = text.data() + text.size(), *slash = std::find(text.data(), end, '/');
  const auto index = std::from_chars(text.data(), slash, shard.index);
  const auto count = slash == end ? index : std::from_chars(slash + 1, end, shard.count);
  if (slash == end || index.ec != std::errc() || index.ptr != slash || count.ec != std::errc() || count.ptr != end ||
      shard.index < 0 || shard.count > 1 << 20 || shard.index >= shard.count)
    throw Failure(fmt::format("--shard {}: not I/N with 0 <= I < N", text));
  return shard;
}

Inputs zeros_for(const Graph& graph, const std::vector<std::string>& shapes) {
  const std::map<std::string, Shape> all = shapes_of_inputs(shapes, graph);
  Inputs sample;
  for (const ValueInfo& input : graph.inputs)
    sample.emplace(input.name, value(Tensor::create(input.dtype, all.at(input.name)), input.name));
  return sample;
}

Json to_json(const std::vector<NodeTiming>& timings) {
  Json json = Json::array();
  for (const NodeTiming& t : timings)
    json.push_back({{"node", t.node}, {"op_type", t.op_type}, {"int8_ms", t.int8_ms}, {"float_ms", t.float_ms}, {"int8", t.int8}});
  return json;
}

std::string timing_table(const std::vector<NodeTiming>& timings) {
  Table table({"node", "operator", "int8 us", "float us", "kept"});
  for (const NodeTiming& t : timings)
    table.add({t.node, t.op_type, fmt::format("{:.1f}", 1000 * t.int8_ms), fmt::format("{:.1f}", 1000 * t.float_ms),
               t.int8 ? "int8" : "float"});
  return table.text();
}

int64_t calibrate_on(Prepared& prepared, const Graph& graph, const QuantizeInputs& inputs, Shard shard, int64_t first) {
  const Dataset data(inputs.calib, graph, Dataset::load(inputs.calib, {&graph}), inputs.samples);
  const int64_t begin = data.groups() * shard.index / shard.count, end = data.groups() * (shard.index + 1) / shard.count;
  std::vector<Inputs> groups;
  for (int64_t i = begin; i < end; ++i) groups.push_back(data.group(i));
  Progress progress("calibrating");
  check(calibrate(prepared, groups, inputs.threads, [&](size_t done, size_t total) { progress.update(done, total); }, first + begin),
        inputs.calib);
  return (end - begin) * data.batch();
}

}  // namespace octavo::cli
